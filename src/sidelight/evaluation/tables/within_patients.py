"""Which lesion of a patient first: top-k sensitivity within patients, beside a blind choice."""

from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, Block, blocks
from sidelight.evaluation.tables.summary import value_row
from sidelight.metrics.arrays import as_rows, ratio, shaped
from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.ranking import first_hits

FIRST = (1, 3)
LEAST_PATIENTS = 2


def within_patients(scores: pd.DataFrame, level: str = "patient", *, resamples: int = 1000) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.tables.summary.summarise` makes, for binary tasks in which patients have units of both
    classes: ``top-k within patient`` (one of the patient's positives is among the k highest scores) and what a blind
    choice would reach. The interval is that of any share of those patients. Groups that near-duplicates joined are left out.

    :param level: what the rows call a patient.
    """
    if "merged" in scores:
        scores = scores[~scores["merged"].fillna(False).astype(bool)]
    rows: list[dict[str, Any]] = []
    for key, block in blocks(scores):
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        if block.sizes != (2,) or named["protocol"] in TEST_SELECTED:
            continue
        for k in FIRST:
            each = np.stack([first_hits(block.labels, one[:, 1], block.groups, k) for one in block.scores])
            if each.shape[1] < LEAST_PATIENTS:
                continue
            blind = first_hits(block.labels, np.zeros(len(block.labels)), block.groups, k)
            for name, hits, draws in (("", each, block.draws), (", blind", blind[None], block.draws[:1])):
                patients = np.arange(each.shape[1])
                found = Block(hits[:, :, None], np.zeros(len(patients), np.int64), patients, patients, block.all_labels,
                              sizes=(1,), draws=draws)  # fmt: skip
                metric = Metric(f"top-{k} within {level}{name}", _mean, pooled=True)
                rows.append({**named, **value_row(found, metric, resamples)})
    return pd.DataFrame(rows)


def _mean(labels: Array, scores: Array, weights: Floats | None = None) -> Any:
    """The mean of ``scores`` [N, 1], one per patient."""
    rows = as_rows(weights, len(scores))
    return shaped(ratio(rows @ scores[:, 0], rows.sum(axis=1), np.nan), weights)
