"""A task: what is predicted, for which unit, from which values, and what is left out.

Blank labels and values under ``ignore`` are left out. ``positive`` makes a task binary: what is neither positive nor
left out is negative, or, where ``negative`` names them, an error. ``classes`` gives the order of classes, or maps values
to classes; without it every value is a class. Several label columns make a multi-label task, each positive where its cell
is in ``positive`` (or means yes), and so does one column whose cells ``separator`` parts. What is neither known as yes nor as
no is never negative: see ``signs.py``. ``tasks`` puts other tasks of one unit together: all of them are predicted at once, and
each keeps its own classes. ``headline`` names the class of each that headline numbers are of, ``points`` what it adds to a score.
``mask`` and ``boxes`` ask where something is in an image; see ``data/annotations/sources.py``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from sidelight.data.answers import meanings
from sidelight.data.cells import counted, natural, normalise
from sidelight.data.cohort.columns import find_column, find_columns, select
from sidelight.data.cohort.several import holding, parts_of, separator_of, several_labels
from sidelight.data.cohort.signs import LEFT_OUT as LEFT_OUT
from sidelight.data.cohort.signs import Signs, left_out, signs
from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.unknown_labels import no_class, not_understood
from sidelight.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from sidelight.data.annotations.drawn import Drawings

ANNOTATED = "annotated"
SIGNS = ("no", "yes")
"""The classes of each label of a multi-label task."""


@dataclass(frozen=True)
class Target:
    """One target: its classes in order, the class that headline numbers are of ("" is every class), and its points.

    :ivar points: what that class adds to the score of a checklist; 0 for a target that is no criterion.
    :ivar kind: what is predicted: one of the classes, or of each of them a mask, or boxes.
    :ivar phrases: of a mask or boxes, what a report would say of it.
    """

    name: str
    classes: tuple[str, ...]
    positive: str = ""
    points: int = 0
    kind: Literal["classes", "mask", "boxes"] = "classes"
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One task, its columns resolved and its values coded."""

    name: str
    label: tuple[str, ...]
    """The label's column, or columns of a multi-label task."""
    unit: str
    """What is scored: the name of a level, or "item"."""
    classes: tuple[str, ...]
    """In order; binary: negative, positive; multi-label: the label columns; several tasks: their names."""
    kind: str
    """"binary", "multiclass", "multilabel" or "tasks"; "mask" or "boxes"."""
    codes: Mapping[str, int] = field(default_factory=dict)
    """Every value of the label columns -> its class's place, -1 where it is left out; of several labels in a cell, by label."""
    sets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of several labels in a cell: every cell -> 1, 0 or -1 for each class."""
    separator: str = ""
    unsaid: Mapping[str, int] = field(default_factory=dict)
    """Values that are left out because they say that nothing is known, though no key names them, and their items."""
    where: Mapping[str, Any] = field(default_factory=dict)
    conflict: str = "error"
    """How labels that differ within a unit are settled: "error", "first", "latest" or "any" (positive if one item is)."""
    date: str | None = None
    parts: tuple["Task", ...] = ()
    """The tasks that are predicted at once."""
    headline: Mapping[str, str] = field(default_factory=dict)
    points: Mapping[str, int] = field(default_factory=dict)
    suspect: int = 3
    views: tuple[str, ...] = ()
    """Two views of a unit that are read side by side."""
    drawings: "Drawings | None" = None
    """Of a task of masks or boxes what is drawn on which item; :mod:`sidelight.data.annotations` reads it."""
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of classes of masks or boxes what a report would say of them; see :meth:`phrases_of`."""

    @property
    def meaning(self) -> dict[str, Any]:
        """What is asked, in plain values: with another one no finished number may be used again. What is drawn is not in it."""
        kept = [one.name for one in fields(self) if one.name not in ("drawings", "phrases", "unsaid", "parts")]
        own = {name: getattr(self, name) for name in kept}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in own.items()}
        return {**plain, "parts": [part.meaning for part in self.parts]}

    @property
    def localized(self) -> Literal["", "mask", "boxes"]:
        """ "mask" or "boxes" where it asks where something is; "" of a task of classes."""
        return "mask" if self.kind == "mask" else "boxes" if self.kind == "boxes" else ""

    @property
    def several(self) -> bool:
        """Whether there are several targets: labels are tuples then, and each target has a name."""
        return self.kind in ("multilabel", "tasks")

    @property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """What is predicted, with its classes: one target without a name, or several: label columns, or tasks.

        A unit of masks or boxes has one label: that they are known.
        """
        if self.kind == "tasks":
            return {part.name: part.classes for part in self.parts}
        if self.localized:
            return {"": (ANNOTATED,)}
        return dict.fromkeys(self.classes, SIGNS) if self.kind == "multilabel" else {"": self.classes}

    def phrases_of(self, name: str) -> tuple[str, ...]:
        """What a report would say of a class of masks or boxes; by default its name."""
        return self.phrases.get(name) or (name.replace("_", " "),)

    @property
    def heads(self) -> tuple[Target, ...]:
        """The targets, in order; one without a name is called after the task."""
        if self.localized:
            return (Target(self.name, self.classes, kind=self.localized),)
        return tuple(
            Target(name or self.name, classes, self.headline.get(name, ""), self.points.get(name, 0))
            for name, classes in self.targets.items()
        )

    def coded(self, items: pd.DataFrame) -> pd.DataFrame:
        """The codes of ``items``, int64 [N, label columns, or labels in a cell], -1 where a label is unknown."""
        if self.sets:
            none = (LEFT_OUT,) * len(self.classes)
            rows = [self.sets.get(cell, none) for cell in items[self.label[0]].map(normalise)]
            return pd.DataFrame(rows, index=items.index, columns=[str(place) for place in range(len(self.classes))])
        codes = {str(place): items[name].map(normalise).map(self.codes) for place, name in enumerate(self.label)}
        return pd.DataFrame(codes).fillna(LEFT_OUT).astype(np.int64)


