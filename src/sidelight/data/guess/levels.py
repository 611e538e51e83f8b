"""What the parts of paths and the columns of tables are: levels, views, classes, running numbers."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from sidelight.data.cells import normalise
from sidelight.data.cohort.spec import TAKEN
from sidelight.data.guess import words
from sidelight.data.guess.joins import Join
from sidelight.data.guess.paths import Layout, Slot
from sidelight.data.read.formats import is_kind

MOST_BLANK = 0.3  # of the items, in a column that names a level; each of them is then its own
RANK = tuple(words.LEVELS)
NOT_LEVELS = (*TAKEN, "frames")
_BY_MEANING = {"view": "view", "letter": "view", "class": "diagnosis", "side": "side", "split": "split"}


@dataclass(frozen=True)
class Level:
    """One level: its name, the column that holds its ids, and how many units it has."""

    name: str
    column: str
    units: int
    why: str
    sure: bool


@dataclass(frozen=True)
class Names:
    """Final names of slots by provisional ones, and levels from the outermost."""

    slots: Mapping[str, str]
    levels: tuple[Level, ...]
    todo: tuple[str, ...]


def name_all(items: pd.DataFrame, layouts: Sequence[Layout], joins: Sequence[Join], skin: bool) -> Names:
    """Settle what every slot is called and which levels there are.

    :param items: one row per item with a column per slot and those of the joined tables.
    :param skin: whether names speak of skin, so that a second level is a lesion rather than a study.
    """
    slots = {slot.name: slot for layout in layouts for slot in layout.slots}
    frames = {layout.frame for layout in layouts if layout.frame}
    hints = {
        key.slot: words.names_level(column) or words.level_of(column)
        for one in joins
        for key, column in one.on
        if key.slot
    }
    of_tables = _from_tables(items, slots)
    names: dict[str, str] = {}
    found: dict[str, Level] = dict(of_tables)
    for slot in slots.values():
        if slot.meaning in _BY_MEANING:
            names[slot.name] = _free(_BY_MEANING[slot.meaning], names)
        elif slot.name in frames:
            names[slot.name] = "frame"
    for slot in slots.values():  # what tables and prefixes name goes before what only its place tells
        hint = hints.get(slot.name) or words.level_of(slot.prefix)
        if slot.name not in names and hint and hint not in names.values() and hint not in of_tables:
            names[slot.name] = hint
            why = "its name in a table" if hints.get(slot.name) else f"the word {slot.prefix!r} before it"
            found[hint] = Level(hint, slot.name, _units(items, slot.name), why, True)
    defaults = [name for name in ("patient", "lesion" if skin else "study", "series", "recording") if name not in found]
    for place, slot in enumerate(slots.values()):
        if slot.name in names:
            continue
        names[slot.name] = name = _free(_by_place(items, slots, place, found, defaults, set(hints)), names)
        if name in defaults:
            defaults.remove(name)
            found[name] = Level(name, slot.name, _units(items, slot.name), "its place in the path", False)
    return Names(names, *_ordered(items, list(found.values())))


def _from_tables(items: pd.DataFrame, slots: Mapping[str, Slot]) -> dict[str, Level]:
    """Levels that a column names, filled for nearly all items; the one with fewest blanks counts."""
    found: dict[str, Level] = {}
    for column in items.columns:
        bare = str(column).rpartition(".")[2]
        name = words.names_level(bare)
        if column in ("item", "files") or column in slots or not name:
            continue
        ids = items[column].map(normalise)
        units = len(set(ids) - {""})
        if (ids == "").mean() <= MOST_BLANK and units > 1 and name not in found:
            found[name] = Level(name, str(column), units, f"column {bare}", True)
    return found


def _by_place(
    items: pd.DataFrame,
    slots: Mapping[str, Slot],
    place: int,
    found: Mapping[str, Level],
    defaults: Sequence[str],
    keys: set[str],
) -> str:
    """What an id or number without a telling name is, from where it stands and how it repeats."""
    slot, *later = list(slots.values())[place:]
    last = not any(one.meaning in ("id", "number") for one in later)
    if slot.meaning in ("folder", "kind"):
        return slot.meaning
    video = items["files"].map(lambda names: is_kind(names[0], "clip")).mean() > 0.5
    moving = bool(video or (items["files"].map(len) > 1).any())
    thing = "clip" if moving else "image"
    values = items[slot.name]
    filled = values[values != ""]
    repeated = filled.nunique() <= 0.8 * len(filled)
    before = [one for one in list(slots)[:place] if (items[one] != "").any()]
    above = [one for one in before if slots[one].meaning in ("id", "number")]
    dates = filled.str.fullmatch(r"(?:19|20)\d{2}[-_.]?[01]\d[-_.]?[0-3]\d").mean() > 0.95
    if dates and not (slot.folder and above and "study" in defaults):
        return "date"
    if slot.folder:
        alone = not above and not repeated and moving and (last or len(slots) <= 2)
        return thing if alone else "study" if dates else _level(items, slot, slots, place, found, defaults, repeated)
    counts = {slots[one].meaning for one in before} <= {"class", "split", "folder", "kind"}
    if last and not above and before and counts:
        return "n" if repeated else thing  # it counts the files of a folder
    inside = any(level.column in items for level in found.values())
    if last and slot.meaning == "number" and (above or (inside and slot.name not in keys)):
        word = words.plain(slot.prefix).strip("_- ")
        return word if re.fullmatch(r"[a-z]{3,12}", word) and word not in NOT_LEVELS else "n"
    if not repeated and (last or not above):
        return thing
    from_table = any(level.column not in slots for level in found.values())
    return (
        "part" if from_table and slot.name not in keys else _level(items, slot, slots, place, found, defaults, repeated)
    )


def _level(
    items: pd.DataFrame,
    slot: Slot,
    slots: Mapping[str, Slot],
    place: int,
    found: Mapping[str, Level],
    defaults: Sequence[str],
    repeated: bool,
) -> str:
    """The next level that has no name yet, if ids of this slot lie inside the patients that are known."""
    plain = "folder" if slot.folder else "part"
    patient = found.get("patient")
    if not defaults or patient is None:
        return defaults[0] if defaults else plain
    if patient.column in list(slots)[:place]:
        return defaults[0]
    return defaults[0] if repeated and _within(items[slot.name], items[patient.column]) else plain


def _within(inner: "pd.Series[str]", outer: "pd.Series[str]") -> bool:
    return bool(outer.groupby(inner).nunique().le(1).all())


def _free(name: str, names: Mapping[str, str]) -> str:
    taken = set(names.values())
    if name not in taken:
        return name
    return next(f"{name}{number}" for number in range(2, 99) if f"{name}{number}" not in taken)


def _units(items: pd.DataFrame, column: str) -> int:
    return int(items[column].map(normalise).replace("", None).nunique())


def _ordered(items: pd.DataFrame, levels: list[Level]) -> tuple[tuple[Level, ...], tuple[str, ...]]:
    """Levels by rank; two change places where the ids of the outer one each lie in one of the inner."""
    todo = []
    levels = sorted(levels, key=lambda level: RANK.index(level.name))
    for _ in levels:
        for place in range(len(levels) - 1):
            outer, inner = items[levels[place].column], items[levels[place + 1].column]
            if _within(outer, inner) and not _within(inner, outer):
                levels[place], levels[place + 1] = levels[place + 1], levels[place]
    for outer_level, inner_level in pairwise(levels):
        if _within(items[inner_level.column], items[outer_level.column]):
            continue
        spread = items[outer_level.column].groupby(items[inner_level.column]).nunique()
        many = int((spread > 1).sum())
        if many <= 0.1 * len(spread):
            todo.append(
                f"{many} of {len(spread)} {inner_level.name} ids come under several {outer_level.name} ids: "
                f"each counts as its own. Check that they are"
            )
    return tuple(levels), tuple(todo)


def speaks_of_skin(texts: Sequence[str]) -> bool:
    """Whether folders, tables and columns speak of skin."""
    known = (
        "lesion",
        "laesion",
        "derm",
        "dermo",
        "skin",
        "haut",
        "hauttumor",
        "melanoma",
        "melanom",
        "nevus",
        "naevus",
    )
    return any(words.meets(os.path.basename(text), known) for text in texts)
