"""Intervals of unbounded numbers: means with a known answer, few groups, rare classes, numbers that are undefined."""

import numpy as np
import pytest
from scipy.stats import t

from sidelight.metrics.bands import band_of
from sidelight.metrics.sample import sample_of


def mean_of(rows):
    return lambda weights: weights @ rows / weights.sum(axis=1, keepdims=True)


def test_the_t_interval_of_a_mean_is_the_text_book_s():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(25, 2))
    band = band_of(mean_of(rows), sample_of(None, np.arange(25)))
    for place, column in enumerate(rows.T):
        low, high = t.interval(0.95, 24, column.mean(), column.std(ddof=1) / 5)
        assert (band.low[place], band.high[place]) == pytest.approx((low, high)) and band.method == "t"


@pytest.mark.parametrize(("groups", "method"), [(100, "bootstrap"), (700, "bootstrap")])
def test_the_bootstrap_interval_of_a_mean_is_near_it(groups, method):
    rows = np.random.default_rng(1).normal(size=(groups, 1))
    band = band_of(mean_of(rows), sample_of(None, np.arange(groups)), resamples=2000)
    low, high = t.interval(0.95, groups - 1, rows.mean(), rows.std(ddof=1) / np.sqrt(groups))
    assert (band.low[0], band.high[0]) == pytest.approx((low, high), abs=0.12 * (high - low)) and band.method == method


@pytest.mark.parametrize(("groups", "ill", "method"), [(9, 4, "none"), (100, 4, "none"), (100, 8, "t"), (800, 8, "t")])
def test_the_rarest_class_says_what_can_be_said(groups, ill, method):
    sample = sample_of((np.arange(groups) < ill).astype(int), np.arange(groups))
    band = band_of(mean_of(np.random.default_rng(0).normal(size=(groups, 1))), sample, resamples=100)
    assert band.method == method and np.isnan(band.low[0]) == (method == "none")
    assert bool(band.notes[0]) == (method == "none")


def test_what_is_undefined_has_no_limits_and_says_so():
    rows = np.stack([np.full(50, np.nan), np.random.default_rng(0).normal(size=50)], axis=1)
    band = band_of(mean_of(rows), sample_of(None, np.arange(50)), resamples=100)
    assert np.isnan(band.low).tolist() == [True, False] and "undefined" in band.notes[0] and not band.notes[1]


@pytest.mark.parametrize("groups", [50, 3000])
@pytest.mark.filterwarnings("error")
def test_what_is_undefined_warns_of_nothing(groups):
    rows = np.stack([np.full(groups, np.nan), np.arange(groups, dtype=float)], axis=1)
    band = band_of(mean_of(rows), sample_of(None, np.arange(groups)), resamples=50)
    assert np.isnan(band.error).tolist() == [True, False]