def make_task(name: str, spec: TaskSpec, items: pd.DataFrame, levels: Sequence[str], date: str | None = None) -> Task:
    """Resolve one ``[task.NAME]`` on the items.

    :raises DataError: for a missing column, or a value that is no class.
    :raises ConfigError: for keys that contradict each other.
    """
    place = f"[task.{name}]"
    if spec.unit != "item" and spec.unit not in levels:
        raise ConfigError(f"{place} unit = {spec.unit!r} is no level", do=nearest(spec.unit, [*levels, "item"]))
    if spec.conflict == "mean":
        raise ConfigError(f"{place} conflict = 'mean': classes have no mean", expected="error, first or latest")
    if spec.conflict == "any" and spec.positive is None and len(spec.label) == 1 and not spec.separator:
        raise ConfigError(f"{place} conflict = 'any' needs to know which values are positive", do="State `positive`")
    columns = tuple(find_columns(items, [(column, f"{place} label") for column in spec.label]))
    where = {find_column(items, column, f"{place} where"): wanted for column, wanted in spec.where.items()}
    rows = items[select(items, where, f"{place} where")]
    found = Counter(value for column in columns for value in rows[column].map(normalise))
    values = {value: found[value] for value in sorted(found, key=natural)}
    rule = spec.conflict or "error"
    task = Task(name, columns, spec.unit, (), "", where=where, conflict=rule, date=date, views=spec.views)
    if spec.separator is not None:
        task = replace(task, separator=spec.separator)
        parts = Counter({"": values[""]}) if "" in values else Counter[str]()
        for value, count in values.items():
            parts.update(dict.fromkeys(parts_of(value, spec.separator), count))
        make = _labels_in_cells if spec.positive is None else _any_in_cells
        return make(task, spec, values, dict(parts), place)
    if len(columns) > 1:
        return _multilabel(task, spec, values, place)
    return _binary(task, spec, values, place) if spec.positive is not None else _multiclass(task, spec, values, place)


