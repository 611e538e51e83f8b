"""Studies: encoders x label counts x seeds x tasks from one TOML file, cell by cell, resumable, into one table and one report.

A cell is one pre-training (encoder, part, seed) or one scoring (encoder, part, protocol, seed). A finished cell is a file named
after everything that it depends on; a study that is started again computes only what is missing.
"""

import importlib.metadata
import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sidelight import __version__
from sidelight.commands.report import report
from sidelight.commands.study_cells import PICTURES, Cell, Cells
from sidelight.commands.study_file import StudyFile, at_size, check_headline, record_beforehand, said_beforehand
from sidelight.config import build, digest, load_toml, merge
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import outermost
from sidelight.errors import ConfigError, RunError, SidelightError
from sidelight.evaluation.judge import Evaluation, Scored, score
from sidelight.evaluation.labelled import split_name
from sidelight.evaluation.model.card import study_card
from sidelight.evaluation.protocols import check_targets, check_text, find
from sidelight.evaluation.results import Results
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables import tabulated
from sidelight.evaluation.tables.comparisons import differences, efficiency
from sidelight.evaluation.tables.second_method import with_delong_p
from sidelight.evaluation.tables.subgroups import subgroup_columns, subgroup_table
from sidelight.evaluation.tables.summary import fold_gaps
from sidelight.evaluation.unseen_folds import score_unseen
from sidelight.files import check_place, held, write_json, write_table, write_text
from sidelight.methods import load_method
from sidelight.methods.base import resolve
from sidelight.models.joint import has_text

PROVENANCE = ("transductive", "split_hash", "leaks", "data_hash", "encoder_hash", "seconds")
"""Facts of a cell that stand in each of its rows."""


@dataclass(frozen=True)
class StudyResults(Results):
    """Results of a study, and the folder that holds them with the report."""

    folder: Path = Path()


