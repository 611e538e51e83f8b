"""Intercept, slope and O:E against other implementations and by hand; a perfect forecast in worlds of patients."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from sidelight.metrics.bands import band_of
from sidelight.metrics.recalibration import BINS, smooth_curve, weak_calibration
from sidelight.metrics.sample import sample_of


def world(units, seed, per=1, slope=1.0, shift=0.0):
    """Patients with ``per`` units each, whose risks are alike; stated log-odds are ``slope`` times the true ones, and shifted."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(units // per), per)
    true = (rng.normal(size=units // per)[groups] + rng.normal(size=units)) - 0.5
    return rng.random(units) < expit(true), expit(slope * true + shift), groups


def measured(positive, score, groups, weights=None, **more):
    count = groups.max() + 1
    weights = np.ones((1, count)) if weights is None else weights
    return weak_calibration(positive, score[None], groups, **more)(weights)


@pytest.mark.parametrize("units", [80, 5 * BINS])
def test_intercept_and_slope_are_those_of_other_implementations(units):
    positive, score, groups = world(units, 1, slope=2.0, shift=0.4)
    x = logit(score)
    slope = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], positive).coef_[0, 0]
    intercept = brentq(lambda a: (positive - expit(a + x)).sum(), -5, 5)
    found = measured(positive, score, groups)[0]
    assert found == pytest.approx([intercept, slope, np.log(positive.sum() / score.sum())], abs=1e-5)


def test_a_resample_is_the_units_repeated():
    positive, score, groups = world(90, 2, per=3)
    times = np.random.default_rng(0).integers(0, 3, groups.max() + 1)
    rows = np.repeat(np.arange(90), times[groups])
    again = np.unique(groups[rows], return_inverse=True)[1]
    given = measured(positive, score, groups, times[None].astype(float))[0]
    assert given == pytest.approx(measured(positive[rows], score[rows], again)[0], abs=1e-6)


def test_observed_over_expected_by_hand():
    """Two of four are ill, expected were 0.2 + 0.4 + 0.6 + 0.4 = 1.6."""
    positive, score = np.array([True, False, True, False]), np.array([0.2, 0.4, 0.6, 0.4])
    assert np.exp(measured(positive, score, np.arange(4))[0, 2]) == pytest.approx(2 / 1.6)
    # at prevalence 1/4 those with it expect 0.4 each, the others 0.4: O:E = 0.25 / 0.4
    moved = measured(positive, score, np.arange(4), prevalence=0.25)
    assert np.exp(moved[0, 2]) == pytest.approx(0.25 / 0.4)


def test_at_another_prevalence_is_what_a_cohort_with_that_prevalence_shows():
    positive, score, groups = world(400, 3)
    ill = np.flatnonzero(positive)
    twice = np.concatenate([np.arange(400), ill])  # those with the class once more
    share = 2 * len(ill) / len(twice)
    one = measured(positive, score, groups, prevalence=share)
    other = measured(positive[twice], score[twice], np.arange(len(twice)))
    assert one[0] == pytest.approx(other[0], abs=2e-3)  # the bins of resamples differ


def test_no_slope_where_there_is_none():
    same = measured(np.array([True, False] * 10), np.full(20, 0.3), np.arange(20))[0]
    apart = measured(np.arange(20) > 9, np.linspace(0.1, 0.9, 20), np.arange(20))[0]
    assert np.isnan(same[1]) and np.isfinite(same[[0, 2]]).all() and np.isnan(apart[1])


def test_a_smooth_curve_is_the_local_line_that_least_squares_finds():
    positive, score, groups = world(60, 4)
    at = np.linspace(0.2, 0.6, 5)
    for place, centre in enumerate(at):
        away = np.abs(score - centre)
        kernel = np.clip(1 - (away / np.sort(away)[39]) ** 3, 0, None) ** 3
        fit = np.polyfit(score - centre, positive, 1, w=np.sqrt(kernel))
        assert smooth_curve(positive, score[None], groups, at)(np.ones((1, 60)))[0, place] == pytest.approx(
            np.clip(fit[1], 0, 1), abs=1e-6
        )


@pytest.mark.parametrize(("units", "per"), [(120, 4), (400, 4)])
def test_a_perfect_forecast_is_called_so(units, per):
    """Probabilities are the true risks: intercept 0, slope 1 and O:E 1 are held by 95 % of the intervals."""
    held = []
    for seed in range(60):
        positive, score, groups = world(units, seed, per)
        sample = sample_of(positive.astype(int), groups)
        band = band_of(weak_calibration(positive, score[None], sample.index), sample, resamples=300)
        held.append((band.low <= [0, 1, 0]) & (band.high >= [0, 1, 0]))
    assert (np.mean(held, axis=0) >= 0.88).all(), np.mean(held, axis=0)


def test_an_overconfident_forecast_is_called_so():
    positive, score, groups = world(600, 0, 2, slope=2.0, shift=1.0)
    sample = sample_of(positive.astype(int), groups)
    band = band_of(weak_calibration(positive, score[None], sample.index), sample, resamples=300)
    assert band.high[0] < 0 and band.high[1] < 1 and band.high[2] < 0
