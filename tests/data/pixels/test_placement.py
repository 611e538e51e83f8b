import numpy as np
import pytest

from sidelight.data.pixels.decoding import at_working_size
from sidelight.data.pixels.placement import _averaged, placed

SHAPES = [(100, 50), (50, 100), (37, 64), (64, 64), (3, 200), (1, 1)]


def blob(height, width):
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 7 + columns * 3) % 11 < 5) | (rows == columns)


def test_the_longer_side_fills_the_square_and_the_other_is_centred():
    assert placed(100, 50, 64, "pad").inner == (64, 32) and placed(100, 50, 64, "pad").offset == (0, 16)
    assert placed(50, 100, 64, "pad").offset == (16, 0)
    assert placed(100, 50, 64).inner == (64, 64) and placed(100, 50, 64).scale == (0.64, 1.28)
    assert placed(1, 1000, 10, "pad").inner == (1, 10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_boxes_there_and_back(shape, fit):
    place = placed(*shape, 64, fit)
    boxes = np.random.default_rng(0).uniform(-5, 70, (9, 4))
    np.testing.assert_allclose(place.boxes_out(place.boxes_in(boxes)), boxes, rtol=0, atol=1e-12)
    height, width = shape
    (down, right), (rows, columns) = place.offset, place.inner
    assert place.boxes_in(np.array([[0, 0, width, height]])).tolist() == [[right, down, right + columns, down + rows]]
    assert place.boxes_in(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_masks_survive_a_larger_square_there_and_back(shape, fit):
    mask = np.stack([blob(*shape), ~blob(*shape)])[None]
    place = placed(*shape, 2 * max(shape) + 1, fit)
    inside = place.masks_in(mask)
    assert inside.shape == (1, 2, place.size, place.size) and inside.dtype == bool
    assert np.array_equal(place.masks_out(inside), mask)


def test_a_smaller_square_keeps_half_covered_pixels():
    mask = np.zeros((4, 8), bool)
    mask[:, :3] = True
    assert placed(4, 8, 4, "pad").masks_in(mask).astype(int).tolist() == [[0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0] * 4]
    assert placed(4, 8, 2, "squash").masks_in(mask).astype(int).tolist() == [[1, 0], [1, 0]]


def test_area_is_kept_where_a_mask_becomes_smaller():
    rows, columns = np.mgrid[:300, :200]
    disc = (rows - 140) ** 2 + (columns - 90) ** 2 < 60**2
    place = placed(300, 200, 64, "pad")
    share = place.masks_in(disc).sum() / (place.scale[0] * place.scale[1])
    assert share == pytest.approx(disc.sum(), rel=0.02)
    overlap = place.masks_out(place.masks_in(disc)) & disc
    assert overlap.sum() / disc.sum() > 0.97


def test_the_average_of_parts_that_cut_pixels():
    mask = np.array([[True, True, False, False, True]])
    assert _averaged(mask, 2, -1).tolist() == [[pytest.approx(2 / 2.5), pytest.approx(1 / 2.5)]]
    assert _averaged(mask.T, 2, -2).T.tolist() == [[pytest.approx(2 / 2.5), pytest.approx(1 / 2.5)]]


def test_probabilities_go_back_as_numbers():
    place = placed(10, 20, 8, "pad")
    out = place.masks_out(np.full((3, 8, 8), 0.25, np.float32))
    assert out.shape == (3, 10, 20) and out.dtype == np.float32 and np.allclose(out, 0.25)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("colour", [False, True])
def test_a_mask_lies_on_what_it_was_drawn_on(kind, colour):
    """A bright rectangle of a frame, and its mask, at the working size."""
    mask = np.zeros((60, 100), bool)
    mask[10:40, 20:50] = True
    frame = mask.astype(kind) * np.iinfo(kind).max
    frame = np.repeat(frame[..., None], 3, axis=2) if colour else frame
    for fit in ("squash", "pad"):
        small = at_working_size(frame[None], 64, 3 if colour else 1, fit)
        assert small.shape == (1, 3 if colour else 1, 64, 64) and small.dtype == kind
        shown = small[0, 0] > np.iinfo(kind).max // 2
        place = placed(60, 100, 64, fit)
        inside = place.masks_in(mask)
        assert (shown & inside).sum() / (shown | inside).sum() > 0.9  # they may differ by an edge of half a pixel
        x0, y0, x1, y1 = place.boxes_in(np.array([20, 10, 50, 40])).tolist()
        rows, columns = np.nonzero(inside)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx(
            [x0, y0, x1, y1], abs=0.5
        )
    assert not at_working_size(frame[None], 64, 1, "pad")[0, 0, :12].any()
