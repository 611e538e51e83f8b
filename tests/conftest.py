"""What all tests share: the folder of real data, where there is one."""

import os
from pathlib import Path

import pytest

# Small tensors: threads only wait for each other, for minutes where two suites share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("real_data", "folder of real data sets, relative to the root folder", default="../shared/data")
    parser.addoption(
        "--real-data", metavar="FOLDER", help="folder of real data sets; wins over the ini option real_data"
    )


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real data sets, only to be read; the test is skipped where it is absent."""
    config = request.config
    folder = Path(config.getoption("--real-data") or config.rootpath / config.getini("real_data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: name its folder with --real-data")
    return folder
