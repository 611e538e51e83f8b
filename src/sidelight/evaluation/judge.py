"""From an encoder and a cohort to scores of unseen units, and to the model of all labelled ones."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sidelight.config import digest, working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import own_names
from sidelight.data.cohort.task import Task
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels, open_pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.inputs.beside import Inputs, Reference, check_reading, item_vectors
from sidelight.evaluation.inputs.metadata import told_of
from sidelight.evaluation.labelled import Labelled, label_units, unit_table
from sidelight.evaluation.model.fit import SAVED, model_of
from sidelight.evaluation.model.model import Model
from sidelight.evaluation.protocols.fit import known_protocol
from sidelight.evaluation.protocols.retrieval import rank_units
from sidelight.evaluation.reader import open_reader
from sidelight.evaluation.results import RETRIEVAL, check_same
from sidelight.evaluation.robustness import disturbed_scores
from sidelight.evaluation.scores import collect_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.subgroups import subgroup_columns
from sidelight.evaluation.units import Reader
from sidelight.models.image import Encoder, weights_hash
from sidelight.models.pair import PhotoPair
from sidelight.train.device import pick_device, pick_dtype
from sidelight.train.run import Run
from sidelight.views.disturb import Disturb


def nameless(scores: pd.DataFrame, secret: bytes) -> pd.DataFrame:
    """Scores with hashes in place of names. Only now: folds and subsets must not depend on a key that others lack."""
    hashes = {name: item_hash(name, secret) for column in ("unit", "group") for name in scores[column].unique()}
    return scores.assign(unit=scores["unit"].map(hashes), group=scores["group"].map(hashes))


@dataclass(frozen=True)
class Scored:
    """Scores of one encoder on one task, and where they come from.

    :ivar columns: the subgroup columns of each unit, indexed by unit.
    :ivar tested: positions in ``cohort.items`` of what was tested.
    :ivar fitted: makes the model of all labelled units from the results; None where none was asked for, or where the
        head reads what a new cohort cannot bring (``inputs`` not in ``SAVED``).
    :ivar tables: what else is to be written, by name, such as who lent which metadata.
    """

    table: pd.DataFrame
    facts: dict[str, Any]
    notes: list[str]
    columns: pd.DataFrame
    tested: np.ndarray
    fitted: Callable[[pd.DataFrame], Model] | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def score(
    encoder: str | Path | Encoder,
    cohort: Cohort,
    task: str,
    protocol: str,
    settings: EvaluateSettings,
    *,
    random: bool = False,
    out: Path | None = None,
    force: bool = False,
    only: int | None = None,
) -> Scored:
    """Out-of-fold scores of every unit of ``task``, for every seed of ``settings``.

    :param out: also learn a head from all labelled units, to be saved there as a model; ``force`` where another one lies.
    :param only: the number of the one fold that is tested; none tests all.
    :raises ConfigError: for the protocol ``published`` without profile ``paper`` or on a given split.
    """
    if protocol == "published" and settings.profile != "paper":
        raise ConfigError(
            "The protocol 'published' selects on the test set",
            do="Use it with profile='paper' for comparison with a published table only; else linear or finetune",
        )
    if protocol == "published" and task in cohort.tasks:
        _check_published(cohort.tasks[task], settings)
    if protocol == RETRIEVAL:
        return _retrieved(encoder, cohort, task, settings, out if not force else None)
    started = time.perf_counter()
    net, pixels, labelled, notes = ready(encoder, cohort, task, protocol, settings, random)
    hashes = {"data_hash": pixels.hash, "encoder_hash": weights_hash(net)}
    if out is not None and not force:
        check_same(out, task, protocol, **hashes)
    settings = settings.model_copy(update={"precision": _precision(settings, net.mean.device)})
    if protocol == "knn" and settings.balance != "none":
        notes.append("kNN trains nothing: the setting balance changes nothing there")
    folder, size = run_folder(encoder), working_size(net.image_size)
    told = told_of(folder, cohort, pixels.index["position"].to_numpy(), settings.inputs)
    reference = reference_of(settings, Reference(cohort, pixels, own=True), size)

    def read(change: Disturb | None = None) -> Inputs:
        return item_vectors(
            one_encoder(net, settings),
            told,
            cohort,
            pixels,
            settings,
            folder=folder,
            reference=reference,
            change=change,
        )

    beside = None if settings.inputs == "image" and settings.context == "none" else read()
    vectors = None if beside is None else beside.read_by(protocol)
    tables = []
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        table, more = collect_scores(net, pixels, labelled, protocol, settings, seed, vectors, only)
        tables.append(table)
        notes += more
    if settings.severities:
        one = one_encoder(net, settings)
        tables.append(disturbed_scores(one, pixels, labelled, protocol, settings, lambda change: read(change).vectors))
    scores = pd.concat(tables, ignore_index=True)
    facts = {
        "split_hash": labelled.split_hash,
        "leaks": bool(labelled.leaks),
        **hashes,
        "seconds": time.perf_counter() - started,
        "targets": {name: list(classes) for name, classes in labelled.targets.items()},
    }
    fitted = None
    if out is not None and protocol != "published" and settings.inputs in SAVED:
        fitted = model_of(net, told, cohort, pixels, labelled, task, protocol, settings, scores, facts, vectors)
    scores = nameless(own_names(cohort, scores, cohort.tasks[task].unit), cohort.key)
    tested = pixels.index["position"].to_numpy()[np.concatenate(labelled.tested["rows"].tolist())]
    written = {} if beside is None else beside.tables
    columns = subgroup_columns(cohort, task, settings)
    return Scored(scores, facts, sorted(set(notes)), columns, tested, fitted, written)


def _check_published(task: Task, settings: EvaluateSettings) -> None:
    """:raises ConfigError: where no published protocol is of such a task: it has folds, or several tasks and a split."""
    if task.parts and settings.split is None:
        raise ConfigError(
            "The protocol 'published' of several labels needs the set's own split", do="Give it with split=COLUMN"
        )
    if not task.parts and settings.split is not None:
        raise ConfigError("The protocol 'published' has its own folds, a given split none", do="Use linear or finetune")
    if task.several and not task.parts:
        raise ConfigError("The protocol 'published' knows no task of several labels", do="Use linear or finetune")


def _retrieved(
    encoder: str | Path | Encoder, cohort: Cohort, task: str, settings: EvaluateSettings, out: Path | None
) -> Scored:
    """Ranks of the units of ``task`` that the run ``encoder`` has not learnt from; nothing is trained, so one seed is all.

    :param out: folder that must not hold another evaluation.
    """
    if isinstance(encoder, Encoder):
        raise ConfigError(
            "The protocol 'retrieval' was given an encoder alone", expected="a run with all of its towers"
        )
    started, run = time.perf_counter(), Run.open(encoder)
    net = run.encoder()
    pixels = open_pixels(cohort, working_size(net.image_size), settings, quiet=True)
    hashes = {"data_hash": pixels.hash, "encoder_hash": weights_hash(net)}
    if out is not None:
        check_same(out, task, RETRIEVAL, **hashes)
    net.to(pick_device(settings.device))
    table, notes = unit_table(cohort, pixels, task, settings)
    ranks, more = rank_units(run, net, cohort, pixels, table, frames=settings.frames, seed=settings.first_seed)
    tested = table[table["unit"].isin(ranks["unit"])]
    facts = {
        "split_hash": digest(sorted(tested["unit"])), "leaks": False, **hashes, "seconds": time.perf_counter() - started,
        "targets": {name: list(classes) for name, classes in cohort.tasks[task].targets.items()},
    }  # fmt: skip
    rows = pixels.index["position"].to_numpy()[np.concatenate(tested["rows"].tolist())]
    scores = nameless(own_names(cohort, ranks, cohort.tasks[task].unit), cohort.key)
    return Scored(scores, facts, [*notes, *more], subgroup_columns(cohort, task, settings), rows)


def reference_of(settings: EvaluateSettings, usual: Reference, size: int) -> Reference:
    """Whose metadata image+borrowed borrows: those of the cohort that the settings name, else ``usual``."""
    if settings.inputs != "image+borrowed" or settings.reference is None:
        return usual
    there = Cohort.open(settings.reference, preset=settings.reference_preset)
    return Reference(there, open_pixels(there, size, settings, quiet=True), own=False)


def run_folder(encoder: str | Path | Encoder) -> Path | None:
    """Where the towers beside the encoder lie, if anywhere."""
    return None if isinstance(encoder, Encoder) else Path(encoder)


def one_encoder(net: Reader, settings: EvaluateSettings) -> Encoder:
    """The encoder of heads that read more than images, or less; :raises ConfigError: for photographs side by side."""
    if isinstance(net, PhotoPair):
        raise ConfigError(
            f"inputs = {settings.inputs!r}, context = {settings.context!r} of photographs side by side",
            expected="inputs = 'image', context = 'none'",
        )
    return net


def ready(
    encoder: str | Path | Encoder, cohort: Cohort, task: str, protocol: str, settings: EvaluateSettings, random: bool
) -> tuple[Reader, Pixels, Labelled, list[str]]:
    """What reads the units, on its device, the pixels at its size, and the units of the task in folds."""
    known_protocol(protocol)
    check_reading(protocol, settings)
    net = open_reader(encoder, cohort, cohort.task(task), protocol, settings, random)
    net.to(pick_device(settings.device))  # a module that was handed in stays there
    pixels = open_pixels(cohort, working_size(net.image_size), settings, quiet=True)
    labelled, notes = label_units(cohort, pixels, task, settings)
    return net, pixels, labelled, notes


def _precision(settings: EvaluateSettings, device: torch.device) -> str:
    return "bf16" if pick_dtype(settings.precision, device) == torch.bfloat16 else "float32"
