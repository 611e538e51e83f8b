"""Dice and its kin as metrics of rows: numbers by hand, and worlds whose answer is known."""

import numpy as np
import pytest

from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.overlap import HD95, MEAN_DICE, MEAN_IOU, POOLED_DICE, SURFACE_DICE, areas, mask_row, pooled_dice

ALL = (POOLED_DICE, MEAN_DICE, MEAN_IOU, HD95, SURFACE_DICE)


def test_published_number_and_empty_images():
    found = np.array([[[0.9, 0.2], [0.6, 0.1]], [[0.1, 0.1], [0.1, 0.1]]]) > 0.5
    truth = np.array([[[1, 0], [0, 0]], [[0, 0], [1, 0]]], bool)
    table = areas(found, truth)
    assert table.tolist() == [[1, 2, 1], [0, 0, 1]]
    assert pooled_dice(None, table) == pytest.approx(0.5)
    assert MEAN_DICE(None, table) == pytest.approx((2 / 3 + 0) / 2)
    assert MEAN_IOU(None, table) == pytest.approx((1 / 2 + 0) / 2)
    nothing = areas(found, truth & False)
    assert np.isnan(MEAN_DICE(None, nothing)) and pooled_dice(None, areas(found & False, truth & False)) == 0
    assert pooled_dice(None, areas(truth, truth)) == 1 == MEAN_DICE(None, areas(truth, truth))
    assert pooled_dice(None, table[::-1]) == pooled_dice(None, table)


def test_a_row_knows_what_is_unknown_and_how_large_a_pixel_is():
    found, truth, known = np.zeros((3, 6, 6), bool)
    found[1, 1:5], truth[1, 1:3], known[:, :4] = True, True, True
    row = mask_row(found, truth, known, spacing=(2.0, 3.0), tolerance=1.0)
    assert row.tolist() == pytest.approx(
        [2, 3, 2, 2.7, 4 / 5, np.hypot(12, 18)]
    )  # one column, 3 mm; 95 % between 0 and 3


def test_shapes():
    with pytest.raises(ValueError, match="found is"):
        areas(np.zeros((2, 3)), np.zeros((2, 4)))


def rows(patients, seed, share, images=3, side=12):
    """Rows of masks that differ from the truth by a share of the pixels; some images hold nothing."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((patients * images, side, side), bool)
    for at in range(len(truth)):
        if rng.random() < 0.7:
            top, left = rng.integers(0, side - 5, 2)
            truth[at, top : top + 5, left : left + 4] = True
    found = truth ^ (rng.random(truth.shape) < share)
    table = np.stack([mask_row(one, other) for one, other in zip(found, truth, strict=True)])
    return table, np.repeat(np.arange(patients), images)


@pytest.mark.parametrize("metric", ALL, ids=lambda one: one.name)
def test_weights_are_repetitions_one_by_one_and_all_at_once(metric):
    table, _ = rows(6, 0, 0.1)
    weights = np.random.default_rng(1).integers(0, 4, (5, len(table))).astype(float)
    together = metric(None, table, weights)
    for row, value in zip(weights, together, strict=True):
        assert value == pytest.approx(metric(None, np.repeat(table, row.astype(int), axis=0)))
        assert metric(None, table, row) == pytest.approx(value)


@pytest.mark.parametrize(("patients", "method"), [(8, "none"), (24, "t"), (60, "bootstrap")])
@pytest.mark.parametrize("metric", ALL, ids=lambda one: one.name)
def test_intervals_and_differences_by_patient(metric, patients, method):
    good, groups = rows(patients, 0, 0.02)
    poor, _ = rows(patients, 0, 0.2)
    labels = (good[:, 2] > 0).astype(int)
    found = clustered_interval(labels, good, groups, metric, resamples=200)
    gap = paired_difference(labels, good, poor, groups, metric, resamples=200, permutations=200)
    assert found.method == method and found.groups == patients
    if method != "none":
        assert found.low < found.value < found.high
        assert (gap.low > 0) if metric.higher_is_better else (gap.high < 0)


def test_few_that_hold_something_allow_no_interval_and_few_that_hold_nothing_do():
    table, groups = rows(40, 0, 0.05, images=1)
    for holding, method in ((3, "none"), (38, "bootstrap")):
        own = table.copy()
        own[holding:, [0, 2]] = 0
        own[:holding] = table[table[:, 2] > 0][np.arange(holding) % (table[:, 2] > 0).sum()]
        found = clustered_interval((own[:, 2] > 0).astype(int), own, groups, POOLED_DICE, resamples=200)
        assert found.method == method
        assert ("what is sought lies in 3 groups" in found.note) == (method == "none")


def test_random_masks_meet_as_much_as_chance_says():
    rng = np.random.default_rng(0)
    truth, found = rng.random((2, 200, 16, 16)) < np.array([0.3, 0.6])[:, None, None, None]
    expected = 2 * 0.3 * 0.6 / (0.3 + 0.6)
    assert pooled_dice(None, areas(found, truth)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("patients", "heavy", "method"), [(45, 1, "bootstrap"), (45, 20, "t"), (25, 1, "t"), (25, 20, "none")]
)
def test_equal_rivals_are_rarely_told_apart_and_the_truth_is_covered(patients, heavy, method):
    """Each patient's share of found pixels is its own; one patient has ``heavy`` times the pixels.

    As 45 patients they would be told apart in 18 of 100 worlds, and 77 of 100 intervals hold the truth: they are worth nine.
    """
    ones, groups, told, covered, worlds = np.ones(patients, int), np.arange(patients), 0, 0, 120
    for world in range(worlds):
        rng = np.random.default_rng([world, patients, heavy])
        pixels = np.where(groups == 0, heavy, 1) * 400.0
        each = [np.stack([pixels * rng.uniform(0.5, 0.9, patients), pixels, pixels], 1) for _ in range(2)]
        gap = paired_difference(ones, *each, groups, POOLED_DICE, resamples=200, permutations=9)
        found = clustered_interval(ones, each[0], groups, POOLED_DICE, resamples=200)
        assert found.method == gap.method == method
        told += gap.low > 0 or gap.high < 0
        covered += found.low <= 0.7 <= found.high
    assert told / worlds <= 0.1
    assert method == "none" or covered / worlds >= 0.9
