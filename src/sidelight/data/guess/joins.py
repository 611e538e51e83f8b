"""Which columns of a table hold what the items say of themselves: keys, composite keys and chains of tables."""

import itertools
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from sidelight.data.cells import normalise, readable
from sidelight.data.cohort.tables import join
from sidelight.data.guess import words
from sidelight.data.identity import value_hash
from sidelight.data.read.formats import stem
from sidelight.errors import DataError

LEAST = 0.5  # share of the items, or of the table's rows, that a join must reach
_GLUE = "\x1f"


@dataclass(frozen=True, eq=False)
class Key:
    """Something that items can be joined by: normalised values in the items' order, and what the cohort file calls it."""

    name: str
    values: "pd.Series[str]"
    slot: str = ""
    mode: str = ""
    restarts: bool = False
    """Whether the same text means another thing in another folder: no key alone."""
    base: str = ""
    secret: bytes = b""
    """The key of the hashes that ``values`` are."""

    @property
    def kind(self) -> str:
        """How a table's cells are compared with it: as "hash", as "path" or "plain"."""
        return "hash" if self.secret else "path" if self.name == "file" else "plain"

    def as_compared(self, cells: "pd.Series[str]") -> "pd.Series[str]":
        """Normalised cells of a table as this key compares them."""
        if self.secret:
            return cells.map(lambda cell: value_hash(cell, self.secret))
        return _paths(cells) if self.name == "file" else cells

    @cached_property
    def counts(self) -> Counter[str]:
        """How many items have each value; without blanks."""
        return Counter(value for value in self.values if value)


@dataclass(frozen=True)
class Join:
    """One table joined: keys with their columns, and how many items and rows met."""

    file: str
    on: tuple[tuple[Key, str], ...]
    items: int
    of_items: int
    rows: int
    of_rows: int
    doubt: str = ""
    """Why it may have met the wrong rows."""

    @property
    def share(self) -> float:
        """Of the items, how many have a row."""
        return self.items / max(self.of_items, 1)

    @property
    def score(self) -> float:
        """What hypotheses are ranked by: items met, then rows met, then fitting names."""
        named = sum(0.05 for key, column in self.on if _alike(key.name, column))
        wide = 0.3 * min(1.0, self.rows / max(self.of_rows, 1))
        plain = sum(0.01 for key, _ in self.on if key.mode in ("", "whole")) / len(self.on)
        return self.share + wide + named + plain - 0.02 * len(self.on)


def _alike(name: str, column: str) -> bool:
    level = words.level_of(column)
    return words.plain(name) == words.plain(column) or bool(level and level == words.level_of(name))


def path_keys(files: Sequence[tuple[str, ...]], items: Sequence[str]) -> list[Key]:
    """``file`` (below each folder that all lie in), ``name`` and ``stem`` of every item, as the cohort file has them."""
    paths = [
        first if len(names) == 1 and first == item else posixpath.dirname(first)
        for names, item, first in zip(files, items, (readable(names[0]) for names in files), strict=True)
    ]
    shared = posixpath.commonpath([posixpath.dirname(path) for path in paths]) if paths else ""
    bases = ["", *("/".join(shared.split("/")[: n + 1]) for n in range(len(shared.split("/"))) if shared)]
    bare = [posixpath.basename(path) for path in paths]
    stems = [stem(one) for one in bare]
    keys = [Key("name", _column(bare)), Key("stem", _column(stems))]
    for base in bases:
        below = [path.removeprefix(f"{base}/") if base else path for path in paths]
        if below != bare:
            keys.append(Key("file", _column(below), base=base))
    return keys


def _column(values: Sequence[str]) -> "pd.Series[str]":
    return pd.Series([normalise(value) for value in values], dtype=str)


