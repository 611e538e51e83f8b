"""The cells of a study: which there are, what each depends on, where its run and its scores lie.

A cell is named after everything that it depends on, so that a study that is started again computes only what is missing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch

from sidelight.commands.pretrain import learns_from, pretrain
from sidelight.commands.study_file import EncoderRow, Part, StudyFile
from sidelight.config import build, digest, merge
from sidelight.data.annotations.drawn import drawn_state
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.units import units
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.judge import nameless
from sidelight.evaluation.labelled import split_content
from sidelight.evaluation.located import targets_of
from sidelight.evaluation.protocols import find
from sidelight.evaluation.seen import saw_scored
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.methods import load_method
from sidelight.methods.base import resolve
from sidelight.methods.settings import PretrainSettings
from sidelight.models.image import Encoder, load_encoder
from sidelight.train.run import Run

SCORING = 4
"""Raised when folds, labelled subsets or random weights are made in another way, so that finished cells are not mixed with
new ones."""

PICTURES = ".pictures.parquet"
"""How the name of a cell's pictures ends."""


@dataclass(frozen=True)
class Cell:
    """One thing to compute."""

    encoder: str
    row: EncoderRow
    part_name: str
    part: Part
    protocol: str
    seed: int

    @property
    def named(self) -> dict[str, str]:
        """What its rows are called in the tables."""
        return {"encoder": self.encoder, "task": self.part_name, "protocol": self.protocol}


