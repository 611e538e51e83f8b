"""Scores -> the tables of a result: values with clustered intervals, calibration, operating points, confusion matrices.

Seed variance and resampling variance are two numbers: ``seed_sd`` is the standard deviation of the metric over seeds; the
interval resamples patients, each resample averaging the metric over the seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.results import INSIDE
from sidelight.evaluation.tables.blocks import KEYS, Block, blocks, probability_columns
from sidelight.metrics import metrics_of
from sidelight.metrics.calibration import Calibration, fit_calibration, reliability, youden_threshold
from sidelight.metrics.classification import confusion_matrix, precision, recall
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.metric import Metric

Targets = Mapping[str, Sequence[str]]
"""What a task predicts, each with its class names."""


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
            rows += [{**named, **row} for row in _values(block, metrics, resamples, pooled=True)]
            if block.all_labels and step == "selected" and named["protocol"] not in TEST_SELECTED:
                rows += [{**named, **row} for row in _values(block, metrics_of("calibration"), resamples)]
            if not block.several:
                names = targets[named["task"]][""]
                rows += [
                    {**named, **row}
                    for row in [*_per_class(block, names, resamples), *_against(block, names, resamples)]
                ]
    return pd.DataFrame(rows)


def _values(
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
            yield {**value_row(part, metric, resamples), "target": target}


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
    each = np.array([float(metric(block.labels, one)) for one in block.scores])
    seeds = np.array([seed for seed, _ in block.draws]) if block.draws else np.arange(len(each))
    return {
        "metric": metric.name,
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
    for measure, function in (("precision", precision), ("recall", recall)):
        for c, name in enumerate(names):
            metric = Metric(f"{measure}:{name}", partial(function, of=c), by_class=measure == "recall")
            yield value_row(block, metric, resamples)


def _against(block: Block, names: Sequence[str], resamples: int) -> Iterator[dict[str, Any]]:
    """Of three or more classes, at all labels, each against the rest: ``auroc:CLASS`` and so on, with intervals."""
    if len(names) > 2 and block.all_labels:
        for c, name in enumerate(names):
            for metric in metrics_of("class"):
                yield value_row(block.against(c), replace(metric, name=f"{metric.name}:{name}"), resamples)


def calibrated(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores at all labels, calibrated by a map fitted on scores of *other* units, out of fold, with its threshold.

    So the calibrated numbers are of units that neither the head nor the map had seen, as the saved model's next units are.
    Without a given split the map of a fold comes from the other folds. Scores of a given test side or of an external test
    (fold -1) get the map and the threshold of the units that trained, out of fold: nothing is refitted.
    :return: the rows of ``scores`` at all labels (selected step) with new probabilities, and a column ``called`` (int
        class: above the threshold where there are two classes, else the most probable).
    """
    every = scores[scores["all_labels"] & (~scores["protocol"].isin(TEST_SELECTED))]
    rows = every[every["step"] == "selected"]
    home = every[every["step"].isin(["selected", INSIDE]) & (every["fold"] >= 0)]
    columns = probability_columns(rows)
    parts = []
    for (encoder, task, protocol, _, target, seed), part in rows.groupby([*KEYS, "target", "seed"], sort=False):
        used = [name for name in columns if part[name].notna().any()]
        same = home[(home[["encoder", "protocol", "target", "seed"]] == [encoder, protocol, target, seed]).all(axis=1)]
        learnt = same[same["task"].map(lambda one, of=str(task): of == one or of.startswith(f"{one} on "))]
        for fold in part["fold"].unique():
            own = part["fold"] == fold
            parts.append(_calibrated(part[own].copy(), learnt if fold < 0 else part[~own], used))
    return pd.concat(parts, ignore_index=True) if parts else rows.assign(called=0)


def _calibrated(part: pd.DataFrame, rest: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    enough = rest["label"].nunique() == len(columns)
    given = rest[columns].to_numpy(dtype=np.float64)
    change = fit_calibration(rest["label"].to_numpy(), given) if enough else Calibration()
    part[columns] = change(part[columns].to_numpy(dtype=np.float64))
    if len(columns) > 2:
        return part.assign(called=part[columns].to_numpy().argmax(axis=1))
    cut = youden_threshold(rest["label"].to_numpy(), change(given)[:, 1]) if enough else 0.5
    return part.assign(called=(part[columns[1]] >= cut).astype(int))


def operating_points(after: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Sensitivity and specificity at the threshold, and ECE and Brier after calibration: rows as :func:`summarise` makes.

    :param after: what :func:`calibrated` returns.
    """
    rows: list[dict[str, Any]] = []
    calibration = [replace(metric, name=f"{metric.name}, calibrated") for metric in metrics_of("calibration")]
    for key, block in blocks(after):
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        rows += [{**named, **row} for row in _values(block, calibration, resamples)]
    more = after["p2"].notna() if "p2" in after else pd.Series(False, after.index)
    two, mixed = after[~more], set(after.loc[more, "task"])
    for key, block in blocks(two.assign(p0=1.0 - two["called"], p1=1.0 * two["called"])):
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        found = [{**named, **row} for row in _values(block, metrics_of("threshold"), resamples, pooled=True)]
        # of a task with targets of more classes, a mean over those of two would be taken for the task's
        rows += [row for row in found if row["target"] or named["task"] not in mixed]
    return pd.DataFrame(rows)


def reliabilities(scores: pd.DataFrame, targets: Mapping[str, Targets], kind: str) -> list[dict[str, Any]]:
    """Reliability curves at all labels, seeds pooled: of the second of two classes, else of each; ``kind`` names them.

    Of a multi-label task there is one curve per label, called as the label.
    """
    found = []
    for key, target, block in _at_all(scores[~scores["protocol"].isin(TEST_SELECTED)]):
        names = targets[key[1]][target]
        truth = np.tile(block.labels, len(block.scores))
        pooled = block.scores.reshape(-1, block.scores.shape[2])
        for c in [1] if len(names) == 2 else range(len(names)):
            curve = asdict(reliability(truth == c, pooled[:, c]))
            named = dict(zip(KEYS, key, strict=True))
            called = f"{target}: {names[c]}" if target and len(names) > 2 else target or names[c]
            found.append({**named, "target": target, "class": called, "kind": kind, **curve})
    return found


def confusions(scores: pd.DataFrame, targets: Mapping[str, Targets]) -> list[dict[str, Any]]:
    """Confusion matrices pooled over folds and summed over seeds, at the largest label count; one per target."""
    found = []
    for key, target, block in _at_all(scores):
        total = sum(confusion_matrix(block.labels, one) for one in block.scores)
        named = {**dict(zip(KEYS, key, strict=True)), "target": target, "classes": list(targets[key[1]][target])}
        found.append({**named, "matrix": np.asarray(total).tolist()})
    return found


def _at_all(scores: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], str, Block]]:
    """Every target of every block at all labels."""
    for key, block in blocks(scores):
        if block.all_labels:
            for target, part in block.parts() if block.several else [("", block)]:
                yield key, target, part
