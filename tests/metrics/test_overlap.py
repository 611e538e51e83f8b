import numpy as np
import pytest

from sidelight.metrics.overlap import counts, image_dice, pooled_dice


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
