"""Calibration metrics on numbers worked by hand, and maps that find what was planted."""

import time
import tracemalloc

import numpy as np
import pytest
from scipy.special import expit, softmax

from sidelight.metrics.calibration import (
    BRIER,
    Calibration,
    brier,
    ece,
    fit_calibration,
    reliability,
    to_prevalence,
    youden_threshold,
    youden_thresholds,
)
from sidelight.metrics.classification import auroc
from sidelight.metrics.intervals import clustered_interval


def test_brier_by_hand():
    assert brier(np.array([0, 1]), np.array([0.2, 0.6])) == pytest.approx((0.04 + 0.16) / 2)
    three = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    assert brier(np.array([0, 1]), three) == pytest.approx((0.09 + 0.04 + 0.01 + 0.01 + 0.81 + 0.64) / 2)


def test_ece_by_hand():
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.6, 0.9])
    # two bins of two: stated 0.15 against 0.5 observed, and 0.75 against 0.5
    assert ece(labels, scores, bins=2) == pytest.approx((0.35 + 0.25) / 2)


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 40), softmax(rng.normal(size=(40, 3)), axis=1)
    times = rng.integers(0, 3, 40)
    again = np.repeat(np.arange(40), times)
    assert brier(labels, scores, times[None].astype(float))[0] == pytest.approx(brier(labels[again], scores[again]))
    assert ece(labels, scores, np.ones((1, 40)))[0] == pytest.approx(ece(labels, scores))


def test_equal_scores_share_a_bin():
    curve = reliability(np.array([True, False, True, True]), np.full(4, 0.7))
    assert curve.units == (4,) and curve.stated == pytest.approx((0.7,)) and curve.observed == (0.75,)


def test_a_perfect_forecast_is_nearly_calibrated_and_an_overconfident_one_is_not():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=20_000)
    labels = (rng.uniform(size=p.size) < p).astype(int)
    assert ece(labels, p) < 0.015
    assert ece(labels, expit(3 * np.log(p / (1 - p)))) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_platt_finds_what_was_planted(seed):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=20_000)
    labels = (rng.uniform(size=true.size) < expit(true)).astype(int)
    stated = expit((true - 0.8) * 2.5)  # too sure, and shifted
    found = fit_calibration(labels, np.stack([1 - stated, stated], axis=1))
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.shift == pytest.approx(0.8, abs=0.1)
    better = found(np.stack([1 - stated, stated], axis=1))
    assert ece(labels, better) < 0.03 < ece(labels, stated)
    assert auroc(labels, better) == pytest.approx(auroc(labels, stated))


def test_temperature_for_three_classes_keeps_the_decision():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    stated = softmax(3 * logits, axis=1)
    found = fit_calibration(labels, stated)
    assert found.temperature == pytest.approx(3, rel=0.1) and found.shift == 0
    assert (found(stated).argmax(1) == stated.argmax(1)).all()


def test_calibration_of_missing_scores_is_missing():
    assert np.isnan(Calibration(2.0, 0.1)(np.full((1, 2), np.nan))).all()


def test_threshold_by_hand():
    # cuts 0.15, 0.3, 0.6: Youden's J is 0.5, 1.0, 0.5
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.8]) == pytest.approx(0.3)
    assert youden_threshold([1, 1], [0.1, 0.9]) == 0.5
    assert youden_threshold([0, 1], [0.4, 0.4]) == 0.5


def by_every_pair(labels, score):
    """The threshold by comparing every unit with every candidate, as it was first written."""
    truth, cuts = labels == 1, np.unique(score)
    cuts = (cuts[1:] + cuts[:-1]) / 2
    called = score[None, :] >= cuts[:, None]
    value = called[:, truth].mean(axis=1) - called[:, ~truth].mean(axis=1)
    best = np.flatnonzero(value > value.max() - 1e-12)
    return float(cuts[best[np.abs(cuts[best] - 0.5).argmin()]])


@pytest.mark.parametrize("seed", range(40))
def test_the_threshold_is_that_of_every_pair_ties_too(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, rng.integers(0, 2, rng.integers(2, 60))]
    score = rng.random(len(labels)).round(rng.integers(1, 4))
    if len(np.unique(score)) > 1:
        assert youden_threshold(labels, score) == by_every_pair(labels, score)


def test_the_threshold_of_resamples_is_that_of_repeated_units():
    rng = np.random.default_rng(0)
    labels, score = rng.integers(0, 2, 50), rng.random(50)
    weights = rng.integers(1, 4, (5, 50)).astype(float)
    each = [youden_threshold(np.repeat(labels, row), np.repeat(score, row)) for row in weights.astype(int)]
    assert youden_thresholds(labels, score, weights) == pytest.approx(each)


def test_the_threshold_of_400_000_units_takes_a_second_and_little_memory():
    rng = np.random.default_rng(0)
    labels = (rng.random(400_000) < 0.01).astype(int)
    score = rng.random(400_000) + 0.3 * labels
    tracemalloc.start()
    begin = time.perf_counter()
    assert 0.2 < youden_threshold(labels, score) < 1.1
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 3 and peak < 200e6  # a matrix of all pairs would hold 160 GB


def test_a_brier_score_above_one_has_its_interval():
    """Of three classes it reaches 2, of a mean over targets of 2 and 3 classes 1.5."""
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 60), np.repeat(np.arange(30), 2)
    sure = np.eye(3)[(labels + 1) % 3] * 0.9 + 0.1 / 3
    found = clustered_interval(labels, sure + rng.normal(0, 0.01, sure.shape), groups, BRIER.of(3))
    assert 1.3 < found.low < found.value < found.high < 2 and found.method == "t"
    assert BRIER.of(2).high == 1 and BRIER.over((2, 3)).high == 1.5


def test_odds_move_by_the_odds_of_the_prevalence():
    """Odds 1 at prevalence 1/2 are odds 1/9 at prevalence 1/10; at the same prevalence nothing moves."""
    assert to_prevalence([0.5, 0.8], 0.5, 0.1) == pytest.approx([0.1, 4 / 13])
    assert to_prevalence([0.2], [0.3], 0.3) == pytest.approx([0.2])
