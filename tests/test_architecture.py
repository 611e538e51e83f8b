"""The rules of the house that ARCHITECTURE.md states, held against the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sidelight.evaluation.protocols import PROTOCOLS

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "sidelight"
FLOORS = {
    **dict.fromkeys(("errors", "config", "files", "machine"), 0),
    **dict.fromkeys(("losses", "metrics"), 1),
    "data": 2,
    **dict.fromkeys(("models", "views"), 3),
    "methods": 4,
    "train": 5,
    "evaluation": 6,
    "explaining": 7,
    "reporting": 8,
    "commands": 9,
    "cli": 10,
    **dict.fromkeys(("__init__", "__main__"), 11),
}
WRITERS = {
    "os.replace",
    "os.fsync",
    "os.rename",
    "os.link",
    "tempfile.mkstemp",
    "tempfile.NamedTemporaryFile",
    "save_file",
}
WRITING_CALLS = {"write_text", "write_bytes", "to_parquet", "tofile", "symlink_to"}
ALLOWED = {
    ("data.pixels.shards", "self._path.open"),  # a draft of files.py, which puts it into place
    ("train.timing", "Path('/proc/self/clear_refs').write_text"),  # no file, but a question to the kernel
}
CROSSING = ("acceptance", "fuzz", "learning")
"""Folders of tests of what crosses floors."""


def name_of(file: Path) -> str:
    """``data.cells`` of ``src/sidelight/data/cells.py``; a package is called after its folder."""
    return ".".join(file.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, ast.Module]:
    return {name_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(SOURCES.rglob("*.py"))}


@cache
def imports() -> dict[str, set[str]]:
    """Which modules each imports, anywhere in its code, by their names without ``sidelight.``."""
    found: dict[str, set[str]] = {}
    for name, tree in modules().items():
        found[name] = set()
        for node in ast.walk(tree):
            asked = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sidelight":
                asked = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names if alias.name.split(".")[0] == "sidelight"]
            for whole in asked:
                inner = whole.removeprefix("sidelight").removeprefix(".")
                while inner and inner not in modules():
                    inner = inner.rpartition(".")[0]
                found[name] |= {inner} if inner else set()
    return found


def floor(name: str) -> int:
    return FLOORS[name.split(".")[0]]


def test_every_room_stands_on_a_floor():
    assert {name.split(".")[0] for name in modules()} == set(FLOORS)


def test_nobody_imports_upward():
    upward = [(one, other) for one, others in imports().items() for other in others if floor(other) > floor(one)]
    assert not upward


def test_no_two_files_import_each_other():
    seen: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if name in path:
            yield path[path.index(name) :]
        elif name not in seen:
            for other in sorted(imports()[name]):
                yield from walk(other, (*path, name))
            seen.add(name)

    circles = [circle for name in imports() for circle in walk(name, ())]
    assert not circles


def test_nobody_outside_compares_the_name_of_a_protocol():
    compared = []
    for name, tree in modules().items():
        if name.startswith("evaluation.protocols"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                sides = [part for side in (node.left, *node.comparators) for part in getattr(side, "elts", [side])]
                values = [part.value for part in sides if isinstance(part, ast.Constant)]
                compared += [(name, node.lineno, value) for value in values if value in PROTOCOLS]
    assert not compared


def writes(node: ast.AST) -> bool:
    """Whether a call puts a file somewhere by itself: not through a function of ``files``."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    if called in WRITERS or (called.rpartition(".")[2] in WRITING_CALLS and "." in called):
        return True
    if called.rpartition(".")[2] in ("open", "fdopen"):
        given = [*node.args, *(word.value for word in node.keywords if word.arg == "mode")]
        modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return any(re.fullmatch(r"[rwaxbt+]{1,3}", mode) and set(mode) & set("wax+") for mode in modes)
    return False


def test_one_file_writes():
    """Nobody else opens a file to write, renames one into place, or waits for the disk."""
    found = [
        (name, node.lineno, ast.unparse(node.func))
        for name, tree in modules().items()
        if name != "files"
        for node in ast.walk(tree)
        if writes(node)
    ]
    assert [one for one in found if (one[0], one[2]) not in ALLOWED] == []


def test_no_pickle_and_no_foreign_code():
    forbidden = re.compile(
        r"^\s*(import|from) (pickle|dill|joblib)\b|torch\.load\((?!.*weights_only=True)|yaml\.load\("
    )
    lines = [
        (str(file), line)
        for file in SOURCES.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if forbidden.search(line) or "allow_pickle=True" in line
    ]
    assert not lines


def every_test() -> list[Path]:
    return [file for file in (ROOT / "tests").rglob("test_*.py") if file.name != Path(__file__).name]


@pytest.mark.parametrize("file", every_test(), ids=lambda file: file.relative_to(ROOT / "tests").as_posix())
def test_a_test_has_the_name_of_its_source(file):
    place = file.relative_to(ROOT / "tests")
    if place.parts[0] in CROSSING:
        return
    source = SOURCES / place.parent / place.name.removeprefix("test_")
    package = source.with_suffix("") / "__init__.py"
    own_folder = source.parent / "__init__.py"
    named_after_folder = own_folder.is_file() and source.parent.name == source.stem
    assert source.is_file() or package.is_file() or named_after_folder, "rename it, or move it to tests/acceptance"


@pytest.mark.parametrize("file", sorted(SOURCES.rglob("__init__.py")), ids=name_of)
def test_a_folder_says_in_a_line_what_it_is(file):
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text and len(text.splitlines()[0]) > 20
