"""What is found in new units, in pixels of their sources; numbers worked by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sidelight.data.pixels.placement import placed
from sidelight.data.read.spacing import Spacing
from sidelight.errors import RunError
from sidelight.evaluation.model.where import Found, found_in, measures, threshold_of_boxes
from sidelight.evaluation.protocols.localized.masks import MaskHead
from sidelight.evaluation.truth import Predicted


class Fixed:
    """A head that finds what it is told."""

    def __init__(self, *each):
        self.each = each

    def predicted(self, units):
        return iter(self.each)


def units(height, width, size, fit="squash"):
    """One still."""
    pixels = SimpleNamespace(frames_of=lambda row: 1, placement=lambda row: placed(height, width, size, fit))
    return SimpleNamespace(items=[[0]], pixels=pixels)


def test_a_mask_leaves_the_padding_and_the_border_behind():
    probabilities = np.zeros((2, 8, 8), np.float32)
    probabilities[0, 2:4, 0:4] = 0.9  # the image of 4 x 8 pixels takes rows 2 to 5 of the square
    probabilities[1, 0:2] = 0.9  # beside the image
    (found,) = found_in(Fixed(Predicted(masks=probabilities)), units(4, 8, 8, "pad"), [0.5, 0.5], border=1)
    assert found.shape == (1, 6, 10) and found.masks.shape == (1, 2, 6, 10)
    expected = np.zeros((6, 10), bool)
    expected[1:3, 1:5] = True
    np.testing.assert_array_equal(found.masks[0, 0], expected)
    assert not found.masks[0, 1].any()


def test_boxes_count_from_their_classs_threshold_and_end_with_the_image():
    boxes = np.array([[0, 0, 4, 4], [4, 4, 9, 9], [2, 2, 4, 4]], float)
    told = Predicted(None, boxes, np.array([0.9, 0.6, 0.5]), np.array([0, 1, 1]))
    (found,) = found_in(Fixed(told), units(16, 32, 8), [0.95, 0.6], border=2)
    # twice as many rows and four times as many columns as the square, and two pixels of border
    assert found.boxes[0].tolist() == [[18, 10, 34, 18]] and found.shape == (1, 20, 36)
    assert found.scores[0].tolist() == [0.6] and found.labels[0].tolist() == [1] and found.surest.tolist() == [0.9, 0.6]
    assert measures(found, ["a", "b"], None) == {"count:a": 0, "score:a": 0.9, "count:b": 1, "score:b": 0.6}


def test_numbers_that_are_not_finite_predict_nothing():
    with pytest.raises(RunError, match="not finite"):
        list(found_in(Fixed(Predicted(masks=np.full((1, 8, 8), np.nan, np.float32))), units(8, 8, 8), [0.5]))


def test_areas_volumes_and_parts():
    masks = np.zeros((1, 1, 6, 6), bool)
    masks[0, 0, 0, 0] = masks[0, 0, 1, 1] = masks[0, 0, 4, 2:5] = True  # two that touch at a corner, and three in a row
    size = Spacing(0.5, 2.0, 4.0)
    assert measures(Found((1, 6, 6), masks), [""], size) == {"pixels": 5, "mm2": 5.0, "count": 2}
    assert measures(Found((1, 6, 6), masks), [""], None) == {"pixels": 5, "count": 2}
    series = np.concatenate([masks, np.roll(masks, 1, axis=2), np.zeros_like(masks), masks])
    # 15 voxels of 4 cubic mm; parts go on in the next slice, not beyond an empty one
    assert measures(Found((4, 6, 6), series), [""], size) == {"pixels": 15, "ml": 0.06, "count": 4}
    assert "ml" not in measures(Found((4, 6, 6), series), [""], Spacing(1.0, 1.0))


def test_the_threshold_of_boxes_is_the_one_with_the_highest_f1_out_of_fold():
    rows = pd.DataFrame(
        {
            "outcome": "boxes", "boxes": [2.0, 1.0],
            "detections": [[0.9, 0, 1, 1, 0.7, 0, 1, 1], [0.8, 0, 0, -1, 0.6, 0, 0, -1]],
        }
    )  # fmt: skip
    # at 0.9: 2 / (1 + 3), at 0.8: 2 / (2 + 3), at 0.7: 4 / (3 + 3), at 0.6: 4 / (4 + 3)
    assert threshold_of_boxes(rows) == 0.7
    assert threshold_of_boxes(rows.iloc[1:]) == 0.5


def test_masks_keep_the_threshold_of_their_settings():
    head = SimpleNamespace(own=SimpleNamespace(threshold=0.4), classes=2)
    assert MaskHead.thresholds.fget(head) == [0.4, 0.4]
