"""Spellings of label values: named but nowhere, alike but counted apart, and other ones in the cohort that is the test."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from sidelight.data.cells import counted, listed, normalise, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select, unit_keys
from sidelight.data.cohort.several import parts_of
from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.task import Task
from sidelight.data.cohort.unknown_labels import MOST, closest, loosely
from sidelight.data.findings import Finding
from sidelight.errors import DataError


def absent_values(task: Task, spec: TaskSpec) -> list[Finding]:
    """Entries of the task's lists that its column does not hold; what the cohort file names may be shown."""
    if spec.optional or not set(task.codes) - {""}:
        return []
    found = []
    held = {*task.codes, *(part for cell in task.codes if task.separator for part in parts_of(cell, task.separator))}
    for key in ("positive", "negative", "classes", "ignore"):
        if key == "classes" and spec.positive is not None:
            continue  # they are what the two sides are called
        named: Iterable[str] = getattr(spec, key) or ()
        absent = [one for one in map(normalise, named) if one and one not in held]
        if not absent:
            continue
        columns = ", ".join(map(repr, task.label))
        text = f"Task {task.name!r}: `{key}` names {listed(absent)}, which {columns} nowhere holds"
        near = [value for one in absent if (value := closest(one, task.codes))]
        numbers = {"task": task.name, "key": key, "absent": len(absent)}
        found.append(Finding("spelling", "warning", text, numbers, some(f"{one!r} is there" for one in near)))
    return found


def unsaid_values(task: Task) -> list[Finding]:
    """Values that no key names and that are left out, for they say that nothing is known."""
    if not task.unsaid:
        return []
    said = [f"{value!r} ({counted(count, 'item')})" for value, count in task.unsaid.items()]
    text = f"Task {task.name!r}: {counted(sum(task.unsaid.values()), 'label')} are left out, for they say that it is not known"
    return [Finding("spelling", "note", text, {"task": task.name, "values": len(task.unsaid)}, some(said))]


def alike(task: Task, spec: TaskSpec) -> list[Finding]:
    """Values, and names of classes, that are equal but for capitals or blanks and count as different."""
    mapped = spec.classes if isinstance(spec.classes, dict) else {}
    kinds: dict[str, Mapping[str, object]] = {
        "values of its column": dict(task.codes),
        "names of its classes": {name: name for name in mapped.values()},
    }
    found = []
    for what, counts_as in kinds.items():
        near: dict[str, list[str]] = {}
        for value in counts_as:
            near.setdefault(loosely(value), []).append(value)
        torn = [group for group in near.values() if len({counts_as[value] for value in group}) > 1]
        if torn:
            text = f"Task {task.name!r}: {sum(map(len, torn))} {what} are {len(torn)} but for capitals or blanks, and count "
            text += "as different: map them in `classes`, or mend the table"
            pairs = some(" beside ".join(map(repr, group)) for group in torn)
            found.append(Finding("spelling", "warning", text, {"task": task.name, "alike": len(torn)}, pairs))
    return found


def classes_elsewhere(cohort: Cohort, other: Cohort, name: str) -> tuple[str, ...]:
    """The classes of task ``name`` in ``other`` as ``cohort`` calls them, once the values mean the same in both.

    What two lists of ``positive`` make of a cohort are the same two classes, whatever values are there to name them.
    :raises DataError: where a value is positive here and negative there, or ``other`` has values that count as negative
        only because nobody named them and that ``cohort`` has not.
    """
    mine, theirs = cohort.tasks[name], other.tasks[name]
    here, there = (one.spec.task.get(name, TaskSpec()) for one in (cohort, other))
    if mine.kind != "binary" or theirs.kind != "binary" or there.positive is None:
        return theirs.classes
    own = here.positive is not None and here.classes is None and there.classes is None
    same = mine.classes if own else theirs.classes
    column = repr(theirs.label[0])
    shared = [value for value in theirs.codes if value in mine.codes]
    torn = [value for value in shared if {mine.codes[value], theirs.codes[value]} == {0, 1}]
    if torn:
        raise DataError(
            f"Task {name!r}: {listed(torn)} in {other.name}'s column {column} {'is' if len(torn) == 1 else 'are'} "
            f"{'positive' if theirs.codes[torn[0]] else 'negative'} there and the contrary in {cohort.name}",
            do="Give both cohort files the same `positive`",
        )
    if there.negative is not None:
        return same
    count = _units(other, theirs)
    new = {value: count[value] for value, code in theirs.codes.items() if code == 0 and value not in mine.codes}
    unmapped = sorted((value for value in new if new[value]), key=lambda value: -new[value])
    if unmapped:
        said = [f"{value!r} ({counted(new[value], 'unit')})" for value in unmapped[:MOST]]
        rest = f" and {len(unmapped) - MOST} more" if len(unmapped) > MOST else ""
        raise DataError(
            f"{other.name}'s column {column} holds {', '.join(said)}{rest}, which {cohort.name} has not; with `positive` "
            "they would count as negative",
            do="Map them in `classes`, or name them in `negative = [...]`",
        )
    return same


def _units(cohort: Cohort, task: Task) -> Counter[str]:
    """How many units have each value of the task's column."""
    chosen = select(cohort.items, task.where, f"[task.{task.name}] where")
    items = cohort.items[chosen]
    table = pd.DataFrame(
        {"unit": unit_keys(items, cohort.levels, task.unit), "value": items[task.label[0]].map(normalise)}
    )
    return Counter(table.drop_duplicates()["value"])
