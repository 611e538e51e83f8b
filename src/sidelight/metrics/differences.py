"""Two encoders on the same units: paired differences, what other labelled patients would have changed, and Holm's correction."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from sidelight.metrics.intervals import Interval, LeftOut, few_of, holding, left_out, obstacle_to, spread_of
from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.sample import Sample, chunks, sample_of, seeded, values_of
from sidelight.metrics.training import FIXED, Training


@dataclass(frozen=True)
class Difference:
    """First minus second encoder on the same units; ``p`` is the two-sided permutation p-value."""

    value: float
    low: float
    high: float
    p: float
    groups: int
    method: str = "none"
    redrawn: int = 0
    few_groups: bool = False
    note: str = ""


def paired_difference(
    labels: ArrayLike | None,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: ArrayLike,
    metric: Metric,
    *,
    training: Training = FIXED,
    level: float = 0.95,
    resamples: int = 1000,
    permutations: int = 2000,
    seed: int = 0,
) -> Difference:
    """Metric of a minus metric of b on the same units, its clustered interval and a p-value.

    Both encoders see the same resampled groups. For p whole groups swap their two scores at random, all seeds of a
    group together: p = (b + 1) / (n + 1) with b of n permutations at least as far from 0 as the data. Ranking metrics
    are compared on ranks, so encoders may score on different scales. One of the two may have a single seed.
    The interval is the jackknife's with t, without the probit, where :func:`clustered_interval` has ``t``, else its bootstrap.
    ``training`` widens it by what other labelled patients would have changed; p is then the larger of the permutation's, which
    takes the heads as they are, and of that of the t test with this variance. Two encoders that agree on every unit have
    the interval (0, 0) and p = 1.
    """
    sample, tail = sample_of(labels, groups), (1 - level) / 2
    pair = [seeded(scores, len(sample.index)) for scores in (scores_a, scores_b)]
    sample = sample.weighed(metric, np.concatenate(pair))
    if metric.ranks:
        pair = [_ranks(scores, metric.parts(sample.labels)) for scores in pair]
    first, second = np.broadcast_arrays(*pair)

    def differences(weights: Floats) -> Floats:
        return values_of(metric, sample, first, weights) - values_of(metric, sample, second, weights)

    value = float(differences(np.ones((1, sample.groups)))[0])
    if np.isnan(value):
        return Difference(value, np.nan, np.nan, np.nan, sample.groups, note=obstacle_to(sample, value, metric))
    p = _swap_p(metric, sample, first, second, value, permutations, np.random.default_rng([seed, 2]))
    (_, few, _), obstacle = few_of(sample, metric), obstacle_to(sample, value, metric)
    if obstacle:
        return Difference(value, np.nan, np.nan, p, sample.groups, few_groups=few, note=obstacle)
    left = left_out(differences, sample, metric)
    found = holding(spread_of(value, differences, left, sample, metric, None, tail, resamples, seed))
    if training != FIXED and found.method != "none":
        found, p = _with_training(found, p, training, left, tail)
    return Difference(value, found.low, found.high, p, sample.groups, found.method, found.redrawn, few, found.note)


def least_shown(low: float, high: float, groups: int, *, power: float = 0.8) -> float:
    """The smallest true difference that a study with this interval shows with probability ``power``: half its width times
    (t + z_power) / t. NaN where there is no interval.

    It reads the width alone, never the difference that was found: power at the found difference says no more than its p-value
    (Hoenig and Heisey, The American Statistician 2001). Nothing is corrected for several comparisons.

    :param low, high: of a 95 % interval of a paired difference over ``groups``.
    """
    t = stdtrit(max(groups - 1, 1), 0.975)
    return float((high - low) / 2 * (t + ndtri(power)) / t)


def groups_to_show(difference: float, least: float, groups: int) -> float:
    """How many groups show a difference as often as ``groups`` show ``least``: intervals shrink with the root of their number.

    About, for t is taken for theirs; and it takes more where heads differ by the labels that they drew, which other tested groups
    do not change.
    """
    return groups * (least / difference) ** 2


def reach_of(training: Training, left: LeftOut, groups: int, level: float = 0.95) -> float:
    """How many times further than it resampled differences must lie for their percentiles to be limits.

    :param left: of the difference, with heads as they are, in ``groups`` groups.
    """
    total, freedom = training.total(left.variance, left.df)
    tail = (1 - level) / 2
    far = float(stdtrit(freedom, 1 - tail) / ndtri(1 - tail) * np.sqrt(groups / (groups - 1)))
    return far * float(np.sqrt(total / left.variance)) if left.variance > 0 else far


def _with_training(found: Interval, p: float, training: Training, left: LeftOut, tail: float) -> tuple[Interval, float]:
    """The interval of a difference, as wide as all of its variance asks for, and its p-value."""
    total, freedom = training.total(left.variance, left.df)
    if total <= 0:
        return found, p
    by_t = 2 * float(stdtr(freedom, -abs(found.value) / np.sqrt(total)))
    half = float(stdtrit(freedom, 1 - tail) * np.sqrt(total))
    low, high = found.value - half, found.value + half
    if left.variance > 0:
        wider = half / float(stdtrit(left.df, 1 - tail) * np.sqrt(left.variance))
        low, high = (found.value + wider * (limit - found.value) for limit in (found.low, found.high))
    return replace(found, low=low, high=high), max(p, by_t)


def _ranks(scores: Array, parts: Iterable[NDArray[np.bool_]]) -> Floats:
    """Scores [S, N, ...] -> their rank among the units of their part, bool [N] each; equal ones have their mean rank.

    With another rank of ties a swap would make a unit that shares its score win or lose against the other encoder's.
    """
    flat = scores.reshape(*scores.shape[:2], -1)
    ranks = np.empty(flat.shape)
    for seed, column in np.ndindex(flat.shape[0], flat.shape[2]):
        for part in parts:
            own = flat[seed, part, column]
            ranks[seed, part, column] = rankdata(own) / len(own)
    return np.asarray(ranks.reshape(scores.shape))


def _swap_p(
    metric: Metric, sample: Sample, first: Array, second: Array, value: float, count: int, rng: np.random.Generator
) -> float:
    """Two-sided p-value of swapping the encoders group by group.

    Both encoders' rows are stacked once; which of the two rows of a unit counts for the first encoder is a 0/1 weight.
    """
    stacked, labels = np.concatenate([first, second], axis=1), np.concatenate([sample.labels, sample.labels])
    swaps = rng.integers(0, 2, size=(count, sample.groups)).astype(np.float64)
    extreme = 0
    for part in chunks(swaps, 2 * len(sample.index)):
        swapped = part[:, sample.index]
        ours = np.concatenate([1 - swapped, swapped], axis=1)
        gap = np.mean([metric(labels, seed, ours) - metric(labels, seed, 1 - ours) for seed in stacked], axis=0)
        extreme += int((np.abs(gap) >= abs(value) - 1e-12).sum())
    return (extreme + 1) / (count + 1)


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values, in the order given; NaN stays NaN and does not count as a comparison.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
