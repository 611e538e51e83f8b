import numpy as np

from sidelight.reporting.drawn import key, with_boxes, with_outlines

BLUE = (0, 0x72, 0xB2)


def test_the_edge_of_a_mask_is_drawn_in_its_colour():
    frame, mask = np.full((20, 30), 100, np.uint8), np.zeros((2, 20, 30), bool)
    mask[0, 5:10, 8:16] = True
    shown = np.moveaxis(with_outlines(frame, mask, 50), 0, -1)
    coloured = (shown == BLUE).all(axis=-1)
    assert shown.shape == (20, 30, 3) and coloured.sum() == 2 * (5 + 8) - 4
    assert coloured[5, 8:16].all() and coloured[9, 8:16].all() and not coloured[6:9, 9:15].any()
    assert (shown[~coloured] == 100).all()


def test_a_smaller_picture_and_a_mask_of_the_source():
    frame, mask = np.zeros((40, 60, 3), np.uint8), np.zeros((1, 80, 120), bool)
    mask[0, 20:60, 40:100] = True
    shown = with_outlines(frame, mask, 20)
    coloured = (np.moveaxis(shown, 0, -1) == BLUE).all(axis=-1)
    rows, columns = np.nonzero(coloured)
    assert shown.shape == (3, 20, 30) and (rows.min(), rows.max()) == (5, 14)
    assert (columns.min(), columns.max()) == (10, 24)


def test_boxes_of_the_source():
    frame = np.zeros((40, 60), np.uint8)
    corners = np.array([[40.0, 20, 100, 60], [5, 5, 4, 4]])
    shown = np.moveaxis(with_boxes(frame, corners, [0, 1], 40, (80, 120)), 0, -1)
    rows, columns = np.nonzero((shown == BLUE).all(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 20, 49)
    assert len(rows) == 2 * (20 + 30) - 4


def test_colours_have_names():
    assert key(["lung", "heart"]) == [("#0072b2", "lung"), ("#d55e00", "heart")]
