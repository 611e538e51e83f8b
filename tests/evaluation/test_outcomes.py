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
    assert spleen["unit"].tolist() == ["a"] and MASK.read(spleen, None).tolist() == [rows[0, 1].tolist()]


def test_boxes_have_as_many_columns_as_the_longest_row_asks_for():
    none = box_row([], [], [[0, 0, 1, 1]])
    two = box_row([[0, 0, 1, 1], [5, 5, 6, 6]], [0.3, 0.6], [[0, 0, 1, 1]])
    liver, spleen = box_outcomes(TABLE, [[none, two], [two, none]], TARGETS)
    both = pd.concat([liver, spleen])
    assert BOXES.width(both) == 9 and BOXES.read(liver, 9).shape == (2, 9)
    assert BOXES.read(spleen, None)[0].tolist() == two.tolist() and np.isnan(BOXES.read(liver, 13)[1, 9:]).all()
