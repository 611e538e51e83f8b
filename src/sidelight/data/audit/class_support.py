"""Classes that too few patients have: every fold tests every class, and no patient is in two folds."""

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from sidelight.data.cells import counted, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Task
from sidelight.data.cohort.units import units
from sidelight.data.findings import Finding
from sidelight.errors import SplitError

FOLDS = 5
"""Unless a setting says otherwise."""
MOST_NAMED = 20
"""Classes of one task that are told one by one."""


def short_classes(cohort: Cohort, task: Task, table: pd.DataFrame, folds: int = FOLDS) -> list[tuple[str, int, str]]:
    """Of each class that fewer groups have than there are folds: its name, how many, and the sentence that says so.

    :param table: of :func:`sidelight.data.cohort.task.units`.
    """
    if task.several or task.localized:
        return []
    held = table.groupby("label")["group"].nunique()
    level = cohort.levels[0] if cohort.levels else "item"
    found = []
    for code, name in enumerate(task.classes):
        groups = int(held.get(code, 0))
        if groups < folds:
            said = f"Class {name!r} of task {task.name!r} has {counted(groups, level)}; {folds} folds need {folds}"
            found.append((name, groups, said))
    return found


def way_out(groups: int) -> str:
    """What to do about a class that so many groups have."""
    fewer = f", or --set folds={groups}" if groups > 1 else ""
    return f"Put it into `ignore`{',' if fewer else ' or'} map it in `classes`{fewer}"


def require_groups(cohort: Cohort, task: Task, table: pd.DataFrame, folds: int | Literal["one_group_out"]) -> None:
    """:raises SplitError: that tells every class that fewer groups have than there are folds."""
    if folds == "one_group_out":
        return
    if short := short_classes(cohort, task, table, folds):
        said = (
            "; ".join(said for _, _, said in short)
            if len(short) <= MOST_NAMED
            else _together(cohort, task, short, folds)
        )
        raise SplitError(said, do=way_out(min(groups for _, groups, _ in short)))


def support_findings(cohort: Cohort, task: Task) -> list[Finding]:
    """A warning for each class that the usual folds cannot share out; one for all of them where they are many."""
    short = short_classes(cohort, task, units(cohort, task))
    if len(short) > MOST_NAMED:
        fewest = min(groups for _, groups, _ in short)
        numbers = {"task": task.name, "classes": len(short), "groups": fewest}
        text = f"{_together(cohort, task, short, FOLDS)}. {way_out(fewest)}"
        return [Finding("support", "warning", text, numbers, some(name for name, _, _ in short))]
    return [
        Finding(
            "support", "warning", f"{said}. {way_out(groups)}", {"task": task.name, "class": name, "groups": groups}
        )
        for name, groups, said in short
    ]


def _together(cohort: Cohort, task: Task, short: Sequence[tuple[str, int, str]], folds: int) -> str:
    level = cohort.levels[0] if cohort.levels else "item"
    least = counted(min(groups for _, groups, _ in short), level)
    return (
        f"{len(short):,} of {len(task.classes):,} classes of task {task.name!r} have too few ({level}), such as "
        f"{short[0][0]!r}, the rarest {least}; {folds} folds need {folds} of each"
    )
