import numpy as np
import pytest

from sidelight.data.annotations.rle import mask_of, mask_of_counts, packed_counts, runs
from sidelight.errors import DataError


def where(mask):
    return [(int(row), int(column)) for row, column in np.argwhere(mask)]


def test_siim_counts_from_the_last_run_and_goes_down_the_columns():
    assert where(mask_of("1 2 3 1", "rle_siim", 4, 4)) == [(1, 0), (2, 0), (2, 1)]
    assert [part.tolist() for part in runs("1 2 3 1", "rle_siim")] == [[1, 6], [2, 1]]


def test_kaggle_counts_from_one():
    assert where(mask_of("2 2 7 1", "rle", 4, 4)) == [(1, 0), (2, 0), (2, 1)]
    assert where(mask_of("2 2 7 1", "rle_rows", 4, 4)) == [(0, 1), (0, 2), (1, 2)]
    assert where(mask_of("1,2", "rle", 2, 3)) == [(0, 0), (1, 0)]


@pytest.mark.parametrize("form", ["rle", "rle_rows", "rle_siim", "rle_coco"])
@pytest.mark.parametrize("text", ["", " ", "-1", " -1 "])
def test_nothing_is_there(text, form):
    assert not mask_of(text, form, 2, 3).any()


def test_coco_as_pycocotools_packs_it():
    """What pycocotools 2.0.11 and faster-coco-eval 1.8 make of this mask."""
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:5] = mask[4, 6] = True
    assert packed_counts(";230008O").tolist() == [11, 2, 3, 2, 3, 2, 11, 1]
    assert np.array_equal(mask_of(";230008O", "rle_coco", 5, 7), mask)
    assert np.array_equal(mask_of_counts([11, 2, 3, 2, 3, 2, 11, 1], 5, 7), mask)


def test_coco_against_its_own_code():
    coco = pytest.importorskip("faster_coco_eval").mask
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (3, 200), (64, 48)):
        mask = rng.random((height, width)) > 0.6
        packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        packed = packed.decode() if isinstance(packed, bytes) else packed
        assert np.array_equal(mask_of(packed, "rle_coco", height, width), mask)


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("1 17", "rle", r"0 to 17.*0 to 16, the pixels of a 4 x 4 image"),
        ("17 1", "rle", "0 to 16"),
        ("0 1", "rle", "-1 to"),
        ("15 1 1 1", "rle_siim", "0 to 16"),
        ("9999999999 9999999999", "rle", "0 to 16"),
        ("1 2 3", "rle", "3 numbers"),
        ("a b", "rle", "whole numbers"),
        ("1.5 2", "rle", "whole numbers"),
        ("1 -2", "rle", "0 to 16"),
        ("99999999999 1", "rle", "whole numbers"),
        (";230008O", "rle_coco", "fill 35 pixels"),
        ("\x7f", "rle_coco", "character"),
        ("oooooooooooooo", "rle_coco", "60 bits"),
        ("o", "rle_coco", "cut short"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_unpacked(text, form, said):
    with pytest.raises(DataError, match=said):
        mask_of(text, form, 4, 4)


@pytest.mark.parametrize("counts", [[1 << 62, 1 << 62, 1 << 62], [-1, 17], ["a"], [1.5, 14.5], [[16]]])
def test_counts_of_coco_that_are_none(counts):
    with pytest.raises(DataError, match="run lengths of COCO"):
        mask_of_counts(counts, 4, 4)
