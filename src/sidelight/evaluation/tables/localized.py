"""Rows of masks and boxes -> the rows of a result: each metric of the kind, of the task and of each of its classes."""

from typing import Any

import pandas as pd

from sidelight.evaluation.outcomes import OUTCOMES
from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, blocks
from sidelight.evaluation.tables.summary import metric_rows


def localized(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Rows as :func:`sidelight.evaluation.tables.summary.summarise` makes, of what the scores hold of masks and boxes.

    Of several classes the task's own row is their mean. ``positives`` are the units that hold the class.
    """
    rows: list[dict[str, Any]] = []
    for kind in OUTCOMES.values():
        for step in ("selected", "last") if kind.localized else ():
            for key, block in blocks(scores, step, kind):
                named = dict(zip(KEYS, key, strict=True))
                named["selected_on"] = "validation" if step == "selected" else "none"
                if named["protocol"] in TEST_SELECTED:
                    named["selected_on"] = "test"
                if step == "last":
                    named["protocol"] = f"{named['protocol']}, last step"
                metrics = [metric for metric in kind.metrics if metric.measured(block.scores)]
                rows += [{**named, **row} for row in metric_rows(block, metrics, resamples)]
    return pd.DataFrame(rows)
