"""What predicts a label without looking at the image: a column, a pattern of blank cells, the source of a file.

So that small data raise no false alarm, a finding needs an out-of-fold AUROC of at least ``LIMIT`` whose 95 % interval
by patient stays above ``LOWEST``, and above 1/2 at the level that so many columns ask for (Bonferroni; columns that name
a source are few and suspect, and spared this). Or it needs a value that never, or always, goes with a class, where so
clean a rule would come up by chance with a probability below ``CHANCE``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.audit.ids import id_columns, is_source
from sidelight.data.cells import listed
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.missing_columns import role
from sidelight.data.cohort.stable_names import lasting_names
from sidelight.data.cohort.task import LEFT_OUT, SIGNS, Task
from sidelight.data.cohort.units import units
from sidelight.data.findings import Finding, Severity
from sidelight.evaluation.shortcuts.shallow import Array, Floats, branched, enough, folds_of, looked_up, strength
from sidelight.metrics.intervals import Interval

LIMIT, LOWEST, CHANCE = 0.75, 0.55, 1e-6
LEAST_SHARE = 0.05
"""Share of the units that a value must have before it can be said to exclude a class."""
NUMBERS = 10
"""A column of numbers with more different ones is read as a number, with fewer as categories."""
LARGEST = 1e30
CONTENT = ("brightness", "bytes", "frames")
"""Properties of a file that may be the disease itself: only noted."""


@dataclass(frozen=True)
class Question:
    """One label to be predicted: of a task, or one class of a multi-label task."""

    name: str
    classes: tuple[str, ...]
    labels: Array
    groups: Array
    folds: Array
    items: list[list[int]]

    def only(self, keep: Array) -> "Question":
        """The units ``keep`` [N], classes numbered anew without gaps."""
        present, labels = np.unique(self.labels[keep], return_inverse=True)
        names = tuple(self.classes[code] for code in present)
        return Question(
            self.name,
            names,
            labels,
            self.groups[keep],
            self.folds[keep],
            [self.items[at] for at in np.flatnonzero(keep)],
        )


def questions(cohort: Cohort, task: Task) -> Iterator[Question]:
    """The labels of a task that have enough units, groups and classes to ask about; of several tasks each asks for itself."""
    if task.parts or task.localized:
        return
    table = lasting_names(cohort, units(cohort, task), task.unit)  # folds go by it
    groups, items = table["group"].to_numpy(dtype=str), table["items"].tolist()
    columns: dict[str, Array] = {task.name: table["label"].to_numpy()}
    if task.kind == "multilabel":
        codes = np.array(table["label"].tolist())
        columns = {f"{task.name}: {name}": codes[:, place] for place, name in enumerate(task.classes)}
    for name, labels in columns.items():
        classes = SIGNS if task.kind == "multilabel" else task.classes
        labels = labels.astype(np.int64)
        known = Question(name, classes, labels, groups, np.zeros_like(labels), items).only(labels != LEFT_OUT)
        keep = enough(known.labels, known.groups)
        if keep.any():
            part = known.only(keep)
            yield replace(part, folds=folds_of(part.labels, part.groups))


def shortcuts(cohort: Cohort, task: str, properties: pd.DataFrame | None = None) -> list[Finding]:
    """What predicts a task's label by itself.

    :param properties: one row per item, columns such as ``width`` and ``height`` (taken together), ``channels``,
        ``bits``, ``format``, ``device``, ``folder``, ``bytes``, ``frames``, ``brightness``; 0, "" and NaN are unknown.
    """
    chosen = cohort.tasks[task]
    found: list[Finding] = []
    for question in questions(cohort, chosen):
        cells = _of_units(cohort.items[_columns(cohort, chosen)], question)
        together = _same(cells)
        for names in together:
            found += _column(question, cohort, names, cells[names[0]], len(together))
        found += _blanks(question, cells.drop(columns=[*cohort.spec.metadata.never], errors="ignore").isna())
        if properties is not None:
            found += _sources(question, properties, skip=_says_the_path(cohort, chosen))
    return found


def _columns(cohort: Cohort, task: Task) -> list[str]:
    """Columns of text that are neither ids of a level nor labels, nor what labels are derived from, nor made of these alone."""
    if cohort.phantom is not None:  # its columns are the truth
        return []
    roots = _origins(cohort, {name for task in cohort.tasks.values() for name in task.label})
    made = {name for name, rule in cohort.spec.derive.items() if roots.issuperset(rule.sources)}
    source = role("view", cohort.spec)
    seen = {"view", *(str(name) for name in cohort.items if name == source or str(name).endswith(f".{source}"))}
    if seen & _origins(cohort, set(task.label)):
        made |= seen
    taken = {"item", "files", "group", *cohort.levels, *roots, *made, *id_columns(cohort)}
    levels = [cohort.items[level] for level in cohort.levels]
    return [
        str(name)
        for name, column in cohort.items.items()
        if name not in taken
        and all(isinstance(cell, str) for cell in column)
        and len(column.unique()) > 1
        and not any(column.equals(level) for level in levels)
    ]


def _origins(cohort: Cohort, names: set[str]) -> set[str]:
    """``names`` and every column that ``[derive]`` makes one of them from, step by step."""
    rules, found = cohort.spec.derive, set[str]()
    while names - found:
        found |= names
        names = {source for name in names if name in rules for source in rules[name].sources}
    return found


def _same(table: pd.DataFrame) -> list[list[str]]:
    """Columns that say the same, together: their cells are equal, or have other names; or their numbers have one order."""
    sets: dict[tuple[float, ...], list[str]] = {}
    for name, column in table.items():
        numbers = _as_numbers(column)
        # cells that all differ are everybody's other names: numbers go by their order, in halves so as not to meet codes
        codes = pd.factorize(column)[0] if numbers is None else numbers.rank(method="dense").fillna(0) + 0.5
        sets.setdefault(tuple(codes.tolist()), []).append(str(name))
    return list(sets.values())


def _as_numbers(column: "pd.Series[Any]") -> "pd.Series[float] | None":
    """The column as numbers, NaN where it has no value; None where it is to be read as categories."""
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if numbers.notna().equals(column.notna()) and numbers.nunique() > NUMBERS else None


def _says_the_path(cohort: Cohort, task: Task) -> bool:
    """Whether the label comes from the path, which then predicts it of course."""
    names = _origins(cohort, set(task.label))
    return any(f"{{{name}{end}" in pattern for name in names for pattern in cohort.spec.files for end in "}:")


def _of_units(table: pd.DataFrame, question: Question) -> pd.DataFrame:
    """The first value of each unit that is known, [N, columns]; NaN where none is."""
    owner = np.repeat(np.arange(len(question.items)), [len(at) for at in question.items])
    cells = table.iloc[[place for at in question.items for place in at]]
    known = cells.apply(lambda column: column.mask(column == (0 if pd.api.types.is_numeric_dtype(column) else "")))
    return pd.DataFrame(known.groupby(owner).first().reindex(range(len(question.items))))


def _column(
    question: Question, cohort: Cohort, names: list[str], values: "pd.Series[str]", columns: int
) -> list[Finding]:
    """One of several ``columns`` (``names``: it and its copies), judged on the units that have a value."""
    keep = values.notna().to_numpy(copy=True)
    if keep.any():
        keep[keep] = enough(question.labels[keep], question.groups[keep])
    if not keep.any():
        return []
    part, cells = question.only(keep), values[keep]
    note, most = _declared(cohort, names)
    numbers = _as_numbers(cells)
    source = is_source(cohort.items[names[0]])
    if numbers is not None and not source:
        finite: Floats = np.clip(numbers.to_numpy(dtype=np.float64), -LARGEST, LARGEST)  # inf: above the range
        scores, rules = branched(finite[:, None], part.labels, part.folds), []
    else:
        codes, kinds = pd.factorize(cells)
        if len(kinds) < 2:
            return []
        scores, rules = looked_up(codes, part.labels, part.folds), _rules(codes, [str(kind) for kind in kinds], part)
        if _recodes(codes, part):
            return [_recoding(part, names, note, most)]
    kind = "source" if source else "shortcut"
    subject = f"Column {names[0]!r} alone" + (f" (and its copy {listed(names[1:])})" if len(names) > 1 else "")
    numbers_of = {"column": names[0], "copies": names[1:], "filled": int(keep.sum())}
    found = _strength(scores, part, 1 if source else columns)
    return _finding(kind, subject, part, found, rules, numbers_of, note, most)


def _declared(cohort: Cohort, names: list[str]) -> tuple[str, Severity]:
    """What ``[metadata]`` says of a column and its copies, and how severe it is that they tell the label."""
    described = {name for columns in cohort.spec.metadata.columns.values() for name in columns}
    if described.intersection(names):
        return "; it is declared as metadata, from which methods learn", "warning"
    if cohort.spec.metadata.never.keys() >= set(names):
        return "; [metadata.never] keeps it from methods", "note"
    return "", "warning"


def _strength(scores: Array, part: Question, asked: int = 1) -> Interval | None:
    """AUROC with its 95 % interval if it is strong enough, given that ``asked`` columns were tried; else None."""
    found = strength(scores, part.labels, part.groups, LIMIT)
    if not (found.value >= LIMIT and found.low >= LOWEST):
        return None
    strict = strength(scores, part.labels, part.groups, LIMIT, 1 - 0.05 / asked)
    return found if strict.low > 0.5 else None


def _recodes(codes: Array, part: Question) -> bool:
    """Whether each of few values goes with one class, in several groups on average."""
    held = pd.Series(part.groups).groupby(codes).nunique()
    return held.mean() >= 5 and bool(pd.Series(part.labels).groupby(codes).nunique().eq(1).all())


def _recoding(part: Question, names: list[str], note: str, severity: Severity) -> Finding:
    text = f"Column {listed(names)} says the label of {part.name!r} exactly, under other names{note}"
    numbers = {"task": part.name, "column": names[0], "copies": names[1:], "units": len(part.labels)}
    return Finding("recoding", severity, text, numbers)


def _rules(codes: Array, names: list[str], part: Question) -> list[dict[str, Any]]:
    """Values that never go with a class, or always, beyond chance; counted by group, since a patient is one draw."""
    table = pd.DataFrame({"value": codes, "label": part.labels, "group": part.groups})
    groups, everything = table["group"].nunique(), len(table)
    held = table.groupby("label")["group"].nunique().reindex(range(len(part.classes)), fill_value=0).to_numpy() / groups
    found = []
    for value, rows in table.groupby("value"):
        draws, present = rows["group"].nunique(), set(rows["label"])
        if len(rows) < LEAST_SHARE * everything:
            continue
        fact = {"value": names[int(str(value))], "units": len(rows), "groups": int(draws)}
        absent = [c for c in range(len(part.classes)) if c not in present and (1 - held[c]) ** draws < CHANCE]
        if len(present) == 1 and held[next(iter(present))] ** draws < CHANCE:
            found.append({**fact, "always": part.classes[next(iter(present))]})
        elif absent:
            found.append({**fact, "never": [part.classes[c] for c in absent]})
    return sorted(found, key=lambda rule: -int(rule["units"]))


def _say(rule: Mapping[str, Any]) -> str:
    what = f"always {rule['always']!r}" if "always" in rule else f"never {listed(rule['never'])}"
    value = rule["value"] if "columns" in rule else repr(rule["value"])
    return f"{value} ({rule['units']} units) is {what}"


def _finding(
    kind: str,
    subject: str,
    part: Question,
    found: Interval | None,
    rules: list[dict[str, Any]],
    numbers: dict[str, Any],
    note: str = "",
    most: Severity = "warning",
) -> list[Finding]:
    """The finding if there is one: strong enough, or a clean rule. A rule that excludes one class of many is a note."""
    if found is None and not rules:
        return []
    said = []
    if found is not None:
        said.append(f"predicts {part.name!r} with AUROC {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
    if rules:
        more = f" and {len(rules) - 3} more such values" if len(rules) > 3 else ""
        said.append((f"tells of {part.name!r}: " if found is None else "") + ", ".join(map(_say, rules[:3])) + more)
    facts = {"task": part.name, **numbers, "units": len(part.labels), "rules": rules}
    if found is not None:
        facts |= {name: round(getattr(found, name), 4) for name in ("value", "low", "high")} | {"groups": found.groups}
    severity: Severity = most if found is not None or any("always" in rule for rule in rules) else "note"
    return [Finding(kind, severity, f"{subject} {'; '.join(said)}{note}", facts)]


def _blanks(question: Question, empty: pd.DataFrame) -> list[Finding]:
    """Which cells are blank, over all columns at once: bool [N, columns]."""
    empty = empty.loc[:, empty.any() & ~empty.all()]
    if empty.empty:
        return []
    scores = branched(empty.to_numpy(dtype=np.float64), question.labels, question.folds)
    rules: list[dict[str, Any]] = []
    for names in sorted(_same(empty), key=lambda names: int(empty[names[0]].sum())):
        codes = empty[names[0]].to_numpy().astype(np.int64)
        also = [str(name) for name in empty if empty[name][codes == 1].all()]
        if any(set(also) <= set(rule["columns"]) for rule in rules):
            continue
        own = [rule for rule in _rules(codes, ["filled", "blank"], question) if rule["value"] == "blank"]
        rules += [{**rule, "columns": also, "value": f"blank {_short(also)}"} for rule in own]
    subject = f"The pattern of blank cells ({len(empty.columns)} columns)"
    found = _strength(scores, question)
    return _finding("blanks", subject, question, found, rules, {"columns": list(empty.columns)})


def _short(names: list[str]) -> str:
    return f"in {', '.join(names)}" if len(names) < 3 else f"in {len(names)} columns at once ({', '.join(names)})"


def _sources(question: Question, properties: pd.DataFrame, *, skip: bool) -> list[Finding]:
    """Properties of the files: of the place they come from, or of the machine that made them."""
    found: list[Finding] = []
    parts: dict[str, list[str]] = {"image size": ["width", "height"]}
    parts |= {str(name): [str(name)] for name in properties if name not in ("width", "height")}
    for name, columns in parts.items():
        if (name == "folder" and skip) or not set(columns) <= set(properties):
            continue
        found += _property(question, name, _of_units(properties[columns], question))
    return found


def _property(question: Question, name: str, cells: pd.DataFrame) -> list[Finding]:
    keep = cells.notna().all(axis=1).to_numpy(copy=True)
    if keep.any():
        keep[keep] = enough(question.labels[keep], question.groups[keep])
    if not keep.any() or len(cells[keep].drop_duplicates()) < 2:
        return []
    part, known = question.only(keep), cells[keep]
    model: Callable[[Any, Array, Array], Any] = branched
    values: Any = known.to_numpy()
    rules: list[dict[str, Any]] = []
    if known.dtypes.map(pd.api.types.is_numeric_dtype).all():
        values = values.astype(np.float64)
    else:
        model, (values, kinds) = looked_up, pd.factorize(known.iloc[:, 0])
        # a folder or device tag may identify: a rule names it by number
        names = [
            f"{name} {place + 1}" if name in ("folder", "device") else str(kind) for place, kind in enumerate(kinds)
        ]
        rules = _rules(values, names, part)
    found = _strength(model(values, part.labels, part.folds), part)
    most: Severity = "note" if name in CONTENT else "warning"
    return _finding("source", f"The file's {name}", part, found, rules, {"property": name}, most=most)
