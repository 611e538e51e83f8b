import pytest

from sidelight.data.annotations.boxes import corners, filled_box, numbers_of
from sidelight.errors import DataError

WHOLE = {
    "xywh": (0, 0, 20, 10),
    "xyxy": (0, 0, 20, 10),
    "cxcywh": (10, 5, 20, 10),
    "xywh_relative": (0, 0, 1, 1),
    "xyxy_relative": (0, 0, 1, 1),
    "cxcywh_relative": (0.5, 0.5, 1, 1),
}


@pytest.mark.parametrize("form", WHOLE)
def test_the_whole_image_in_every_convention(form):
    assert corners(WHOLE[form], form, 10, 20) == (0, 0, 20, 10)


def test_corners_by_hand():
    assert corners((4, 2, 6, 3), "xywh", 10, 20) == (4, 2, 10, 5)
    assert corners((4, 2, 6, 4), "cxcywh", 10, 20) == (1, 0, 7, 4)
    assert corners((0.25, 0.5, 0.1, 0.2), "cxcywh_relative", 10, 20) == pytest.approx((4, 4, 6, 6))


def test_four_cells_or_one():
    assert numbers_of(("1", " 2.5", "3", "4")) == (1, 2.5, 3, 4)
    assert numbers_of(("14.6 0.8 144.4 221.5",)) == (14.6, 0.8, 144.4, 221.5)
    assert numbers_of(("[1, 2, 3, 4]",)) == (1, 2, 3, 4)
    assert numbers_of(("", "", "", "")) is numbers_of((" ",)) is numbers_of(("nan", "NaN", "", "nan")) is None
    for cells in (("1", "2", "", "4"), ("1 2 3",), ("a", "b", "c", "d"), ("1", "2", "3", "inf")):
        with pytest.raises(DataError, match="four numbers"):
            numbers_of(cells)


def test_filled():
    assert filled_box((1, 0, 3, 2), 3, 4).astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert filled_box((0.6, 0, 2.4, 1), 1, 4).tolist() == [[False, True, False, False]]
    assert filled_box((-5, -5, 50, 50), 3, 4).all()
