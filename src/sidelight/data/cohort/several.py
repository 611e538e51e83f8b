"""Several labels in one cell, ``Cardiomegaly|Effusion``: found, told, and taken apart."""

from collections.abc import Collection, Iterable, Mapping

from sidelight.data.cells import counted, normalise
from sidelight.errors import DataError

SURE, OFTEN = "|;", ",+/&"
"""Signs that stand between labels and nowhere else; and those that stand inside of one, too."""


def parts_of(cell: str, separator: str) -> tuple[str, ...]:
    """The different labels of a cell, in their order, as key text."""
    return tuple(dict.fromkeys(part for one in cell.split(separator) if (part := normalise(one))))


def holding(values: Iterable[str], named: Collection[str]) -> dict[str, tuple[str, str]]:
    """Values that hold one of ``named`` beside another, and what separates them: value -> (sign, the named part)."""
    found: dict[str, tuple[str, str]] = {}
    known = set(named)
    for value in values:
        if value in known:
            continue
        for sign in SURE + OFTEN:
            parts = parts_of(value, sign)
            inside = [part for part in parts if part in known]
            if len(parts) > 1 and inside:
                found[value] = (sign, inside[0])
                break
    return found


def separator_of(values: Collection[str]) -> str:
    """What separates several labels in the cells of a column; "" where each cell seems to hold one.

    After ``|`` or ``;`` one label must also stand alone or beside others; after another sign all of them must.
    """
    for sign in SURE + OFTEN:
        several = {value: parts for value in values if len(parts := parts_of(value, sign)) > 1}
        if not several:
            continue
        alone = {value for value in values if value not in several}
        seen = [part for parts in several.values() for part in parts]
        again = {part for part in seen if part in alone or seen.count(part) > 1}
        enough = any if sign in SURE else all
        if alone & set(seen) and enough(part in again for parts in several.values() for part in parts):
            return sign
    return ""


def several_labels(
    place: str, column: str, found: Mapping[str, tuple[str, str]], values: Mapping[str, int]
) -> DataError:
    """The error that names cells which hold a named value beside others; ``values`` count the items of each cell."""
    items = sum(values[value] for value in found)
    shown = ", ".join(f"{value!r} ({values[value]})" for value in list(found)[:5])
    sign, part = next(iter(found.values()))
    rest = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return DataError(
        f"{place}: {counted(items, 'item')} of column {column!r} hold {part!r} or another named value beside others: "
        f"{shown}{rest}",
        expected="one label in a cell, or a task that takes cells apart",
        do=f'Say what stands between labels: separator = "{sign}"; or name these values, too '
        "(in `classes`, `positive`, `negative` or `ignore`)",
    )