@dataclass(frozen=True)
class Cells:
    """What a study computes, and where finished cells lie."""

    plan: StudyFile
    cohort: Cohort
    folder: Path
    cache: str | None
    states: dict[str, Any] = field(default_factory=dict, compare=False, kw_only=True)
    """Hashes of what is drawn and of what methods read, as they were when they were first asked for: once for the whole study."""
    left_out: frozenset[tuple[str, str]] = field(default=frozenset(), kw_only=True)
    """Parts and rows that have no numbers."""

    def cells(self) -> Iterator[Cell]:
        """Every scoring cell, seeds outermost, so that a study that is stopped early has whole seeds."""
        for seed in range(self.plan.seeds):
            for part_name, part in self.plan.parts.items():
                for name, row in self.plan.encoders.items():
                    if (row.parts and part_name not in row.parts) or (part_name, name) in self.left_out:
                        continue
                    for protocol in row.protocols or part.protocols or self.plan.protocols:
                        yield Cell(name, row, part_name, part, protocol, seed)

    def asked(self) -> list[Cell]:
        """The cells of rows whose weights or run were given, where they wait for any."""
        return [cell for cell in self.cells() if not cell.row.waits]

    def file_of(self, cell: Cell) -> tuple[Path, EvaluateSettings]:
        """Where the scores of a cell lie, and by which settings they are made."""
        settings = merge(self.plan.evaluate, cell.part.evaluate, cell.row.evaluate)
        settings |= {"seeds": 1, "first_seed": cell.seed, "cache": self.cache}
        name, evaluate = self.recipe(cell)[1], build(EvaluateSettings, settings)
        used = {**evaluate.for_cell_hash()}
        for group in ("cache", "resamples", "decisions"):  # these change no score
            used.pop(group, None)
        task = self.cohort.tasks[cell.part.task]
        asked: list[Any] = [task.meaning, self.cohort.spec.metadata.model_dump(mode="json")]
        if task.drawings is not None:
            asked.append(self._once(cell.part.task, drawn_state, task.drawings, self.cohort.root))
        judged: list[Any] = [cell.protocol, used, split_content(evaluate.split)]
        identity: list[Any] = [SCORING, name, self.cohort.hash, cell.part.task, asked, *judged]
        if find(cell.protocol).reads_text:
            identity.append([target.phrases for target in targets_of(self.cohort.tasks[cell.part.task])[1]])
        return self.folder / "cells" / f"{digest(identity)}.parquet", evaluate

    def pictures(self) -> pd.DataFrame:
        """The best, median and worst cases of the first seed, where cells have them."""
        files = [(cell, self.file_of(cell)[0].with_suffix(PICTURES)) for cell in self.cells() if cell.seed == 0]
        found = [pd.read_parquet(file).assign(**cell.named) for cell, file in files if file.is_file()]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    def check_unseen(self) -> list[str]:
        """Sentences on encoders of unknown past in parts whose patients none should have met.

        :raises ConfigError: for a finished run that has met them.
        """
        notes = []
        for name, part in self.plan.parts.items():
            rows = [(key, row) for key, row in self.plan.encoders.items() if not row.parts or name in row.parts]
            for key, row in rows if part.unseen else []:
                what = f"the run of {key} has" if row.run else f"the weights of {key} have" if row.weights else ""
                if row.run and self._met(part, row.run):
                    raise ConfigError(
                        f"The part {name!r} has unseen = true, and the finished run of the row {key!r} has learnt from "
                        "patients who are tested in it",
                        do=f"Leave the row out of this part (encoders.{key}.parts names its parts), or give it a method, "
                        "which pre-trains anew in each fold",
                    )
                notes += [f"{name}: what {what} seen of its patients is not known"] if what else []
        return notes

    def _met(self, part: Part, run: str) -> bool:
        """Whether a finished run has learnt from patients of a part."""
        known = units(self.cohort, self.cohort.tasks[part.task])
        evaluate = build(EvaluateSettings, merge(self.plan.evaluate, part.evaluate) | {"cache": self.cache})
        return saw_scored(run, self.cohort, nameless(known, self.cohort.key), evaluate)

    def encoder(
        self, cell: Cell, cohort: Cohort, where: Mapping[str, str] = MappingProxyType({}), fold: int = 0
    ) -> Any:
        """Encoder of a cell, pre-trained now if it is not yet, on the items of ``cohort`` that ``where`` selects, too."""
        settings, _ = self.recipe(cell)
        if cell.row.run:
            return Path(cell.row.run)
        if cell.row.method is None:
            return fresh_encoder(cohort, settings, initial=cell.row.weights, seed=cell.seed)
        run = self.run_of(cell, fold)
        if not all((run / file).is_file() for file in ("done.json", "split.csv")):
            start = None if cell.row.start is None else self.encoder(self.earlier(cell), cohort, where, fold)
            settings |= {"where": {**settings["where"], **where}}
            pretrain(cell.row.method, cohort, run, start=start, **settings, cache=self.cache)
        return run

    def run_of(self, cell: Cell, fold: int = 0) -> Path:
        """The run folder of a cell; where each fold has its own, that of ``fold``."""
        return self.folder / "runs" / (self.recipe(cell)[1] + (f"-{fold}" if cell.part.unseen else ""))

    def earlier(self, cell: Cell) -> Cell:
        """The cell whose run that of ``cell`` starts from; :raises ConfigError: where no row has its name."""
        name = cell.row.start or ""
        row = self.plan.encoders.get(name)
        if row is None or row.method is None:
            raise ConfigError(
                f"The row {cell.encoder!r} starts from {name!r}, which is no row with a method",
                do=nearest(name, [key for key, one in self.plan.encoders.items() if one.method]),
            )
        return replace(cell, encoder=name, row=row)

    def _once(self, name: str, make: Callable[..., Any], *given: Any) -> Any:
        """What ``make`` gave the first time: a file that changes in between does not rename what is finished."""
        if name not in self.states:
            self.states[name] = make(*given)
        return self.states[name]

    def recipe(self, cell: Cell) -> tuple[dict[str, Any], str]:
        """Settings of a cell's encoder, and a hash of all that its weights depend on."""
        shared = dict(self.plan.pretrain)
        if cell.row.start is not None:  # the weights that a later stage starts from are those of the earlier one
            shared.pop("initial", None)
        settings = merge(shared, cell.row.settings) | {"seed": cell.seed}
        if cell.row.run:
            return settings, digest(["run", Run.open(cell.row.run).summary["weights"]])
        if cell.row.method is None:
            return settings, digest([cell.row.weights, settings.get("encoder"), settings.get("image_size"), cell.seed])
        settings |= {"where": merge(settings.get("where", {}), cell.part.where)}
        kind = load_method(cell.row.method)
        used = kind.FORMER | resolve(kind, settings).model_dump(mode="json", exclude={"cache", "max_memory"})
        identity: list[Any] = [cell.row.method, used, self.cohort.hash]
        beside = self._once(f"method {cell.row.method}", learns_from, kind, self.cohort)
        identity += [beside] if beside else []
        if cell.part.unseen:
            judged = build(EvaluateSettings, merge(self.plan.evaluate, cell.part.evaluate, cell.row.evaluate))
            identity.append([cell.part.task, judged.folds, judged.split_seed, judged.merge_duplicates])
        return settings, digest(identity if cell.row.start is None else [*identity, self.recipe(self.earlier(cell))[1]])


def fresh_encoder(cohort: Cohort, settings: dict[str, Any], *, initial: str | None, seed: int) -> Encoder:
    """A randomly initialised encoder of the architecture in ``settings``, or one with the user's weights."""
    known = build(PretrainSettings, {key: settings[key] for key in ("encoder", "image_size") if key in settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of what the weights lack
        return load_encoder(
            initial or known.encoder,
            random=initial is None,
            architecture=settings.get("encoder"),
            channels=cohort.channels or 3,
            image_size=known.image_size,
            seed=seed,
        )
