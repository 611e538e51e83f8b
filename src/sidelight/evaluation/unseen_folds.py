"""Scores by encoders that never saw the patients they are judged on: pre-training starts anew in every fold, without them.

A method that reads metadata learns each photograph's metadata by heart. Where the test patients were among its patients,
its features of their photographs hold what was written about them, which a new patient's cannot.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from sidelight.config import digest, working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.judge import Evaluation, Scored, score
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.image import Encoder

Pretrain = Callable[[Cohort, dict[str, str], int], "str | Encoder"]
"""An encoder from the cohort's items that a condition selects, for the fold of this number."""


def mark_folds(cohort: Cohort, task: str, settings: EvaluateSettings, image_size: int) -> tuple[Cohort, str, int]:
    """The cohort with a column that says in which fold each item's patient is tested ("" in none), its name, and the number
    of folds.

    :raises ConfigError: with a given split, whose train side a ``where`` selects.
    """
    if settings.split is not None:
        raise ConfigError(
            "A part has unseen = true and a given split", do="Select the train side with the part's where"
        )
    pixels = open_pixels(cohort, working_size(image_size), settings, quiet=True)
    labelled, _ = label_units(cohort, pixels, task, settings)
    groups, positions = pixels.index["group"].to_numpy(str), pixels.index["position"].to_numpy()
    fold = np.full(len(cohort.items), "", dtype=object)
    for number, units in enumerate(labelled.folds):
        rows = np.concatenate(labelled.table.loc[labelled.table["unit"].isin(units), "rows"].tolist())
        fold[positions[np.isin(groups, groups[rows])]] = str(number)
    column = f"fold_{labelled.split_hash}"
    return replace(cohort, items=cohort.items.assign(**{column: fold})), column, len(labelled.folds)


def score_unseen(pretrain: Pretrain, evaluation: Evaluation, image_size: int, *, halves: bool = False) -> Scored:
    """Out-of-fold scores as :func:`sidelight.evaluation.judge.score` makes them, the encoder of each fold learnt without its
    test patients; the hash of the encoder is that of all of them.

    :param evaluation: whose encoder is not looked at; ``halves`` as of :func:`sidelight.evaluation.judge.score`.
    """
    marked, column, folds = mark_folds(evaluation.cohort, evaluation.task, evaluation.settings, image_size)
    parts = []
    for number in range(folds):
        encoder = pretrain(marked, {column: f"!= {number}"}, number)
        parts.append(score(replace(evaluation, encoder=encoder), only=number, halves=halves))
    everywhere = set.intersection(
        *(set(one.table["labels"]) for one in parts)
    )  # label counts that each fold could give
    table = pd.concat([one.table[one.table["labels"].isin(everywhere)] for one in parts], ignore_index=True)
    facts = parts[0].facts | {
        "encoder_hash": digest([one.facts["encoder_hash"] for one in parts]),
        "seconds": sum(one.facts["seconds"] for one in parts),
    }
    return replace(parts[0], table=table, facts=facts, notes=sorted({note for one in parts for note in one.notes}))
