"""Calibration: Brier score, expected calibration error with equal-mass bins, reliability curves, and maps that mend them.

Labels, scores and weights are as in :mod:`sidelight.metrics.classification`; scores are probabilities. O:E, intercept, slope and
the smooth curve stand in :mod:`sidelight.metrics.recalibration`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax

from sidelight.metrics.arrays import as_columns, as_rows, ratio, shaped
from sidelight.metrics.metric import Array, Floats, Metric

BINS = 10
_LEAST = 1e-6
_RIDGE = 1e-2


def brier(labels: Array, scores: Array, weights: Floats | None = None) -> object:
    """Mean squared distance of probability and truth (Brier 1950), over the classes but for two classes of class 1 alone.

    So two classes give 0 .. 1 (0.25 for always saying one half), more classes the sum over classes, 0 .. 2.

    >>> round(brier(np.array([0, 1]), np.array([0.2, 0.6])), 3)
    0.1
    """
    columns = as_columns(scores)
    truth = np.eye(columns.shape[1])[np.asarray(labels)]
    each = ((columns - truth) ** 2).sum(axis=1) / (2 if columns.shape[1] == 2 else 1)
    rows = as_rows(weights, len(each))
    return shaped(ratio(rows @ each, rows.sum(axis=1), np.nan), weights)


def ece(labels: Array, scores: Array, weights: Floats | None = None, *, bins: int = BINS) -> object:
    """Expected calibration error: the mean distance of stated and observed frequency over bins of equal mass.

    Of class 1 for two classes, else the mean over classes of one against the rest. The bins are those of the sample and
    stay as they are in its resamples. It is biased upwards in small samples: a perfect forecast of N units does not get 0.

    >>> round(ece(np.array([0, 1, 1, 1]), np.array([0.5, 0.5, 1.0, 1.0]), bins=2), 3)
    0.0
    """
    columns, labels = as_columns(scores), np.asarray(labels)
    rows = as_rows(weights, len(labels))
    wanted = [1] if columns.shape[1] == 2 else range(columns.shape[1])
    values = [_binary_ece(labels == c, columns[:, c], rows, bins) for c in wanted]
    return shaped(np.asarray(np.mean(values, axis=0)), weights)


def _binary_ece(positive: Array, score: Floats, rows: Floats, bins: int) -> Floats:
    member = np.eye(bins)[_equal_mass(score, bins)]
    gap = np.abs((rows * (score - positive)) @ member)
    return ratio(gap.sum(axis=1), rows.sum(axis=1), np.nan)


def _equal_mass(score: Floats, bins: int) -> Array:
    """Bin of each score, 0 .. bins - 1, as nearly as many units in each as ties allow: equal scores share a bin."""
    ranked = np.sort(score)
    return np.minimum(np.searchsorted(ranked, score, "left") * bins // len(score), bins - 1)


@dataclass(frozen=True)
class Reliability:
    """A reliability curve, one entry per bin that holds a unit: mean probability, observed share, and units."""

    stated: tuple[float, ...]
    observed: tuple[float, ...]
    units: tuple[int, ...]


def reliability(positive: ArrayLike, score: ArrayLike, *, bins: int = BINS) -> Reliability:
    """The reliability curve of one class: ``positive`` bool [N], ``score`` its probabilities [N]."""
    hit, score = np.asarray(positive, dtype=np.float64), np.asarray(score, dtype=np.float64)
    place = _equal_mass(score, bins)
    parts = [place == b for b in range(bins) if (place == b).any()]
    return Reliability(
        tuple(float(score[part].mean()) for part in parts),
        tuple(float(hit[part].mean()) for part in parts),
        tuple(int(part.sum()) for part in parts),
    )


@dataclass(frozen=True)
class Calibration:
    """A map of probabilities: logits are divided by ``temperature`` and, for two classes, ``shift`` is added (Platt).

    The order of units by probability stays; for more than two classes the predicted class stays too.
    """

    temperature: float = 1.0
    shift: float = 0.0

    def __call__(self, scores: ArrayLike) -> Floats:
        """Calibrated probabilities ``[N, C]`` of ``[N, C]``; a row of NaN stays NaN."""
        columns = as_columns(scores)
        if columns.shape[1] == 2:
            one = expit(_logit(columns[:, 1]) / self.temperature + self.shift)
            return np.stack([1 - one, one], axis=1)
        logits = np.log(np.clip(columns, _LEAST, 1))
        return np.asarray(softmax(logits / self.temperature, axis=1))


def fit_calibration(labels: ArrayLike, scores: ArrayLike) -> Calibration:
    """The map under which held-out ``scores`` [N, C] make ``labels`` int [N] most likely, mildly drawn to no change.

    Platt (1999) for two classes, temperature scaling (Guo et al. 2017) for more; the temperature lies in [0.1, 10], so the
    order is never turned round.
    """
    columns, truth = as_columns(scores), np.asarray(labels)
    two = columns.shape[1] == 2
    logits = _logit(columns[:, 1]) if two else np.log(np.clip(columns, _LEAST, 1))

    def loss(point: Floats) -> float:
        scale, shift = np.exp(-point[0]), point[1]
        if two:
            likely = np.where(truth == 1, 1.0, -1.0) * (scale * logits + shift)
            cost = float(np.logaddexp(0, -likely).mean())
        else:
            cost = float(-log_softmax(scale * logits, axis=1)[np.arange(len(truth)), truth].mean())
        return cost + _RIDGE * float(point @ point) / max(len(truth), 1)

    limit = np.log(10.0)
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-limit, limit), (-5.0, 5.0) if two else (0.0, 0.0)])
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]) if two else 0.0)


def youden_threshold(labels: ArrayLike, score: ArrayLike) -> float:
    """The probability from which on a unit is called positive such that sensitivity + specificity is largest.

    It lies midway between two neighbouring scores, so that rounding does not turn a decision; of equally good ones it is
    the one nearest to one half. 0.5 where a class is absent. O(N log N).
    """
    return float(youden_thresholds(labels, score, np.ones((1, np.size(labels))))[0])


def youden_thresholds(labels: ArrayLike, score: ArrayLike, weights: Floats) -> Floats:
    """:func:`youden_threshold` under each row of ``weights`` [R, N], its candidates being those of all units: [R]."""
    truth, score = np.asarray(labels) == 1, np.asarray(score, dtype=np.float64)
    values, place = np.unique(score, return_inverse=True)
    if len(values) < 2:
        return np.full(len(weights), 0.5)
    cuts, order = (values[1:] + values[:-1]) / 2, np.argsort(place, kind="stable")
    last = np.flatnonzero(np.diff(place[order]))  # the unit after which each cut comes
    below = [(weights[:, order] * side[order]).cumsum(axis=1) for side in (truth, ~truth)]
    missed, cleared = (ratio(one[:, last], one[:, -1:], np.nan) for one in below)
    gain = cleared - missed
    best = gain > gain.max(axis=1, keepdims=True) - 1e-12
    nearest = np.where(best, np.abs(cuts - 0.5), np.inf).argmin(axis=1)
    return np.where(best.any(axis=1), cuts[nearest], 0.5)


def to_prevalence(score: ArrayLike, known: ArrayLike, wanted: float) -> Floats:
    """Probabilities made at the prevalence ``known`` as they are at ``wanted``: their log-odds are shifted by the difference.

    Right where only the share of the classes differs, and not what a class looks like (Saerens et al. 2002).

    >>> to_prevalence(0.5, 0.5, 0.1).round(3).item()
    0.1
    """
    return np.asarray(expit(_logit(np.asarray(score)) + logit(wanted) - logit(np.asarray(known))))


def _logit(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, _LEAST, 1 - _LEAST)))


ECE = Metric(
    "ece", ece, "ECE", higher_is_better=False, where=("calibration",),
    no_interval="the calibration error is biased upwards, and more so in resamples: no interval",
)  # fmt: skip
BRIER = Metric(
    "brier", brier, "Brier score", higher_is_better=False, where=("calibration",), high_of_many=2.0
)  # fmt: skip
