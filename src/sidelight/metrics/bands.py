"""Clustered intervals of numbers without a range (a slope, a net benefit, a difference), many at once: a band is one per point.

The unit of resampling is the group, as in :mod:`sidelight.metrics.intervals`; the groups of the rarest class say what can be
said, for patients without the disease add nothing to what is known of those with it.

==========================================  =====================================================================
groups                                      interval
==========================================  =====================================================================
fewer than 10, or 5 of a class              none: NaN, and a note
fewer than 40, or 20 of a class             ``t``: delete-one-group jackknife; above 500 groups the bootstrap's
                                            standard error with the rarest class's degrees of freedom
more                                        ``bootstrap``: whole groups redrawn, BCa with quantiles expanded to t
==========================================  =====================================================================

What is measured is one function of group weights [R, G]; as long as it is a sum over units, or a function of sums, a resample is
a row of a matrix product, and a thousand of them cost little.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from sidelight.metrics.classification import AUROC
from sidelight.metrics.intervals import FEW_GROUPS, MANY_GROUPS, obstacle_to
from sidelight.metrics.metric import Array, Floats
from sidelight.metrics.sample import Sample, resampled

Values = Callable[[Floats], Floats]
"""Group weights [R, G] -> what is measured [R, K]; NaN or infinite where it is undefined."""

JACKKNIFE_GROUPS, PLAIN_GROUPS = 500, 200
"""The most groups that are left out one by one, where few speak and where many do."""
LEAST_DEFINED = 0.99
"""Share of the resamples in which a number must be defined to have an interval."""


@dataclass(frozen=True)
class Band:
    """``value``, ``low``, ``high``, standard ``error`` and degrees of freedom ``df``, each [K]; ``notes`` why limits are NaN.

    :ivar drawn: the resampled values [R, K]; no rows where there is no interval.
    """

    value: Floats
    low: Floats
    high: Floats
    error: Floats
    df: Floats
    method: str
    groups: int
    notes: tuple[str, ...]
    drawn: Floats


def obstacle(sample: Sample) -> str:
    """Why no interval can be given of a number that needs every class of ``sample``; empty if one can."""
    return obstacle_to(sample, 0.0, AUROC)


def band_of(
    values: Values,
    sample: Sample,
    *,
    by_class: bool = False,
    draw: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Band:
    """Intervals of what ``values`` measures of the groups of ``sample``.

    :param by_class: how many units a class has is given, not sampled: the jackknife is stratified.
    :param draw: also draw resamples where the interval is t's and needs none.
    """
    value, tail, groups = values(np.ones((1, sample.groups)))[0], (1 - level) / 2, sample.groups
    nothing = np.full_like(value, np.nan)
    if why := obstacle(sample):
        notes = (why,) * len(value)
        return Band(value, nothing, nothing, nothing, nothing, "none", groups, notes, np.empty((0, len(value))))
    few = groups < MANY_GROUPS or sample.least < FEW_GROUPS
    left_out = values(1 - np.eye(groups)) if groups <= (JACKKNIFE_GROUPS if few else PLAIN_GROUPS) else None
    drawn = np.empty((0, len(value)))
    if draw or not few or left_out is None:
        drawn = values(resampled(sample, resamples, np.random.default_rng([seed, 1]))[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        if left_out is not None:
            error, df = _jackknife(left_out, sample.strata, by_class)
        else:
            least = min(sample.least, groups)
            error = _spread(drawn) * np.sqrt(least / (least - 1))
            df = np.full(len(value), float(least - 1 if few else groups - 1))
    if few:
        half = stdtrit(df, 1 - tail) * error
        low, high = value - half, value + half
        undefined = np.zeros(len(value), bool)
    else:
        low, high, undefined = _bca(value, drawn, left_out, df, tail)
    lost = ~np.isfinite(value) | ~np.isfinite(low) | ~np.isfinite(high) | undefined
    low, high = np.where(lost, np.nan, low), np.where(lost, np.nan, high)
    notes = tuple(_note(one, gone) for one, gone in zip(value, lost, strict=True))
    return Band(value, low, high, error, df, "t" if few else "bootstrap", groups, notes, drawn)


def _spread(drawn: np.ndarray) -> np.ndarray:
    """Standard deviations [K] of those resamples [R, K] that are numbers; NaN where fewer than two are."""
    known = np.isfinite(drawn)
    count = known.sum(axis=0)
    mean = np.where(known, drawn, 0).sum(axis=0) / count
    squares = np.where(known, (drawn - mean) ** 2, 0).sum(axis=0)
    return np.asarray(np.sqrt(squares / np.where(count > 1, count - 1, np.nan)))


def _note(value: float, lost: bool) -> str:
    if not lost:
        return ""
    if np.isfinite(value):
        return "no interval: undefined in too many resamples"
    return "undefined: it divides by zero, or the probabilities are all equal or separate the classes"


def _jackknife(left_out: Floats, strata: Array, by_class: bool) -> tuple[Floats, Floats]:
    """Standard errors [K] and Welch-Satterthwaite degrees of freedom [K] from values with a group left out each [G, K].

    As in :mod:`sidelight.metrics.intervals`: a class pattern that only one group shows has no spread of its own.
    """
    groups, member = len(left_out), np.eye(strata.max() + 1)[:, strata]
    sizes = member.sum(axis=1)
    own = by_class & (sizes > 1)
    centre = np.where(own[:, None], member @ left_out / sizes[:, None], left_out.mean(axis=0))
    factor = np.where(own, (sizes - 1) / sizes, (groups - 1) / groups)
    shares = factor[:, None] * (member @ (left_out - centre[strata]) ** 2)
    variance, parts = shares.sum(axis=0), (shares**2 / np.maximum(sizes - 1, 1)[:, None]).sum(axis=0)
    df = np.divide(variance**2, parts, out=np.full(len(variance), float(groups - 1)), where=parts > 1e-40)
    return np.sqrt(variance), np.clip(df, 1, groups - 1)


def _bca(
    value: Floats, drawn: Floats, left_out: Floats | None, df: Floats, tail: float
) -> tuple[Floats, Floats, Array]:
    """BCa limits [K] (Efron 1987; t quantiles, Hesterberg 2015), and where too few resamples define the number, bool [K]."""
    low, high = np.full((2, len(value)), np.nan)
    defined = ~np.isnan(drawn)
    for column in range(len(value)):
        own = drawn[defined[:, column], column]
        if len(own) < LEAST_DEFINED * len(drawn) or not np.isfinite(value[column]):
            continue
        count = len(own)
        below = ((own < value[column]).sum() + (own == value[column]).sum() / 2) / count
        bias, acceleration, groups = float(ndtri(np.clip(below, 1 / count, 1 - 1 / count))), 0.0, df[column] + 1
        if left_out is not None and np.isfinite(left_out[:, column]).all():
            pull, groups = left_out[:, column].mean() - left_out[:, column], len(left_out)
            acceleration = float((pull**3).sum() / (6 * max((pull**2).sum(), 1e-30) ** 1.5))
        reach = float(stdtrit(df[column], 1 - tail)) * np.sqrt(groups / (groups - 1))
        shifted = bias + np.array([-reach, reach])
        shares = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 0.05))
        # between a finite and an infinite order statistic there is nothing to interpolate
        low[column], high[column] = np.quantile(own, shares, method="linear" if np.isfinite(own).all() else "higher")
    return low, high, defined.mean(axis=0) < LEAST_DEFINED
