"""Robustness: the score of units whose images were taken under worse conditions than those that heads learnt from.

Heads learn undisturbed units, fold by fold as ever; the unseen ones are scored as they are and under each condition at each
severity (:mod:`sidelight.views.disturb`). Metadata stay as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.results import DISTURBED
from sidelight.evaluation.scores import Ready
from sidelight.views.disturb import Disturb

Vectors = Callable[[Disturb | None], np.ndarray]
"""A change of the images, or none, to what heads read of every row of the pixel index: float32 [R, D]."""


def disturbed_scores(ready: Ready, vectors: Vectors, only: int | None = None) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.scores.collect_scores` gives them at all labels, of step ``DISTURBED``, with two
    more columns: ``condition`` and ``severity``.

    :param ready: with a protocol that reads vectors.
    :param only: the number of the one fold that is tested; none tests all.
    """
    task, settings = ready.labelled, ready.settings
    clean, heads = replace(ready, vectors=vectors(None)), []
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        for number, (learn, test) in enumerate(_sides(ready)):
            if only not in (None, number):
                continue
            draw, known = seed * 1000 + (number if task.test is None else 999), clean.sample(learn)
            heads.append((seed, number, test, clean.fit(known.examples(clean, known.units), seed, draw)["selected"]))
    parts = []
    for change in settings.robustness.changes(ready.pixels.channels):
        seen = replace(ready, vectors=vectors(change))
        for seed, number, test, head in heads:
            fixed: dict[str, Any] = {
                "seed": seed, "fold": number, "labels": len(task.table), "all_labels": True, "step": DISTURBED,
                "condition": change.condition, "severity": change.severity,
            }  # fmt: skip
            rows = ready.protocol.outcomes(head, test, seen.sample(test).units, task.targets)
            parts += [part.assign(**fixed) for part in rows]
    return pd.concat(parts, ignore_index=True)


def _sides(ready: Ready) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Units that learn and units that are tested: of each fold, or of a given split."""
    task = ready.labelled
    if task.test is not None:
        yield task.table, task.test
        return
    for fold in task.folds:
        tested = task.table["unit"].isin(fold)
        yield task.table[~tested].reset_index(drop=True), task.table[tested].reset_index(drop=True)
