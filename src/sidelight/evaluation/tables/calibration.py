"""May a probability be believed? Scores calibrated by other units, reliability curves, intercept, slope, O:E, smooth curves."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.results import INSIDE
from sidelight.evaluation.tables.blocks import KEYS, Block, Targets, at_all_labels, probability_columns
from sidelight.metrics.bands import Band, band_of
from sidelight.metrics.calibration import (
    Calibration,
    fit_calibration,
    reliability,
    to_prevalence,
    youden_threshold,
    youden_thresholds,
)
from sidelight.metrics.decisions import threshold_of_cost
from sidelight.metrics.metric import Array, Floats
from sidelight.metrics.recalibration import MEASURES, RATIO, smooth_curve, weak_calibration
from sidelight.metrics.sample import Sample, chunks, sample_of

AS_PREDICTED, CALIBRATED = "as predicted", "calibrated"
POINTS = 40
"""Stated probabilities at which a smooth curve is given."""
INNER = 0.005
"""Share of the units beyond either end of a smooth curve."""
CUT_RESAMPLES = 200

Costs = Mapping[str, float | None]
"""What a miss costs in false alarms, by task; None or no entry: the threshold is Youden's."""


def calibrated(scores: pd.DataFrame, costs: Costs | None = None) -> pd.DataFrame:
    """Scores at all labels, calibrated by a map fitted on scores of *other* units, out of fold, with its threshold.

    So the calibrated numbers are of units that neither the head nor the map had seen, as the saved model's next units are.
    Without a given split the map of a fold comes from the other folds. Scores of a given test side or of an external test
    (fold -1) get the map and the threshold of the units that trained, out of fold: nothing is refitted.
    :return: the rows of ``scores`` at all labels (selected step) with new probabilities, and the columns ``called`` (int
        class: above the threshold where there are two classes, else the most probable), ``cut`` (the threshold, NaN of more
        classes) and ``home`` (the share of class 1 among the units that the map learnt from).
    """
    parts = [part for part, _, _ in _maps(scores, costs or {})]
    empty = scores[scores["all_labels"] & (scores["step"] == "selected")].iloc[:0]
    return pd.concat(parts, ignore_index=True) if parts else empty.assign(called=0, cut=np.nan, home=np.nan)


def calibrated_with_thresholds(
    scores: pd.DataFrame, costs: Costs | None = None
) -> tuple[pd.DataFrame, dict[tuple[Any, ...], Floats]]:
    """:func:`calibrated`, and by (``KEYS``, target) of two classes the thresholds that resamples of the patients who chose those
    of each fold and seed would have chosen (the map of probabilities held fixed); none where a cost says the threshold.
    """
    parts, draws = [], dict[tuple[Any, ...], list[Floats]]()
    for part, rest, stated in _maps(scores, costs or {}):
        parts.append(part)
        if stated is not None:
            key = (*part[KEYS].iloc[0], part["target"].iloc[0])
            draws.setdefault(key, []).append(_redrawn_cuts(rest, stated))
    if not parts:
        return calibrated(scores), {}
    return pd.concat(parts, ignore_index=True), {key: np.concatenate(each) for key, each in draws.items()}


def _redrawn_cuts(rest: pd.DataFrame, stated: Floats) -> Floats:
    _, index = np.unique(rest["group"].to_numpy(), return_inverse=True)
    count = index.max() + 1
    weights = np.random.default_rng([count, 6]).multinomial(count, np.full(count, 1 / count), size=CUT_RESAMPLES)
    found = [
        youden_thresholds(rest["label"].to_numpy(), stated, part[:, index])
        for part in chunks(weights.astype(np.float64), len(index))
    ]
    return np.concatenate(found)


def _maps(scores: pd.DataFrame, costs: Costs) -> Iterator[tuple[pd.DataFrame, pd.DataFrame, Floats | None]]:
    """Calibrated rows of each fold and seed, the rows from which their map comes, and the calibrated probabilities of these
    where they chose the threshold."""
    for task, part, rest, columns in _with_others(scores):
        enough = rest["label"].nunique() == len(columns)
        given, truth = rest[columns].to_numpy(dtype=np.float64), rest["label"].to_numpy()
        change = fit_calibration(truth, given) if enough else Calibration()
        part[columns] = change(part[columns].to_numpy(dtype=np.float64))
        part["home"] = float((truth == 1).mean()) if enough else np.nan
        if len(columns) > 2:
            yield part.assign(called=part[columns].to_numpy().argmax(axis=1), cut=np.nan), rest, None
            continue
        cost, cut, stated = costs.get(task), 0.5, None
        if cost is not None:
            cut = threshold_of_cost(cost)
        elif enough:
            stated = change(given)[:, 1]
            cut = youden_threshold(truth, stated)
        yield part.assign(called=(part[columns[1]] >= cut).astype(int), cut=cut), rest, stated


def _with_others(scores: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, list[str]]]:
    """Task, rows of one fold and seed, rows of the units from which their map comes, and the columns of both."""
    every = scores[scores["all_labels"] & (~scores["protocol"].isin(TEST_SELECTED))]
    rows = every[every["step"] == "selected"]
    home = every[every["step"].isin(["selected", INSIDE]) & (every["fold"] >= 0)]
    columns = probability_columns(rows)
    for (encoder, task, protocol, _, target, seed), part in rows.groupby([*KEYS, "target", "seed"], sort=False):
        used = [name for name in columns if part[name].notna().any()]
        same = home[(home[["encoder", "protocol", "target", "seed"]] == [encoder, protocol, target, seed]).all(axis=1)]
        learnt = same[same["task"].map(lambda one, of=str(task): of == one or of.startswith(f"{one} on "))]
        for fold in part["fold"].unique():
            own = part["fold"] == fold
            if fold >= 0 or len(learnt):  # else a given split was asked for without calibration
                yield str(task), part[own].copy(), learnt if fold < 0 else part[~own], used


