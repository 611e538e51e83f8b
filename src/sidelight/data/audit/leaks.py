"""Leaks: what stands on two sides of a given split, one picture in two groups, one picture with two labels."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.audit.ids import id_columns
from sidelight.data.audit.spellings import bare, without_zeros
from sidelight.data.cells import counted, readable, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column, unit_keys
from sidelight.data.cohort.task import Task
from sidelight.data.cohort.units import units
from sidelight.data.findings import Finding, Severity
from sidelight.data.identity import item_hash
from sidelight.data.pixels.comparison import copies_within
from sidelight.data.pixels.duplicates import merge_groups, merging
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.read import container
from sidelight.data.read.clip import Array
from sidelight.errors import SplitError, nearest

SPLIT_FILE = 'JSON such as {"train": [NAME, ...], "test": [NAME, ...]}'
Pairs = list[tuple[int, int, bool]]
SHOWN = 24
SPELLINGS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""How public splits write their sides, in small letters."""
LEARNT = frozenset(("train", "valid"))
"""Between these a leak flatters the choice of a model, and no number of the test side."""
LEARNT_ALONE = "; the test side has none of it"


def same_pictures(cohort: Cohort, pixels: Pixels, rows: Pairs | None = None) -> Pairs:
    """Positions in ``cohort.items`` of two items that show the same, and whether their pixels are equal.

    :param rows: what :func:`sidelight.data.pixels.comparison.copies_within` found, where it has been called already.
    """
    place = pixels.index["position"].tolist()
    found = copies_within(cohort, pixels) if rows is None else rows
    return [(place[a], place[b], same) for a, b, same in found]


def duplicate_findings(cohort: Cohort, pairs: Pairs) -> list[Finding]:
    """Pictures that stand in two groups."""
    groups, names = cohort.items["group"].tolist(), cohort.items["item"].tolist()
    across = [pair for pair in pairs if groups[pair[0]] != groups[pair[1]]]
    if not across:
        return []
    level = cohort.levels[0] if cohort.levels else "item"
    joined = merging(groups, merge_groups(groups, [(a, b) for a, b, _ in across]))
    equal, torn = sum(same for _, _, same in across), {groups[at] for a, b, _ in across for at in (a, b)}
    text = f"{counted(len(across), 'pair')} of items from different units of {level} show the same ({equal} with equal pixels): "
    text += "those units are merged before sidelight splits; a given split may leak"
    numbers = {"pairs": len(across), "equal": equal, "groups": len(torn)}
    examples = some(names[at] for a, b, _ in across for at in (a, b))
    found = [Finding("copies", "warning", text, numbers, examples)]
    if joined.suspicious:
        numbers = {"before": joined.before, "after": joined.after, "largest": joined.largest}
        found.append(Finding("copies", "warning", f"Of units of {level}, {joined.sentence}", numbers, examples))
    return found


