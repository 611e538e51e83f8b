"""Clustered intervals: what a handful of patients can and cannot say.

The unit of resampling is the group (patient, recording group), never the row: ten frames of a patient count once.

========================  ==========================================================================================
groups                    interval
========================  ==========================================================================================
fewer than 10, or fewer   none: NaN, "too few groups"
than 5 of the rarest
class
10 to 39, or 5 to 19 of   ``t``: delete-one-group jackknife on the probit scale, t quantile; "few groups" below 20 (of
the rarest class          the rarest class)
more                      ``bootstrap``: whole groups redrawn, BCa with quantiles expanded to those of t
an end of the range       ``bound``: exact binomial bound with the groups as trials
nothing varies            none: whoever is left out, the value stays (constant scores)
calibration error (ECE)   none: distances add up, so resampling only makes it larger, and at 0 no rule above covers it
========================  ==========================================================================================

Groups of the rarest class do not count for a metric to which every unit counts alike (``Metric.pooled``: accuracy). Where units
weigh by their mass (``Metric.mass``: the pixels of a pooled Dice), groups count as Kish counts them: 44 patients and one with 20
times the pixels of each are worth nine.

Why so: a percentile bootstrap over few groups is too narrow, and for a score of groups whose label is constant the
sample that counts is the smaller class, not all groups: a bootstrap over 600 patients of whom 6 are positive covers 81
%. Hence the degrees of freedom are Welch-Satterthwaite's over the class strata, as in the clustered DeLong variance
(Obuchowski 1997), the jackknife is stratified for metrics that condition on the class, and the transformed scale keeps
limits inside [0, 1]. Near 0 and 1 the variance seen in few groups is often far too small, so small constant variances
(``FLOOR_UNITS``, ``UNSEEN_SHARE``) are added. And no t interval is wider than the exact binomial one whose trials are
the (effective) groups of the rarest class: an AUROC's variance never exceeds value (1 - value) / trials (van Dantzig
1951). At 0 and 1 that bound is all there is. A metric of another range is mapped to [0, 1] first, and its limits back.
What a row is does not matter: a metric is a function of weights over rows.

Coverage over worlds of known truth is measured by ``benchmarks/intervals.py``; its table stands in ``docs/evaluation.md``.
Limit: with 10 patients of constant label and AUROC 0.9 it is too wide (99 %), as it is close to 1 from few patients.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.sample import Sample, resampled, sample_of, seeded, values_of

LEAST_GROUPS, FEW_GROUPS, MANY_GROUPS = 10, 20, 40
LEAST_CLASS_GROUPS = 5
LEAST_IN_TAIL = 5  # resamples beyond a limit, below which they cannot show where it lies
CONSTANT = "no interval: whoever is left out, the value stays, as with constant scores"
FLOOR_UNITS = 1000
"""The t interval adds the variance that a share measured on so many independent units would have,"""
UNSEEN_SHARE = 0.05
"""and this share of the largest one that is possible, over the degrees of freedom: where the value happens to be high, the
variance that five groups show is too low."""
JACKKNIFE_BLOCKS, LEAST_BLOCKS = 300, 20
"""The jackknife leaves out single groups, or where there are more of them about so many blocks, and at least 20 of a stratum."""


@dataclass(frozen=True)
class Interval:
    """A metric with its interval; ``low`` and ``high`` are NaN where ``method`` is "none", and ``note`` says why."""

    value: float
    low: float
    high: float
    method: str
    groups: int
    redrawn: int
    few_groups: bool
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Values with one group or block of groups left out each [B], their jackknife variance and its degrees of freedom."""

    values: Floats
    variance: float
    df: float


def _counting(sample: Sample, metric: Metric) -> int:
    """The groups that limit what can be known: those of the rarest class, or all of a metric that counts all units alike.

    Where groups have masses, no more than the groups of one mass that they are worth.
    """
    held = sample.groups if metric.pooled else int(sample.present[:, sample.limiting(metric)].sum(axis=0).min())
    return held if sample.mass is None else min(held, int(sample.worth))


def few_of(sample: Sample, metric: Metric) -> tuple[int, bool, str]:
    """The groups that count, whether they are few, and the note that says so."""
    counting = _counting(sample, metric)
    rare = " that hold (most of) what is sought" if metric.localized else " of the rarest class"
    what = "" if counting == sample.groups else rare
    few = counting < FEW_GROUPS
    return counting, few, f"few groups{what}: {counting}" if few else ""


