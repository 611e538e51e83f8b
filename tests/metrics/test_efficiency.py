import numpy as np
import pytest
from sklearn.isotonic import isotonic_regression

from sidelight.metrics.efficiency import label_factor, label_factor_interval, labels_needed, monotone

COUNTS = np.array([8, 16, 32, 64, 128])


def test_monotone_is_isotonic_regression():
    curves = np.random.default_rng(0).random((20, 7))
    np.testing.assert_allclose(monotone(curves), [isotonic_regression(curve) for curve in curves], atol=1e-12)
    rising = np.sort(curves, axis=1)
    np.testing.assert_allclose(monotone(rising), rising, atol=1e-12)


def test_labels_needed_is_linear_in_log_labels():
    curve = np.array([0.5, 0.6, 0.6, 0.8, 0.9])
    needed = labels_needed(COUNTS, curve, np.array([0.4, 0.5, 0.55, 0.6, 0.7, 0.9, 0.95]))
    np.testing.assert_allclose(needed, [8, 8, 8 * np.sqrt(2), 16, 32 * np.sqrt(2), 128, np.inf])


def test_a_curve_shifted_by_four_has_factor_four_and_inf_beyond_the_counts():
    score = np.log2(COUNTS) / 10
    factor = label_factor(COUNTS, score + 0.2, COUNTS, score)
    np.testing.assert_allclose(factor, [4, 4, 4, np.inf, np.inf])
    np.testing.assert_allclose(label_factor(COUNTS, score, COUNTS, score), 1)
    # the better rival: one quarter, but no less than its first count can tell
    np.testing.assert_allclose(label_factor(COUNTS, score, COUNTS, score + 0.2), [1, 0.5, 0.25, 0.25, 0.25])


def test_counts_may_differ_and_resamples_go_row_by_row():
    rng = np.random.default_rng(1)
    ours, rival = rng.random((6, 3)), rng.random((6, 5))
    many = label_factor(COUNTS[:3], ours, COUNTS, rival)
    assert many.shape == (6, 3)
    for row in range(6):
        np.testing.assert_allclose(many[row], label_factor(COUNTS[:3], ours[row], COUNTS, rival[row]))
    fixed = label_factor(COUNTS[:3], ours[0], COUNTS, rival)
    np.testing.assert_allclose(fixed[4], label_factor(COUNTS[:3], ours[0], COUNTS, rival[4]))


def test_nan_stays_nan():
    curve = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    broken = curve.copy()
    broken[2] = np.nan
    assert np.isnan(label_factor(COUNTS, curve, COUNTS, broken)).all()


def test_interval_holds_the_truth_and_inf_stays_more_than_all():
    rng, score = np.random.default_rng(2), np.log2(COUNTS) / 10
    noise = rng.standard_normal((2, 500, 1)) * 0.02
    found = label_factor_interval(
        COUNTS, score + 0.2 + noise[0], COUNTS, score + noise[1], point_a=score + 0.2, point_b=score
    )
    np.testing.assert_allclose(found.value[:3], 4)
    assert (found.low[:3] < 4).all()
    assert (found.high[:3] > 4).all()
    assert np.isinf(found.high[-1])
    assert np.isinf(found.value[-1])
    assert not np.isnan(found.low).any()
    # two shifts of 0.02 on a scale of 0.1 per doubling: sd of log2(factor) is 0.28
    assert np.log2(found.high[1] / found.low[1]) == pytest.approx(2 * 1.96 * 0.283, rel=0.15)


def test_rows_that_are_nan_are_left_out_of_the_interval():
    score = np.log2(COUNTS) / 10
    curves = np.tile(score, (50, 1))
    curves[0] = np.nan
    found = label_factor_interval(COUNTS, curves, COUNTS, np.tile(score, (50, 1)))
    np.testing.assert_allclose([found.value, found.low, found.high], 1)
