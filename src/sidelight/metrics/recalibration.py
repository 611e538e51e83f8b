"""Calibration: are probabilities too high, too extreme, and where? O:E, intercept, slope, and a smooth curve.

The levels of Van Calster et al. 2016: in the large (O:E, intercept), weak (slope), moderate (the curve). Each function here
returns :data:`sidelight.metrics.bands.Values`, a function of group weights, so that intervals resample patients.

:param positive: bool [N]; ``scores`` probabilities of it [S, N] for S seeds, over which the values are averaged.
:param index: the group of each unit [N], in 0 .. G-1.
:param prevalence: measure at this share of positives: in every resample each class is weighted to have it. None: as sampled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import expit, logit

from sidelight.metrics.arrays import ratio
from sidelight.metrics.bands import Values
from sidelight.metrics.metric import Array, Floats

INTERCEPT, SLOPE, RATIO = "calibration intercept", "calibration slope", "O:E"
MEASURES = (INTERCEPT, SLOPE, RATIO)
START = (0.0, 1.0, 0.0)
LEAST = 1e-6
"""Probabilities are moved so far inside 0 and 1 before their log-odds are taken."""
BINS = 100
"""Resamples of more units than this put log-odds into so many bins of equal mass; the value itself never does."""
STEPS, STEP, CLOSE, SPAN = 40, 2.0, 1e-5, 2 / 3


@dataclass(frozen=True, eq=False)
class _Odds:
    """Log-odds [B], and units with and without the class by group and log-odds, sparse [G, B] each."""

    x: Floats
    hits: Any
    misses: Any

    def fit(self, weights: Floats, prevalence: float | None, start: tuple[float, float, float]) -> Floats:
        """Intercept with slope 1, slope, and the intercept beside it, of each row of group weights: [R, 3].

        :param start: the same three of a sample that is near.
        """
        hits, misses = _weighed(weights @ self.hits, weights @ self.misses, prevalence)
        total, (only, slope, beside) = hits + misses, start
        alone, _ = _newton(self.x, hits, total, (only, 1.0), slope=False)
        both = _newton(self.x, hits, total, (beside, slope), slope=True)
        return np.stack([alone, both[1], both[0]], axis=1)


def _odds(positive: Array, score: Floats, index: Array, bins: int) -> _Odds:
    x = logit(np.clip(score, LEAST, 1 - LEAST))
    count, groups = len(x), int(index.max()) + 1
    place = np.empty(count, np.int64)
    place[np.argsort(x, kind="stable")] = np.arange(count) * bins // count
    centre = np.bincount(place, x, bins) / np.maximum(np.bincount(place, minlength=bins), 1)
    hits, misses = (
        csr_matrix((np.ones(own.sum()), (index[own], place[own])), shape=(groups, bins))
        for own in (positive, ~positive)
    )
    return _Odds(centre, hits, misses)


def _weighed(hits: Floats, misses: Floats, prevalence: float | None) -> tuple[Floats, Floats]:
    """Both [R, B], scaled so that each row has this prevalence."""
    if prevalence is None:
        return hits, misses
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = (
            side * (share * (hits + misses).sum(axis=1) / side.sum(axis=1))[:, None]
            for side, share in ((hits, prevalence), (misses, 1 - prevalence))
        )
        more, less = scaled
    return more, less


def _newton(
    x: Floats, hits: Floats, total: Floats, start: tuple[float, float], *, slope: bool
) -> tuple[Floats, Floats]:
    """Logistic regression of ``hits`` among ``total`` [R, B] on ``x`` [B], every row by itself: intercepts and slopes [R].

    NaN where there is no maximum: one class, equal log-odds, or classes that they separate.
    """
    a, b = (np.full(len(hits), one) for one in start)
    moved = np.full((2, len(hits)), np.inf)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(STEPS):
            share = expit(a[:, None] + b[:, None] * x)
            gap, spread = hits - total * share, total * share * (1 - share)
            first, flat = gap.sum(axis=1), spread.sum(axis=1)
            if slope:
                second, mixed, steep = gap @ x, spread @ x, spread @ (x * x)
                det = flat * steep - mixed**2
                det = np.where(det > 1e-10 * flat * steep, det, np.nan)
                moved = np.stack([steep * first - mixed * second, flat * second - mixed * first]) / det
            else:
                moved = np.stack([first / flat, np.zeros_like(a)])
            moved = np.clip(moved, -STEP, STEP)
            a, b = a + moved[0], b + moved[1]
            if not (np.abs(moved) > CLOSE).any():
                break
        done = (np.abs(moved) <= CLOSE).all(axis=0)
    return np.where(done, a, np.nan), np.where(done, b, np.nan)


def weak_calibration(
    positive: Array, scores: Floats, index: Array, *, prevalence: float | None = None, logistic: bool = True
) -> Values:
    """Intercept (with the slope held at 1; 0 is right, above 0 risks are stated too low), slope (1 is right, below 1 too
    extreme) of the logistic regression of the class on the stated log-odds (Cox 1958), and the logarithm of O:E, observed over
    expected: [R, 3]; without ``logistic`` the last alone, [R, 1].
    """
    member = csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))))
    fits = []
    for score in scores if logistic else []:
        exact = _odds(positive, score, index, len(score))
        binned = exact if len(score) <= BINS else _odds(positive, score, index, BINS)
        point, rough = (one.fit(np.ones((1, member.shape[0])), prevalence, START) for one in (exact, binned))
        near = rough[0] if np.isfinite(rough).all() else np.array(START)
        fits.append((binned, point - rough, near))
    stated = [(member @ (score * positive), member @ (score * ~positive)) for score in scores]
    seen = (member @ positive.astype(float), member @ (~positive).astype(float))

    def values(weights: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            ratios = [np.log(_observed(weights, seen, one, prevalence)) for one in stated]
        last: Floats = np.mean(ratios, axis=0)[:, None]
        if not logistic:
            return last
        each = [(one.fit(weights, prevalence, (*near,)) + offset)[:, :2] for one, offset, near in fits]
        return np.concatenate([np.mean(each, axis=0), last], axis=1)

    return values


def _observed(
    weights: Floats, seen: tuple[Floats, Floats], stated: tuple[Floats, Floats], prevalence: float | None
) -> Floats:
    """O:E [R] from sums by group [G] over those with the class and those without."""
    ill, well = (weights @ one for one in seen)
    high, low = (weights @ one for one in stated)
    if prevalence is None:
        return ratio(ill, high + low, np.nan)
    expected = prevalence * ratio(high, ill, np.nan) + (1 - prevalence) * ratio(low, well, np.nan)
    return ratio(np.full_like(expected, prevalence), expected, np.nan)


def smooth_curve(
    positive: Array, scores: Floats, index: Array, at: Floats, *, prevalence: float | None = None
) -> Values:
    """Observed share at the stated probabilities ``at`` [M]: local linear regression with tricube weights over the nearest two
    thirds of the units (lowess without iterations, Cleveland 1979; as in Austin & Steyerberg 2014), within [0, 1]: [R, M].
    """
    member = csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))))
    each = [_local_sums(positive, score, member, at) for score in scores]

    def values(weights: Floats) -> Floats:
        return np.asarray(np.mean([_local_line(weights, one, prevalence) for one in each], axis=0))

    return values


def _local_sums(positive: Array, score: Floats, member: Any, at: Floats) -> list[list[Floats]]:
    """Of those with and without the class the sums by group of kernel times distance to the power 0, 1 and 2: [G, M] each, and
    their numbers [G, 1]."""
    away = score[:, None] - at
    nearest = min(len(score), int(np.ceil(SPAN * len(score)))) - 1
    reach = np.maximum(np.partition(np.abs(away), nearest, axis=0)[nearest], 1e-9) * (1 + 1e-9)
    kernel = np.clip(1 - np.abs(away / reach) ** 3, 0, None) ** 3
    away /= reach
    return [
        [member @ (kernel * away**power * own[:, None]) for power in range(3)] + [member @ own[:, None].astype(float)]
        for own in (positive, ~positive)
    ]


def _local_line(weights: Floats, sums: list[list[Floats]], prevalence: float | None) -> Floats:
    """The local line's value [R, M]; the local mean where all distances are equal."""
    (ill, ill_1, ill_2, cases), (well, well_1, well_2, others) = ([weights @ one for one in side] for side in sums)
    if prevalence is not None:
        more, less = (
            ratio(np.full_like(cases, prevalence), cases, np.nan),
            ratio(np.full_like(others, 1 - prevalence), others, np.nan),
        )
        ill, ill_1, ill_2 = (more * one for one in (ill, ill_1, ill_2))
        well, well_1, well_2 = (less * one for one in (well, well_1, well_2))
    zero, one, two = ill + well, ill_1 + well_1, ill_2 + well_2
    det = zero * two - one**2
    line = ratio(two * ill - one * ill_1, np.where(det > 1e-9 * zero * zero, det, 0.0), np.nan)
    return np.clip(np.where(np.isnan(line), ratio(ill, zero, np.nan), line), 0, 1)
