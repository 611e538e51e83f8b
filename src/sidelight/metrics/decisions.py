"""What a probability is worth when somebody acts on it: 2x2 tables, predictive values, likelihood ratios, net benefit.

Labels are int [N], 1 for the positive class; ``called`` is bool [S, N] for S seeds. A function that returns
:data:`sidelight.metrics.bands.Values` takes the group ``index`` [N] of each unit, in 0 .. G-1: intervals resample patients.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from sidelight.metrics.arrays import as_columns, ratio
from sidelight.metrics.bands import Values
from sidelight.metrics.classification import roc_curves
from sidelight.metrics.intervals import Interval, interval_of
from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.sample import sample_of

_SHARE = Metric("share", lambda *_: np.nan, pooled=True)


def threshold_of_cost(miss_cost: float) -> float:
    """The probability from which on calling costs less, where a miss costs ``miss_cost`` false alarms (Pauker & Kassirer 1975).

    >>> threshold_of_cost(9)
    0.1
    """
    return 1 / (1 + miss_cost)


def cells(labels: ArrayLike, called: ArrayLike) -> Floats:
    """True and false positives, false and true negatives of each unit, 0 or 1: [..., N, 4] of ``called`` [..., N]."""
    ill, called = np.asarray(labels) == 1, np.asarray(called, dtype=bool)
    return np.stack([called & ill, called & ~ill, ~called & ill, ~called & ~ill], axis=-1).astype(np.float64)


def predictive_values(sensitivity: Floats, specificity: Floats, prevalence: float) -> tuple[Floats, Floats]:
    """PPV and NPV where a share ``prevalence`` has the disease, by Bayes' rule; NaN where nobody is called so.

    >>> [round(float(one), 3) for one in predictive_values(np.array(0.9), np.array(0.8), 0.1)]
    [0.333, 0.986]
    """
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    misses, cleared = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    return ratio(hits, hits + alarms, np.nan), ratio(cleared, cleared + misses, np.nan)


def rates(labels: Array, called: Array, index: Array) -> Values:
    """Sensitivity and specificity, averaged over seeds: [R, 2]."""
    sums = [_by_group(one, index) for one in cells(labels, called)]

    def values(weights: Floats) -> Floats:
        each = []
        for one in sums:
            hits, alarms, misses, cleared = (weights @ one).T
            each.append([ratio(hits, hits + misses, np.nan), ratio(cleared, cleared + alarms, np.nan)])
        return np.asarray(np.mean(each, axis=0).T)

    return values


def log_likelihood_ratios(labels: Array, called: Array, index: Array) -> Values:
    """Logarithms of LR+ = sensitivity / (1 - specificity) and LR- = (1 - sensitivity) / specificity: [R, 2]."""
    measured = rates(labels, called, index)

    def values(weights: Floats) -> Floats:
        sensitivity, specificity = measured(weights).T
        with np.errstate(divide="ignore"):
            plus = np.log(ratio(sensitivity, 1 - specificity, np.inf))
            minus = np.log(ratio(1 - sensitivity, specificity, np.inf))
        return np.stack([plus, minus], axis=1)

    return values


def share_right(right: Array, among: Array, index: Array) -> Values:
    """The share of ``right`` bool [S, N] among the units ``among`` bool [S, N], averaged over the seeds that have any: [R, 1].

    PPV: those with the disease among the called.
    """
    above = [_by_group(one[:, None], index) for one in right & among]
    below = [_by_group(one[:, None], index) for one in among]

    def values(weights: Floats) -> Floats:
        each = np.stack([ratio(weights @ a, weights @ b, np.nan) for a, b in zip(above, below, strict=True)])
        return ratio(np.nansum(each, axis=0), np.sum(~np.isnan(each), axis=0).astype(np.float64), np.nan)

    return values


def share_interval(right: Array, among: Array, groups: Array, *, resamples: int = 1000) -> Interval:
    """Share of ``right`` calls ``among`` those so called, both bool [S, N], such as a precision.

    Its sample are not all patients, but the groups of the units that are called so in any seed.
    """
    used, silent = among.any(axis=0), int((~among.any(axis=1)).sum())
    if not used.any():
        return Interval(np.nan, np.nan, np.nan, "none", 0, 0, True, "nobody is called so")
    sample = sample_of(None, groups[used])
    found = interval_of(
        lambda weights: share_right(right[:, used], among[:, used], sample.index)(weights)[:, 0],
        sample, _SHARE, resamples=resamples,
    )  # fmt: skip
    if not silent:
        return found
    said = f"nobody is called so in {silent} of {len(among)} draws"
    return replace(found, note=f"{found.note}; {said}" if found.note else said)


def net_benefit(labels: Array, scores: Floats, index: Array, thresholds: Floats) -> Values:
    """Net benefit of acting from each threshold [K] on, and of acting on everybody: [R, 2, K], flat as [R, 2 K].

    TP / N - FP / N x t / (1 - t) at the threshold t (Vickers & Elkin 2006), averaged over seeds; acting on nobody has 0.

    :param scores: probabilities [S, N].
    """
    ill, odds = (labels == 1)[:, None], thresholds / (1 - thresholds)
    called = [score[:, None] >= thresholds for score in scores]
    hits = np.mean([_by_group(one & ill, index) for one in called], axis=0)
    alarms = np.mean([_by_group(one & ~ill, index) for one in called], axis=0)
    cases, units = _by_group(ill, index), np.bincount(index).astype(np.float64)[:, None]

    def values(weights: Floats) -> Floats:
        total = weights @ units
        share = weights @ cases / total
        return np.concatenate([weights @ (hits - odds * alarms) / total, share - (1 - share) * odds], axis=1)

    return values


def _by_group(rows: Array, index: Array) -> Floats:
    """Sums of ``rows`` [N, K] by group: [G, K]."""
    return np.stack([np.bincount(index, column) for column in np.asarray(rows, dtype=np.float64).T], axis=1)


FIXED = tuple(
    f"{measured} at {100 * share:.0f} % {fixed}"
    for measured, fixed in (("sensitivity", "specificity"), ("specificity", "sensitivity"))
    for share in (0.90, 0.95)
)
"""What :func:`at_fixed` reads."""


def at_fixed(labels: Array, scores: Array, weights: Floats) -> Floats:
    """Sensitivity where specificity is 0.90 and 0.95, and the reverse, between the points of the ROC curve: [R, 4] in [0, 1].

    :param scores: [N] or [N, 2]; ``weights`` [R, N]. NaN where a class is absent.
    """
    tpr, fpr = roc_curves(np.asarray(labels), as_columns(scores)[:, 1], weights)
    sides = [(fpr, tpr), (1 - tpr[:, ::-1], 1 - fpr[:, ::-1])]
    return np.stack([_read(given, gained, 1 - share) for given, gained in sides for share in (0.90, 0.95)], axis=1)


def _read(given: Floats, gained: Floats, least: float) -> Floats:
    """What is ``gained`` at an error of ``least``; both rise along [R, T], and of equal errors the last point is the best."""
    place = np.clip((given <= least + 1e-12).sum(axis=1), 1, given.shape[1] - 1)[:, None]
    left, right = (np.take_along_axis(given, at, 1)[:, 0] for at in (place - 1, place))
    low, high = (np.take_along_axis(gained, at, 1)[:, 0] for at in (place - 1, place))
    value = low + (high - low) * np.clip(ratio(least - left, right - left, 0.0), 0, 1)
    return np.where(np.isnan(given[:, -1] + gained[:, -1] + given[:, 0] + gained[:, 0]), np.nan, value)
