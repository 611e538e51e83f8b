"""Series as pictures, and what pictures say put together again."""

import numpy as np
import pytest

from sidelight.errors import ConfigError
from sidelight.evaluation.drawn import frame_of
from sidelight.evaluation.protocols.localized.pictures import Rows, joined, pictures, summed
from sidelight.evaluation.truth import Truth
from sidelight.evaluation.units import Units


class Frames:
    """Pixels of items with so many frames; ``by_frame`` as the cache has it."""

    def __init__(self, frames):
        self.frames, self.by_frame = frames, "frames"

    def __len__(self):
        return len(self.frames)

    def frames_of(self, row):
        return self.frames[row]


def test_each_frame_is_a_picture_with_its_own_mask():
    masks = [np.full((1, 4, 4), 7, np.uint8), np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4)]
    units = Units(Frames([3, 2, 1]), [[2], [1]], truth=Truth(masks=masks, spacing=[(1, 2), (3, 4)]))
    found, owner = pictures(units)
    assert owner.tolist() == [0, 1, 1] and found.items == [[5], [3], [4]] and found.pixels == "frames"
    assert [one[0, 0, 0] for one in found.truth.masks] == [7, 0, 16]
    assert found.truth.spacing == [(1, 2), (3, 4), (3, 4)]


def test_stills_stay_as_they_are_and_several_images_are_refused():
    units = Units(Frames([1, 1]), [[1], [0]])
    assert pictures(units)[0] is units
    with pytest.raises(ConfigError, match="A unit has 2 images"):
        pictures(Units(Frames([1, 1]), [[1, 0]]))


def test_areas_of_a_volume_are_added_up_and_distances_averaged():
    owner = np.array([0, 0, 0, 1])
    rows = np.array([[3, 4, 5, 1, 0.5, 9], [0, 1, 0, 9, 0, 9], [0, 0, 0, np.nan, np.nan, 9], [1, 1, 2, 2, 1, 9]], float)
    drawn = [[name] for name in (b"a", b"b", b"c", b"d")]
    parts = [
        Rows(rows[:1, None], np.array([[True]]), drawn[:1]),
        Rows(rows[1:, None], np.zeros((3, 1), bool), drawn[1:]),
    ]
    found = summed(parts, owner)
    whole, known = found.numbers, found.known
    assert [frame_of(own[0]) for own in found.drawn] == [(0, b"a"), (0, b"d")]
    # Dice of the volume: 2 * 3 / (5 + 5)
    np.testing.assert_array_equal(whole[:, 0], [[3, 5, 5, 5, 0.25, 9], [1, 1, 2, 2, 1, 9]])
    assert known.tolist() == [[True], [False]]
    empty = Rows(np.array([[[0, 0, 0, np.nan, np.nan, 9.0]]] * 2), np.ones((2, 1), bool), drawn[:2])
    nothing = summed([empty], np.array([0, 0])).numbers
    assert np.isnan(nothing[0, 0, 3:5]).all() and nothing[0, 0, 5] == 9


def test_boxes_of_pictures_become_those_of_their_unit():
    one, two = np.array([1, 0.9, 0, 0, -1]), np.array([2, 0.8, 1, 1, 1])
    found = joined([[one], [two], [one]], np.array([0, 0, 1]))
    assert [own[0].tolist() for own in found] == [[3, 0.9, 0, 0, -1, 0.8, 1, 1, 1], one.tolist()]
