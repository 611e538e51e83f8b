import numpy as np
import pytest

from sidelight.data.annotations.polygons import filled, polygon, polygons_of
from sidelight.errors import DataError


def drawn(*polygons, size=(4, 5)):
    return filled([polygon(one) for one in polygons], *size).astype(int).tolist()


def test_a_pixel_belongs_where_its_centre_does():
    assert drawn([0, 0, 2, 0, 2, 2, 0, 2]) == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0] * 5, [0] * 5]
    assert drawn([0.6, 0, 2.4, 0, 2.4, 1, 0.6, 1])[0] == [0, 1, 0, 0, 0]  # from the centre of 1 on, before that of 2
    assert drawn([0, 0, 4, 0, 0, 4]) == [
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0] * 5,
    ]  # centres on the edge: not


def test_edges_that_neighbours_share_are_counted_once():
    left, right = [0, 0, 2.5, 0, 2.5, 4, 0, 4], [2.5, 0, 5, 0, 5, 4, 2.5, 4]
    one, other = filled([polygon(left)], 4, 5), filled([polygon(right)], 4, 5)
    assert not (one & other).any() and (one | other).all()


def test_direction_does_not_matter_and_parts_are_united():
    square = [1, 1, 3, 1, 3, 3, 1, 3]
    turned = [1, 1, 1, 3, 3, 3, 3, 1]
    assert drawn(square) == drawn(turned) == drawn(square, square)
    assert np.sum(drawn(square, [4, 0, 5, 0, 5, 1, 4, 1])) == 5


def test_a_hole_where_it_crosses_itself():
    ring = [0, 0, 5, 0, 5, 4, 0, 4, 0, 0, 1, 1, 4, 1, 4, 3, 1, 3, 1, 1]
    assert drawn(ring) == [[1] * 5, [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1] * 5]


def test_area_of_a_large_circle():
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    corners = np.stack([200 + 150 * np.cos(angles), 180 + 150 * np.sin(angles)], axis=1)
    assert filled([corners], 400, 400).sum() == pytest.approx(np.pi * 150**2, rel=1e-3)


def test_near_what_coco_fills():
    coco = pytest.importorskip("faster_coco_eval").mask
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    corners = np.stack([60 + 40 * np.cos(angles), 50 + 30 * np.sin(3 * angles)], axis=1)
    theirs = coco.decode(coco.merge(coco.frPyObjects([corners.ravel().tolist()], 100, 120))).astype(bool)
    ours = filled([corners], 100, 120)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.85


def test_text_of_several():
    assert [one.tolist() for one in polygons_of("0 0, 2 0, 2 2; 3 3 4 3 4 4;")] == [
        [[0, 0], [2, 0], [2, 2]],
        [[3, 3], [4, 3], [4, 4]],
    ]


@pytest.mark.parametrize(
    ("text", "said"), [("0 0 1 1", "4 numbers"), ("0 0 1 1 2", "5 numbers"), ("a b c d e f", "else than numbers")]
)
def test_text_that_is_none(text, said):
    with pytest.raises(DataError, match=said):
        polygons_of(text)


def test_outside_its_image():
    with pytest.raises(DataError, match=r"from \(0, 0\) to \(9, 3\).*5 x 4 image"):
        drawn([0, 0, 9, 0, 9, 3])
    assert np.sum(drawn([-1, -1, 6, -1, 6, 5, -1, 5])) == 20  # a hand goes over the edge
    with pytest.raises(DataError, match="finite"):
        polygon([0, 0, float("nan"), 1, 2, 2])
