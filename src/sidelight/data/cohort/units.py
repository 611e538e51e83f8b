"""The units of a task in a cohort: what is scored, whose it is, its label and its items."""

from dataclasses import replace

import numpy as np
import pandas as pd

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select, unit_keys, when
from sidelight.data.cohort.task import LEFT_OUT, Task
from sidelight.errors import DataError


def units(cohort: Cohort, task: Task) -> pd.DataFrame:
    """The labelled units of a task, in the order of their first items.

    :returns: columns ``unit`` (str), ``group`` (str, the outermost level), ``label`` (int64; of several targets a tuple
        with the class of each, -1 where unknown; 0 and 1 in a multi-label task; 0 of masks or boxes, which are known of these
        units) and ``items`` (list of int: positions in ``cohort.items``).
    :raises DataError: when labels differ within a unit and the rule is "error".
    """
    if task.parts:
        return _units_of_tasks(cohort, task)
    if task.drawings is not None:
        whole = every_unit(cohort, "item")
        known = cohort.items["item"].isin(task.drawings.of.keys()).to_numpy()
        return pd.DataFrame(whole.assign(label=0)[known]).reset_index(drop=True)
    chosen = np.flatnonzero(select(cohort.items, task.where, f"[task.{task.name}] where"))
    items = cohort.items.iloc[chosen].reset_index(drop=True)
    keys = unit_keys(items, cohort.levels, task.unit)
    order = when(items[task.date]).argsort(kind="stable") if task.date else np.arange(len(items))
    coded = task.coded(items)
    labels = _settle(coded.iloc[order], keys.iloc[order], task)
    frame = pd.DataFrame({"unit": keys, "group": items["group"], "items": chosen})
    whole = frame.groupby("unit", sort=False).agg({"group": "first", "items": list}).reset_index()
    values = labels.reindex(whole["unit"])
    known = (values.to_numpy() != LEFT_OUT).any(axis=1)
    several = task.kind == "multilabel"
    whole["label"] = [tuple(row) for row in values.to_numpy().tolist()] if several else values["0"].to_numpy()
    return pd.DataFrame(whole.loc[known, ["unit", "group", "label", "items"]]).reset_index(drop=True)


def _units_of_tasks(cohort: Cohort, task: Task) -> pd.DataFrame:
    """Every unit that has a label of any part, with all of its items."""
    whole = every_unit(cohort, task.unit)
    each = [units(cohort, part).set_index("unit")["label"] for part in task.parts]
    codes = [one.reindex(whole["unit"]).fillna(LEFT_OUT).astype(int) for one in each]
    whole["label"] = list(zip(*(one.tolist() for one in codes), strict=True))
    known = [any(code != LEFT_OUT for code in own) for own in whole["label"]]
    return pd.DataFrame(whole.loc[known, ["unit", "group", "label", "items"]]).reset_index(drop=True)


def every_unit(cohort: Cohort, unit: str) -> pd.DataFrame:
    """All units of a level, labelled or not, in the order of their first items: ``unit``, ``group`` and ``items``.

    :param unit: a level, or "item".
    """
    keys = unit_keys(cohort.items, cohort.levels, unit)
    frame = pd.DataFrame({"unit": keys, "group": cohort.items["group"], "items": np.arange(len(keys))})
    return frame.groupby("unit", sort=False).agg({"group": "first", "items": list}).reset_index()


def _settle(coded: pd.DataFrame, keys: "pd.Series[str]", task: Task) -> pd.DataFrame:
    """One code per unit and label; rows that are left out never contradict."""
    known = coded.mask(coded == LEFT_OUT)
    groups = known.groupby(keys)
    torn = groups.nunique().gt(1).any(axis=1)
    if torn.any() and task.conflict == "error":
        key = torn.index[torn][0]
        found = "in one of its labels"
        if task.kind != "multilabel":
            own = known.loc[(keys == key).to_numpy()].iloc[:, 0].dropna().unique()
            found = f"for example {[task.classes[int(code)] for code in own]}"
        raise DataError(
            f"Task {task.name!r}: the label differs within {int(torn.sum())} {task.unit} units, {found} in {key!r}",
            expected=f"one label per {task.unit}",
            do='Choose a finer `unit`, mend the table, or state conflict = "first" or "latest" in the task',
        )
    one = groups.agg({"latest": "last", "any": "max"}.get(task.conflict, "first"))
    return pd.DataFrame(one.fillna(LEFT_OUT).astype(np.int64))


def fit_classes(cohort: Cohort, task: Task, optional: bool) -> tuple[Task | None, list[str]]:
    """Check that every class has a unit; an optional task loses those that have none, and goes below two.

    :raises DataError: naming the absent class.
    """
    table = units(cohort, task)
    if task.kind == "multilabel":
        present = [any(row[place] == 1 for row in table["label"]) for place in range(len(task.classes))]
        absent = [name for name, there in zip(task.classes, present, strict=True) if not there]
        return task, [f"Task {task.name!r}: no unit has {', '.join(absent)}"] if absent else []
    counts = np.bincount(table["label"].astype(np.int64), minlength=len(task.classes))
    absent = [name for name, count in zip(task.classes, counts, strict=True) if not count]
    left = [name for name in task.classes if name not in absent]
    if not absent and len(left) > 1:
        return task, []
    if not optional:
        what = f"no unit of class {absent[0]!r}" if absent else f"only the class {left[0]!r}"
        raise DataError(
            f"Task {task.name!r} has {what}; its column {task.label[0]!r} holds {sorted(task.codes)[:8]}",
            do="Mend `classes`, `positive` or `where`, or take the task out",
        )
    if len(left) < 2:
        return None, [f"Task {task.name!r} is left out: fewer than two of its classes are here"]
    places = {place: left.index(name) if name in left else LEFT_OUT for place, name in enumerate(task.classes)}
    codes = {value: places.get(code, LEFT_OUT) for value, code in task.codes.items()}
    kind = "binary" if len(left) == 2 else "multiclass"
    notice = f"Task {task.name!r} goes without the classes that are not here: {', '.join(absent)}"
    return replace(task, classes=tuple(left), codes=codes, kind=kind), [notice]
