"""Scores -> the tables of a result: values with clustered intervals, paired differences, label factors, confusion matrices.

Seed variance and resampling variance are two numbers: ``seed_sd`` is the standard deviation of the metric over seeds; the
interval resamples patients, each resample averaging the metric over the seeds.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd

from sidelight.errors import RunError
from sidelight.metrics.calibration import Calibration, brier, ece, fit_calibration, reliability, youden_threshold
from sidelight.metrics.classification import (
    Metric,
    accuracy,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    f1,
    partial_auroc,
    precision,
    recall,
)
from sidelight.metrics.efficiency import label_factor_interval
from sidelight.metrics.intervals import clustered_interval, holm, paired_difference

KEYS = ["encoder", "task", "protocol", "labels"]
METRICS: dict[str, Metric] = {"auroc": auroc, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "f1": f1}
CALIBRATION: dict[str, Metric] = {"ece": ece, "brier": brier}
COMPARED = ("auroc", "balanced_accuracy")
TEST_SELECTED = "published"
"""The protocol whose epoch is chosen on the test set and which scores frames: its rows say so, and nothing compares them."""


@dataclass(frozen=True)
class Block:
    """Scores of one (encoder, task, protocol, labels), aligned by unit.

    :ivar scores: float ``[S, N, C]`` for S seeds; ``labels`` int [N]; ``groups`` [N]; ``units`` [N].
    """

    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    units: np.ndarray
    all_labels: bool


def blocks(scores: pd.DataFrame, step: str = "selected") -> Iterator[tuple[tuple[Any, ...], Block]]:
    """Every block of a scores table, in the order of its keys."""
    columns = [name for name in scores.columns if name.startswith("p") and name[1:].isdigit()]
    for key, part in scores[scores["step"] == step].groupby(KEYS, sort=True):
        used = part[columns].notna().any()
        per_seed = [one.sort_values("unit") for _, one in part.groupby("seed")]
        first = per_seed[0]
        stacked = np.stack([one[used.index[used]].to_numpy(dtype=np.float64) for one in per_seed])
        yield (
            key,
            Block(
                stacked,
                first["label"].to_numpy(dtype=np.int64),
                first["group"].to_numpy(),
                first["unit"].to_numpy(),
                bool(first["all_labels"].iloc[0]),
            ),
        )


def summarise(scores: pd.DataFrame, classes: dict[str, list[str]], *, resamples: int = 1000) -> pd.DataFrame:
    """One row per (encoder, task, protocol, labels, metric); ``classes`` names the classes of each task."""
    rows = []
    for step in scores["step"].unique():
        for key, block in blocks(scores, step):
            named = dict(zip(KEYS, key, strict=True))
            named["selected_on"] = "validation" if step == "selected" else "none"
            if named["protocol"] == TEST_SELECTED:
                named["selected_on"] = "test"
            if step == "last":
                named["protocol"] = f"{named['protocol']}, last step"
            for metric in METRICS:
                rows.append({**named, **_value(block, metric, METRICS[metric], resamples)})
            if block.scores.shape[2] == 2 and block.all_labels:
                rows.append({**named, **_value(block, "pauc above 80 % TPR", partial_auroc, resamples)})
            if block.all_labels and step == "selected" and named["protocol"] != TEST_SELECTED:
                rows += [
                    {**named, **_value(block, metric, function, resamples)} for metric, function in CALIBRATION.items()
                ]
            rows += [{**named, **row} for row in _per_class(block, classes[named["task"]])]
    return pd.DataFrame(rows)


def _shared(block: Block) -> dict[str, Any]:
    groups = len(np.unique(block.groups))
    return {
        "all_labels": block.all_labels,
        "groups": groups,
        "units": len(block.labels),
        "few_groups": groups < 20,
        "seeds": len(block.scores),
    }


def _value(block: Block, metric: str, function: Metric, resamples: int) -> dict[str, Any]:
    found = clustered_interval(block.labels, block.scores, block.groups, function, resamples=resamples)
    each = [float(function(block.labels, one, None)) for one in block.scores]
    return {
        "metric": metric,
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


def _per_class(block: Block, names: list[str]) -> Iterator[dict[str, Any]]:
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


def calibrated(scores: pd.DataFrame) -> pd.DataFrame:
    """Out-of-fold scores at all labels, calibrated by a map fitted on the *other* folds' scores, with its threshold.

    So the calibrated numbers are of units that neither the head nor the map had seen, as the saved model's next units are.
    Scores of an external test (fold -1) get the map and the threshold of the cohort that trained: nothing is refitted.
    :return: the rows of ``scores`` at all labels (selected step) with new probabilities, and a column ``called`` (int
        class: above the other folds' threshold where there are two classes, else the most probable).
    """
    rows = scores[scores["all_labels"] & (scores["step"] == "selected") & (scores["protocol"] != TEST_SELECTED)]
    columns = [name for name in rows.columns if name.startswith("p") and name[1:].isdigit()]
    parts = []
    for (encoder, task, protocol, _, seed), part in rows.groupby([*KEYS, "seed"]):
        used = [name for name in columns if part[name].notna().any()]
        same = rows[(rows["encoder"] == encoder) & (rows["protocol"] == protocol) & (rows["seed"] == seed)]
        at_home = same[(same["fold"] >= 0) & same["task"].map(lambda one, of=str(task): of.startswith(f"{one} on "))]
        for fold in part["fold"].unique():
            own = part["fold"] == fold
            parts.append(_calibrated(part[own].copy(), at_home if fold < 0 else part[~own], used))
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
    for key, block in blocks(after):
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        for metric, function in CALIBRATION.items():
            rows.append({**named, **_value(block, f"{metric}, calibrated", function, resamples)})
        if block.scores.shape[2] != 2:
            continue
        own = after[(after[KEYS] == list(key)).all(axis=1)]
        called = np.stack([one.sort_values("unit")["called"].to_numpy() for _, one in own.groupby("seed")])
        decided = replace(block, scores=np.stack([1.0 - called, called * 1.0], axis=2))
        for metric, of in (("sensitivity", 1), ("specificity", 0)):
            rows.append({**named, **_value(decided, f"{metric} at threshold", partial(recall, of=of), resamples)})
    return pd.DataFrame(rows)


def reliabilities(scores: pd.DataFrame, classes: dict[str, list[str]], kind: str) -> list[dict[str, Any]]:
    """Reliability curves at all labels, seeds pooled: of the second of two classes, else of each; ``kind`` names them."""
    found = []
    for key, block in blocks(scores[scores["protocol"] != TEST_SELECTED]):
        if not block.all_labels:
            continue
        names = classes[key[1]]
        truth = np.tile(block.labels, len(block.scores))
        pooled = block.scores.reshape(-1, block.scores.shape[2])
        for c in [1] if len(names) == 2 else range(len(names)):
            curve = asdict(reliability(truth == c, pooled[:, c]))
            found.append({**dict(zip(KEYS, key, strict=True)), "class": names[c], "kind": kind, **curve})
    return found


def confusions(scores: pd.DataFrame, classes: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Confusion matrices pooled over folds and summed over seeds, at the largest label count."""
    found = []
    for key, block in blocks(scores):
        named = dict(zip(KEYS, key, strict=True))
        if not block.all_labels:
            continue
        names = classes[named["task"]]
        total = sum(confusion_matrix(block.labels, one) for one in block.scores)
        found.append({**named, "classes": names, "matrix": np.asarray(total).tolist()})
    return found


def differences(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Paired differences between every two encoders on the same units, Holm-adjusted within (task, labels, metric)."""
    every = dict(blocks(_comparable(scores)))
    rows: list[dict[str, Any]] = []
    # A rival trained from scratch has its own protocol: compare across protocols within a task and label count.
    for task, labels in sorted({(key[1], key[3]) for key in every}):
        here = {key: block for key, block in every.items() if (key[1], key[3]) == (task, labels)}
        for metric in COMPARED:
            family = []
            for one, other in combinations(here, 2):
                a, b = here[one], here[other]
                if one[0] == other[0] or a.scores.shape[1:] != b.scores.shape[1:]:
                    continue
                if not np.array_equal(a.units, b.units):
                    raise RunError(
                        f"{one[0]} and {other[0]} were judged on different units of {task}: nothing pairs them",
                        do="Score both anew on the same data",
                    )
                seeds = min(len(a.scores), len(b.scores))
                found = paired_difference(
                    a.labels, a.scores[:seeds], b.scores[:seeds], a.groups, METRICS[metric], resamples=resamples
                )
                family.append(
                    {"task": task, "protocol": one[2], "rival_protocol": other[2], "labels": labels, "metric": metric,
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
        curves.setdefault((encoder, task, protocol), {})[labels] = _resampled(block, METRICS[metric], resamples)
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
    return scores[scores["protocol"] != TEST_SELECTED]


def _resampled(block: Block, metric: Metric, resamples: int) -> np.ndarray:
    """The metric, averaged over seeds, of all groups and then of ``resamples`` bootstraps of groups: [1 + resamples]."""
    _, index = np.unique(block.groups, return_inverse=True)
    count = index.max() + 1
    drawn = np.random.default_rng([count, 5]).multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = np.concatenate([np.ones((1, count)), drawn])[:, index].astype(np.float64)
    return np.asarray(np.mean([metric(block.labels, one, weights) for one in block.scores], axis=0))
