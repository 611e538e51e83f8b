"""Every leak, copy and contradiction with the names of both items, and a given split that is mended.

A row has ``kind`` (leak, copies or contradiction) and ``of``: of a leak the level whose unit is torn, or "picture"; of a
contradiction the task. ``unit`` is the torn unit, ``first`` and ``second`` an item on each side; then the sides, groups and
labels of both, and whether their ``pixels`` are equal or alike.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from sidelight.data.audit.leaks import Pairs, contradicting, crossing, torn_pictures
from sidelight.data.cells import readable
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.task import LEFT_OUT, Task
from sidelight.data.cohort.units import units
from sidelight.data.pixels.duplicates import merge_groups
from sidelight.data.split import mended

COLUMNS = [
    *("kind", "of", "unit", "first", "second", "first_side", "second_side", "first_group", "second_group"),
    *("first_label", "second_label", "pixels"),
]
SEVERAL = " + "


def listed(cohort: Cohort, pairs: Pairs, tasks: Sequence[str], placed: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each pair of items that show the same, and for each unit and two sides between which it is torn.

    :param pairs: of :func:`sidelight.data.audit.leaks.same_pictures`.
    :param placed: a given split, of :func:`sidelight.data.audit.leaks.sides`.
    """
    groups = [readable(group) for group in cohort.items["group"]]
    of: dict[Any, list[str]] = {} if placed is None else placed.groupby("position")["side"].agg(sorted).to_dict()
    owners = cohort.items["group"].tolist()
    names = [readable(name) for name in cohort.items["item"]]

    def row(kind: str, what: str, first: int, second: int, **more: str) -> dict[str, str]:
        said = {"kind": kind, "of": what}
        for number, at in (("first", first), ("second", second)):
            said |= {number: names[at], f"{number}_side": SEVERAL.join(of.get(at, ())), f"{number}_group": groups[at]}
        return {**said, **more}

    torn = [] if placed is None else _leaks(cohort, pairs, placed)
    rows = [row("leak", level, a, b, **more) for level, a, b, more in torn]
    rows += [row("copies", "", a, b, pixels=_pixels(same)) for a, b, same in pairs if owners[a] != owners[b]]
    for name in tasks:
        task = cohort.tasks[name]
        for a, b, same, one, other in contradicting(cohort, task, pairs):
            labels = {"first_label": _label(task, one), "second_label": _label(task, other)}
            rows.append(row("contradiction", name, a, b, pixels=_pixels(same), **labels))
    return pd.DataFrame(rows, columns=COLUMNS).fillna("")


def _leaks(cohort: Cohort, pairs: Pairs, placed: pd.DataFrame) -> Iterator[tuple[str, int, int, dict[str, str]]]:
    for level in [*cohort.levels, "item"]:
        keys = unit_keys(cohort.items, cohort.levels, level)
        here = placed.assign(key=keys.to_numpy()[placed["position"]])
        first: dict[Any, int] = here.groupby(["key", "side"])["position"].min().to_dict()
        for key, sides in crossing(keys, placed)[0].items():
            for one, other in combinations(sorted(sides), 2):
                between = {"unit": readable(str(key)), "first_side": one, "second_side": other}
                yield level, first[key, one], first[key, other], between
    for a, b, same, _ in torn_pictures(cohort, placed, pairs):
        yield "picture", a, b, {"pixels": _pixels(same)}


def _pixels(same: bool) -> str:
    return "equal" if same else "alike"


def _label(task: Task, code: Any) -> str:
    """The words of a label; of several labels each with its name."""
    codes = code if isinstance(code, tuple) else (code,)
    words = ["" if one == LEFT_OUT else classes[one] for one, classes in zip(codes, task.targets.values(), strict=True)]
    return (
        words[0]
        if len(words) == 1
        else ", ".join(f"{name}={word}" for name, word in zip(task.targets, words, strict=True))
    )


def mended_split(cohort: Cohort, pairs: Pairs, tasks: Sequence[str], placed: pd.DataFrame) -> dict[str, list[str]]:
    """The items of each side once all of a patient, and all that shows the same, stands where most of its labels stood.

    Items that stand on no side stay there.
    """
    items = cohort.items
    labels = [0.0] * len(items)
    for name in tasks:
        for members in units(cohort, cohort.tasks[name])["items"]:
            for at in members:
                labels[at] += 1 / len(members)
    groups = merge_groups(items["group"].tolist(), [(a, b) for a, b, _ in pairs])
    found = mended(placed, groups, labels)
    names = items["item"].tolist()
    return {
        side: [names[at] for at in found.loc[found["side"] == side, "position"]]
        for side in dict.fromkeys(placed["side"])
    }


def moved(cohort: Cohort, split: dict[str, list[str]], placed: pd.DataFrame) -> int:
    """How many items stand on another side in ``split`` than before."""
    before = placed.groupby("position")["side"].agg(set).to_dict()
    place = {name: at for at, name in enumerate(cohort.items["item"])}
    return sum(before[place[name]] != {side} for side, names in split.items() for name in names)
