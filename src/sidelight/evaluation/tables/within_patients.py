"""Which lesion of a patient first: top-k sensitivity within patients, beside a blind choice."""

from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, blocks
from sidelight.metrics.intervals import FEW_GROUPS, LEAST_GROUPS
from sidelight.metrics.ranking import first_hits

FIRST = (1, 3)
LEAST_PATIENTS = 2


def within_patients(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.tables.summary.summarise` makes, for binary tasks in which patients have units of both
    classes: ``top-k within patient`` (one of the patient's positives is among the k highest scores) and what a blind
    choice would reach. The interval resamples those patients (percentiles of a bootstrap); of fewer than ten there is none.
    """
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
            for metric, hits in ((f"top-{k} within patient", each), (f"top-{k} within patient, blind", blind[None])):
                rows.append({**named, "metric": metric, **_mean(hits, resamples), "all_labels": block.all_labels})
    return pd.DataFrame(rows)


def _mean(hits: np.ndarray, resamples: int) -> dict[str, Any]:
    """The mean over seeds and patients of ``hits`` [S, G], with its interval."""
    patients = hits.mean(axis=0)
    drawn = np.random.default_rng(0).integers(len(patients), size=(resamples, len(patients)))
    low, high = np.quantile(patients[drawn].mean(axis=1), [0.025, 0.975])
    few = len(patients) < LEAST_GROUPS
    if few:
        low = high = np.nan
    spread = float(np.std(hits.mean(axis=1), ddof=1)) if len(hits) > 1 else float("nan")
    return {
        "value": float(patients.mean()), "low": float(low), "high": float(high),
        "interval": "none" if few else "bootstrap", "target": "", "positives": float("nan"),
        "interval_note": f"too few groups: {len(patients)}, an interval needs {LEAST_GROUPS}" if few else "",
        "seed_sd": spread, "groups": len(patients), "units": len(patients), "few_groups": len(patients) < FEW_GROUPS,
        "seeds": len(hits),
    }  # fmt: skip
