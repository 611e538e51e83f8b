"""From an encoder and a cohort to scores of unseen units, and to the model of all labelled ones."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import Progress

from sidelight.config import digest, working_size
from sidelight.data.audit.spellings import spelling_notes
from sidelight.data.cells import shown
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import own_names
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.drawn import DRAWN
from sidelight.evaluation.inputs.beside import WITHOUT_ENCODER, InputReader, Inputs, Reference
from sidelight.evaluation.inputs.metadata import metadata_reader
from sidelight.evaluation.labelled import Labelled, label_units, unit_table
from sidelight.evaluation.model.fit import SAVED, model_of
from sidelight.evaluation.model.model import Model
from sidelight.evaluation.participants import participants
from sidelight.evaluation.pictures import pictures
from sidelight.evaluation.protocols import check_inputs, check_side_by_side, check_targets
from sidelight.evaluation.protocols.base import Asked, Learned, Protocol
from sidelight.evaluation.protocols.retrieval import rank_units
from sidelight.evaluation.reader import Fresh, open_reader, read_as
from sidelight.evaluation.results import check_numbers, check_same
from sidelight.evaluation.robustness import disturbed_scores
from sidelight.evaluation.scores import Ready, collect_scores, further_draws, half_scores
from sidelight.evaluation.seen import saw
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.subgroups import subgroup_columns
from sidelight.evaluation.units import Reader
from sidelight.machine import budget
from sidelight.models.image import Encoder, weights_hash
from sidelight.models.pair import PhotoPair
from sidelight.train.device import pick_device, pick_dtype, place
from sidelight.train.run import Run

COPIES = 4
"""How often the probabilities are there at once: as they are scored, put together, and averaged over seeds."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is asked: how good is this encoder for this task of this cohort, by this protocol?

    :ivar random: weights of a bare architecture are drawn.
    :ivar architecture: what plain weights belong to.
    :ivar quiet: no bars and no lines; else on stderr.
    """

    encoder: str | Path | Encoder
    cohort: Cohort
    task: str
    protocol: Protocol
    settings: EvaluateSettings
    random: bool = False
    architecture: str | None = None
    quiet: bool = True

    def check(self, *, external: bool = False) -> None:
        """:raises ConfigError: before any work, for what the protocol cannot do or read."""
        settings, task = self.settings, self.cohort.task(self.task)
        if settings.folds == "one_group_out" and self.protocol.ranked:
            raise ConfigError(
                f"folds = 'one_group_out' with {self.protocol.name}: who is left out lowers the share of its class among those "
                "that learn, so its score falls below those of the other class, and noise has an AUROC of 0.05",
                expected="folds of several patients of each class",
                do="Say --set folds=5, or as many as the rarest class has patients",
            )
        check_targets(self.protocol, task)
        self.protocol.refuse(Asked(task, settings.profile, settings.split is not None, external))
        check_inputs(self.protocol, settings.inputs.kind, settings.inputs.context, bool(settings.robustness.severities))

    @property
    def called(self) -> str:
        """The encoder as errors call it."""
        return "the encoder" if isinstance(self.encoder, Encoder) else Path(self.encoder).name

    @property
    def folder(self) -> Path | None:
        """Where the towers beside the encoder lie, if anywhere."""
        return None if isinstance(self.encoder, Encoder) else Path(self.encoder)

    def ready(self) -> tuple[Ready, list[str]]:
        """What reads the units, on its device, the pixels at its size, and the units of the task in folds; and notes."""
        self.check()
        protocol = self.protocol.of_run(self.folder)
        assert isinstance(protocol, Learned)
        settings, task = self.settings, self.cohort.task(self.task)
        fresh = Fresh(self.random, self.architecture, settings.image_size, settings.first_seed)
        net = open_reader(self.encoder, self.cohort, task, self.protocol, settings.photographs, fresh)
        net = read_as(net, settings.features)
        if isinstance(net, PhotoPair) and settings.inputs.kind in WITHOUT_ENCODER:
            net = net.first  # of which nothing but its size is asked
        if isinstance(net, PhotoPair):
            check_side_by_side(self.protocol)
            if settings.robustness.severities:
                raise ConfigError(
                    f"robustness.severities = {settings.robustness.severities} of photographs side by side",
                    expected="images that are read by themselves",
                    do="Take robustness.severities out",
                )
        if net is self.encoder:
            net.to(pick_device(settings.device))  # a module that was handed in stays there
        else:
            place(net, pick_device(settings.device))
        pixels = open_pixels(self.cohort, working_size(net.image_size), settings, quiet=self.quiet)
        labelled, notes = label_units(self.cohort, pixels, self.task, settings)
        check_size(labelled, settings.seeds * (1 + len(settings.labels)))
        bf16 = pick_dtype(settings.precision, net.mean.device, net) == torch.bfloat16
        settings = settings.model_copy(update={"precision": "bf16" if bf16 else "float32"})
        if not self.protocol.weighs_classes and settings.balance != "none":
            notes.append(f"{self.protocol.name} trains nothing: the setting balance changes nothing there")
        return Ready(net, pixels, labelled, protocol, settings), notes

    def inputs(self, ready: Ready) -> InputReader:
        """What reads items for heads that read more than images, or less."""
        settings, folder = ready.settings.inputs, self.folder
        positions = ready.pixels.index["position"].to_numpy()
        metadata = metadata_reader(folder, self.cohort, positions, settings.kind)
        reference = Reference(self.cohort, ready.pixels, own=True)
        if settings.kind == "image+borrowed" and settings.reference is not None:
            there = Cohort.open(
                settings.reference, preset=settings.reference_preset, max_memory=ready.settings.max_memory
            )
            size = working_size(ready.reader.image_size)
            reference = Reference(there, open_pixels(there, size, ready.settings, quiet=True), own=False)
        return InputReader(
            _one(ready.reader, self.settings), metadata, settings, ready.settings.frames, folder, reference
        )


def check_size(labelled: Labelled, rounds: int) -> None:
    """:raises ConfigError: before anything is learnt, where the probabilities of all classes would not fit into the memory.

    :param rounds: how often each unit is scored.
    """
    classes, units = sum(map(len, labelled.targets.values())), len(labelled.tested)
    need, most = units * classes * rounds * 8 * COPIES, budget()
    if need > most:
        raise ConfigError(
            f"{classes:,} classes of {units:,} units, scored {rounds} times, are tables of {need / 1e9:.1f} GB",
            expected=f"at most {most / 1e9:.1f} GB, a quarter of this machine",
            do="Put rare classes together (`classes` of the task), or score less often (--set seeds=1)",
        )


def _one(net: Reader, settings: EvaluateSettings) -> Encoder:
    """The encoder of heads that read more than images, or less; :raises ConfigError: for photographs side by side."""
    if isinstance(net, PhotoPair):
        inputs = settings.inputs
        raise ConfigError(
            f"inputs.kind = {inputs.kind!r}, inputs.context = {inputs.context!r} of photographs side by side",
            expected="inputs.kind = 'image', inputs.context = 'none'",
        )
    return net


def placed(scores: pd.DataFrame, labelled: Labelled) -> pd.DataFrame:
    """Scores with the ``side`` of a given split on which each unit was scored ("" without one), and whether its group was
    ``merged`` of several.
    """
    learnt, tested = (table.drop_duplicates("unit").set_index("unit") for table in (labelled.table, labelled.tested))
    side: Any = ""
    if labelled.test is not None:
        side = scores["unit"].map(learnt["side"]).where(scores["fold"] >= 0, "test")
    merged: Any = False
    if "merged" in learnt:
        of = pd.concat([learnt["merged"], tested["merged"]])
        merged = scores["unit"].map(of[~of.index.duplicated()])
    return scores.assign(side=side, merged=merged)


def nameless(scores: pd.DataFrame, secret: bytes) -> pd.DataFrame:
    """Scores with hashes in place of names. Only now: folds and subsets must not depend on a key that others lack."""
    hashes = {name: item_hash(name, secret) for column in ("unit", "group") for name in scores[column].unique()}
    return scores.assign(unit=scores["unit"].map(hashes), group=scores["group"].map(hashes))


@dataclass(frozen=True)
class Scored:
    """Scores of one encoder on one task, and where they come from.

    :ivar columns: the subgroup columns of each unit, indexed by unit.
    :ivar fitted: makes the model of all labelled units from the results; None where none was asked for, or where the
        head reads what a new cohort cannot bring (``inputs.kind`` not in ``SAVED``).
    :ivar tables: what else is to be written, by name, such as who lent which metadata.
    :ivar participants: flow and characteristics of who was scored; nothing of a protocol that learns nothing.
    :ivar pictures: the best, median and worst cases of masks and boxes, where the data may be shown.
    """

    table: pd.DataFrame
    facts: dict[str, Any]
    notes: list[str]
    columns: pd.DataFrame
    fitted: Callable[[pd.DataFrame], Model] | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    participants: dict[str, Any] = field(default_factory=dict)
    pictures: pd.DataFrame = field(default_factory=pd.DataFrame)


def score(
    evaluation: Evaluation,
    *,
    out: Path | None = None,
    force: bool = False,
    only: int | None = None,
    halves: bool = False,
) -> Scored:
    """Out-of-fold scores of every unit of the task, for every seed of the settings.

    :param halves: also score halves of the patients, which comparisons with other encoders read.
    :param out: also learn a head from all labelled units, to be saved there as a model; ``force`` where another one lies.
    :param only: the number of the one fold that is tested; none tests all.
    """
    evaluation.check()
    if not isinstance(evaluation.protocol, Learned):
        return _ranked(evaluation, None if force else out)
    started = time.perf_counter()
    ready, notes = evaluation.ready()
    notes += spelling_notes(evaluation.cohort)
    cohort, pixels, labelled = evaluation.cohort, ready.pixels, ready.labelled
    settings, protocol = ready.settings, evaluation.protocol
    hashes = {"data_hash": pixels.hash, "encoder_hash": weights_hash(ready.reader)}
    if out is not None and not force:
        check_same(out, evaluation.task, protocol.name, **hashes)
    worse = settings.robustness.changes(pixels.channels)  # says now, not once heads are learnt, that none is left
    read: InputReader | None = None
    inputs: Inputs | None = None
    if not settings.inputs.plain or worse:
        read = evaluation.inputs(ready)
    if read is not None and not settings.inputs.plain:
        inputs = read(cohort, pixels)
        ready = replace(ready, vectors=inputs.vectors if protocol.reads == "vectors" else inputs.beside)
    tables = []
    for seed in _said(range(settings.first_seed, settings.first_seed + settings.seeds), evaluation):
        shown = bool(cohort.spec.public) and seed == settings.first_seed
        table, more = collect_scores(replace(ready, pictures=shown), seed, only)
        tables += [table, *(collect_scores(ready, seed, only, draw)[0] for draw in further_draws(ready))]
        tables += half_scores(ready, seed, only) if halves else []
        notes += more
    if read is not None and worse:
        tables.append(disturbed_scores(ready, lambda change: read(cohort, pixels, change=change).vectors, only))
    drawn = pictures(tables[0], labelled.tested, pixels, list(labelled.targets))
    tables[0] = tables[0].drop(columns=DRAWN, errors="ignore")
    scores = pd.concat(tables, ignore_index=True)
    check_numbers(scores, evaluation.called)
    scores = placed(scores, labelled)
    facts = {
        "split_hash": labelled.split_hash,
        "leaks": bool(labelled.leaks),
        **hashes,
        "seconds": time.perf_counter() - started,
        "targets": {name: list(classes) for name, classes in labelled.targets.items()},
    }
    fitted = None
    uncalibrated = labelled.test is not None and not settings.calibrate
    if out is not None and uncalibrated:
        notes.append("No model is saved: without calibration (calibrate=false) there is no threshold")
    elif (
        out is not None
        and protocol.selects_on != "test"
        and settings.inputs.kind in SAVED
        and not settings.photographs.across
    ):
        fitted = model_of(ready, cohort, evaluation.task, scores, facts, None if read is None else read.metadata)
    tested = labelled.tested if only is None else labelled.tested[labelled.tested["unit"].isin(labelled.folds[only])]
    here = pixels.index["position"].to_numpy()[np.concatenate(tested["rows"].tolist())]
    facts["transductive"] = saw(evaluation.encoder, cohort, here, pixels)
    unit = cohort.tasks[evaluation.task].unit
    scores, drawn = (nameless(own_names(cohort, one, unit), cohort.key) if len(one) else one for one in (scores, drawn))
    written = {} if inputs is None else inputs.tables
    columns = subgroup_columns(cohort, evaluation.task, settings.subgroups)
    who = participants(cohort, pixels, evaluation.task, labelled, settings.subgroups)
    return Scored(scores, facts, sorted(set(notes)), columns, fitted, written, who, drawn)


def _said(seeds: range, evaluation: Evaluation) -> Iterator[int]:
    """The seeds, with a bar on a terminal, or a line for each where there is none."""
    console, terminal = Console(stderr=True, quiet=evaluation.quiet), sys.stderr.isatty()
    what = f"{evaluation.protocol.name} of {evaluation.task}"
    with Progress(console=console, transient=True, disable=evaluation.quiet or not terminal) as bar:
        task = bar.add_task(what, total=len(seeds))
        for number, seed in enumerate(seeds):
            if not terminal:
                console.print(shown(f"{what}: seed {number + 1} of {len(seeds)}"), markup=False, highlight=False)
            yield seed
            bar.update(task, advance=1)


def _ranked(evaluation: Evaluation, out: Path | None) -> Scored:
    """Ranks of the units of the task that the run has not learnt from; nothing is trained, so one seed is all.

    :param out: folder that must not hold another evaluation.
    """
    encoder, cohort, settings = evaluation.encoder, evaluation.cohort, evaluation.settings
    name, task = evaluation.protocol.name, cohort.tasks[evaluation.task]
    if isinstance(encoder, Encoder):
        raise ConfigError(f"The protocol {name!r} was given an encoder alone", expected="a run with all of its towers")
    started, run = time.perf_counter(), Run.open(encoder)
    net = run.encoder()
    pixels = open_pixels(cohort, working_size(net.image_size), settings, quiet=True)
    hashes = {"data_hash": pixels.hash, "encoder_hash": weights_hash(net)}
    if out is not None:
        check_same(out, evaluation.task, name, **hashes)
    net.to(pick_device(settings.device))
    table, notes = unit_table(cohort, pixels, evaluation.task, settings)
    ranks, more = rank_units(run, net, cohort, pixels, table, frames=settings.frames, seed=settings.first_seed)
    tested = table[table["unit"].isin(ranks["unit"])]
    facts = {
        "split_hash": digest(sorted(tested["unit"])), "leaks": False, "transductive": False, **hashes,
        "seconds": time.perf_counter() - started,
        "targets": {name: list(classes) for name, classes in task.targets.items()},
    }  # fmt: skip
    scores = nameless(own_names(cohort, ranks, task.unit), cohort.key)
    notes += [*more, *spelling_notes(cohort)]
    return Scored(scores, facts, notes, subgroup_columns(cohort, evaluation.task, settings.subgroups))
