"""Kinds of rows: which is which, and what is left out."""

import numpy as np
import pandas as pd

from sidelight.evaluation.outcomes import BOXES, CLASSES, MASK, box_outcomes, mask_outcomes
from sidelight.metrics.boxes import box_row

TABLE = pd.DataFrame({"unit": ["a", "b"], "group": ["p", "q"], "side": "test"})
TARGETS = {"liver": ("no", "yes"), "spleen": ("no", "yes")}


def test_rows_without_a_kind_are_of_classes():
    scores = pd.DataFrame({"p0": [0.4], "p1": [0.6]})
    assert len(CLASSES.of(scores)) == 1 and MASK.of(scores).empty and BOXES.of(scores).empty
    mixed = pd.concat([scores, pd.DataFrame({"outcome": ["mask", "boxes"]})], ignore_index=True)
    assert [kind.of(mixed).index.tolist() for kind in (CLASSES, MASK, BOXES)] == [[0], [1], [2]]


def test_masks_of_which_nothing_is_known_have_no_row():
    rows = np.arange(24, dtype=float).reshape(2, 2, 6)
    rows[0, 0, 2] = 0
    known = np.array([[True, True], [True, False]])
    liver, spleen = mask_outcomes(TABLE, rows, known, TARGETS)
    assert liver["unit"].tolist() == ["a", "b"] and liver["label"].tolist() == [0, 1]
    assert spleen["unit"].tolist() == ["a"]
    read = MASK.read(spleen, None)
    assert read[0, :6].tolist() == rows[0, 1].tolist() and np.isnan(read[0, 6:]).all()  # no map was thresholded


def test_rows_of_maps_have_three_numbers_more():
    rows = np.arange(36, dtype=float).reshape(2, 2, 9)
    liver, _ = mask_outcomes(TABLE, rows, np.ones((2, 2), bool), TARGETS)
    assert (
        liver.columns[-3:].tolist() == ["pointing", "cnr", "miou"]
        and MASK.read(liver, None).tolist() == rows[:, 0].tolist()
    )


def test_boxes_have_as_many_columns_as_the_longest_row_asks_for():
    none = box_row([], [], [[0, 0, 1, 1]])
    two = box_row([[0, 0, 1, 1], [5, 5, 6, 6]], [0.3, 0.6], [[0, 0, 1, 1]])
    liver, spleen = box_outcomes(TABLE, [[none, two], [two, none]], TARGETS)
    both = pd.concat([liver, spleen])
    assert BOXES.width(both) == 9 and BOXES.read(liver, 9).shape == (2, 9)
    assert BOXES.read(spleen, None)[0].tolist() == two.tolist() and np.isnan(BOXES.read(liver, 13)[1, 9:]).all()