def _blocks(strata: Array, fixed: bool) -> tuple[Array, Array]:
    """Which block each group is left out with [G], and the stratum of each block [B]; one group each while they are few.

    :param fixed: blocks hold groups of one stratum; else of any, since what varies is how many groups a stratum has, and
        a block counts to the rarest stratum that it holds.
    """
    sizes = np.bincount(strata)
    parts = [np.flatnonzero(strata == kind) for kind in range(len(sizes))] if fixed else [np.arange(len(strata))]
    block, kinds = np.empty(len(strata), np.int64), list[int]()
    for own in parts:
        count = min(len(own), max(LEAST_BLOCKS, round(JACKKNIFE_BLOCKS * len(own) / len(strata))))
        dealt = np.random.default_rng([len(own), 6]).permutation(len(own)) if len(own) > count else np.arange(len(own))
        block[own[dealt]] = len(kinds) + np.arange(len(own)) % count
        kinds += [min(strata[own[dealt[at::count]]], key=lambda kind: (sizes[kind], kind)) for at in range(count)]
    return block, np.array(kinds)


def _trials(sample: Sample, metric: Metric) -> float:
    """How many independent trials the groups are worth at most.

    Kish's (sum m)^2 / sum(m^2) over the group sizes m of each class; the rarest class counts. Where rows have a mass, of it.
    """
    sizes = sample.counts.sum(axis=1, keepdims=True) if metric.pooled else sample.counts[:, sample.limiting(metric)]
    if sample.mass is not None:
        return sample.worth
    return float((sizes.sum(axis=0) ** 2 / (sizes**2).sum(axis=0)).min())


def _jackknife(left_out: Floats, strata: Array, fixed: bool) -> tuple[float, float]:
    """Variance and degrees of freedom from the values with one group left out each [G].

    :param fixed: the sizes of the strata are given, so variance is taken within them (stratified jackknife).
    Degrees of freedom: Welch-Satterthwaite, (sum Q_c)^2 / sum(Q_c^2 / (n_c - 1)), of the strata's shares Q_c of the
    variance.
    """
    groups = len(left_out)
    _, strata, sizes = np.unique(strata, return_inverse=True, return_counts=True)  # some have no group here
    # a class pattern that only one group shows has no spread of its own: it is measured against all
    own_mean = fixed & (sizes > 1)
    centre = np.where(own_mean, np.bincount(strata, left_out) / sizes, left_out.mean())
    factor = np.where(own_mean, (sizes - 1) / sizes, (groups - 1) / groups)
    shares = factor * np.bincount(strata, (left_out - centre[strata]) ** 2)
    variance = float(shares.sum())
    if variance < 1e-20:
        return 0.0, float(max(sizes.min() - 1, 1))
    df = variance**2 / float((shares**2 / np.maximum(sizes - 1, 1)).sum())
    return variance, float(np.clip(df, 1, groups - 1))


def _binomial_limits(value: float, trials: float, tail: float) -> tuple[float, float]:
    """Clopper-Pearson limits of a share measured in ``trials`` trials, also between whole numbers of successes."""
    right, wrong = value * trials, (1 - value) * trials
    low = 0.0 if right <= 0 else float(betaincinv(right, wrong + 1, tail))
    return low, 1.0 if wrong <= 0 else float(betaincinv(right + 1, wrong, 1 - tail))


def _t_limits(value: float, variance: float, df: float, trials: float, tail: float) -> tuple[float, float]:
    """t interval on the probit scale, nowhere beyond the binomial one."""
    shrunk = (trials * value + 0.5) / (trials + 1)
    variance += shrunk * (1 - shrunk) * (1 / FLOOR_UNITS + UNSEEN_SHARE / (trials * (df + 1)))
    middle = float(ndtri(value))
    half = float(stdtrit(df, 1 - tail)) * np.sqrt(variance) * np.sqrt(2 * np.pi) * np.exp(middle**2 / 2)
    least, most = _binomial_limits(value, trials, tail)
    return max(float(ndtr(middle - half)), least), min(float(ndtr(middle + half)), most)


def _bca_limits(value: float, drawn: Floats, left_out: Floats, df: float, tail: float) -> tuple[float, float]:
    """BCa limits (Efron 1987) of resampled values.

    Normal quantiles are expanded to those of t, and by sqrt(G / (G - 1)) (Hesterberg 2015).
    """
    count = len(drawn)
    below = ((drawn < value).sum() + (drawn == value).sum() / 2) / count
    bias = float(ndtri(np.clip(below, 1 / count, 1 - 1 / count)))
    pull, groups = left_out.mean() - left_out, len(left_out)
    acceleration = float((pull**3).sum() / (6 * max((pull**2).sum(), 1e-30) ** 1.5))
    reach = float(stdtrit(df, 1 - tail)) * np.sqrt(groups / (groups - 1))
    shifted = bias + np.array([-reach, reach])
    low, high = np.quantile(drawn, ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 0.05)))
    return float(low), float(high)


def obstacle_to(sample: Sample, value: float, metric: Metric) -> str:
    """Why no interval can be given; empty if one can."""
    if metric.no_interval:
        return metric.no_interval
    if sample.groups < LEAST_GROUPS:
        return f"too few groups: {sample.groups}, an interval needs {LEAST_GROUPS}"
    if _counting(sample, metric) < LEAST_CLASS_GROUPS:
        least = _counting(sample, metric)
        held = f"{least} group{'s' * (least != 1)}"
        if metric.localized:
            least = LEAST_CLASS_GROUPS
            return f"too few groups: what is sought lies in {held}, or mostly in so few, and an interval needs {least}"
        return f"too few groups: a class comes from {held}, an interval needs {LEAST_CLASS_GROUPS} of each"
    if np.isnan(value):
        return "the metric is undefined: a class is absent from the labels"
    return ""


