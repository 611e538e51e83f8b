"""Rows of boxes -> precision at each recall, with a band by patient."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.outcomes import BOXES
from sidelight.evaluation.tables.blocks import KEYS
from sidelight.evaluation.tables.cases import at_all_labels
from sidelight.metrics.bands import band_of
from sidelight.metrics.detection import MAP, precisions
from sidelight.metrics.sample import sample_of

RECALLS = np.linspace(0, 1, 21)


def detection_curves(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """One row per (encoder, task, protocol, target, recall) at all labels: ``value``, ``low`` and ``high`` of the precision at
    IoU 0.50 at the highest score that reaches the recall. Nothing where there are no boxes."""
    rows: list[dict[str, Any]] = []
    for key, target, part in at_all_labels(scores, BOXES):
        sample = sample_of(part.labels, part.groups)
        holding = sample.limiting(MAP)  # units without a box do not limit what can be known
        sample = replace(sample, counts=sample.counts[:, holding], classes=sample.classes[holding])
        band = band_of(precisions(part.scores, sample.index, RECALLS), sample, resamples=resamples)
        numbers = zip(RECALLS, band.value, np.clip(band.low, 0, 1), np.clip(band.high, 0, 1), strict=True)
        named = dict(zip(KEYS, key, strict=True)) | {"target": target}
        rows += [{**named, "recall": at, "value": value, "low": low, "high": high} for at, value, low, high in numbers]
    return pd.DataFrame(rows)
