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
from sidelight.evaluation.pictures import of_folds
from sidelight.evaluation.seen import copies_together
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.image import Encoder

Pretrain = Callable[[Cohort, dict[str, str], int], "str | Encoder"]
"""An encoder from the cohort's items that a condition selects, for the fold of this number."""


def mark_folds(
    cohort: Cohort, task: str, settings: EvaluateSettings, image_size: int
) -> list[tuple[Cohort, dict[str, str]]]:
    """For each fold the cohort with a column that marks whom pre-training must not meet, and the ``where`` that leaves them out.

    These are the patients who are tested in the fold, labelled or not, and all who are tied to them by copies of pictures.

    :raises ConfigError: with a given split, whose train side a ``where`` selects.
    """
    if settings.split is not None:
        raise ConfigError(
            "A part has unseen = true and a given split", do="Select the train side with the part's where"
        )
    pixels = open_pixels(cohort, working_size(image_size), settings, quiet=True)
    labelled, _ = label_units(cohort, pixels, task, settings)
    positions, groups = pixels.index["position"].to_numpy(), np.array(copies_together(cohort, pixels))
    column, marked = f"fold_{labelled.split_hash}", []
    for number, units in enumerate(labelled.folds):
        rows = np.concatenate(labelled.table.loc[labelled.table["unit"].isin(units), "rows"].tolist())
        held = np.where(np.isin(groups, groups[positions[rows]]), str(number), "")
        items = cohort.items.assign(**{column: held.astype(object)})
        marked.append((replace(cohort, items=items), {column: f"!= {number}"}))
    return marked


def score_unseen(pretrain: Pretrain, evaluation: Evaluation, image_size: int, *, halves: bool = False) -> Scored:
    """Out-of-fold scores as :func:`sidelight.evaluation.judge.score` makes them, the encoder of each fold learnt without its
    test patients; the hash of the encoder is that of all of them.

    :param evaluation: whose encoder is not looked at; ``halves`` as of :func:`sidelight.evaluation.judge.score`.
    """
    marked = mark_folds(evaluation.cohort, evaluation.task, evaluation.settings, image_size)
    parts = [
        score(replace(evaluation, encoder=pretrain(cohort, where, number)), only=number, halves=halves)
        for number, (cohort, where) in enumerate(marked)
    ]
    everywhere = set.intersection(
        *(set(one.table["labels"]) for one in parts)
    )  # label counts that each fold could give
    table = pd.concat([one.table[one.table["labels"].isin(everywhere)] for one in parts], ignore_index=True)
    facts = parts[0].facts | {
        "encoder_hash": digest([one.facts["encoder_hash"] for one in parts]),
        "seconds": sum(one.facts["seconds"] for one in parts),
        "transductive": any(one.facts["transductive"] for one in parts),
    }
    shown = of_folds([one.pictures for one in parts])
    return replace(
        parts[0], table=table, facts=facts, pictures=shown, notes=sorted({note for one in parts for note in one.notes})
    )
