"""Conflicts: columns of a level, and labels of a unit, that are not constant within it. All of them, not the first."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sidelight.data.cells import listed, normalise, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import columns_by_level, select, unit_keys
from sidelight.data.cohort.spec import CohortSpec, Rule
from sidelight.data.cohort.task import LEFT_OUT, Task
from sidelight.data.findings import Finding, Severity


def column_conflicts(items: pd.DataFrame, spec: CohortSpec) -> list[Finding]:
    """One finding per level of ``[metadata]`` whose columns differ between the rows of one unit.

    A blank cell beside a filled one is counted apart: it is filled from the other rows without being asked about.
    :param items: before ``describe`` settles them.
    """
    blanks = [normalise(one) for one in (*spec.metadata.unknown, *spec.metadata.asked)]
    same = {normalise(one): normalise(other) for one, other in spec.metadata.same.items()}
    found = []
    for level, pairs in columns_by_level(items, spec).items():
        if level == "item":
            continue
        keys = unit_keys(items, spec.levels, level)
        columns = [column for _, column in pairs]
        cells = items[columns].apply(lambda column: column.map(normalise).replace(same))
        cells = cells.mask(cells.isin(["", *blanks]))
        torn = cells.groupby(keys).nunique().gt(1)
        gaps = cells.fillna("").groupby(keys).nunique().gt(1) & ~torn
        rules = {column: spec.metadata.rule(name) for name, column in pairs}
        found += _level(level, torn, gaps, rules)
    return found


def _level(level: str, torn: pd.DataFrame, gaps: pd.DataFrame, rules: dict[str, Rule]) -> list[Finding]:
    """The finding of one level, if there is one; ``torn`` and ``gaps`` are bool [units, columns]."""
    columns, filled = _counts(torn), _counts(gaps)
    either = (torn | gaps).any(axis=1)
    if not either.any():
        return []
    count, units = int(torn.any(axis=1).sum()), len(torn)
    open_rules = [name for name in columns if rules[name] == "error"]
    text = f"{count} of {units} units of level {level} hold different values of {listed(columns)}"
    if not count:
        text = f"No unit of level {level} holds different values"
    if filled:
        text += f"; counting a blank beside a value, {int(either.sum())} ({listed(filled)})"
    if open_rules:
        text += '. Mend the table, or state [metadata] conflict = "first", "latest" or "mean"'
    numbers = {
        **{"level": level, "units": units, "conflicts": count, "with_blanks": int(either.sum())},
        **{"columns": columns, "blank_columns": filled},
    }
    who = either if not count else torn.any(axis=1)
    return [Finding("conflict", "error" if open_rules else "note", text, numbers, some(torn.index[who]))]


def _counts(cells: pd.DataFrame) -> dict[str, int]:
    return {str(name): int(count) for name, count in cells.sum().items() if count}


def settled(spec: CohortSpec) -> CohortSpec:
    """The same cohort file with the first value wherever it states no rule."""
    rules: dict[str, Rule] = {}
    for names in spec.metadata.columns.values():
        rules |= {name: "first" if spec.metadata.rule(name) == "error" else spec.metadata.rule(name) for name in names}
    return spec.model_copy(update={"metadata": spec.metadata.model_copy(update={"conflict": rules})})


def label_conflicts(cohort: Cohort, task: Task) -> list[Finding]:
    """Units whose items carry different labels."""
    chosen = np.flatnonzero(select(cohort.items, task.where, f"[task.{task.name}] where"))
    items = cohort.items.iloc[chosen]
    keys = unit_keys(items, cohort.levels, task.unit)
    torn = pd.Series(False, index=np.unique(keys.to_numpy()))
    codes = task.coded(items)
    differ = codes.mask(codes == LEFT_OUT).groupby(keys).nunique().gt(1).any(axis=1)
    torn |= differ.reindex(torn.index, fill_value=False)
    if not torn.any():
        return []
    severity, advice = _label_rule(task)
    text = f"Task {task.name!r}: the label differs within {int(torn.sum())} of {len(torn)} units ({task.unit}){advice}"
    numbers = {"task": task.name, "units": len(torn), "conflicts": int(torn.sum())}
    return [Finding("conflict", severity, text, numbers, some(_names(torn)))]


def _label_rule(task: Task) -> tuple[Severity, str]:
    if task.conflict != "error":
        return "note", f": {task.conflict} taken"
    return "error", '. Choose a finer `unit`, mend the table, or state conflict = "first" in the task'


def _names(torn: "pd.Series[bool]") -> Sequence[str]:
    return [str(name) for name in torn.index[torn]]
