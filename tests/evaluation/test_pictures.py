"""Cases that are shown: the best, the middle and the worst patients, each by the unit nearest to the patient's mean."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
from PIL import Image

from sidelight.evaluation.drawn import DRAWN, framed, packed, unpacked
from sidelight.evaluation.located import COLUMN, Located
from sidelight.evaluation.outcomes import mask_outcomes
from sidelight.evaluation.pictures import of_folds, pictures

SIDE = 8


def world(patients):
    """Two units per patient: patient n meets n of 8 rows of the mask in both, and one row more or less."""
    names = [f"p{n}" for n in range(patients) for _ in range(2)]
    units = pd.DataFrame({"unit": [f"u{n}" for n in range(2 * patients)], "group": names})
    truth = np.ones((1, SIDE, SIDE), np.uint8)
    found = [np.arange(SIDE)[:, None] < [n // 2] * SIDE for n in range(2 * patients)]
    rows = np.array([[[one.sum(), one.sum(), SIDE * SIDE, 0, 0, 1]] for one in found], float)
    drawn = [[framed(0, packed(one))] for one in found]
    known = np.ones((len(found), 1), bool)
    scores = pd.concat(mask_outcomes(units, rows, known, {"": ("no", "yes")}, drawn))
    table = units.assign(rows=[[n] for n in range(len(units))], **{COLUMN: [Located(masks=truth)] * len(units)})
    pixels = SimpleNamespace(size=SIDE, batch=lambda rows, at: np.full((1, 1, SIDE, SIDE), rows[0], np.uint8))
    return scores.assign(labels=9, all_labels=True, step="selected", fold=0, seed=0, draw=0), table, pixels


def test_best_median_and_worst_patients_are_shown_once():
    scores, table, pixels = world(8)
    shown = pictures(scores, table, pixels, [""])
    assert shown.groupby("place")["group"].agg(list).to_dict() == {
        "best": ["p7", "p6"], "median": ["p4", "p3"], "worst": ["p0", "p1"],
    }  # fmt: skip
    first = shown.iloc[0]
    assert unpacked(first["found"], SIDE).sum() == 7 * SIDE and unpacked(first["truth"], SIDE).all()
    picture = np.asarray(Image.open(io.BytesIO(first["image"])))
    assert picture.shape == (SIDE, SIDE, 3) and picture.max() == int(first["unit"][1:])


def test_of_folds_the_best_the_middle_and_the_worst_of_all_are_shown():
    first, second = (
        pd.DataFrame(
            {"outcome": "mask", "target": "", "place": ["best"] * 2 + ["median"] * 2 + ["worst"] * 2, "value": values}
        )
        for values in ([0.9, 0.8, 0.5, 0.4, 0.1, 0.2], [0.95, 0.7, 0.6, 0.3, 0.0, 0.15])
    )
    shown = of_folds([first, pd.DataFrame(), second])
    assert shown["place"].tolist() == first["place"].tolist()
    assert shown["value"].tolist() == [0.95, 0.9, 0.5, 0.4, 0.0, 0.1]
    assert of_folds([pd.DataFrame()]).empty


def test_few_patients_are_shown_once_and_nothing_where_nothing_was_kept():
    scores, table, pixels = world(3)
    assert sorted(pictures(scores, table, pixels, [""])["group"]) == ["p0", "p1", "p2"]
    assert pictures(scores.drop(columns=DRAWN), table, pixels, [""]).empty
    assert pictures(scores.assign(**{DRAWN: None}), table, pixels, [""]).empty
