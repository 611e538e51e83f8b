"""Who took part: the flow from the files that were found to the units that are tested, and the characteristics of who is there.

TRIPOD+AI asks for both (items 20a and 20b), CLAIM too (35 and 36). No id is kept, and a value that too few patients have is not
named, as in the table of subgroups.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column, select, unit_keys
from sidelight.data.cohort.stable_names import outermost
from sidelight.data.cohort.task import Task
from sidelight.data.cohort.units import units
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.pixels.quarantine import nameless_reasons
from sidelight.data.split import SIDES
from sidelight.evaluation.labelled import Labelled
from sidelight.evaluation.tables.subgroups import FEWEST_GROUPS, MOST_VALUES, choose_columns
from sidelight.evaluation.units import codes

Mask = NDArray[np.bool_]
Words = NDArray[np.object_]

RARE, MISSING = "(rare values)", "(missing)"
_AGE = re.compile(r"^(age|alter|age_approx|patient_age)$", re.IGNORECASE)


def participants(
    cohort: Cohort, pixels: Pixels, task: str, labelled: Labelled, columns: list[str] | None = None
) -> dict[str, Any]:
    """Flow and characteristics, as JSON says them.

    :param labelled: the units of ``task``, of the same cohort and pixels.
    :param columns: whose values are described; none looks for sex, age, skin type, site and device.
    :return: ``unit`` and ``patient`` (what a row of the flow counts), ``steps`` of :func:`flow`, ``groups`` (patients that are
        tested, near-duplicates merged), ``sides`` and ``rows`` of :func:`characteristics`.
    """
    sides = by_side(pixels, labelled)
    return {
        "unit": cohort.tasks[task].unit,
        "patient": outermost(cohort),
        "steps": flow(cohort, pixels, cohort.tasks[task], labelled),
        "groups": int(labelled.tested["group"].nunique()),
        "sides": list(sides),
        "rows": characteristics(cohort, cohort.tasks[task], labelled, sides, columns),
    }


def by_side(pixels: Pixels, labelled: Labelled) -> dict[str, tuple[pd.DataFrame, NDArray[np.int64]]]:
    """The units of each side of the split, and the positions of their items in the cohort; without a split "all"."""
    if labelled.test is None:
        tables = {"all": labelled.table}
    else:
        placed = pd.concat([labelled.table, labelled.test])
        tables = {side: placed[placed["side"] == side] for side in SIDES if (placed["side"] == side).any()}
    return {side: (table, _positions(pixels, table)) for side, table in tables.items()}


def _positions(pixels: Pixels, table: pd.DataFrame) -> NDArray[np.int64]:
    rows = np.array(sorted({row for own in table["rows"] for row in own}), dtype=np.int64)
    return pixels.index["position"].to_numpy(np.int64)[rows]


def flow(cohort: Cohort, pixels: Pixels, task: Task, labelled: Labelled) -> list[dict[str, Any]]:
    """Steps with what is left and what was lost: found, in the cohort, of the task, readable, labelled, placed, tested.

    :return: per step ``step``, ``items``, ``patients``, ``units`` (absent for files that are no cohort yet), and ``lost``: rows
        of ``reason``, ``items``, ``patients``. What is left and what was lost add up to what was left before. A patient is lost
        with the last of its items, for the reason of the first of those that went.
    """
    count, task_items = len(cohort.items), np.zeros(len(cohort.items), dtype=bool)
    for one in task.parts or (task,):
        task_items |= select(cohort.items, one.where, f"[task.{one.name}] where")
    readable = _mask(count, pixels.index["position"].to_numpy(np.int64))
    sides = by_side(pixels, labelled)
    placed = _mask(count, np.concatenate([positions for _, positions in sides.values()]))
    tested = _mask(count, _positions(pixels, labelled.tested))
    with_label = _mask(count, np.concatenate([np.array(own, np.int64) for own in units(cohort, task)["items"]]))
    unplaced = ["on no side of the split"] * (labelled.test is not None) + [
        "no label that can be judged"
    ] * task.several
    stages: list[tuple[str, Mask, Words]] = [
        ("selected for the task", task_items, _said(count, "left out by the task's where")),
        ("readable", readable, _why_unreadable(cohort, pixels)),
        ("labelled", with_label, _why_unlabelled(cohort, task)),
        ("placed in the split", placed, _said(count, " or ".join(unplaced) or "left out of the folds")),
        ("tested", tested, _learnt(count, sides)),
    ]
    keys, groups = unit_keys(cohort.items, cohort.levels, task.unit), cohort.items["group"]
    now = np.ones(count, dtype=bool)
    steps = _found(cohort)
    steps.append({"step": "in the cohort", **_left(now, keys, groups), "lost": _unlisted(steps, now, groups)})
    for name, kept, why in stages:
        after = now & kept
        steps.append({"step": name, **_left(after, keys, groups), "lost": _lost(now, after, groups, why)})
        now = after
    return steps


def _said(count: int, text: str) -> Words:
    return np.full(count, text, dtype=object)


def _mask(count: int, positions: NDArray[np.int64]) -> Mask:
    mask = np.zeros(count, dtype=bool)
    mask[positions] = True
    return mask


def _found(cohort: Cohort) -> list[dict[str, Any]]:
    """What was there before the cohort's ``where``, unless it left out nothing."""
    items, patients = cohort.found
    return [] if items <= len(cohort.items) else [{"step": "found", "items": items, "patients": patients, "lost": []}]