def copy_pictures(cohort: Cohort, pixels: Pixels, pairs: Pairs) -> list[tuple[str, str, Array, Array]]:
    """The first ``SHOWN`` pairs of two groups: both items and the middle frame of each, uint8 ``[C, size, size]``."""
    groups, names = cohort.items["group"].tolist(), cohort.items["item"].tolist()
    row_of = {place: row for row, place in enumerate(pixels.index["position"])}

    def middle(place: int) -> Array:
        row = row_of[place]
        frame: Array = pixels.read(row, [pixels.frames_of(row) // 2])[0]
        return (frame // 257).astype(np.uint8) if frame.dtype == np.uint16 else frame

    across = [(a, b) for a, b, _ in pairs if groups[a] != groups[b]][:SHOWN]
    return [(names[a], names[b], middle(a), middle(b)) for a, b in across]


def contradicting(cohort: Cohort, task: Task, pairs: Pairs) -> list[tuple[int, int, bool, Any, Any]]:
    """Pairs that show the same under different labels of one task, and both labels."""
    label: dict[int, Any] = {}
    table = units(cohort, task)
    for at, code in zip(table["items"], table["label"], strict=True):
        label |= dict.fromkeys(at, code)
    both = [(a, b, same) for a, b, same in pairs if a in label and b in label]
    return [(a, b, same, label[a], label[b]) for a, b, same in both if label[a] != label[b]]


def contradictions(cohort: Cohort, task: Task, pairs: Pairs) -> list[Finding]:
    """The same picture with different labels of one task."""
    torn = contradicting(cohort, task, pairs)
    if not torn:
        return []
    equal = sum(same for _, _, same, _, _ in torn)
    text = f"Task {task.name!r}: {counted(len(torn), 'pair')} of items show the same ({equal} with equal pixels) "
    text += "under different labels"
    names = cohort.items["item"].tolist()
    numbers = {"task": task.name, "pairs": len(torn), "equal": equal}
    return [Finding("contradiction", "warning", text, numbers, some(names[at] for pair in torn for at in pair[:2]))]


def sides(cohort: Cohort, split: str | Path | Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Which item stands on which side of a given split.

    :param split: a column whose values are the sides, or a JSON file (or mapping) of side -> names. Names are items,
        files, file names with or without suffix, parts of a file (``::NAME``), units of a level, or sidelight's hashes of
        items and units.
    :returns: columns ``position`` and ``side``; an item may stand on several sides. Sides in a spelling of ``SPELLINGS`` are
        called train, valid and test, others stay as they are. ``attrs["unknown"]`` lists names that nothing here has, in the
        order of the file, and ``attrs["nearest"]`` what the first of them may mean ("" where nothing is alike).
    :raises SplitError: when the split is no such thing, or names nothing that is here.
    """
    if isinstance(split, str | Path) and not Path(split).is_file():
        column = _column(cohort, str(split))
        kept = np.flatnonzero((column != "").to_numpy())
        return pd.DataFrame({"position": kept, "side": [_side(value) for value in column.iloc[kept]]})
    content = split if isinstance(split, Mapping) else _json(Path(split))
    wanted = pd.DataFrame(
        [(str(name), _side(side)) for side, names in content.items() for name in names], columns=["name", "side"]
    )
    best = max(_spellings(cohort), key=lambda names: len(set(names) & set(wanted["name"])))
    here = pd.DataFrame({"name": best, "position": range(len(best))}).merge(wanted.drop_duplicates(), on="name")
    if here.empty:
        first = next(iter(wanted["name"]), "")
        meant = _meant(first, [one for names in _spellings(cohort) for one in names])
        raise SplitError(
            "The split names nothing that is in the cohort",
            expected="items, file names, units of a level, or the hashes that sidelight writes",
            do=f"Did you mean {meant!r} by {first!r}?" if meant else "",
        )
    placed = here[["position", "side"]]
    known = set(here["name"])
    unknown = [name for name in dict.fromkeys(wanted["name"]) if name not in known]
    placed.attrs["unknown"] = unknown
    placed.attrs["nearest"] = _meant(unknown[0], best) if unknown else ""
    return placed


def _meant(name: str, known: Sequence[str]) -> str:
    """The one of ``known`` names that another one may mean: a spelling of it, else the most alike; "" for none."""
    wanted = without_zeros(bare(name))
    spelt = next((one for one in known if without_zeros(bare(one)) == wanted), "")
    return spelt or next(iter(get_close_matches(name, set(known), n=1, cutoff=0.5)), "")


def _side(written: str) -> str:
    return SPELLINGS.get(written.strip().lower(), written)


def _column(cohort: Cohort, name: str) -> "pd.Series[str]":
    known = [str(column) for column in cohort.items.columns if column not in ("item", "files")]
    if name not in known and not any(column.endswith(f".{name}") for column in known):
        hint = "Check the path" if Path(name).suffix else nearest(name, known, most=10)
        raise SplitError(f"The split {name!r} is neither a file nor a column", do=hint)
    return cohort.items[find_column(cohort.items, name, "--split")]


def _json(path: Path) -> dict[str, list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        lists = {side: names for side, names in content.items() if isinstance(names, list) and side != "leaks"}
    except ValueError as error:
        raise SplitError(f"{path} is not a split file: {error}", expected=SPLIT_FILE) from None
    except AttributeError:
        kind = type(content).__name__
        raise SplitError(f"{path} is not a split file: it holds a {kind}, not sides", expected=SPLIT_FILE) from None
    if len(lists) < 2:
        raise SplitError(f"{path} names {len(lists)} sides", expected='lists of names such as "train" and "test"')
    return lists


def _spellings(cohort: Cohort) -> list[list[str]]:
    """What each item may be called in a split, one list [items] per manner."""
    items = cohort.items
    plain = [items["item"].tolist(), *(unit_keys(items, cohort.levels, level).tolist() for level in cohort.levels)]
    secret = cohort.key
    first = [readable(names[0]) if names else item for names, item in zip(items["files"], items["item"], strict=True)]
    parted = [container.split(name) for name in first]
    files = [Path(name) for name, _ in parted]
    hashed = [[item_hash(name, secret) for name in names] for names in plain]
    return [*plain, *hashed, [file.name for file in files], [file.stem for file in files], [part for _, part in parted]]


def leak_findings(cohort: Cohort, placed: pd.DataFrame, pairs: Pairs | None = None) -> list[Finding]:
    """What stands on two sides of a split: ids of every level, pictures, and columns that look like ids.

    This is what stops an evaluation on a given split: any finding of severity "error". What stands on train and valid alone is
    a warning: the test side has nothing of it.

    :param placed: of :func:`sides`.
    :param pairs: of :func:`same_pictures`; without them only ids are compared.
    """
    items = cohort.items
    found = []
    for level in [*cohort.levels, "item"]:
        found += _crossing(unit_keys(items, cohort.levels, level), placed, level, "error")
    found += _pictures(cohort, placed, pairs or [])
    for name in id_columns(cohort) if cohort.phantom is None else []:
        found += _crossing(items[name], placed, name, "warning")
    left = len(items) - placed["position"].nunique()
    if left:
        found.append(
            Finding("leak", "note", f"{left} of {len(items)} items are on no side of the split", {"items": left})
        )
    return found


def missing_findings(placed: pd.DataFrame) -> list[Finding]:
    """Names of a split file that nothing here has: whoever they mean is not where the split wants them. An error.

    :param placed: of :func:`sides`.
    """
    unknown = placed.attrs.get("unknown", [])
    if not unknown:
        return []
    text = (
        f"{counted(len(unknown), 'name')} of the split {'is' if len(unknown) == 1 else 'are'} of nothing in the cohort"
    )
    return [Finding("split", "error", text, {"names": len(unknown)}, some(unknown))]


def crossing(keys: "pd.Series[str]", placed: pd.DataFrame) -> tuple["pd.Series[Any]", int]:
    """The sides of each key that stands on several, a frozenset by key; and how many keys stand on any.

    :param keys: of each item of the cohort; "" is none.
    """
    own = pd.Series(keys.to_numpy()[placed["position"]], name="key")
    table = pd.DataFrame({"key": own, "side": placed["side"].to_numpy()})
    held = table[table["key"] != ""].groupby("key")["side"].agg(frozenset)
    return held[held.map(len) > 1], len(held)


def _crossing(keys: "pd.Series[str]", placed: pd.DataFrame, name: str, severity: Severity) -> list[Finding]:
    torn, many = crossing(keys, placed)
    learnt = torn.map(lambda sides: sides <= LEARNT).astype(bool)
    found = []
    weight: Severity
    for own, weight in ((torn[~learnt], severity), (torn[learnt], "warning")):
        if own.empty:
            continue
        which = own.map(lambda sides: " and ".join(sorted(sides))).value_counts()
        where = ", ".join(f"{count} on {sides}" for sides, count in which.items())
        text = f"{len(own)} of {many} {'values of ' if severity == 'warning' else 'units of '}{name!r} "
        text += f"stand on two sides of the split: {where}{'' if weight == severity else LEARNT_ALONE}"
        numbers = {"level": name, "units": many, "leaks": len(own)}
        found.append(Finding("leak", weight, text, numbers, some(own.index)))
    return found


def torn_pictures(cohort: Cohort, placed: pd.DataFrame, pairs: Pairs) -> list[tuple[int, int, bool, frozenset[str]]]:
    """Pairs of two groups that show the same and stand on several sides, and these sides."""
    of = placed.groupby("position")["side"].agg(frozenset).to_dict()
    groups = cohort.items["group"].tolist()
    across = [(a, b, same) for a, b, same in pairs if groups[a] != groups[b] and a in of and b in of]
    return [(a, b, same, of[a] | of[b]) for a, b, same in across if len(of[a] | of[b]) > 1]


def _pictures(cohort: Cohort, placed: pd.DataFrame, pairs: Pairs) -> list[Finding]:
    torn, names = torn_pictures(cohort, placed, pairs), cohort.items["item"].tolist()
    found = []
    severity: Severity
    for alone, severity in ((False, "error"), (True, "warning")):
        own = [pair for pair in torn if (pair[3] <= LEARNT) == alone]
        if not own:
            continue
        equal = sum(same for _, _, same, _ in own)
        where = "on train and valid" if alone else "on different sides of the split"
        text = f"{counted(len(own), 'pair')} of items {where} show the same ({equal} with equal pixels)"
        numbers = {"pairs": len(own), "equal": equal}
        items = some(names[at] for a, b, _, _ in own for at in (a, b))
        found.append(Finding("leak", severity, text + LEARNT_ALONE * alone, numbers, items))
    return found