def make_tasks(name: str, spec: TaskSpec, known: Mapping[str, Task], named: Sequence[str]) -> tuple[Task, list[str]]:
    """Resolve one ``[task.NAME]`` that puts other tasks together, and say what it goes without.

    :param known: the tasks that there are; ``named``: all that the cohort file names.
    :raises ConfigError: for a task, a unit, a class or points that do not fit.
    :raises DataError: for a task that there is not, unless this one is optional.
    """
    place = f"[task.{name}]"
    for one in (*spec.tasks, *spec.headline, *spec.points):
        if one not in named or one == name:
            raise ConfigError(f"{place} names the task {one!r}", do=nearest(one, [*(set(named) - {name})]))
    lacks = [one for one in spec.tasks if one not in known]
    if lacks and not spec.optional:
        raise DataError(f"Task {name!r} lacks {', '.join(lacks)}", do="See why above, or take it out of `tasks`")
    parts = tuple(known[one] for one in spec.tasks if one in known)
    if len(parts) < 2:
        raise DataError(f"Task {name!r} puts {len(parts)} tasks together", expected="two that can be used, or more")
    for part in parts:
        if part.unit != parts[0].unit or part.several or part.localized:
            given = "several labels" if part.several else f"the unit {part.unit!r}"
            given = f"a {part.localized} target" if part.localized else given
            raise ConfigError(
                f"{place} names {part.name!r}, which has {given}", expected=f"one label per {parts[0].unit}"
            )
    if spec.unit not in ("item", parts[0].unit):
        raise ConfigError(f"{place} unit = {spec.unit!r}", expected=f"{parts[0].unit!r}, as its tasks have")
    notices = [f"Task {name!r} goes without {', '.join(lacks)}"] if lacks else []
    headline = {part.name: spec.headline[part.name] for part in parts if part.name in spec.headline}
    for part in parts:
        wanted = headline.get(part.name)
        if wanted is not None and wanted not in part.classes:
            if not spec.optional:
                raise ConfigError(f"{place} headline of {part.name}: {wanted!r}", do=nearest(wanted, part.classes))
            notices.append(
                f"Task {name!r}: no unit of {part.name} is {wanted}; its headline numbers are of every class"
            )
            del headline[part.name]
    points = {one: value for one, value in spec.points.items() if one in headline}
    label = tuple(dict.fromkeys(column for part in parts for column in part.label))
    task = Task(name, label, parts[0].unit, tuple(part.name for part in parts), "tasks", parts=parts)
    return replace(task, headline=headline, points=points, suspect=spec.suspect, views=spec.views), notices


def _multilabel(task: Task, spec: TaskSpec, values: Mapping[str, int], place: str) -> Task:
    if spec.classes is not None:
        raise ConfigError(f"{place} has several label columns and `classes`", do="The columns are the classes")
    found = signs(place, task.label, spec, values)
    return replace(task, classes=spec.label, kind="multilabel", codes=found.codes, unsaid=found.unsaid)


def _binary(task: Task, spec: TaskSpec, values: Mapping[str, int], place: str) -> Task:
    found = signs(place, task.label, spec, values)
    return replace(_two(task, spec, found, place), codes=found.codes)


def _two(task: Task, spec: TaskSpec, found: Signs, place: str) -> Task:
    """The binary task with the names of its two classes."""
    positive = [normalise(one) for one in spec.positive or ()]
    rest = [value for value, code in found.codes.items() if code == 0]
    if spec.negative is not None:
        rest = [normalise(one) for one in spec.negative]
    classes = (rest[0] if len(rest) == 1 else "negative", positive[0] if len(positive) == 1 else "positive")
    if spec.classes is not None:
        if isinstance(spec.classes, dict) or len(spec.classes) != 2:
            raise ConfigError(
                f"{place} has `positive` and `classes`", expected="classes = [NEGATIVE, POSITIVE] beside it"
            )
        classes = (spec.classes[0], spec.classes[1])
    return replace(task, classes=classes, kind="binary", unsaid=found.unsaid)


def _any_in_cells(task: Task, spec: TaskSpec, values: Mapping[str, int], parts: Mapping[str, int], place: str) -> Task:
    """Binary: a cell is positive if one of its labels is; a label under ``ignore`` does not count beside others."""
    found = signs(place, task.label, spec, parts)
    ignored = {normalise(one) for one in spec.ignore}

    def code(cell: str) -> int:
        own = [found.codes[part] for part in parts_of(cell, task.separator) or ("",) if part not in ignored]
        return 1 if 1 in own else LEFT_OUT if LEFT_OUT in own or not own else 0

    return replace(_two(task, spec, found, place), codes={cell: code(cell) for cell in values})


