import pandas as pd
import pytest

from sidelight.evaluation.tables.subgroups import band

HERE = pd.Series([str(n) for n in range(9, 0, -1)] + ["10", "11", "12"])


def test_numbers_are_thirds_of_their_own():
    assert band(HERE, "mass").value_counts().to_dict() == {
        "up to 4.66667": 4,
        "4.66667 to 8.33333": 4,
        "over 8.33333": 4,
    }


@pytest.mark.parametrize("there", [["1", "100", "", "5"], [str(n) for n in range(100)]])
def test_another_cohort_has_the_bands_of_the_first(there):
    bands = {"up to 4.66667": (None, 4), "4.66667 to 8.33333": (5, 8), "over 8.33333": (9, None)}
    for value, name in zip(there, band(pd.Series(there), "mass", HERE), strict=True):
        low, high = bands.get(name, (None, None))
        assert (name == "") == (value == "")
        assert not value or ((low is None or int(value) >= low) and (high is None or int(value) <= high))


def test_values_that_the_first_cohort_leaves_as_they_are_stay():
    many = pd.Series([str(n) for n in range(20)])
    assert band(many, "grade", pd.Series(["1", "2", "3"])).tolist() == many.tolist()
    assert band(pd.Series(["a", "2"]), "mass", HERE).tolist() == ["a", "2"]
    assert band(many, "mass", pd.Series(["low", "high"])).tolist() == many.tolist()


def test_ages_have_the_same_bands_everywhere():
    assert band(pd.Series(["17", "18", "80", ""]), "age", HERE).tolist() == ["under 18", "18 to 39", "80 on", ""]
