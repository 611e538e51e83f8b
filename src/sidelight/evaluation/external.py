"""External tests: heads learn one cohort and are tested on another, in which nothing is refitted."""

import sys
from dataclasses import replace
from typing import Any

import pandas as pd

from sidelight.config import working_size
from sidelight.data.audit.shared import shared_with
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import LOOKS
from sidelight.data.cohort.spelling import classes_elsewhere
from sidelight.data.cohort.stable_names import own_names, shared_items
from sidelight.data.cohort.task import LEFT_OUT
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError, SplitError, nearest
from sidelight.evaluation.judge import Evaluation, nameless, placed
from sidelight.evaluation.labelled import Labelled, keep_labels, unit_table
from sidelight.evaluation.results import check_numbers
from sidelight.evaluation.scores import external_scores, further_draws
from sidelight.evaluation.settings import EvaluateSettings


def score_elsewhere(evaluation: Evaluation, other: Cohort) -> tuple[pd.DataFrame, list[str], bool]:
    """Scores of ``other``'s units by heads that learnt those of the question's cohort, notes, and whether it leaks.

    :raises SplitError: where ``other`` has patients of that cohort, or files, DICOM objects or pictures of it, the latter
        unless ``settings.allow_leak``.
    """
    cohort, task, settings = evaluation.cohort, evaluation.task, evaluation.settings
    evaluation.check(external=True)
    _check_patients(cohort, other, settings)
    ready, _ = evaluation.ready()
    pixels_there = open_pixels(other, working_size(ready.reader.image_size), settings, quiet=True)
    there, notes = unit_table(other, pixels_there, task, settings)
    there, more = _in_order(there, other, cohort, task, ready.labelled)
    leaks = shared_with(cohort, ready.pixels, other, pixels_there, quiet=not sys.stderr.isatty())
    if leaks and not settings.allow_leak:
        raise SplitError(
            f"{'; '.join(leaks)}: that is no external test",
            expected="pictures that the heads have not learnt from, neither as they are nor re-encoded, mirrored or cut",
            do="Leave them out with `where`, test on other data, or go on with --allow-leak (allow_leak=True) and every "
            "result says so",
        )
    more = [*more, *(f"The external test LEAKS and was made all the same (allow_leak): {one}" for one in leaks)]
    mine, theirs = cohort.spec.images, other.spec.images
    differs = [name for name in LOOKS if getattr(mine, name) != getattr(theirs, name)]
    if differs:
        what = " and ".join(differs)
        more = [
            *more,
            f"{task} on {other.alias}: [images] {what} differ between the two data sets, so images are shown otherwise",
        ]
    vectors = None
    if not settings.inputs.plain:
        read = evaluation.inputs(ready)
        here = read(cohort, ready.pixels)
        assert read.reference is not None
        # the training cohort lends, never the tested one
        seen = replace(read, reference=replace(read.reference, own=False))(other, pixels_there)
        frozen = ready.protocol.reads == "vectors"
        ready = replace(ready, vectors=here.vectors if frozen else here.beside)
        vectors = seen.vectors if frozen else seen.beside
    tables = [
        external_scores(ready, pixels_there, there, seed, vectors, draw)[0]
        for seed in range(settings.first_seed, settings.first_seed + settings.seeds)
        for draw in (0, *further_draws(ready))
    ]
    scored = pd.concat(tables, ignore_index=True)
    check_numbers(scored, evaluation.called)
    scored = placed(scored, Labelled(there, {}, ())).assign(side="external")
    named = own_names(other, scored, other.tasks[task].unit)
    scores = nameless(named, other.key)
    return scores.assign(task=f"{task} on {other.alias}"), [*notes, *more], bool(leaks)


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
    unknown = [one for one in theirs.classes if one not in mine.classes]
    if unknown:
        raise ConfigError(
            f"Task {task!r} of {other.name} has the class {unknown[0]!r}, which {cohort.name} has not: "
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
        if not mine.localized:
            absent = [name for place, name in enumerate(mine.classes) if not (there["label"] == place).any()]
            notes = [f"{task} on {other.alias}: no unit of {name} is there, so AUROC, which asks for every class, is unknown"
                     for name in absent]  # fmt: skip
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
        unknown = [one for one in theirs if one not in classes]
        if unknown:
            raise ConfigError(
                f"{name!r} of {other.name} has the class {unknown[0]!r}", expected=f"some of {', '.join(classes)}"
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