def reliabilities(scores: pd.DataFrame, targets: Mapping[str, Targets], kind: str) -> list[dict[str, Any]]:
    """Reliability curves at all labels, seeds pooled: of the second of two classes, else of each; ``kind`` names them.

    Of a multi-label task there is one curve per label, called as the label.
    """
    found = []
    for named, block, positive, score in _classes(scores, targets):
        truth = np.tile(positive, len(block.scores))
        found.append({**named, "kind": kind, **asdict(reliability(truth, score.ravel()))})
    return found


def _classes(
    scores: pd.DataFrame, targets: Mapping[str, Targets]
) -> Iterator[tuple[dict[str, Any], Block, Array, Floats]]:
    """Names, block, positives [N] and probabilities [S, N] of the second of two classes, else of each against the rest."""
    for key, target, block in at_all_labels(scores[~scores["protocol"].isin(TEST_SELECTED)]):
        names = targets[key[1]][target]
        for c in [1] if len(names) == 2 else range(len(names)):
            called = f"{target}: {names[c]}" if target and len(names) > 2 else target or names[c]
            named = {**dict(zip(KEYS, key, strict=True)), "target": target, "class": called}
            yield named, block, block.labels == c, block.scores[:, :, c]


def at_prevalence(after: pd.DataFrame, wanted: Mapping[str, float | None]) -> dict[float, pd.DataFrame]:
    """Calibrated scores of two classes moved to the prevalence that is wanted of their task, by that prevalence.

    Their log-odds are shifted by the difference to the prevalence of the units that calibrated them.

    :param after: of :func:`calibrated`.
    """
    own = after["task"].map(wanted.get).astype(float)
    two = after["p2"].isna() if "p2" in after else pd.Series(True, after.index)
    found = {}
    for share in own[two & after["home"].between(0, 1, inclusive="neither")].dropna().unique():
        part = after[two & (own == share) & after["home"].between(0, 1, inclusive="neither")]
        moved = to_prevalence(part["p1"], part["home"], float(share))
        found[float(share)] = part.assign(p0=1 - moved, p1=moved)
    return found


def calibration_tables(
    scores: pd.DataFrame,
    targets: Mapping[str, Targets],
    kind: str,
    *,
    prevalence: float | None = None,
    resamples: int = 1000,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of intercept, slope and O:E at all labels, and rows of smooth curves; classes as in :func:`reliabilities`.

    :param kind: what they are called; ``prevalence`` at which they are measured, each class weighted to have its share.
    """
    rows, curves = [], []
    for named, _, positive, score, sample in _sampled(scores, targets):
        said = {**named, "kind": kind}
        found = weak_rows(positive, score, sample, prevalence=prevalence, resamples=resamples)
        rows += [{**said, **row, **support(positive, sample), "seeds": len(score)} for row in found]
        low, high = np.quantile(score, [INNER, 1 - INNER])
        at = np.linspace(low, high, POINTS) if high > low else np.array([low])
        drawn = smooth_curve(positive, score, sample.index, at, prevalence=prevalence)
        band = band_of(drawn, sample, resamples=resamples)
        numbers = zip(at, band.value, np.clip(band.low, 0, 1), np.clip(band.high, 0, 1), strict=True)
        curves += [{**said, "stated": p, "observed": share, "low": a, "high": b} for p, share, a, b in numbers]
    return rows, curves


def _sampled(
    scores: pd.DataFrame, targets: Mapping[str, Targets]
) -> Iterator[tuple[dict[str, Any], Block, Array, Floats, Sample]]:
    for named, block, positive, score in _classes(scores, targets):
        yield named, block, positive, score, sample_of(positive.astype(np.int64), block.groups)


def support(positive: Array, sample: Sample) -> dict[str, Any]:
    """How many units and groups there are, and how many with the class."""
    with_it = np.unique(sample.index[positive])
    return {"units": len(positive), "groups": sample.groups, "positives": int(positive.sum()),
            "positive_groups": len(with_it)}  # fmt: skip


def weak_rows(
    positive: Array, score: Floats, sample: Sample, *, prevalence: float | None = None, resamples: int = 1000
) -> list[dict[str, Any]]:
    """Intercept, slope and O:E of probabilities [S, N] with their intervals, a row each."""
    values = weak_calibration(positive, score, sample.index, prevalence=prevalence)
    band = band_of(values, sample, resamples=resamples)
    return [interval_row(name, band, place, logarithm=name == RATIO) for place, name in enumerate(MEASURES)]


def interval_row(measure: str, band: Band, place: int, *, logarithm: bool = False) -> dict[str, Any]:
    """One number of a band as a row; of a ``logarithm`` the number itself."""
    numbers = np.array([band.value[place], band.low[place], band.high[place]])
    value, low, high = np.exp(numbers) if logarithm else numbers
    method = "none" if np.isnan(low) else band.method
    return {"measure": measure, "value": float(value), "low": float(low), "high": float(high), "interval": method,
            "interval_note": band.notes[place]}  # fmt: skip