def holding(found: Interval) -> Interval:
    """``found``, without limits where they do not hold its value."""
    if found.method == "none" or found.low <= found.value <= found.high:
        return found
    return replace(found, low=np.nan, high=np.nan, method="none", note="no interval: its limits do not hold the value")


def clustered_interval(
    labels: ArrayLike | None,
    scores: ArrayLike,
    groups: ArrayLike,
    metric: Metric,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Metric on N units with an interval that treats whole groups as the sample.

    :param labels: int [N]; None where rows have no class, for example the pixels of each image that a mask has met.
    :param scores: [N] or [N, C], or [S, N] or [S, N, C] for S seeds: the value, and that of each resample, is the mean
        of the metric over the seeds, so the interval is about patients; the spread over seeds is another number.
        Whatever the metric reads of a unit may stand there in place of class scores.
    :param groups: group of each unit [N], of any sortable type, rows in any order.
    :param metric: of :data:`sidelight.metrics.METRICS`, or any other :class:`sidelight.metrics.Metric`.
    :param resamples: group bootstraps drawn from 40 groups on; those that lack a class are redrawn and counted.
    :raises ValueError: when the shapes do not fit.
    """
    sample = sample_of(labels, groups)
    stack = seeded(scores, len(sample.index))
    sample, metric = sample.weighed(metric, stack), metric.among(stack)
    values = partial(values_of, metric, sample, stack)
    return interval_of(values, sample, metric, level=level, resamples=resamples, seed=seed)


def interval_of(
    values: Callable[[Floats], Floats],
    sample: Sample,
    metric: Metric,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval of what ``values(group weights [R, G])`` measures, [R], whatever its rows are.

    :param metric: its range and what else an interval depends on; its function is not called.
    """
    value, tail = float(values(np.ones((1, sample.groups)))[0]), (1 - level) / 2
    (_, few, _), obstacle = few_of(sample, metric), obstacle_to(sample, value, metric)
    if obstacle:
        return Interval(value, np.nan, np.nan, "none", sample.groups, 0, few, obstacle)
    trials, span = _trials(sample, metric), metric.high - metric.low
    share = (value - metric.low) / span
    if not 1e-12 < share < 1 - 1e-12:
        end = metric.low + round(share) * span
        note = f"nothing varies at a value of {end:g}: binomial bound with {trials:.3g} groups as trials"
        low, high = _binomial_limits(float(round(share)), trials, tail)
        found = Interval(share, low, high, "bound", sample.groups, 0, few, note)
    else:

        def shares(weights: Floats) -> Floats:
            return (values(weights) - metric.low) / span

        left = left_out(shares, sample, metric)
        found = spread_of(share, shares, left, sample, metric, trials, tail, resamples, seed)
    low, high = metric.low + found.low * span, metric.low + found.high * span
    return holding(replace(found, value=value, low=low, high=high))


def spread_of(
    value: float,
    values: Callable[[Floats], Floats],
    left: LeftOut,
    sample: Sample,
    metric: Metric,
    trials: float | None,
    tail: float,
    resamples: int,
    seed: int,
) -> Interval:
    """t or bootstrap interval of ``values(group weights [R, G])``; a difference is unbounded: ``trials=None``."""
    left_out, variance, df = left.values, left.variance, left.df
    counting, few, note = few_of(sample, metric)
    if trials is not None and np.ptp(left_out) < 1e-12:
        return Interval(value, np.nan, np.nan, "none", sample.groups, 0, few, CONSTANT)
    if sample.groups >= MANY_GROUPS and counting >= FEW_GROUPS and resamples * tail >= LEAST_IN_TAIL:
        weights, redrawn = resampled(sample, resamples, np.random.default_rng([seed, 1]), metric=metric)
        low, high = _bca_limits(value, values(weights), left_out, df, tail)
        return Interval(value, low, high, "bootstrap", sample.groups, redrawn, few, note)
    if trials is None:
        half = float(stdtrit(df, 1 - tail)) * float(np.sqrt(variance))
        low, high = value - half, value + half
    else:
        low, high = _t_limits(value, variance, df, trials, tail)
    return Interval(value, low, high, "t", sample.groups, 0, few, note)


def left_out(values: Callable[[Floats], Floats], sample: Sample, metric: Metric) -> LeftOut:
    """Of ``values(group weights [R, G])``, [R]."""
    block, kinds = _blocks(sample.strata, metric.by_class)
    found = values((block != np.arange(len(kinds))[:, None]).astype(np.float64))
    variance, df = _jackknife(found, kinds, metric.by_class)
    return LeftOut(found, variance, df if sample.mass is None else max(1.0, min(df, sample.worth - 1)))
