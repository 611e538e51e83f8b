import numpy as np

from sidelight.evaluation.truth import Truth
from sidelight.evaluation.units import Units


def test_truth_is_taken_and_joined_with_its_units():
    masks = [np.full((1, 2, 2), at, np.uint8) for at in range(4)]
    units = Units(None, [[at] for at in range(4)], truth=Truth(masks=masks, spacing=[(at, at) for at in range(4)]))
    taken = units.take([2, 0])
    assert [int(own[0, 0, 0]) for own in taken.truth.masks] == [2, 0] and taken.truth.spacing == [(2, 2), (0, 0)]
    assert taken.truth.boxes is None
    both = taken.joined(units.take([3]))
    assert [int(own[0, 0, 0]) for own in both.truth.masks] == [2, 0, 3] and both.items == [[2], [0], [3]]
    assert both.truth.joined(Truth(masks=masks)).spacing is None
    assert Units(None, [[0]]).take([0]).truth is None and units.joined(Units(None, [[9]])).truth is None


def test_boxes_are_filled_and_what_lies_beside_the_image_is_unknown():
    boxes = [np.array([[1, 0, 3, 2], [2, 1, 4, 4], [0.6, 0.6, 1.4, 1.4]], np.float32), np.zeros((0, 4), np.float32)]
    truth = Truth(boxes=boxes, labels=[np.array([0, 0, 1]), np.zeros(0, np.int64)], inner=[(0, 0, 4, 4), (1, 0, 3, 4)])
    one, none = truth.filled(2, 4).masks
    assert one[0].tolist() == [[0, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert one[1].sum() == 0  # it holds no pixel's centre
    assert none[0].tolist() == none[1].tolist() == [[255] * 4, [0] * 4, [0] * 4, [255] * 4]
    assert truth.take([1]).inner == [(1, 0, 3, 4)] and Truth(masks=[one]).filled(2, 4).masks == [one]
