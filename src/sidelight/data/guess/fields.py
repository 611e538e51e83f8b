"""The columns of joined tables -> metadata by level, tasks, unknown values, and what is left out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from sidelight.data.answers import meanings
from sidelight.data.audit.class_support import FOLDS
from sidelight.data.cells import normalise
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.several import parts_of
from sidelight.data.guess import words
from sidelight.data.guess.columns import Column, Place, describe, level_of, tells
from sidelight.data.guess.text import Draft, DraftTask


def fill(draft: Draft, items: pd.DataFrame, sources: Mapping[str, int], final: Mapping[str, str]) -> Draft:
    """The draft with its columns described: which are metadata of which level, which labels, which are left out and why.

    :param items: one row per item with levels and joined columns.
    :param sources: joined columns and the place of their table in ``draft.joins``.
    :param final: final names of the parts of paths by provisional ones.
    """
    levels = [level.name for level in draft.levels]
    skip = {"item", "files", "frames", draft.view, *levels, *(level.column for level in draft.levels)}
    described: dict[str, Column] = {}
    for name in items.columns:
        from_path = name in final.values() and name not in ("diagnosis", "side")
        if name in skip or from_path:
            continue
        described[str(name)] = describe(str(name), items[name])
    if "diagnosis" in final.values() and "diagnosis" in described:
        described["diagnosis"] = replace(described["diagnosis"], kind="label")
    described = {name: _as_label(column, described, sources) for name, column in described.items()}
    deepest = _deepest(draft, sources, final)
    tasks = _tasks(described, items, levels, deepest)
    metadata, left_out = [], []
    groups = items[levels[0] if levels else "item"]
    for name, column in described.items():
        if column.kind in ("numeric", "categorical", "checkbox"):
            known = items[name].map(normalise).replace(list(column.unknown), "")
            if draft.view and _same(known, items[draft.view]):
                left_out.append(replace(column, kind="out", why="says the same as the view"))
                continue
            leaks = next(
                (task.name for task in tasks if tells(known, items[task.column.name].map(normalise), groups)), ""
            )
            if leaks:
                left_out.append(replace(column, kind="afterwards", why=f"tells {leaks} almost exactly"))
                continue
            place = level_of(items[name], items, levels, deepest.get(name, "item"), name, column.unknown)
            metadata.append((_by_unit(column, known, items, levels, place), place))
        elif column.kind != "label":
            left_out.append(column)
        elif all(task.column.name != name for task in tasks):
            left_out.append(replace(column, kind="out", why="says the same as another label"))
    unknown, todo = _unknown(metadata)
    todo += [f"the column {one.name} holds {one.why}" for one in left_out if one.kind == "mixed"]
    if not tasks:
        todo.append("no column or folder looks like a diagnosis: add [task.NAME] with label = COLUMN")
    return replace(
        draft,
        metadata=tuple(metadata),
        left_out=tuple(left_out),
        tasks=tuple(tasks),
        unknown=unknown,
        language=_language(items, left_out),
        todo=(*draft.todo, *todo),
    )


def _as_label(column: Column, described: Mapping[str, Column], sources: Mapping[str, int]) -> Column:
    """A column of 0 and 1 as the label that its name says it is, or that it is in a table of nothing but such columns."""
    bare = column.name.rpartition(".")[2]
    if column.kind not in ("checkbox", "categorical") or words.meets(bare, words.PATIENT):
        return column
    finding = words.meets(bare, words.FINDINGS)
    if finding and len(column.counts) == 1 and "uncertain" in meanings(column.unknown).values():
        return replace(
            column, kind="out", why=f"says {column.counts[0][0]!r} or that it is uncertain: a label without negatives"
        )
    if not column.answers or (column.kind == "categorical" and not finding):
        return column
    place = sources.get(column.name)
    sheet = [one for name, one in described.items() if place is not None and sources.get(name) == place]
    alone = len(sheet) > 1 and all(one.kind in ("checkbox", "out") for one in sheet)
    return replace(column, kind="label") if alone or finding else column


def _by_unit(
    column: Column, known: "pd.Series[str]", items: pd.DataFrame, levels: Sequence[str], place: Place
) -> Column:
    """The column with its values counted once per unit of its level."""
    values = known.mask(known == "").groupby(unit_keys(items, levels, place.level), sort=False).first().dropna()
    return replace(column, counts=tuple(Counter(values).most_common()) if column.counts else ())


def _same(one: "pd.Series[str]", other: "pd.Series[str]") -> bool:
    return bool((one.map(words.plain) == other.map(words.plain)).all())


def _deepest(draft: Draft, sources: Mapping[str, int], final: Mapping[str, str]) -> dict[str, str]:
    """By column, the innermost level of the keys that its table was joined by; absent where one of them is no level."""
    levels = {level.column: level.name for level in draft.levels} | {level.name: level.name for level in draft.levels}
    order = [level.name for level in draft.levels]
    found = {}
    for column, place in sources.items():
        keys = [levels.get(final.get(key.slot, key.name), "") for key, _ in draft.joins[place].on]
        if all(keys):
            found[column] = max(keys, key=order.index)
    return found


def _tasks(
    described: dict[str, Column], items: pd.DataFrame, levels: Sequence[str], deepest: dict[str, str]
) -> list[DraftTask]:
    """One task per label column; a second one that says the same is passed over."""
    found: list[DraftTask] = []
    for name, column in described.items():
        if column.kind != "label":
            continue
        values = items[name].map(normalise)
        known = values.mask(values.isin(["", *column.unknown]))
        same = (
            known.str.casefold().fillna("") == items[one.column.name].map(normalise).str.casefold() for one in found
        )
        if any(one.all() for one in same):
            continue
        place = level_of(items[name], items, levels, deepest.get(name, "item"), name, column.unknown)
        keys = unit_keys(items, levels, place.level)
        held = known.groupby(keys).first()
        if column.separator:
            known = known.map(lambda cell, sign=column.separator: parts_of(cell, sign), na_action="ignore").explode()
            held = held.dropna().map(lambda cell, sign=column.separator: parts_of(cell, sign)).explode()
        counts = held.value_counts()
        malignant = [value for value in counts.index if words.meets(str(value), words.MALIGNANT)]
        mixed = 0 < len(malignant) < len(counts) and len(counts) > 2
        slug = re.sub(r"[^a-z0-9]+", "_", words.plain(name.rpartition(".")[2])).strip("_") or "label"
        taken = {one.name for one in found}
        found.append(
            DraftTask(
                slug if slug not in taken else f"{slug}_{len(found) + 1}",
                column,
                place.level,
                tuple((str(value), int(count)) for value, count in counts.items()),
                place.torn if place.level != "item" else 0,
                tuple(malignant) if mixed else (),
                _few(known, items[levels[0] if levels else "item"].loc[known.index]),
            )
        )
    return [one for one in found if len(one.counts) > 1]


def _few(known: "pd.Series[str]", groups: "pd.Series[str]") -> tuple[tuple[str, int], ...]:
    """Classes that fewer groups have than there are folds."""
    held = groups.groupby(known).nunique().sort_values(ascending=False, kind="stable")
    return tuple((str(value), int(count)) for value, count in held[held < FOLDS].items())


def _unknown(metadata: Sequence[tuple[Column, Place]]) -> tuple[tuple[str, ...], list[str]]:
    """Values that count as blank in every column; a number only where no other column means it."""
    found = sorted({value for column, _ in metadata for value in column.unknown})
    kept, todo = [], []
    for value in found:
        others = [column.name for column, _ in metadata if value not in column.unknown and _may_hold(column, value)]
        if others:
            who = next(column.name for column, _ in metadata if value in column.unknown)
            todo.append(
                f"{value!r} in column {who} looks like unknown, but column {others[0]} may mean it: settle it there"
            )
        else:
            kept.append(value)
    return tuple(kept), todo


def _may_hold(column: Column, value: str) -> bool:
    if not re.fullmatch(r"-?\d+", value):
        return False
    return column.kind == "numeric" or any(value == one for one, _ in column.counts)


def _language(items: pd.DataFrame, left_out: Sequence[Column]) -> str:
    """ "de" or "en" by the small words of the first text that reads like a report; "" without one."""
    for column in left_out:
        if column.kind == "report":
            found = " ".join(items[column.name].head(200)).lower().split()
            german = sum(found.count(word) for word in ("der", "die", "und", "kein", "keine", "nicht", "mit", "im"))
            english = sum(found.count(word) for word in ("the", "of", "and", "no", "is", "with", "in", "right"))
            return "de" if german > english else "en"
    return ""
