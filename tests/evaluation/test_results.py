import numpy as np
import pandas as pd
import pytest

from sidelight.errors import RunError
from sidelight.evaluation.results import check_numbers


def scores(p1, fold=2):
    p1 = np.array(p1, np.float64)
    named = {"unit": list("abcd"), "label": [0, 0, 1, 1], "target": "", "seed": 1, "fold": fold, "labels": 16}
    return pd.DataFrame({**named, "p0": 1 - p1, "p1": p1})


def test_scores_that_are_no_numbers_stop_with_the_encoder_the_seed_the_fold_and_how_many():
    """All positives NaN was an AUROC of 1."""
    check_numbers(scores([0.1, 0.2, 0.8, 0.9]), "mine")
    with pytest.raises(
        RunError, match="2 of 4 scores of mine are not numbers, first with seed 1, fold 3 and 16 labels"
    ):
        check_numbers(scores([0.1, 0.2, np.nan, np.nan]), "mine")
    with pytest.raises(RunError, match=r"4 of 4 .* the test side"):
        check_numbers(scores([np.nan] * 4, fold=-1), "mine")
    with pytest.raises(RunError, match="1 of 4"):
        check_numbers(scores([0.1, np.inf, 0.3, 0.4]), "mine")


def test_a_class_that_a_target_has_not_is_no_missing_number():
    two, three = (
        scores([0.1, 0.2, 0.8, 0.9]).assign(target="two"),
        scores([0.1, 0.2, 0.3, 0.4]).assign(target="three", p2=0.0),
    )
    check_numbers(pd.concat([two, three]), "mine")
