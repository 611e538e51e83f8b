"""Robustness: the score of units whose images were taken under worse conditions than those that heads learnt from.

Heads learn undisturbed units, fold by fold as ever; the unseen ones are scored as they are and under each condition at each
severity (:mod:`sidelight.views.disturb`). Metadata stay as they are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.pixels.cache import Pixels
from sidelight.evaluation.features import pool_units
from sidelight.evaluation.labelled import Labelled, codes, valid_side
from sidelight.evaluation.protocols.fit import fit
from sidelight.evaluation.scores import rows_of
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.units import Units
from sidelight.models.image import Encoder
from sidelight.views.disturb import Disturb

STEP = "disturbed"
Vectors = Callable[[Disturb | None], np.ndarray]
"""A change of the images, or none, to what heads read of every row of the pixel index: float32 [R, D]."""


def conditions_of(settings: EvaluateSettings, channels: int) -> list[Disturb]:
    """What unseen units are put under; colour not where there is none."""
    asked = [name for name in settings.conditions if channels > 1 or name != "colour"]
    return [Disturb(name, severity) for name in asked for severity in settings.severities if severity > 0]


def disturbed_scores(
    encoder: Encoder,
    pixels: Pixels,
    task: Labelled,
    protocol: str,
    settings: EvaluateSettings,
    vectors: Vectors,
) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.scores.collect_scores` gives them at all labels, of step ``STEP``, with two more
    columns: ``condition`` and ``severity``.

    :param protocol: one that reads vectors.
    """
    clean = vectors(None)
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    heads = [
        (seed, number, test, _head(encoder, pixels, learn, task, protocol, settings, clean, seed, number))
        for seed in seeds
        for number, (learn, test) in enumerate(_sides(task))
    ]
    parts = []
    for change in conditions_of(settings, pixels.channels):
        seen = vectors(change)
        for seed, number, test, head in heads:
            items = test["rows"].tolist()
            scores = head(Units(pixels, items, pool_units(seen, items)))
            fixed: dict[str, Any] = {
                "seed": seed, "fold": number, "labels": len(task.table), "all_labels": True, "step": STEP,
                "condition": change.condition, "severity": change.severity,
            }  # fmt: skip
            parts += [part.assign(**fixed) for part in rows_of(test, scores, task)]
    return pd.concat(parts, ignore_index=True)


def _sides(task: Labelled) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Units that learn and units that are tested: of each fold, or of a given split."""
    if task.test is not None:
        yield task.table, task.test
        return
    for fold in task.folds:
        tested = task.table["unit"].isin(fold)
        yield task.table[~tested].reset_index(drop=True), task.table[tested].reset_index(drop=True)


def _head(
    encoder: Encoder,
    pixels: Pixels,
    learn: pd.DataFrame,
    task: Labelled,
    protocol: str,
    settings: EvaluateSettings,
    clean: np.ndarray,
    seed: int,
    number: int,
) -> Any:
    """The head that :func:`sidelight.evaluation.scores.collect_scores` makes of these units at all labels."""
    items, draw = learn["rows"].tolist(), seed * 1000 + (number if task.test is None else 999)
    return fit(
        encoder, Units(pixels, items, pool_units(clean, items)), codes(learn), learn["group"].to_numpy(), task.heads,
        protocol, settings, seed=seed, draw=draw, valid=valid_side(learn),
    )["selected"]  # fmt: skip
