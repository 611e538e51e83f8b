import numpy as np
import pytest

from sidelight.data.annotations.drawn import Shape
from sidelight.data.annotations.object_cxr import ObjectCxr, shapes
from sidelight.errors import DataError


def test_shapes_by_hand():
    text = "0 1 0 4 2;2 0 2 6 2 6 4 0 4"
    assert shapes(text) == [("0", (1, 0, 4, 2)), ("2", (0, 2, 6, 2, 6, 4, 0, 4))]
    one = ObjectCxr(text, 3)
    assert one.plane(4, 6).astype(int).tolist() == [[0, 1, 1, 1, 0, 0]] * 2 + [[1] * 6] * 2
    assert one.boxes(Shape(1, 4, 6)) == [(3, (1, 0, 4, 2), ""), (3, (0, 2, 6, 4), "")]
    assert shapes("") == shapes(" ; ") == []


def test_a_wide_rectangle_is_wide():
    """The published evaluation wrote width for height."""
    ((_, (x0, y0, x1, y1), _),) = ObjectCxr("0 10 20 90 40", 0).boxes(Shape(1, 100, 100))
    assert x1 - x0 == 80 and y1 - y0 == 20
    rows, columns = np.nonzero(ObjectCxr("0 10 20 90 40", 0).plane(100, 100))
    assert np.ptp(columns) == 79 and np.ptp(rows) == 19


def test_an_ellipse_is_none_of_its_corners():
    mask = ObjectCxr("1 10 20 90 60", 0).plane(100, 100)
    assert mask.sum() == pytest.approx(np.pi * 40 * 20, rel=0.02) and not mask[20, 10] and mask[40, 50]


@pytest.mark.parametrize("text", ["3 1 1 2 2", "0 1 1 2", "2 1 1 2 2", "0 a b c d", "2 1 1 2 2 3", "0 1 1 2 inf"])
def test_other_text(text):
    with pytest.raises(DataError, match="Object-CXR does not know"):
        shapes(text)
