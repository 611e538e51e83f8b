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
