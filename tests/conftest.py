"""What all tests share: the folder of real data, where there is one, and no way out of this host."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Every connection, datagram and look-up of a name beyond this host fails the test that tries it.

    Loopback and Unix sockets stay: processes of one training talk over them. Processes that a test starts are not
    guarded, nor are sockets that C++ opens by itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto", "sendmsg"):
            patch.setattr(socket.socket, name, _method(name, getattr(socket.socket, name)))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, name, _lookup(getattr(socket, name)))
        yield


def _method(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *args: Any) -> Any:
        # sendto has its address last; so has sendmsg, behind data, ancillary data and flags, if there is one
        given = args[3:] if name == "sendmsg" else args
        if given and isinstance(given[-1], tuple):
            _refuse(given[-1][0])
        return plain(self, *args)

    return guarded


def _lookup(plain: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: Any, *args: Any, **named: Any) -> Any:
        _refuse(host)
        return plain(host, *args, **named)

    return guarded


def _refuse(host: Any) -> None:
    """Fail the test unless ``host`` is this one; not an Exception, which somebody might catch to try again."""
    text = host.decode() if isinstance(host, bytes) else host
    if text in (None, "", "localhost"):
        return
    try:
        here = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        here = None
    if here is None or not (here.is_loopback or here.is_unspecified):
        pytest.fail(f"The test reaches for {text}: tests open no connection beyond this host")
