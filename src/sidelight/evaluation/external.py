"""External tests: heads learn one cohort and are tested on another, in which nothing is refitted."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spelling import classes_elsewhere
from sidelight.data.cohort.stable_names import own_names, shared_items
from sidelight.data.cohort.task import LEFT_OUT
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError, SplitError, nearest
from sidelight.evaluation.inputs.beside import Reference, item_vectors
from sidelight.evaluation.inputs.metadata import told_of
from sidelight.evaluation.judge import nameless, one_encoder, ready, reference_of, run_folder
from sidelight.evaluation.labelled import Labelled, keep_labels, unit_table
from sidelight.evaluation.results import RETRIEVAL
from sidelight.evaluation.scores import external_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.image import Encoder


def score_elsewhere(
    encoder: str | Path | Encoder,
    cohort: Cohort,
    other: Cohort,
    task: str,
    protocol: str,
    settings: EvaluateSettings,
    *,
    random: bool,
) -> tuple[pd.DataFrame, list[str]]:
    """Scores of ``other``'s units by heads that learnt ``cohort``'s."""
    if protocol == "published":
        raise ConfigError("The protocol 'published' knows no external test", do="Use linear or finetune")
    if protocol == RETRIEVAL:
        raise ConfigError(
            "The protocol 'retrieval' learns nothing here to be tested there", do="Give those data as --data"
        )
    _check_patients(cohort, other, settings)
    net, pixels, labelled, _ = ready(encoder, cohort, task, protocol, settings, random)
    pixels_there = open_pixels(other, working_size(net.image_size), settings, quiet=True)
    there, notes = unit_table(other, pixels_there, task, settings)
    there, more = _in_order(there, other, cohort, task, labelled)
    same = set(pixels.index["digest"]) & set(pixels_there.index["digest"])
    if same:
        raise SplitError(
            f"{len(same)} images of {other.name} are also in {cohort.name}: that is no external test",
            do="Leave them out with `where`, or test on other data",
        )
    vectors = None
    if settings.inputs != "image" or settings.context != "none":
        folder, size = run_folder(encoder), working_size(net.image_size)
        told = told_of(folder, cohort, pixels.index["position"].to_numpy(), settings.inputs)
        here = reference_of(settings, Reference(cohort, pixels, own=True), size)
        read = partial(item_vectors, one_encoder(net, settings), told, settings=settings, folder=folder)
        lent = replace(here, own=False)  # the training cohort lends, never the tested one
        vectors = (
            read(cohort=cohort, pixels=pixels, reference=here).read_by(protocol),
            read(cohort=other, pixels=pixels_there, reference=lent).read_by(protocol),
        )
    tables = [
        external_scores(net, pixels, labelled, pixels_there, there, protocol, settings, seed, vectors)[0]
        for seed in range(settings.first_seed, settings.first_seed + settings.seeds)
    ]
    named = own_names(other, pd.concat(tables, ignore_index=True), other.tasks[task].unit)
    scores = nameless(named, other.key)
    return scores.assign(task=f"{task} on {other.alias}"), [*notes, *more]


def _in_order(
    there: pd.DataFrame, other: Cohort, cohort: Cohort, task: str, labelled: Labelled
) -> tuple[pd.DataFrame, list[str]]:
    """The other cohort's units with labels in the order of ``labelled``, and sentences on labels that cannot be judged there.

    :raises ConfigError: for a class that ``cohort`` has not, or where one has several labels and the other not.
    """
    mine, theirs = cohort.tasks[task], other.tasks[task]
    if mine.several != theirs.several or bool(mine.parts) != bool(theirs.parts):
        raise ConfigError(f"Task {task!r} has several label columns in one of {cohort.name} and {other.name} only")
    if mine.parts:
        return _parts_in_order(there, other, cohort, task, labelled)
    theirs = replace(theirs, classes=classes_elsewhere(cohort, other, task))
    strange = [one for one in theirs.classes if one not in mine.classes]
    if strange:
        raise ConfigError(
            f"Task {task!r} of {other.name} has the class {strange[0]!r}, which {cohort.name} has not: "
            f"its classes are {', '.join(mine.classes)}",
            do=f"Map the values in [task.{task}] classes of {other.name}",
        )
    notes = []
    if mine.kind == "multilabel":
        known = {name: set(there["label"].str[place]) for place, name in enumerate(theirs.classes)}
        judged = [name for name in labelled.targets if {0, 1} <= known.get(name, set())]
        notes = [f"{task} on {other.alias}: {name} is not judged, no unit with or none without it is there"
                 for name in labelled.targets if name not in judged]  # fmt: skip
        there = keep_labels(there, [theirs.classes.index(one) if one in judged else None for one in labelled.targets])
    else:
        to_mine = {place: mine.classes.index(one) for place, one in enumerate(theirs.classes)}
        there = there.assign(label=there["label"].map(to_mine))
    return there.sort_values("unit").reset_index(drop=True), notes


def _parts_in_order(
    there: pd.DataFrame, other: Cohort, cohort: Cohort, task: str, labelled: Labelled
) -> tuple[pd.DataFrame, list[str]]:
    """As :func:`_in_order`, of a task that puts others together: targets by name, and each one's classes by name."""
    column = {part.name: number for number, part in enumerate(other.tasks[task].parts)}
    missing = [name for name in labelled.targets if name not in column]
    if missing:
        raise ConfigError(f"Task {task!r} of {other.name} has no {missing[0]!r}", do=nearest(missing[0], column))
    columns = []
    for name, classes in labelled.targets.items():
        theirs = classes_elsewhere(cohort, other, name)
        strange = [one for one in theirs if one not in classes]
        if strange:
            raise ConfigError(
                f"{name!r} of {other.name} has the class {strange[0]!r}", expected=f"some of {', '.join(classes)}"
            )
        code: dict[Any, int] = {LEFT_OUT: LEFT_OUT, **{number: classes.index(one) for number, one in enumerate(theirs)}}
        columns.append([code[own] for own in there["label"].str[column[name]]])
    there = there.assign(label=pd.Series(list(zip(*columns, strict=True)), there.index, dtype=object))
    return there.sort_values("unit").reset_index(drop=True), []


def _check_patients(cohort: Cohort, other: Cohort, settings: EvaluateSettings) -> None:
    shared = [] if settings.other_people else shared_items(cohort, other)
    if shared:
        raise SplitError(
            f"{len(shared)} items of {other.name} have patients or studies of {cohort.name}, for example {shared[0]!r}: "
            "that is no external test",
            do="Take them out, or, if the numbers only look alike (two hospitals, two anonymised exports), say that they "
            "are other people: --set other_people=true",
        )
