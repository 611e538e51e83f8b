"""Scores under worse imaging conditions -> one row per condition and severity."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.results import DISTURBED
from sidelight.evaluation.tables.blocks import KEYS, blocks
from sidelight.metrics.classification import AUROC
from sidelight.metrics.intervals import clustered_interval


def robustness(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.tables.summary.summarise` makes, metric ``auroc, CONDITION SEVERITY``, with the columns
    ``condition`` and ``severity``; severity 0 is the score at all labels. Nothing where nothing was disturbed.
    """
    if "severity" not in scores:
        return pd.DataFrame()
    found = scores[scores["step"] == DISTURBED]
    rows: list[dict[str, Any]] = []
    for condition, severity in found[["condition", "severity"]].drop_duplicates().itertuples(index=False):
        part = found[(found["condition"] == condition) & (found["severity"] == severity)]
        rows += _rows(part, str(condition), float(severity), resamples)
    home = set(map(tuple, found[KEYS[:3]].drop_duplicates().to_numpy()))
    usual = scores[(scores["step"] == "selected") & scores["all_labels"]]
    usual = usual.loc[[key in home for key in map(tuple, usual[KEYS[:3]].to_numpy())]].assign(step=DISTURBED)
    for condition in found["condition"].unique():
        rows += _rows(usual, str(condition), 0.0, resamples)
    return pd.DataFrame(rows)


def _rows(part: pd.DataFrame, condition: str, severity: float, resamples: int) -> Iterator[dict[str, Any]]:
    for key, block in blocks(part, DISTURBED):
        value = clustered_interval(block.labels, block.scores, block.groups, block.of(AUROC), resamples=resamples)
        each = [float(block.of(AUROC)(block.labels, one, None)) for one in block.scores]
        yield {
            **dict(zip(KEYS, key, strict=True)), "selected_on": "validation", "target": "", "all_labels": True,
            "metric": f"auroc, {condition} {severity:g}", "condition": condition, "severity": severity,
            "value": value.value, "low": value.low, "high": value.high, "interval": value.method,
            "interval_note": value.note, "seed_sd": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan,
            "groups": value.groups, "units": len(np.unique(block.units)), "positives": np.nan,
            "few_groups": value.few_groups, "seeds": len(block.scores),
        }  # fmt: skip
