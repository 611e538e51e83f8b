"""The pages of docs/develop: each one's files are written and imported, and its usage runs."""

import importlib
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from sidelight.data.read import formats
from sidelight.evaluation.protocols import PROTOCOLS
from sidelight.methods import METHODS
from sidelight.metrics import METRICS

FOLDER = Path(__file__).parents[2] / "docs" / "develop"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# file: ([\w.]+)\n")


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page(page, tmp_path, monkeypatch):
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    files = {found[1]: code for _, code in blocks if (found := FILE.match(code))}
    usages = [code for language, code in blocks if language == "python" and not FILE.match(code)]
    modules = [name.removesuffix(".py") for name in files if name.endswith(".py")]
    assert len(modules) == len(usages) == 1, f"{page.name} has one Python file, then one block that uses it"
    for name, code in files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(formats, "FORMATS", formats.FORMATS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    tables = [patch.dict(table) for table in (METHODS, METRICS, PROTOCOLS)]  # a page adds its own, for its own time
    try:
        with tables[0], tables[1], tables[2]:
            assert importlib.import_module(modules[0]).__doc__
            exec(compile(usages[0], f"{page.name}, the usage", "exec"), {"__name__": page.stem})
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def test_the_folder_says_what_each_page_holds():
    said = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {page.name for page in PAGES} <= set(re.findall(r"\]\((\w+\.md)\)", said))
