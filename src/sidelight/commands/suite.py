"""Suites: the same encoders on several data sets, each a study of its own, and one table of all tasks.

A set that is not there is named as absent; one that cannot be read, or a part of it that cannot be judged, is named, and
everything else goes on. The page and ``suite.json`` have the reason where the data are public, else its kind alone: errors name
files, and those may name patients. A suite that is started again computes only what is missing, as its studies do.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sidelight.commands.study import Faults, Work, prepared, reason
from sidelight.commands.study_file import StudyFile, at_size
from sidelight.commands.suite_file import SetPlan, SuiteFile, check_tasks
from sidelight.config import build, load_toml, merge
from sidelight.data.audit.leaks import sides
from sidelight.data.cells import counted
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.presets import load_preset
from sidelight.data.published_split import Sides, SplitPlan, cut, published_split
from sidelight.errors import ConfigError, SidelightError
from sidelight.files import check_place, held, write_csv, write_json
from sidelight.reporting.suite import Column, Place, render_suite

ABSENT, DONE = "absent", "done"
TOLD = ("left out", "leak", "of nothing in the cohort", "allow_missing")
"""Words of notes that the page of a suite repeats."""
WHOLE = "whole"


@dataclass(frozen=True)
class SuiteResults:
    """What a suite found.

    :ivar table: a row for each encoder and task: ``encoder, task, set, part, metric, value, low, high, units, groups``.
    :ivar faults: of each task that has no numbers why; ``absent_rows`` of each encoder of the others that has none.
    """

    table: pd.DataFrame
    faults: dict[str, str]
    folder: Path
    absent_rows: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """How many tasks have numbers."""
        done = self.table["task"].nunique()
        return f"{done} of {counted(done + len(self.faults), 'task')} have numbers"


def is_suite(file: str | Path) -> bool:
    """Whether a study file is of several data sets; :raises ConfigError: where it cannot be read."""
    return "sets" in load_toml(file)


def suite(
    file: str | Path,
    size: str = "cpu",
    out: str | Path | None = None,
    *,
    data: str | None = None,
    allow_outside: bool = False,
    cache: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> SuiteResults:
    """Run (or go on with) the suite in ``file`` and write its table and ``report.html`` to ``out``.

    :param data: the folder that holds the data sets' folders.
    :param settings: anything of the suite file, over it, e.g. ``common={"encoders": {"mine": {"run": "FOLDER"}}}``.
    :raises ConfigError: for a file that asks for what there is not, before anything is computed, and for settings that cannot be.
    """
    plan = build(SuiteFile, merge(load_toml(file), settings))
    check_tasks(plan)
    if not data:
        raise ConfigError(
            f"The suite {file} was given no data", do="Give the folder that holds the data sets' folders with --data"
        )
    studies = {name: at_size(build(StudyFile, merge(plan.common, one.study)), size) for name, one in plan.sets.items()}
    folder = Path(out) if out else Path("work") / f"{Path(file).stem}-{size}"
    check_place(folder, folder=True)
    command = f"sidelight study {Path(file).name} --data DATA --size {size}"
    opened: dict[str, Any] = {"cache": cache, "quiet": quiet, "allow_outside": allow_outside}
    places: list[Place] = []
    faults: dict[tuple[str, str], str] = {}
    rows: dict[tuple[str, str], dict[str, str]] = {}
    with held(folder):
        ready = {name: _ready(name, one, studies[name], Path(data), folder / name, command, opened)
                 for name, one in plan.sets.items()}  # fmt: skip
        for name, (place, work) in ready.items():
            place, judged, failed = (place, set[str](), Faults()) if work is None else _run(place, work, size)
            places.append(place)
            for part in studies[name].parts:
                own = {row: why for (at, row), why in failed.items() if at == part}
                if part in judged:
                    rows[name, part] = own
                elif own or place.state != DONE:
                    faults[name, part] = next(iter(own.values()), place.state)
        table = _table(plan, folder, {place.name for place in places if place.state == DONE}, set(faults))
        missing = {
            task.title: faults.get((task.set, task.part), f"no number with {task.labels} labels of its part")
            for task in plan.tasks
            if task.title not in set(table["task"])
        }
        absent = {
            (task.title, row): why
            for task in plan.tasks
            for row, why in rows.get((task.set, task.part), {}).items()
            if task.title not in missing
        }
        columns = [Column(task.title, task.metric, missing.get(task.title, "")) for task in plan.tasks]
        write_csv(folder / "tasks.csv", table)
        write_json(folder / "suite.json", {"title": plan.title, "size": size, "sets": [vars(one) for one in places],
                                           "faults": missing, "rows": _by_row(absent)})  # fmt: skip
        render_suite(plan, places, columns, table, folder / "report.html", _by_row(absent))
    return SuiteResults(table, missing, folder, absent)


def _by_row(absent: dict[tuple[str, str], str]) -> list[str]:
    """A sentence for each row and reason that it has no numbers in some tasks."""
    titles: dict[tuple[str, str], list[str]] = {}
    for (task, row), why in absent.items():
        titles.setdefault((row, why), []).append(task)
    return [f"{row} has no numbers in {', '.join(tasks)}: {why}" for (row, why), tasks in titles.items()]


def _ready(
    name: str, one: SetPlan, study: StudyFile, data: Path, folder: Path, command: str, opened: dict[str, Any]
) -> tuple[Place, Work | None]:
    """The work on one data set before anything is computed; None where it is absent or cannot be read."""
    place = Place(name, one.says)
    if not (data / one.folder).is_dir():
        return replace(place, state=f"{ABSENT}: there is no folder {one.folder}"), None
    try:
        work = prepared(study, str(data / one.folder), folder, command, **opened)
        if one.split is None:
            return place, work
        work, split, notes = _split(work, one.split, data / one.folder)
        return replace(place, split=split, notes=notes), work
    except SidelightError as error:
        public = bool(study.preset and load_preset(study.preset).get("public"))
        return replace(place, state=_said(name, error, public, opened["quiet"])), None


def _run(place: Place, work: Work, size: str) -> tuple[Place, set[str], Faults]:
    """Work on one data set; what became of it, the parts that have numbers, and of rows that have none in a part why."""
    faults = Faults()
    Console(stderr=True, quiet=work.quiet).print(f"{place.name}:", markup=False, highlight=False)
    try:
        done = work.run(size, faults=faults)
    except SidelightError as error:
        return replace(place, state=_said(place.name, error, work.cohort.spec.public, work.quiet)), set(), faults
    told = [note for note in done.notes if any(word in note.lower() for word in TOLD)]
    hashes, data = sorted(set(done.results["split_hash"])), str(done.results["data_hash"].iloc[0])
    place = replace(place, state=DONE, notes=[*place.notes, *told], hashes=hashes, data=data)
    return place, set(done.results["task"]), faults


def _said(name: str, error: SidelightError, public: bool, quiet: bool) -> str:
    """What the page says of an error; the terminal has all of it."""
    Console(stderr=True, quiet=quiet).print(f"{name}: {error}", markup=False, highlight=False)
    return reason(error, public)


def _split(work: Work, plan: SplitPlan, root: Path) -> tuple[Work, str, list[str]]:
    """The work with its parts' splits as files; where they are from and how many items they place; what was left out."""
    cohort = work.cohort
    named, origin = published_split(cohort, root, plan)
    known = {WHOLE: named} | {name: cut(named, counts) for name, counts in plan.subsets.items()}
    files = {name: work.folder / "splits" / f"{name}.json" for name in known}
    for name, file in files.items():
        write_json(file, known[name] if cohort.spec.public else _hashed(cohort, known[name]), private=True)
    parts = {}
    for name, part in work.plan.parts.items():
        wanted = part.evaluate.get("split") or work.plan.evaluate.get("split") or WHOLE
        if wanted not in files:
            raise ConfigError(f"The part {name!r} asks for the split {wanted!r}", expected=" or ".join(files))
        parts[name] = part.model_copy(update={"evaluate": {**part.evaluate, "split": str(files[wanted])}})
    placed = sides(cohort, named)
    counts = placed["side"].value_counts()
    lost = len(placed.attrs["unknown"])
    notes = [f"{lost} names of the id files are of nothing in the data, and are left out"] if lost else []
    said = ", ".join(f"{counts.get(side, 0)} {side}" for side in named)
    return replace(work, plan=work.plan.model_copy(update={"parts": parts})), f"{said}; {origin}", notes


def _hashed(cohort: Cohort, named: Sides) -> Sides:
    """The same items by their hashes: names may tell who somebody is."""
    placed = sides(cohort, named)
    return {side: [cohort.item_hash(at) for at in placed.loc[placed["side"] == side, "position"]] for side in named}


def _table(plan: SuiteFile, folder: Path, done: set[str], faulty: set[tuple[str, str]]) -> pd.DataFrame:
    """The numbers of all tasks of sets that are done, by the step that validation chose."""
    columns = ["encoder", "task", "set", "part", "metric", "value", "low", "high", "units", "groups"]
    rows = []
    for task in plan.tasks:
        if task.set not in done or (task.set, task.part) in faulty:
            continue
        found = pd.read_parquet(folder / task.set / "results.parquet")
        found = found[(found["task"] == task.part) & (found["metric"] == task.metric)]
        found = found[found["all_labels"] if task.labels == "all" else found["labels"] == task.labels]
        found = found[(found["target"] == "") & ~found["protocol"].str.endswith(", last step")]
        found = found[found["protocol"] == task.protocol] if task.protocol else found
        rows.append(found.drop(columns="task").assign(task=task.title, set=task.set, part=task.part))
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
