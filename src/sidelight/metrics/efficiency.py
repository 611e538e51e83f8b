"""Label efficiency as one figure: how many times more labels a rival needs to reach the same score. Pure numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelFactor:
    """Factors at each label count of the first encoder, with their percentile interval; inf reads "more than all"."""

    counts: NDArray[Any]
    value: Floats
    low: Floats
    high: Floats


def monotone(curve: ArrayLike) -> Floats:
    """Isotonic (never falling) least-squares fit of scores [..., K] along the last axis: more labels cannot truly hurt.

    By the min-max formula: fit_i = max over j <= i of min over k >= i of mean(curve_j .. curve_k).
    """
    scores = np.asarray(curve, dtype=np.float64)
    length = scores.shape[-1]
    total = np.concatenate([np.zeros((*scores.shape[:-1], 1)), scores.cumsum(axis=-1)], axis=-1)
    start, end = np.arange(length)[:, None], np.arange(length)[None, :]
    means = (total[..., end + 1] - total[..., start]) / np.maximum(end - start + 1, 1)
    means = np.where(end >= start, means, np.inf)
    best = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]  # min over k >= i, for each start j
    best = np.where(end >= start, best, -np.inf)
    fit: Floats = best.max(axis=-2)
    return fit


def labels_needed(counts: ArrayLike, curve: ArrayLike, score: ArrayLike) -> Floats:
    """Labels at which a never-falling ``curve`` [..., K] over ``counts`` [K] first reaches ``score`` [..., M], or inf.

    Linear in log(labels) between counts. A score at or below the curve's start needs at most ``counts[0]``, which is
    returned.
    """
    counts, scores, wanted = (
        np.asarray(counts, np.float64),
        np.asarray(curve, np.float64),
        np.asarray(score, np.float64),
    )
    reached = scores[..., None, :] >= wanted[..., :, None] - 1e-12
    after = reached.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    high, low = np.take_along_axis(scores, after, -1), np.take_along_axis(scores, before, -1)
    share = np.divide(wanted - low, high - low, out=np.ones_like(wanted), where=high > low)
    steps = np.log(counts)
    needed = np.exp(steps[before] + np.clip(share, 0, 1) * (steps[after] - steps[before]))
    return np.where(reached.any(axis=-1), needed, np.inf)


def label_factor(counts_a: ArrayLike, curve_a: ArrayLike, counts_b: ArrayLike, curve_b: ArrayLike) -> Floats:
    """How many times more labels b needs for the score that a has at each of its counts: [K_a] or [R, K_a].

    ``counts`` are rising label counts [K]; curves are scores [K] or [R, K] (higher is better), made monotone first; NaN
    in a curve gives NaN. inf: b never gets there within its counts. Where b is already there at its first count the
    factor is at most the one returned. Below 1 the rival is the better one.

    >>> label_factor([8, 32], [0.7, 0.8], [8, 32, 128], [0.6, 0.7, 0.8]).round(6).tolist()
    [4.0, 4.0]
    """
    fit_a, fit_b = monotone(curve_a), monotone(curve_b)
    rows = np.broadcast_shapes(fit_a.shape[:-1], fit_b.shape[:-1])
    fit_a, fit_b = (np.broadcast_to(fit, (*rows, fit.shape[-1])) for fit in (fit_a, fit_b))
    factor = labels_needed(counts_b, fit_b, fit_a) / np.asarray(counts_a, dtype=np.float64)
    unknown = np.isnan(fit_a) | np.isnan(fit_b).any(axis=-1, keepdims=True)
    return np.where(unknown, np.nan, factor)


def label_factor_interval(
    counts_a: ArrayLike,
    curves_a: ArrayLike,
    counts_b: ArrayLike,
    curves_b: ArrayLike,
    *,
    point_a: ArrayLike | None = None,
    point_b: ArrayLike | None = None,
    level: float = 0.95,
) -> LabelFactor:
    """:func:`label_factor` with percentile intervals from resampled curves [R, K].

    Row r of both curves comes from the same resample. The value is that of ``point_a`` and ``point_b`` [K] (else of the
    mean curves). Quantiles are order statistics, so an inf among the resamples stays "more than all" and never turns
    into a number. Rows with NaN are left out.
    """
    curves_a, curves_b = np.asarray(curves_a, np.float64), np.asarray(curves_b, np.float64)
    point_a = np.nanmean(curves_a, axis=0) if point_a is None else point_a
    point_b = np.nanmean(curves_b, axis=0) if point_b is None else point_b
    drawn = label_factor(counts_a, curves_a, counts_b, curves_b)
    low, high = np.full((2, drawn.shape[1]), np.nan)
    for column, values in enumerate(drawn.T):
        values = np.sort(values[~np.isnan(values)])
        if len(values):
            tail = int((1 - level) / 2 * (len(values) - 1))  # towards the outside: the interval is never too narrow
            low[column], high[column] = values[tail], values[len(values) - 1 - tail]
    return LabelFactor(np.asarray(counts_a), label_factor(counts_a, point_a, counts_b, point_b), low, high)
