"""Overlaps, matches and hits by hand."""

import numpy as np
import pytest

from sidelight.metrics.boxes import COCO, RSNA, box_iou, box_row, centre_hits, matches, stacked


def test_overlaps_plain_and_a_pixel_wider():
    one, other = np.array([[0, 0, 9, 9]]), np.array([[5, 0, 14, 9], [0, 0, 9, 9], [20, 20, 30, 30]])
    assert box_iou(one, other).ravel().tolist() == pytest.approx([0.285714, 1, 0], abs=1e-6)
    assert box_iou(one, other, plus_one=True).ravel().tolist() == pytest.approx([1 / 3, 1, 0])
    assert box_iou(one[:0], other).shape == (0, 3)
    assert box_iou(np.array([[1, 1, 1, 1]]), one).item() == 0 == box_iou(np.zeros((1, 4)), np.zeros((1, 4))).item()


def test_the_surest_takes_the_free_box_that_it_overlaps_most():
    overlap = np.array([[0.9, 0.6], [0.8, 0.0], [0.7, 0.65]])
    found = matches(overlap, np.array([0.9, 0.5, 0.7]), (0.5, 0.65, 0.85), strict=False)
    assert found.tolist() == [[True, True, True], [False] * 3, [True, True, False]]
    assert matches(overlap, np.array([0.9, 0.5, 0.7]), (0.65,), strict=True).ravel().tolist() == [True, False, False]
    assert matches(overlap[:, :0], np.ones(3), (0.5,), strict=True).tolist() == [[False]] * 3


@pytest.mark.parametrize(("high", "bits"), [(6.0, 4), (6.0001, 5)])
def test_an_overlap_of_three_fifths_is_above_four_of_eight_thresholds(high, bits):
    row = box_row(np.array([[0, 0, 10, high]]), np.array([0.5]), np.array([[0, 0, 10, 10]]))
    assert bin(int(row[2])).count("1") == bits == sum(high / 10 > one for one in RSNA)
    assert bin(int(row[3])).count("1") == 3 == sum(high / 10 >= one for one in COCO)


def test_a_centre_counts_each_true_box_once():
    truth = np.array([[0, 0, 10, 10], [5, 5, 20, 20]], float)
    boxes = np.array([[0, 0, 4, 4], [6, 6, 8, 8], [1, 1, 3, 3], [30, 30, 40, 40]], float)
    assert centre_hits(boxes, np.array([0.9, 0.8, 0.95, 0.7]), truth).tolist() == [0, 1, 1, -1]
    assert centre_hits(boxes[1:2], np.ones(1), truth).tolist() == [2]
    assert centre_hits(boxes, np.ones(4), truth[:0]).tolist() == [-1] * 4


def test_rows_of_any_length_are_one_table():
    empty = box_row(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4)))
    one = box_row(np.array([[0, 0, 2, 2], [5, 5, 9, 9]]), np.array([0.1, 0.4]), np.array([[5, 5, 9, 9]]))
    assert empty.tolist() == [0] and one.tolist() == [1, 0.4, 255, 1023, 1, 0.1, 0, 0, -1]
    table = stacked([empty, one])
    assert table.shape == (2, 9) and np.isnan(table[0, 1:]).all() and stacked([empty], 13).shape == (1, 13)
