"""Scores -> the tables of a result: values with clustered intervals, calibration, operating points, confusion matrices.

Seed variance and resampling variance are two numbers: ``seed_sd`` is the standard deviation of the metric over seeds; the
interval resamples patients, each resample averaging the metric over the seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, Block, Targets, at_all_labels, blocks
from sidelight.metrics import metrics_of
from sidelight.metrics.arrays import ratio
from sidelight.metrics.classification import AUROC, against_rest, auroc_within, confusion_matrix
from sidelight.metrics.decisions import share_interval
from sidelight.metrics.intervals import Interval, clustered_interval
from sidelight.metrics.metric import Floats, Metric

WITHIN = "auroc within folds"


def summarise(scores: pd.DataFrame, targets: Mapping[str, Targets], *, resamples: int = 1000) -> pd.DataFrame:
    """One row per (encoder, task, protocol, labels, target, metric), the task's own row without a target.

    :param targets: of each task, with class names.
    """
    rows = []
    for step in ("selected", "last"):
        for key, block in blocks(scores, step):
            named = dict(zip(KEYS, key, strict=True))
            named["selected_on"] = "validation" if step == "selected" else "none"
            if named["protocol"] in TEST_SELECTED:
                named["selected_on"] = "test"
            if step == "last":
                named["protocol"] = f"{named['protocol']}, last step"
            metrics = metrics_of("task")
            if block.several and set(block.sizes) == {2}:
                metrics += metrics_of("labels")
            if block.sizes == (2,) and block.all_labels:
                metrics += metrics_of("two classes")
            rows += [{**named, **row} for row in metric_rows(block, metrics, resamples, pooled=True)]
            if block.all_labels and step == "selected" and named["protocol"] not in TEST_SELECTED:
                rows += [{**named, **row} for row in metric_rows(block, metrics_of("calibration"), resamples)]
            if not block.several:
                names = targets[named["task"]][""]
                rows += [{**named, **row} for row in _within_folds(block, resamples)]
                rows += [
                    {**named, **row}
                    for row in [*_per_class(block, names, resamples), *_against(block, names, resamples)]
                ]
    return pd.DataFrame(rows)


def metric_rows(
    block: Block, metrics: Sequence[Metric], resamples: int, *, pooled: bool = False
) -> Iterator[dict[str, Any]]:
    """A row per metric; of a multi-label task its mean over the labels, if ``pooled`` that of all as one, and each label's."""
    for metric in metrics:
        yield value_row(block, block.of(metric), resamples)
    if pooled and block.several and set(block.sizes) == {2}:
        for metric in metrics:
            yield value_row(block.pooled(), replace(metric, name=f"micro {metric.name}"), resamples)
    for target, part in block.parts():
        for metric in metrics:
            yield {**value_row(part, part.of(metric), resamples), "target": target}


def _within_folds(block: Block, resamples: int) -> Iterator[dict[str, Any]]:
    """The AUROC of pairs of one fold, beside that of all: heads of different folds are never compared."""
    if len(np.unique(block.folds)) > 1:
        yield value_row(
            block, replace(AUROC, name=WITHIN, function=partial(auroc_within, folds=block.folds)), resamples
        )


def fold_gaps(results: pd.DataFrame) -> list[str]:
    """A sentence for each AUROC that differs from that within folds by more than half of its interval."""
    keys = ["encoder", "task", "protocol", "labels", "target"]
    pooled, within = (results[results["metric"] == name] for name in ("auroc", WITHIN))
    both = pooled.merge(within[[*keys, "value"]], on=keys, suffixes=("", "_within"))
    apart = both[(both["value"] - both["value_within"]).abs() > (both["high"] - both["low"]) / 2]
    return [
        f"{row.encoder}, {row.task}, {row.protocol}, {row.labels} labels: the AUROC of all folds together is {row.value:.2f}, "
        f"within folds {row.value_within:.2f}; believe the second"
        for row in apart.itertuples()
    ]


def _shared(block: Block) -> dict[str, Any]:
    two = block.sizes == (2,)
    return {
        "target": "",
        "all_labels": block.all_labels,
        "groups": len(np.unique(block.groups)),
        "positive_groups": float(len(np.unique(block.groups[block.labels == 1]))) if two else float("nan"),
        "units": len(np.unique(block.units)),
        "positives": float((block.labels == 1).sum()) if two else float("nan"),
        "seeds": block.seeds,
    }


def value_row(block: Block, metric: Metric, resamples: int) -> dict[str, Any]:
    """One metric of a block as a row, with its interval and the spread over seeds."""
    found = clustered_interval(block.labels, block.scores, block.groups, metric, resamples=resamples)
    return _row(block, metric.name, found, np.array([float(metric(block.labels, one)) for one in block.scores]))


def precision_row(block: Block, of: int, resamples: int, name: str) -> dict[str, Any]:
    """The precision of the class ``of`` at the arg max; unknown, not 0, where nobody is called so."""
    called = block.scores[:, :, : block.sizes[0]].argmax(axis=2) == of
    right = block.labels == of
    found = share_interval(called & right, called, block.groups, resamples=resamples)
    each = ratio((called & right).sum(axis=1).astype(float), called.sum(axis=1).astype(float), np.nan)
    return _row(block, name, found, each)


def _row(block: Block, name: str, found: Interval, each: Floats) -> dict[str, Any]:
    """A metric as a row, with its value of each draw [S]."""
    seeds = np.array([seed for seed, _ in block.draws]) if block.draws else np.arange(len(each))
    return {
        "metric": name,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "interval": found.method,
        "interval_note": found.note,
        "few_groups": found.few_groups,
        "seed_sd": _sd([float(each[seeds == seed].mean()) for seed in np.unique(seeds)]),
        **_shared(block),
    }


def _sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _per_class(block: Block, names: Sequence[str], resamples: int) -> Iterator[dict[str, Any]]:
    for c, name in enumerate(names):
        yield precision_row(block, c, resamples, f"precision:{name}")
    for c, name in enumerate(names):
        found = partial(against_rest, of=c, measure="sensitivity")
        yield value_row(block, Metric(f"recall:{name}", found, by_class=True), resamples)


def _against(block: Block, names: Sequence[str], resamples: int) -> Iterator[dict[str, Any]]:
    """Of three or more classes, at all labels, each against the rest: ``auroc:CLASS`` and so on, with intervals."""
    if len(names) > 2 and block.all_labels:
        for c, name in enumerate(names):
            for metric in metrics_of("class"):
                yield value_row(block.against(c), replace(metric, name=f"{metric.name}:{name}"), resamples)


def confusions(scores: pd.DataFrame, targets: Mapping[str, Targets]) -> list[dict[str, Any]]:
    """Confusion matrices pooled over folds and summed over seeds, at the largest label count; one per target."""
    found = []
    for key, target, block in at_all_labels(scores):
        total = sum(confusion_matrix(block.labels, one) for one in block.scores)
        named = {**dict(zip(KEYS, key, strict=True)), "target": target, "classes": list(targets[key[1]][target])}
        found.append({**named, "matrix": np.asarray(total).tolist()})
    return found