def find_join(file: str, table: pd.DataFrame, keys: Sequence[Key]) -> Join | None:
    """The best join of ``table`` to the items, by one key or several; None where nothing fits well enough."""
    cells = {str(column): table[column].map(normalise) for column in table.columns}
    compared = {
        (kind, column): set(key.as_compared(values)) - {""}
        for kind, key in {key.kind: key for key in keys}.items()
        for column, values in cells.items()
    }
    fits = {
        (place, column): share
        for place, key in enumerate(keys)
        for column in cells
        if (share := overlap(key, compared[key.kind, column])) > LEAST / 10
    }
    singles = [
        found
        for place, column in fits
        if (found := _try(file, table, [(keys[place], column)], cells)) is not None and _sound(found)
    ]
    best = max(singles, key=lambda one: one.score, default=None)
    if best is not None and best.share >= 0.9:
        return best
    several = [found for found in _composites(file, table, keys, cells, fits) if _sound(found)]
    return max([*singles, *several], key=lambda one: one.score, default=None)


def _sound(found: Join) -> bool:
    alone = len(found.on) == 1
    rows = found.rows / max(found.of_rows, 1)
    if alone and found.on[0][0].restarts and rows < LEAST:
        return False
    few = rows >= 0.8 and found.items >= 5 and found.share >= 0.05
    return (found.share >= LEAST or few) and found.items >= min(2, found.of_items)


def overlap(key: Key, theirs: set[str]) -> float:
    """Of the items that have this key, the share whose value stands in the column."""
    return sum(key.counts[value] for value in theirs & key.counts.keys()) / max(key.counts.total(), 1)


def _paths(values: "pd.Series[str]") -> "pd.Series[str]":
    return values.map(lambda cell: posixpath.normpath(cell.replace("\\", "/")) if cell else "")


def _composites(
    file: str,
    table: pd.DataFrame,
    keys: Sequence[Key],
    cells: Mapping[str, "pd.Series[str]"],
    fits: Mapping[tuple[int, str], float],
) -> list[Join]:
    """Joins by two keys or three, of the few columns that fit each key best."""
    best: dict[int, list[str]] = {}
    for (place, column), share in sorted(fits.items(), key=lambda one: -one[1]):
        if share >= LEAST and keys[place].slot and len(best.setdefault(place, [])) < 4:
            best[place].append(column)
    found: list[Join] = []
    for size in (2, 3):
        for places in itertools.combinations(best, size):
            if len({keys[place].slot for place in places}) < size:
                continue
            for columns in itertools.product(*(best[place] for place in places)):
                if len(set(columns)) == size:
                    pairs = [(keys[place], column) for place, column in zip(places, columns, strict=True)]
                    one = _try(file, table, pairs, cells)
                    found += [one] if one is not None else []
        if any(one.share >= 0.9 for one in found):
            break
    return found


def _try(
    file: str, table: pd.DataFrame, pairs: Sequence[tuple[Key, str]], cells: Mapping[str, "pd.Series[str]"]
) -> Join | None:
    """The join by these keys; None where rows of one key differ."""
    ours = _glue([key.values for key, _ in pairs])
    theirs = _glue([key.as_compared(cells[column]) for key, column in pairs])
    met = theirs.isin(set(ours) - {""})
    if not met.any():
        return None
    rows = table[met.to_numpy()].drop(columns=[column for _, column in pairs]).assign(**{_GLUE: theirs[met]})
    if rows.drop_duplicates()[_GLUE].duplicated().any():
        return None
    reached = ours.isin(set(theirs) - {""})
    return Join(file, tuple(pairs), int(reached.sum()), len(ours), int(met.sum()), len(theirs))


def _glue(columns: Sequence["pd.Series[str]"]) -> "pd.Series[str]":
    whole = columns[0]
    for column in columns[1:]:
        whole = (whole + _GLUE + column).mask((whole == "") | (column == ""), "")
    return whole


def apply(items: pd.DataFrame, table: pd.DataFrame, found: Join) -> pd.DataFrame | None:
    """The items with the table's columns, as opening the cohort will join them; None where that fails."""
    table = table.copy()
    for key, column in found.on:
        table[column] = key.as_compared(table[column].map(normalise))
    try:
        left = [key.values.set_axis(items.index) for key, _ in found.on]
        return join(items, table, left, [column for _, column in found.on], posixpath.basename(found.file))[0]
    except DataError:
        return None
