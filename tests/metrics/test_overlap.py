import numpy as np
import pytest

from sidelight.metrics.overlap import counts, dice_difference, image_dice, pooled_dice


def test_published_number_and_empty_images():
    found = np.array([[[0.9, 0.2], [0.6, 0.1]], [[0.1, 0.1], [0.1, 0.1]]]) > 0.5
    truth = np.array([[[1, 0], [0, 0]], [[0, 0], [1, 0]]], bool)
    table = counts(found, truth)
    assert table.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert pooled_dice(table) == pytest.approx(0.5)
    assert image_dice(table).tolist() == pytest.approx([2 / 3, 0])
    assert np.isnan(image_dice(counts(found, truth & False))).all()
    assert pooled_dice(counts(found & False, truth & False)) == 0
    assert pooled_dice(counts(truth, truth)) == 1
    assert pooled_dice(table[::-1]) == pooled_dice(table)


def test_shapes():
    with pytest.raises(ValueError, match="found is"):
        counts(np.zeros((2, 3)), np.zeros((2, 4)))


def test_a_difference_is_paired_and_counts_patients():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 8, 8)) < 0.4
    good, bad = truth ^ (rng.random(truth.shape) < 0.1), truth ^ (rng.random(truth.shape) < 0.4)
    tables, groups = [counts(found, truth) for found in (good, bad)], np.arange(60) // 2
    value, low, high = dice_difference(*tables, groups)
    assert value == pytest.approx(pooled_dice(tables[0]) - pooled_dice(tables[1]))
    assert 0.1 < low < value < high
    assert dice_difference(tables[0], tables[0], groups) == (0, 0, 0)
    alike = [np.repeat(table[:30], 2, 0) for table in tables]
    wide, narrow = dice_difference(*alike, np.arange(60) // 2), dice_difference(*alike, np.arange(60))
    assert wide[2] - wide[1] > 1.2 * (narrow[2] - narrow[1])  # two copies of an image in one patient are one
