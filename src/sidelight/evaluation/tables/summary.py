"""Scores -> the tables of a result: values with clustered intervals, paired differences, label factors, confusion matrices.

Seed variance and resampling variance are two numbers: ``seed_sd`` is the standard deviation of the metric over seeds; the
interval resamples patients, each resample averaging the metric over the seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd

from sidelight.errors import RunError
from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, Block, Targets, at_all_labels, blocks
from sidelight.metrics import METRICS, metrics_of
from sidelight.metrics.classification import confusion_matrix, precision, recall
from sidelight.metrics.efficiency import label_factor_interval
from sidelight.metrics.intervals import FEW_GROUPS, clustered_interval, holm, paired_difference
from sidelight.metrics.metric import Metric


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
                rows += [{**named, **row} for row in [*_per_class(block, names), *_against(block, names, resamples)]]
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


def _shared(block: Block) -> dict[str, Any]:
    groups = len(np.unique(block.groups))
    return {
        "target": "",
        "all_labels": block.all_labels,
        "groups": groups,
        "units": len(np.unique(block.units)),
        "positives": float((block.labels == 1).sum()) if block.sizes == (2,) else float("nan"),
        "few_groups": groups < FEW_GROUPS,
        "seeds": len(block.scores),
    }


def value_row(block: Block, metric: Metric, resamples: int) -> dict[str, Any]:
    """One metric of a block as a row, with its interval and the spread over seeds."""
    found = clustered_interval(block.labels, block.scores, block.groups, metric, resamples=resamples)
    each = [float(metric(block.labels, one)) for one in block.scores]
    return {
        "metric": metric.name,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "interval": found.method,
        "interval_note": found.note,
        "seed_sd": _sd(each),
        **_shared(block),
    }


def _sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _per_class(block: Block, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for measure, function in (("precision", precision), ("recall", recall)):
        values = np.stack([function(block.labels, one) for one in block.scores])
        for c, name in enumerate(names):
            yield {
                "metric": f"{measure}:{name}",
                "value": float(values[:, c].mean()),
                "low": float("nan"),
                "high": float("nan"),
                "interval": "none",
                "interval_note": "",
                "seed_sd": _sd(values[:, c].tolist()),
                **_shared(block),
            }


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


def differences(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Paired differences between every two encoders on the same units, Holm-adjusted within (task, labels, metric)."""
    every = dict(blocks(_comparable(scores)))
    rows: list[dict[str, Any]] = []
    # A rival trained from scratch has its own protocol: compare across protocols within a task and label count.
    for task, labels in sorted({(key[1], key[3]) for key in every}):
        here = {key: block for key, block in every.items() if (key[1], key[3]) == (task, labels)}
        for metric in [one for one in METRICS.values() if one.compared]:
            family, pairs = [], list(combinations(here, 2))
            swaps = max(2000, 40 * len(pairs))  # the smallest p-value, times the pairs, stays below 0.05
            for one, other in pairs:
                a, b = here[one], here[other]
                if one[0] == other[0] or a.scores.shape[1:] != b.scores.shape[1:] or a.sizes != b.sizes:
                    continue
                if not np.array_equal(a.units, b.units):
                    raise RunError(
                        f"{one[0]} and {other[0]} were judged on different units of {task}: nothing pairs them",
                        do="Score both anew on the same data",
                    )
                seeds = min(len(a.scores), len(b.scores))
                found = paired_difference(
                    a.labels, a.scores[:seeds], b.scores[:seeds], a.groups, a.of(metric),
                    resamples=resamples, permutations=swaps,
                )  # fmt: skip
                family.append(
                    {"task": task, "protocol": one[2], "rival_protocol": other[2], "labels": labels, "metric": metric.name,
                     "encoder": one[0], "rival": other[0], "difference": found.value, "low": found.low,
                     "high": found.high, "p": found.p, "groups": found.groups}
                )  # fmt: skip
            for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
                rows.append({**row, "p_holm": adjusted})
    return pd.DataFrame(rows)


def efficiency(scores: pd.DataFrame, *, metric: str = "auroc", resamples: int = 1000) -> pd.DataFrame:
    """How many times more labels each rival needs to reach an encoder's score, at every label count, with its interval.

    Every encoder sees the same resampled patients, so that the factor is paired.
    """
    curves: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    for (encoder, task, protocol, labels), block in blocks(_comparable(scores)):
        drawn = _resampled(block, block.of(METRICS[metric]), resamples)
        curves.setdefault((encoder, task, protocol), {})[labels] = drawn if METRICS[metric].higher_is_better else -drawn
    rows = []
    for one, other in permutations(curves, 2):
        if one[0] == other[0] or one[1] != other[1] or len(curves[one]) < 2 or len(curves[other]) < 2:
            continue
        a, b = (np.stack(list(curves[key].values()), axis=1) for key in (one, other))
        found = label_factor_interval(list(curves[one]), a[1:], list(curves[other]), b[1:], point_a=a[0], point_b=b[0])
        columns = (found.counts, found.value, found.low, found.high)
        for labels, factor, low, high in zip(*(column.tolist() for column in columns), strict=True):
            rows.append(
                {"task": one[1], "protocol": one[2], "metric": metric, "encoder": one[0], "rival": other[0],
                 "rival_protocol": other[2], "labels": labels, "factor": factor, "low": low, "high": high}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _comparable(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[~scores["protocol"].isin(TEST_SELECTED)]


def _resampled(block: Block, metric: Metric, resamples: int) -> np.ndarray:
    """The metric, averaged over seeds, of all groups and then of ``resamples`` bootstraps of groups: [1 + resamples]."""
    _, index = np.unique(block.groups, return_inverse=True)
    count = index.max() + 1
    drawn = np.random.default_rng([count, 5]).multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = np.concatenate([np.ones((1, count)), drawn])[:, index].astype(np.float64)
    return np.asarray(np.mean([metric(block.labels, one, weights) for one in block.scores], axis=0))
