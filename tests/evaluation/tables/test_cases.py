import numpy as np
import pandas as pd
import pytest

from sidelight.evaluation.outcomes import box_outcomes, mask_outcomes
from sidelight.evaluation.tables.cases import cases
from sidelight.metrics.boxes import box_row

ONE = {"": ("no", "yes")}
UNITS = pd.DataFrame({"unit": ["a", "b", "c"], "group": ["g", "g", "h"]})
NAMED = {"encoder": "e", "task": "t", "protocol": "p", "labels": 9, "all_labels": True, "step": "selected", "fold": 0}


def scored(rows, seed):
    return pd.concat(list(rows)).assign(**NAMED, draw=0, seed=seed)


def test_dice_of_each_unit_is_the_mean_over_seeds_and_nothing_where_it_holds_nothing():
    first, second = np.zeros((2, 3, 1, 6))
    first[:, 0, :3] = [[4, 4, 4], [0, 5, 4], [0, 3, 0]]
    second[:, 0, :3] = [[2, 4, 4], [0, 5, 4], [0, 1, 0]]
    known = np.ones((3, 1), bool)
    table = cases(
        pd.concat([scored(mask_outcomes(UNITS, rows, known, ONE), s) for s, rows in enumerate((first, second))])
    )
    assert table["unit"].tolist() == ["a", "b", "c"] and table["size"].tolist() == [4, 4, 0]
    assert table["value"].tolist()[:2] == [0.75, 0] and np.isnan(table["value"].iloc[2])
    assert table["found"].tolist() == [4, 5, 2]


def test_boxes_at_one_false_positive_per_image():
    box, far = [10, 10, 30, 40], [60, 60, 80, 90]
    rows = [[box_row([box, far], [0.9, 0.8], [box])], [box_row([far], [0.7], [box, far])], [box_row([], [], [])]]
    table = cases(scored(box_outcomes(UNITS, rows, ONE), 0))
    assert table["size"].tolist() == [1, 2, 0] and table["found"].tolist() == [1, 0, 0]
    assert table["value"].tolist()[:2] == pytest.approx([1, 0.5]) and np.isnan(table["value"].iloc[2])


def test_of_classes_there_are_no_cases():
    rows = UNITS.assign(target="", label=[0, 1, 1], p0=0.5, p1=0.5)
    assert cases(scored([rows], 0)).empty
