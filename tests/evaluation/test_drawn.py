import numpy as np

from sidelight.evaluation.drawn import MOST_BOXES, frame_of, framed, packed, packed_boxes, unpacked, unpacked_boxes


def test_masks_and_boxes_come_back_as_they_were():
    mask = np.random.default_rng(0).random((13, 13)) < 0.3
    frame, data = frame_of(framed(70_000, packed(mask)))
    assert frame == 70_000
    np.testing.assert_array_equal(unpacked(data, 13), mask)
    boxes = np.array([[0, 1, 2, 3], [4, 5, 6, 7.5]])
    np.testing.assert_array_equal(unpacked_boxes(packed_boxes(boxes))[:, :4], boxes)
    by_score = unpacked_boxes(packed_boxes(boxes, np.array([0.25, 0.5])))
    np.testing.assert_array_equal(by_score, [[4, 5, 6, 7.5, 0.5], [0, 1, 2, 3, 0.25]])
    assert unpacked_boxes(packed_boxes(np.empty((0, 4)))).shape == (0, 5)
    assert len(unpacked_boxes(packed_boxes(np.zeros((50, 4))))) == MOST_BOXES
