"""A join that met the wrong rows: file names hold ids of a column, but other ones than the joined rows say."""

import re
from collections import Counter
from collections.abc import Iterable

import pandas as pd

from sidelight.data.audit.ids import NAMED
from sidelight.data.cells import normalise, readable, some
from sidelight.data.findings import Finding

LEAST_IDS, LEAST_SHARE, MOST_OTHER = 5, 0.5, 0.02
"""Different ids; items whose name holds an id; of those, items that may disagree with their row."""
_BETWEEN = r"(?<=[^\W\d_])[-_ .]+(?=\d)|(?<=\d)[-_ .]+(?=[^\W\d_])"
"""Signs between letters and digits."""


def misjoined(items: pd.DataFrame, columns: Iterable[str]) -> dict[str, tuple["pd.Series[bool]", int]]:
    """By column that holds ids: which items' names hold another id of it than their row, and how many names hold one.

    Of columns that say the same, the first counts.

    :param items: with ``files`` (tuples of paths) and ``columns``.
    """
    found: dict[str, tuple[pd.Series[bool], int]] = {}
    for column in columns:
        if not NAMED.search(column) or column.startswith("dicom:"):
            continue
        if any(items[column].equals(items[one]) for one in found):
            continue
        own = items[column].map(normalise)
        pattern = _pattern(column, set(own) - {""})
        if pattern is None:
            continue
        known = {_bare(value) for value in own if value}
        held = [{_bare(hit) for hit in pattern.findall(_name(files))} & known for files in items["files"]]
        names = pd.Series([bool(ids) for ids in held], index=items.index)
        other = pd.Series([_bare(value) not in ids for value, ids in zip(own, held, strict=True)], index=items.index)
        wrong = names & other & (own != "")
        if names.mean() >= LEAST_SHARE and wrong.sum() > max(1, MOST_OTHER * names.sum()):
            found[column] = (wrong, int(names.sum()))
    return found


def misjoined_sentence(column: str, wrong: int, names: int) -> str:
    """What is told of one column."""
    return f"the name of {wrong} of {names} files holds an id of `{column}`, but another one than the joined row says"


def join_findings(items: pd.DataFrame, columns: Iterable[str]) -> list[Finding]:
    """A warning per column whose ids the names of files contradict."""
    found = []
    for column, (wrong, names) in misjoined(items, columns).items():
        text = (
            f"T{misjoined_sentence(column, int(wrong.sum()), names)[1:]}: are the rows shifted, or is it another join?"
        )
        numbers = {"column": column, "items": names, "other": int(wrong.sum())}
        found.append(Finding("join", "warning", text, numbers, some(items["item"][wrong])))
    return found


def _name(files: tuple[str, ...]) -> str:
    """The path of the first file without its suffix."""
    return re.sub(r"\.\w{1,5}$", "", readable(files[0])) if files else ""


def _pattern(column: str, ids: set[str]) -> re.Pattern[str] | None:
    """What such ids look like in a name: of mere numbers, behind the column's word; capitals and signs as in :func:`_bare`."""
    shapes = Counter(_shape(one) for one in ids)
    if len(ids) < LEAST_IDS or shapes.most_common(1)[0][1] < 0.9 * len(ids):
        return None
    shape = shapes.most_common(1)[0][0]
    if "\\d+" not in shape:
        return None
    if shape != "\\d+":
        return re.compile(rf"(?<![^\W_]){shape}(?!\d)", re.I)
    word = re.match(r"[a-z]{3,}", column.rpartition(".")[2], re.I)
    return re.compile(rf"(?<![^\W\d_])(?:{word[0][0]}|{word[0][:3]}[a-z]*)[-_ ]?(\d+)(?!\d)", re.I) if word else None


def _shape(one: str) -> str:
    """A pattern of ids like this one."""
    apart = re.sub(rf"{_BETWEEN}|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", "\0", one)
    return re.sub(r"\d+", r"\\d+", re.escape(apart)).replace(re.escape("\0"), "[-_ .]*")


def _bare(text: str) -> str:
    """Without zeros before numbers, capitals, and signs between letters and digits: PAT-007 is pat7."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(_BETWEEN, "", text.casefold()))
