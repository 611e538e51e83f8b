"""Items of derm7pt: meta.csv has one row per case with two photographs, the index files name rows of it by position."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sidelight.data.cells import normalise
from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.tables import read_table
from sidelight.errors import DataError, nearest

SIDES = ("train", "valid", "test")
PHOTOGRAPHS = {"derm": "dermoscopic", "clinic": "clinical"}
CASES = {"train": 413, "valid": 203, "test": 395}
TEST_COUNTS = {
    "diagnosis": (16, 219, 101, 40, 19),
    "pigment_network": (156, 146, 93),
    "blue_whitish_veil": (320, 75),
    "vascular_structures": (313, 52, 30),
    "pigmentation": (223, 48, 124),
    "streaks": (257, 44, 94),
    "dots_and_globules": (100, 118, 177),
    "regression_structures": (289, 106),
}
"""Cases of each class on the test side of release_v0, in the order of the preset's classes."""


def list_items(root: Path, tasks: Mapping[str, TaskSpec]) -> tuple[pd.DataFrame, list[str]]:
    """One row per photograph: ``item``, ``files``, ``case`` (row of meta.csv, from 0), ``view``, ``split`` and its columns.

    :param root: the folder that holds ``images/``; meta.csv and the index files lie in it or in its ``meta/``.
    :param tasks: the preset's, whose ``classes`` group what is written; none where labels are not wanted.
    :returns: the items, and notices: files that are missing, and whether this is release_v0.
    :raises DataError: for a column, an index or a value that should not be there, or a case on two sides.
    """
    tasks = {name: task for name, task in tasks.items() if task.label}
    folder = root / "meta" if (root / "meta" / "meta.csv").is_file() else root
    meta = read_table(folder / "meta.csv")
    for name in (*PHOTOGRAPHS, *tasks):
        if name not in meta:
            raise DataError(f"meta.csv has no column {name!r}", do=nearest(name, [str(one) for one in meta.columns]))
    split = _split(folder, len(meta))
    notices = [_verdict(_coded(meta, tasks), split, tasks)] if tasks else []
    rest = meta.drop(columns=[*PHOTOGRAPHS]).assign(case=[str(row) for row in range(len(meta))], split=split)
    parts = [rest.assign(path=meta[column], view=view) for column, view in PHOTOGRAPHS.items()]
    long = pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
    found = _Folder(root / "images")
    long["path"] = [found.spelling(cell) for cell in long["path"]]
    there = [(root / "images" / cell).is_file() for cell in long["path"]]
    lost = long.loc[[not one for one in there], "path"].tolist()
    if len(lost) == len(long):
        raise DataError(f"None of the {len(long)} photographs that meta.csv names is in {root / 'images'}")
    if lost:
        notices.append(f"{len(lost)} of {len(long)} photographs that meta.csv names are missing: {lost[:5]}")
    long = long[there].reset_index(drop=True)
    shared = long["path"].duplicated(keep=False)
    if shared.any():
        notices.append(f"{long.loc[shared, 'path'].nunique()} files are named more than once")
    names = [
        f"images/{path}" + (f" ({view} of case {case})" if twice else "")
        for path, view, case, twice in zip(long["path"], long["view"], long["case"], shared, strict=True)
    ]
    long.insert(0, "item", names)
    files = [(f"images/{path}",) for path in long["path"]]
    long.insert(1, "files", pd.Series(files, index=long.index, dtype=object))
    return long.drop(columns="path"), notices


def _split(folder: Path, cases: int) -> list[str]:
    """The side of each row of meta.csv, "" where no index file names it."""
    side = [""] * cases
    for name in SIDES:
        file = folder / f"{name}_indexes.csv"
        table = read_table(file)
        if "indexes" not in table:
            raise DataError(f"{file.name} has no column 'indexes'", do=nearest("indexes", map(str, table.columns)))
        for cell in table["indexes"]:
            row = int(cell) if cell.isdigit() else -1
            if not 0 <= row < cases:
                raise DataError(f"{file.name} holds the index {cell!r}", expected=f"rows of meta.csv, 0 to {cases - 1}")
            if side[row]:
                raise DataError(
                    f"Row {row} of meta.csv is in {side[row]}_indexes.csv and in {file.name}",
                    expected="every case on one side",
                    do="Restore the index files of the release",
                )
            side[row] = name
    return side


def _coded(meta: pd.DataFrame, tasks: Mapping[str, TaskSpec]) -> dict[str, list[str]]:
    """The class of each case by column; :raises DataError: for a value that the grouping does not know."""
    coded: dict[str, list[str]] = {}
    for name, task in tasks.items():
        assert isinstance(task.classes, dict)
        known = {normalise(value): found for value, found in task.classes.items()}
        unknown = sorted({normalise(cell) for cell in meta[name]} - set(known))
        if unknown:
            raise DataError(
                f"Column {name!r} of meta.csv holds {unknown[0]!r}",
                do=f"{nearest(unknown[0], known)} No value is guessed",
            )
        coded[name] = [known[normalise(cell)] for cell in meta[name]]
    return coded


def _verdict(coded: Mapping[str, Sequence[str]], split: Sequence[str], tasks: Mapping[str, TaskSpec]) -> str:
    """A sentence that says whether sizes and the 24 class counts of the test side are those of release_v0."""
    sizes = {side: split.count(side) for side in SIDES}
    wrong = [f"{sizes[side]} {side} cases, not {count}" for side, count in CASES.items() if sizes[side] != count]
    for name, counts in TEST_COUNTS.items():
        grouping = tasks[name].classes
        assert isinstance(grouping, dict)
        order = dict.fromkeys(grouping.values())
        tested = [one for one, side in zip(coded[name], split, strict=True) if side == "test"]
        found = tuple(tested.count(one) for one in order)
        if found != counts:
            wrong.append(f"{name} {'/'.join(map(str, found))} on the test side, not {'/'.join(map(str, counts))}")
    if not wrong:
        return "This is derm7pt's release_v0: 413/203/395 cases, and the 24 class counts of its test side are right"
    return f"This is NOT derm7pt's release_v0: {'; '.join(wrong)}"


class _Folder:
    """Files of a folder by their names in small letters: extensions are mixed in the release, and copies change them."""

    def __init__(self, root: Path) -> None:
        names = [path.relative_to(root).as_posix() for path in root.rglob("*.*")]
        self.exact, self.known = set(names), {name.lower(): name for name in names}

    def spelling(self, cell: str) -> str:
        """The path as it is spelt on disk; as it was given where there is none."""
        plain = cell.replace("\\", "/")
        return plain if plain in self.exact else self.known.get(plain.lower(), plain)