def study(
    file: str | Path,
    size: str = "cpu",
    out: str | Path | None = None,
    *,
    data: str | None = None,
    preset: str | None = None,
    allow_outside: bool = False,
    cache: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> StudyResults:
    """Run (or go on with) the study in ``file`` and write its tables and ``report.html`` to ``out``.

    :param size: one of the file's sizes.
    :param data: the folder of the data set, where the study names none.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param settings: anything of the study file, over it, e.g. ``seeds=1`` or ``pretrain={"epochs": 2}``.
    :raises RunError: where another process is at work in ``out``; says which.
    """
    plan = at_size(build(StudyFile, merge(load_toml(file), settings)), size)
    source = data or plan.data
    if not source:
        raise ConfigError(f"The study {file} names no data", do="Give the folder of the data set with --data")
    folder = Path(out) if out else Path("work") / f"{Path(file).stem}-{size}"
    check_place(folder, folder=True)
    command = f"sidelight study {Path(file).name} --data DATA --size {size}"
    with held(folder):
        plan = plan.model_copy(update={"preset": preset or plan.preset})
        return prepared(plan, source, folder, command, cache=cache, quiet=quiet, allow_outside=allow_outside).run(size)


def prepared(
    plan: StudyFile, source: str, folder: Path, command: str, *, cache: str | None, quiet: bool, allow_outside: bool
) -> "Work":
    """The work of a study, its data open and its plan checked, before anything is computed.

    :raises ConfigError: for a primary question that cannot be answered, or a row that cannot be judged as it asks.
    """
    check_headline(plan)
    room = build(EvaluateSettings, plan.evaluate).max_memory
    opened: dict[str, Any] = {"allow_outside": allow_outside, "max_memory": room}
    cohort = Cohort.open(source, preset=plan.preset, **plan.cohort, **opened)
    for part in plan.parts.values():
        cohort.task(part.task)
    work = Work(plan, cohort, folder, cache, quiet, command=command)
    for cell in work.asked():
        check_targets(find(cell.protocol), cohort.task(cell.part.task))
        told = cell.row.method is not None or bool(cell.row.run and has_text(cell.row.run))
        check_text(find(cell.protocol), f"The row {cell.encoder!r}", told)
    return work


Faults = dict[tuple[str, str], str]
"""By part and row why there are no numbers."""


@dataclass(frozen=True)
class Work(Cells):
    """A study on its way."""

    quiet: bool
    command: str

    def run(self, size: str, *, faults: Faults | None = None) -> StudyResults:
        """Compute what is missing, then the tables and the report.

        :param faults: takes of each row that cannot be made or judged in a part why, and the others go on; None: the first ends
            the study.
        :raises RunError: where no part is left.
        """
        record_beforehand(self.folder, self.plan.headline.named)
        console = Console(stderr=True, quiet=self.quiet)
        cells = self.asked()
        tables = []
        notes = [f"{name}: no {row.waits} given" for name, row in self.plan.encoders.items() if row.waits]
        if not cells:
            raise RunError("No row of the study has weights or a run", do="; ".join(notes))
        notes += self.check_unseen()
        for number, cell in enumerate(cells, 1):
            place = (cell.part_name, cell.encoder)
            if place in (faults or {}):
                continue
            label = f"{cell.encoder}, {cell.part_name}, {cell.protocol}, seed {cell.seed}"
            console.print(f"[{number}/{len(cells)}] {label}", markup=False, highlight=False)
            try:
                table, more = self.score(cell)
            except SidelightError as error:
                if faults is None:
                    raise
                console.print(f"{cell.encoder}, {cell.part_name}: {error}", markup=False, highlight=False)
                faults[place] = reason(error, self.cohort.spec.public)
                continue
            tables.append(table)
            lead = f"{cell.part_name}: "  # some notes name the task, which is often called as the part
            notes += [note if note.startswith(lead) else lead + note for note in more]
        if not faults:
            return self.finish(pd.concat(tables, ignore_index=True), sorted(set(notes)), size)
        tables = [table for table in tables if (table["task"].iloc[0], table["encoder"].iloc[0]) not in faults]
        if not tables:
            raise RunError("No part of the study could be judged", do="; ".join(dict.fromkeys(faults.values())))
        notes += [f"{part}: {row} has no numbers: {why}" for (part, row), why in faults.items()]
        return self.without(faults).finish(pd.concat(tables, ignore_index=True), sorted(set(notes)), size)

    def without(self, faults: Faults) -> "Work":
        """The work without rows of parts that cannot be judged, and without parts that have no row left."""
        work = replace(self, left_out=frozenset(faults))
        left = {cell.part_name for cell in work.asked()}
        parts = {name: part for name, part in self.plan.parts.items() if name in left}
        return replace(work, plan=self.plan.model_copy(update={"parts": parts}))

    def score(self, cell: Cell) -> tuple[pd.DataFrame, list[str]]:
        """The scores of one cell, read back if they are there."""
        path, evaluate = self.file_of(cell)
        if not path.is_file():
            scored = self.scored(cell, evaluate)
            write_json(path.with_suffix(".json"), {**scored.facts, "notes": scored.notes})
            self.keep_participants(cell.part_name, scored.participants)
            if len(scored.pictures):
                write_table(path.with_suffix(PICTURES), scored.pictures)
            write_table(path, scored.table)
        table, facts = pd.read_parquet(path), _load_json(path.with_suffix(".json"))
        return table.assign(**cell.named, **{key: facts[key] for key in PROVENANCE}), list(facts["notes"])

    def keep_participants(self, part: str, found: dict[str, Any]) -> None:
        """Who took part in ``part``, beside what is known of the others."""
        path = self.folder / "participants.json"
        known = _load_json(path) if path.is_file() else {}
        if found and known.get(part) != found:
            write_json(path, {**known, part: found})

    def scored(self, cell: Cell, evaluate: EvaluateSettings) -> Scored:
        """The scores of one cell, computed now."""
        evaluation = Evaluation("", self.cohort, cell.part.task, find(cell.protocol), evaluate)
        if not cell.part.unseen or cell.row.method is None:
            return score(replace(evaluation, encoder=self.encoder(cell, self.cohort)), halves=True)
        size = resolve(load_method(cell.row.method), self.recipe(cell)[0]).image_size
        return score_unseen(lambda *fold: self.encoder(cell, *fold), evaluation, size, halves=True)

    def finish(self, scores: pd.DataFrame, notes: list[str], size: str) -> StudyResults:
        """Tables, study.json and the report."""
        tasks = {name: self.cohort.tasks[part.task] for name, part in self.plan.parts.items()}
        names = {name: task.targets for name, task in tasks.items()}
        resamples = build(EvaluateSettings, self.plan.evaluate).resamples
        Console(stderr=True, quiet=self.quiet).print("intervals ...")
        made_by = provenance(scores)
        notes = [*notes, *self.differently(made_by)]
        asked = {
            name: build(EvaluateSettings, merge(self.plan.evaluate, part.evaluate)).decisions
            for name, part in self.plan.parts.items()
        }
        costs = {name: one.miss_cost for name, one in asked.items()}
        level = outermost(self.cohort)
        found = tabulated(scores, names, tasks, resamples=resamples, decisions=asked, level=level)
        table = found.pop("results")
        notes = [*notes, *fold_gaps(table)]
        table["base"] = table["protocol"].str.replace(", last step", "", regex=False)
        table = table.merge(made_by.rename(columns={"protocol": "base"}), on=["encoder", "task", "base"], how="left")
        table["command"] = self.command
        gaps = differences(scores, resamples=resamples, costs=costs, question=said_beforehand(self.folder))
        results = StudyResults(
            table.drop(columns="base"),
            with_delong_p(gaps, scores),
            efficiency(scores, gaps, resamples=min(resamples, 500)),
            scores,
            notes=tuple(notes),
            subgroups=self.subgroups(scores, resamples),
            pictures=self.pictures(),
            **found,
            folder=self.folder,
        )
        results.save(self.folder)
        said = self.description(notes, size)
        write_json(self.folder / "study.json", said)
        write_text(self.folder / "card.md", study_card(results, said))
        report(self.folder, self.folder / "report.html")
        return results

    def differently(self, rows: pd.DataFrame) -> list[str]:
        """A sentence for each part of which the study file says another thing than the runs."""
        learnt = {name for name, row in self.plan.encoders.items() if row.method or row.run}
        notes = []
        for name, part in self.plan.parts.items():
            own = rows.loc[(rows["task"] == name) & rows["encoder"].isin(learnt), "transductive"]
            if part.transductive is not None and len(own) and bool(own.any()) != part.transductive:
                met = "have" if own.any() else "have not"
                said = f"{name}: the study file says transductive = {str(part.transductive).lower()}"
                notes.append(
                    f"{said}, but by what they wrote down its encoders {met} met the patients they are tested on"
                )
        return notes

    def subgroups(self, scores: pd.DataFrame, resamples: int) -> pd.DataFrame:
        """The score of each subgroup in each part."""
        parts = []
        for name, part in self.plan.parts.items():
            settings = build(EvaluateSettings, merge(self.plan.evaluate, part.evaluate))
            columns = subgroup_columns(self.cohort, part.task, settings.subgroups)
            costs = {name: settings.decisions.miss_cost}
            parts.append(subgroup_table(scores[scores["task"] == name], columns, resamples=resamples, costs=costs))
        return pd.concat(parts, ignore_index=True)

    def unequal_budgets(self) -> list[str]:
        """A sentence for each encoder trained on the labels alone, without the steps that pre-training had."""
        sentences = []
        for part_name, part in self.plan.parts.items():
            cells = [cell for cell in self.cells() if cell.part_name == part_name and cell.seed == 0]
            steps = [self.steps(cell) for cell in cells if cell.row.method is not None]
            for cell in cells:
                settings = merge(self.plan.evaluate, part.evaluate, cell.row.evaluate)
                protocol = find(cell.protocol)
                budget = protocol.steps_from_scratch(build(EvaluateSettings, settings).of(protocol))
                if cell.row.method is None and budget is not None and steps and set(steps) != {budget}:
                    sentences.append(
                        f"{cell.encoder} had {budget} steps at each label count on {part_name}, pre-training "
                        f"{min(steps)} to {max(steps)}: not an equal budget."
                    )
        return sentences

    def steps(self, cell: Cell) -> int:
        """Optimiser steps that the pre-training of a cell took."""
        return int(_load_json(self.run_of(cell) / "done.json")["steps"])

    def judging(self, part: str) -> dict[str, Any]:
        """How the rows of a part are judged, with all defaults; ``balance`` has every value that a row has."""
        cells = [cell for cell in self.cells() if cell.part_name == part and cell.seed == 0]
        layers = (merge(self.plan.evaluate, cell.part.evaluate, cell.row.evaluate) for cell in cells)
        settings = [build(EvaluateSettings, one) for one in layers]
        if not settings:
            return {}
        names = ("folds", "split_seed", "merge_duplicates", "labels", "resamples", "max_frames")
        said = {name: getattr(settings[0], name) for name in names}
        split = settings[0].split
        said["split"] = None if split is None else split_name(split)
        return {**said, "balance": sorted({one.balance for one in settings})}

    def notices(self) -> list[str]:
        """What opening the data said; of data that are not public only how much, for a notice may quote cells and files."""
        said = self.cohort.notices
        if self.cohort.spec.public or not said:
            return list(said)
        return [f"Opening the data gave {len(said)} notices: `sidelight check` shows them"]

    def description(self, notes: list[str], size: str) -> dict[str, Any]:
        """What the report says beside the numbers."""
        runs: dict[str, str] = {}
        for cell in self.cells():
            first = cell.seed == 0 and cell.part_name == next(iter(self.plan.parts))
            if first and cell.row.method is not None:
                path = str(self.run_of(cell).relative_to(self.folder))
                if path not in runs.values():  # an encoder that is judged in two ways is one run
                    runs.setdefault(cell.encoder, path)
        used = dict(self.plan.evaluate)
        if used.get("split") is not None:
            used["split"] = split_name(used["split"])
        return {
            "title": self.plan.title,
            "question": self.plan.question,
            "size": size,
            "data": {"name": self.cohort.alias, "hash": self.cohort.hash, "items": len(self.cohort.items)},
            "encoders": {name: row.description for name, row in self.plan.encoders.items()},
            "tasks": {
                name: {"title": part.title or part.task, "unit": part.unit or self.cohort.tasks[part.task].unit}
                for name, part in self.plan.parts.items()
            },
            "headline": self.plan.headline.named,
            "published": [table.model_dump() for table in self.plan.published],
            "warnings": [part.warning for part in self.plan.parts.values() if part.warning],
            "findings": self.plan.findings,
            "not_shown": [*self.plan.limits, *self.unequal_budgets()],
            "notes": [*notes, *self.notices()],
            "runs": runs,
            "judging": {name: judged for name in self.plan.parts if (judged := self.judging(name))},
            "software": software(),
            "settings": {"pretrain": self.plan.pretrain, "evaluate": used, "seeds": self.plan.seeds},
            "command": self.command,
        }


def provenance(scores: pd.DataFrame) -> pd.DataFrame:
    """What made the numbers of an encoder, task and protocol: seconds of all seeds, one hash of all encoders."""
    rules: dict[str, Any] = dict.fromkeys(PROVENANCE, "first") | {"transductive": "max"}
    keys = ["encoder", "task", "protocol"]
    each = scores.groupby([*keys, "seed"], as_index=False).agg(rules)
    return each.groupby(keys, as_index=False).agg(rules | {"seconds": "sum", "encoder_hash": _one_hash})


def _one_hash(hashes: "pd.Series[str]") -> str:
    different = list(dict.fromkeys(hashes))
    return different[0] if len(different) == 1 else digest(different)


def software() -> dict[str, str]:
    """What makes the numbers, with versions."""
    packages = ("torch", "timm", "numpy", "pandas", "scikit-learn")
    return {
        "sidelight": __version__,
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def reason(error: SidelightError, public: bool) -> str:
    """Why something has no numbers, for a page: of data that are not public only its kind, for errors name files and patients."""
    return str(error) if public else f"{type(error).__name__}: the terminal said why"


def _load_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
