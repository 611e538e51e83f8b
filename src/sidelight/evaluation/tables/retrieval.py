"""Ranks of retrieval -> recall and median rank with intervals."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.protocols.retrieval import FIRST
from sidelight.evaluation.results import RANKED
from sidelight.metrics.classification import ACCURACY
from sidelight.metrics.intervals import FEW_GROUPS, clustered_interval
from sidelight.metrics.representation import median_rank, recall_at


def recalls(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.tables.summary.summarise` makes: recall at 1, 5 and 10 and the median rank in both
    directions, beside what chance would give. Runs of several seeds keep different patients back: their units are pooled,
    the interval resamples patients, and a patient that two runs kept back counts as one.
    """
    ranked = scores[scores["step"] == RANKED]
    rows: list[dict[str, Any]] = []
    for (encoder, task, protocol), part in ranked.groupby(["encoder", "task", "protocol"], sort=False):
        named = {"encoder": encoder, "task": task, "protocol": protocol, "labels": 0, "selected_on": "none"}
        rows += [{**named, **row} for row in _of_encoder(part, resamples)]
    return pd.DataFrame(rows)


def _of_encoder(part: pd.DataFrame, resamples: int) -> Iterator[dict[str, Any]]:
    groups, seeds = part["group"].nunique(), part["seed"].nunique()
    common = {
        "target": "", "all_labels": False, "groups": groups, "units": part["unit"].nunique(), "few_groups": groups < FEW_GROUPS,
        "positives": np.nan, "seeds": seeds, "low": np.nan, "high": np.nan, "interval": "none", "interval_note": "",
        "seed_sd": np.nan,
    }  # fmt: skip
    for direction, own in part.groupby("target", sort=False):
        for k in FIRST:
            hits = (own["rank"] <= k).to_numpy(np.float64)
            found = clustered_interval(np.ones(len(hits), np.int64), hits, own["group"], ACCURACY, resamples=resamples)
            each = [recall_at(ranks, k) for _, ranks in own.groupby("seed")["rank"]]
            yield {
                **common, "metric": f"recall at {k}, {direction}", "value": found.value, "low": found.low,
                "high": found.high, "interval": found.method, "interval_note": found.note,
                "seed_sd": float(np.std(each, ddof=1)) if seeds > 1 else np.nan,
            }  # fmt: skip
        yield {**common, "metric": f"median rank, {direction}", "value": median_rank(own["rank"])}
    for k in FIRST:
        chance = float((k / part["among"]).clip(upper=1).mean())
        yield {**common, "metric": f"recall at {k}, by chance", "value": chance}
    yield {**common, "metric": "median rank, by chance", "value": float(((part["among"] + 1) / 2).median())}
