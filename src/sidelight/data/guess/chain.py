"""Every table joined that can be, the best first; a joined table's columns may be the keys of the next one."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sidelight.data.cells import normalise
from sidelight.data.guess.joins import LEAST, Join, Key, apply, find_join, overlap
from sidelight.data.guess.levels import Level

LONGEST = 16  # digits of an accession number or a patient's
Unjoined = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Met:
    """Items with everything joined to them, and how."""

    items: pd.DataFrame
    joins: tuple[Join, ...]
    unjoined: tuple[tuple[str, str], ...]
    sources: dict[str, int]
    """Joined columns and the place of their table in ``joins``."""


def join_all(items: pd.DataFrame, keys: Sequence[Key], tables: Mapping[str, pd.DataFrame], unjoined: Unjoined) -> Met:
    """Join every table that some key joins, the best first; what was joined may be a key of the next one."""
    keys = list(keys)
    waiting = dict(tables)
    joins: list[Join] = []
    sources: dict[str, int] = {}
    while waiting:
        found = [one for file, table in waiting.items() if (one := find_join(file, table, keys)) is not None]
        if not found:
            break
        best = max(found, key=lambda one: one.score)
        table = waiting.pop(best.file)
        wider = apply(items, table, best)
        if wider is None:
            unjoined = [*unjoined, (best.file, "its rows contradict each other")]
            continue
        new = [str(column) for column in wider.columns if column not in items]
        sources.update(dict.fromkeys(new, len(joins)))
        joins.append(best)
        items = wider
        taken = {key.name for key in keys}
        keys += [Key(one, items[one].map(normalise)) for one in new if "=" not in one and one not in taken]
    missed = [(file, _why(table, items, keys)) for file, table in waiting.items()]
    return Met(items, tuple(joins), (*unjoined, *missed), sources)


def _why(table: pd.DataFrame, items: pd.DataFrame, keys: Sequence[Key]) -> str:
    """Why a table could not be joined, as far as that can be told."""
    for column, key in itertools.product(table, [key for key in keys if key.secret]):
        if _lost_zeros(table[column].head(200).map(normalise), key):
            return (
                f"its column {column} has lost the leading zeros of the headers' {key.name}: save it as text, with them"
            )
    for key in [key for key in keys if key.name in ("file", "name", "stem")]:
        held = {value.casefold() for value in key.counts}
        for column in table:
            cells = [cell for cell in key.as_compared(table[column].map(normalise)) if cell]
            alike = sum(cell.casefold() in held and cell not in key.counts for cell in cells)
            if cells and alike > len(cells) / 2:
                return f"its column {column} holds the files' names in other capitals: spell them alike"
    paths = {name for files in items["files"] for name in files}
    for column in table:
        cells = [cell.replace("\\", "/") for cell in table[column].head(200)]
        if sum(any(cell[place + 1 :] in paths for place in _slashes(cell)) for cell in cells) > len(cells) / 2:
            return f"its column {column} holds paths from a folder further up: name that folder instead"
    return _ambiguous(table, keys) or "no column holds what the paths or another table's columns say"


def _ambiguous(table: pd.DataFrame, keys: Sequence[Key]) -> str:
    """Of the column that would join if its rows did not differ, that they do; "" without one."""
    for column, key in itertools.product(table, keys):
        compared = key.as_compared(table[column].map(normalise))
        if overlap(key, set(compared) - {""}) >= LEAST and compared[compared != ""].duplicated().any():
            said = f"its column {column} holds what {'the paths say' if key.slot else f'is called {key.name} here'}"
            return f"{said}, but rows with one value differ: keep one row each, or join by a further column"
    return ""


def _lost_zeros(cells: "pd.Series[str]", key: Key) -> bool:
    """Whether numbers would meet the hashes of ``key`` with zeros before them, as they were before a spreadsheet."""
    numbers = cells[cells.str.fullmatch("[0-9]+")]
    compared = (key.as_compared(numbers.str.zfill(width)) for width in range(2, LONGEST + 1))
    return len(numbers) > 0 and any(one.isin(key.counts.keys()).mean() > 0.5 for one in compared)


def _slashes(cell: str) -> list[int]:
    return [place for place, sign in enumerate(cell) if sign == "/"]


def doubts(joins: Sequence[Join], unjoined: Unjoined, levels: Sequence[Level]) -> list[str]:
    """What could not be guessed, said plainly."""
    found = []
    if not levels:
        found.append(
            "no patient was found: each item is its own group. If one patient has several, name the column or the part of "
            "the path that tells, or images of one patient land on both sides of a split"
        )
    elif levels[0].name != "patient":
        found.append(
            f"no patient was found: the outermost level is {levels[0].name}. If one patient has several, name the column "
            "or the part of the path that tells whose it is"
        )
    elif not levels[0].sure:
        found.append("that the outermost folder or number is the patient is only a guess from its place: check it")
    for one in joins:
        if one.doubt:
            found.append(f"{one.file} may be joined to the wrong rows: {one.doubt}")
        if one.share < 0.9:
            found.append(f"{one.of_items - one.items} of {one.of_items} items have no row in {one.file}")
    found += [f"{file} is not joined: {why}" for file, why in unjoined]
    return found