def _unlisted(steps: Sequence[dict[str, Any]], now: Mask, groups: "pd.Series[str]") -> list[dict[str, Any]]:
    """What the cohort's ``where`` left out."""
    return [
        {
            "reason": "left out by the cohort's where",
            "items": found["items"] - int(now.sum()),
            "patients": found["patients"] - int(groups.nunique()),
        }
        for found in steps
    ]


def _left(mask: Mask, keys: "pd.Series[str]", groups: "pd.Series[str]") -> dict[str, int]:
    return {
        "items": int(mask.sum()),
        "patients": int(groups[mask].nunique()),
        "units": int(keys[mask].nunique()),
    }


def _lost(before: Mask, after: Mask, groups: "pd.Series[str]", why: Words) -> list[dict[str, Any]]:
    """Items that went, by reason, and patients of whom nothing is left."""
    gone = pd.DataFrame({"reason": why, "group": groups.to_numpy()})[before & ~after]
    whole = gone[~gone["group"].isin(groups[after])].drop_duplicates("group")
    patients = whole["reason"].value_counts()
    return [
        {"reason": str(reason), "items": int(items), "patients": int(patients.get(reason, 0))}
        for reason, items in gone["reason"].value_counts().items()
    ]


def _why_unreadable(cohort: Cohort, pixels: Pixels) -> Words:
    """The first clause of each reason: what follows may be of one file only."""
    clauses = [reason.partition(":")[0].partition(". ")[0].rstrip(".") for reason in nameless_reasons(cohort, pixels)]
    known = dict(zip(pixels.quarantine["item"], clauses, strict=True))
    return np.array([f"unreadable: {known.get(item, 'not decoded')}" for item in cohort.items["item"]], dtype=object)


def _why_unlabelled(cohort: Cohort, task: Task) -> Words:
    """A unit without a label has blank cells only, or values that the task leaves out."""
    blank = (cohort.items[list(task.label)].map(normalise) == "").all(axis=1)
    keys = unit_keys(cohort.items, cohort.levels, task.unit)
    empty = blank.groupby(keys.to_numpy()).transform("all").to_numpy()
    return np.where(empty, "label unknown", "label left out by the task").astype(object)


def _learnt(count: int, sides: dict[str, tuple[pd.DataFrame, NDArray[np.int64]]]) -> Words:
    why = _said(count, "")
    for side, (_, positions) in sides.items():
        why[positions] = f"learned from ({side})"
    return why