def _labels_in_cells(
    task: Task, spec: TaskSpec, values: Mapping[str, int], parts: Mapping[str, int], place: str
) -> Task:
    """Multi-label: every label of a cell is there, every other one is not; ``negative`` names cells without any label."""
    none = {normalise(one) for one in spec.negative or ()}
    out = left_out(spec, list(none))
    given = spec.classes if isinstance(spec.classes, dict) else {one: one for one in spec.classes or ()}
    unsaid = {value: count for value, count in parts.items() if value and meanings([value])[value] == "unknown"}
    unsaid = {value: count for value, count in unsaid.items() if value not in {*out, *none, *map(normalise, given)}}
    named = {normalise(value): name for value, name in given.items()}
    named = named or {part: part for part in parts if part not in {*out, *none, *unsaid}}
    classes = tuple(dict.fromkeys(named.values()))
    odd = {part: count for part, count in parts.items() if part not in {*named, *out, *none, *unsaid}}
    if odd:
        raise no_class(place, task.label, odd, spec)
    sets: dict[str, tuple[int, ...]] = {}
    for cell in values:
        own = parts_of(cell, task.separator) or ("",)
        there = {named[part] for part in own if part in named}
        if (there and none & set(own)) or (len(own) > 1 and set(unsaid) & set(own)):
            raise DataError(
                f"{place}: the cell {cell!r} of column {task.label[0]!r} holds a label beside one that says there is none "
                f"or that it is not known ({counted(values[cell], 'item')})",
                do="Mend the table, or name what does not count in `ignore`",
            )
        known = bool(there or none & set(own))
        sets[cell] = tuple(int(one in there) if known else LEFT_OUT for one in classes)
    codes = {part: classes.index(named[part]) if part in named else LEFT_OUT for part in parts}
    return replace(task, classes=classes, kind="multilabel", codes=codes, sets=sets, unsaid=unsaid)


def _multiclass(task: Task, spec: TaskSpec, values: Mapping[str, int], place: str) -> Task:
    if spec.negative is not None:
        raise ConfigError(f"{place} has `negative` without `positive`", do="Name the positive values, or use `classes`")
    if spec.uncertain is not None:
        raise ConfigError(f"{place} has `uncertain` without `positive`", do="Name the positive values, or use `ignore`")
    given = spec.classes
    named = given if isinstance(given, dict) else {one: one for one in given or ()}
    named = {normalise(value): name for value, name in named.items()}
    out = left_out(spec, list(named))
    unsaid = {} if named else _answers(task, spec, {one: n for one, n in values.items() if one not in out}, place)
    named = named or {value: value for value in values if value not in out and value not in unsaid}
    classes = tuple(dict.fromkeys(named.values()))
    unknown = {one: count for one, count in values.items() if one not in named and one not in out and one not in unsaid}
    if several := holding(unknown, named):
        raise several_labels(place, task.label[0], several, values)
    if unknown:
        raise no_class(place, task.label, unknown, spec)
    codes = {value: classes.index(named[value]) if value in named else LEFT_OUT for value in values}
    kind = "binary" if len(classes) == 2 else "multiclass"
    return replace(task, classes=classes, kind=kind, codes=codes, unsaid=unsaid)


def _answers(task: Task, spec: TaskSpec, values: Mapping[str, int], place: str) -> dict[str, int]:
    """Of a column that no key explains: the values that say that nothing is known, where all others say yes or no.

    :raises DataError: where cells hold several labels, or yes and no are spelt in several ways.
    """
    sign = separator_of(values)
    if sign:
        several = {one: (sign, parts_of(one, sign)[0]) for one in values if len(parts_of(one, sign)) > 1}
        raise several_labels(place, task.label[0], several, values)
    said = meanings(values)
    by = {kind: [one for one in values if said[one] == kind] for kind in ("yes", "no", "uncertain", "unknown")}
    if sum(map(len, by.values())) < len(values) or not by["yes"]:
        return {}
    if max(len(by["yes"]), len(by["no"])) > 1 or by["uncertain"]:
        raise not_understood(place, task.label, dict(values), spec, said)
    return {value: values[value] for value in by["unknown"]} if by["no"] else {}
