"""How much of what there is: units per level, items per view, rows per table, units per class, reports per finding, files."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.audit.reports import report_counts
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.task import Task
from sidelight.data.cohort.units import units
from sidelight.data.findings import Record
from sidelight.data.pixels.pixels import Pixels


def count(
    cohort: Cohort, record: Record, pixels: Pixels | None, seen: pd.DataFrame, tasks: Sequence[str]
) -> dict[str, Any]:
    """Everything countable, as JSON says it.

    :param record: of the cohort's opening, for its tables.
    :param seen: of :func:`sidelight.data.audit.survey.survey`.
    """
    return {
        "items": len(cohort.items),
        "groups": int(cohort.items["group"].nunique()),
        "levels": [_level(cohort, level) for level in cohort.levels],
        "views": _views(cohort),
        "tables": [asdict(joined) for joined in record.joins],
        "tasks": [row for name in tasks for row in _classes(cohort, cohort.tasks[name])],
        "reports": report_counts(cohort, None if pixels is None else pixels.folder / "reports"),
        "files": _files(pixels, seen),
    }


def _level(cohort: Cohort, level: str) -> dict[str, Any]:
    sizes = unit_keys(cohort.items, cohort.levels, level).value_counts()
    spread = {"fewest": int(sizes.min()), "median": float(sizes.median()), "most": int(sizes.max())}
    return {"level": level, "units": len(sizes), **spread, "repeats": int((sizes - 1).sum())}


def _views(cohort: Cohort) -> list[dict[str, Any]]:
    """Items of each view, units that have it, and of those the ones that have every view.

    The units are those of the innermost level that has several views of one, else of the innermost.
    """
    items = cohort.items.assign(view=cohort.views)
    named = items["view"] != ""
    if not named.any():
        return []
    levels = cohort.levels[::-1] or ("item",)
    keys = {level: unit_keys(items, cohort.levels, level) for level in levels}
    held = {level: items[named].groupby(keys[level][named])["view"].nunique() for level in levels}
    unit = next((level for level in levels if held[level].max() > 1), levels[0])
    complete = int((held[unit] == items["view"][named].nunique()).sum())
    table = items.assign(_unit=keys[unit]).groupby("view")["_unit"].agg(["size", "nunique"])
    return [
        {"view": str(view), "unit": unit, "items": int(row["size"]), "units": int(row["nunique"])}
        | {"with_all_views": complete}
        for view, row in table.iterrows()
    ]


def _classes(cohort: Cohort, task: Task) -> list[dict[str, Any]]:
    if task.parts:  # each is counted as the task that it is
        return []
    table = units(cohort, task)
    if task.localized:
        held = {"units": len(table), "groups": int(table["group"].nunique())}
        return [{"task": task.name, "unit": task.unit, "class": f"{task.localized} known", **held}]
    rows = []
    kinds = None if task.kind == "multilabel" else dict(tuple(table.groupby("label", sort=False)["group"]))
    for place, name in enumerate(task.classes):
        if kinds is None:
            groups = table["group"][np.array([code[place] == 1 for code in table["label"]], dtype=bool)]
        else:
            groups = kinds.get(place, table["group"][:0])
        held = {"units": len(groups), "groups": int(groups.nunique())}
        rows.append({"task": task.name, "unit": task.unit, "class": name, **held})
    return rows


def _files(pixels: Pixels | None, seen: pd.DataFrame) -> dict[str, Any]:
    facts: dict[str, Any] = {"bytes": int(seen["bytes"].sum()) if "bytes" in seen else 0}
    if pixels is None or not len(pixels):
        return {**facts, "readable": 0}
    lengths = pixels.index["length"]
    clips = int((lengths > 1).sum())
    facts |= {"readable": len(pixels), "unreadable": len(pixels.quarantine), "stills": len(pixels) - clips}
    facts |= {"clips": clips, "frames": int(lengths.sum()), "channels": pixels.channels, "pixels_hash": pixels.hash}
    return facts