def characteristics(
    cohort: Cohort,
    task: Task,
    labelled: Labelled,
    sides: dict[str, tuple[pd.DataFrame, NDArray[np.int64]]],
    columns: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Table 1: patients, units (where they are not the patients), images, classes, and each described column by side.

    :return: rows of ``name``, ``value``, ``counts`` (what is counted: patients, units or images) and ``sides``: by side ``count``
        and ``of``, or for a column of numbers ``count``, ``of``, ``mean``, ``sd``, ``median``, ``q1``, ``q3`` (sample standard
        deviation; the numbers are absent for fewer than 10 patients). A patient has the first value of its items there that is
        not blank.
    """
    groups = cohort.items["group"].to_numpy(str)
    everyone = {side: len(np.unique(groups[positions])) for side, (_, positions) in sides.items()}
    rows = [_row("patients", "", "patients", {side: (number, number) for side, number in everyone.items()})]
    if task.unit != outermost(cohort):
        rows.append(_row("units", "", "units", {side: (len(table), len(table)) for side, (table, _) in sides.items()}))
    rows.append(_row("images", "", "images", {side: (len(found), len(found)) for side, (_, found) in sides.items()}))
    for place, (target, classes) in enumerate(labelled.targets.items()):
        known = {side: codes(table)[:, place] for side, (table, _) in sides.items()}
        for code, name in enumerate(classes):
            counts = {side: (int((own == code).sum()), int((own >= 0).sum())) for side, own in known.items()}
            rows.append(_row(target or task.name, name, "units", counts))
    for asked in choose_columns(cohort.items, columns):
        column = find_column(cohort.items, asked, "subgroups")
        if column not in task.label:
            values = cohort.items[column].map(normalise)
            own = {side: _of_patients(values.iloc[found], groups[found]) for side, (_, found) in sides.items()}
            rows += _described(asked, own, _of_patients(values, groups))
    return rows


def _of_patients(values: "pd.Series[str]", groups: NDArray[np.str_]) -> "pd.Series[str]":
    """Each patient's first value that is not blank, else ""."""
    return values.mask(values == "").groupby(groups).first().fillna("")


def _row(name: str, value: str, counts: str, sides: dict[str, tuple[int, int]]) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "counts": counts,
        "sides": {side: {"count": count, "of": of} for side, (count, of) in sides.items()},
    }


def _described(name: str, own: dict[str, "pd.Series[str]"], everyone: "pd.Series[str]") -> list[dict[str, Any]]:
    """Rows of one column.

    :param own: each patient's value on each side; ``everyone`` of the whole cohort, which says whether it is a number.
    """
    missing = {side: (int((values == "").sum()), len(values)) for side, values in own.items()}
    rows = [_row(name, MISSING, "patients", missing)] if any(count for count, _ in missing.values()) else []
    filled = everyone[everyone != ""]
    numbers = pd.to_numeric(filled, errors="coerce")
    if numbers.notna().all() and (numbers.nunique() > MOST_VALUES or (_AGE.match(name) and len(numbers))):
        sides = {side: _moments(values) for side, values in own.items()}
        return [{"name": name, "value": "", "counts": "patients", "sides": sides}, *rows]
    there = pd.concat([values.rename_axis("patient").reset_index(name="value") for values in own.values()])
    patients = there[there["value"] != ""].groupby("value")["patient"].nunique()
    rare = set(patients.index[patients < FEWEST_GROUPS])
    named = {side: values.where(~values.isin(rare), RARE) for side, values in own.items()}
    kept = [*sorted(set(patients.index) - rare), *([RARE] if rare else [])]
    counts = ({side: (int((values == one).sum()), len(values)) for side, values in named.items()} for one in kept)
    return [*(_row(name, one, "patients", count) for one, count in zip(kept, counts, strict=True)), *rows]


def _moments(values: "pd.Series[str]") -> dict[str, Any]:
    numbers = pd.to_numeric(values[values != ""])
    facts: dict[str, Any] = {"count": len(numbers), "of": len(values)}
    if len(numbers) < FEWEST_GROUPS:
        return facts
    first, middle, third = numbers.quantile([0.25, 0.5, 0.75])
    more = {"mean": numbers.mean(), "sd": numbers.std(), "median": middle, "q1": first, "q3": third}
    return facts | {key: float(value) for key, value in more.items()}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The flow in words, a line per step: ``readable: 46 items, 16 patient groups (without 2 unreadable: truncated)``."""
    said = []
    for step in found["steps"]:
        lost = ", ".join(f"{one['items']:,} {one['reason']}" for one in step["lost"])
        said.append(
            f"{step['step']}: {step['items']:,} items, {step['patients']:,} {found['patient']} groups"
            + (f" (without {lost})" if lost else "")
        )
    return said
