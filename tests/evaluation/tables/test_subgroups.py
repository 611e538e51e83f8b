import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from sidelight.evaluation.tables.subgroups import band, subgroup_table

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


def world(patients, seed, *, worse=0.0, rare=None):
    """Two units a patient, at three sites; ``worse`` is how much weaker the score is at site c. Folds of whole patients."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(patients), 2)
    site = np.array(list("abc"))[np.arange(patients) % 3][group]
    label = (rng.random(patients) < 0.5).astype(int)[group]
    if rare is not None:
        label[(site == "c") & (group >= rare)] = 0
    strength = np.where(site == "c", 1.5 - worse, 1.5)
    p = expit(strength * (2 * label - 1) + rng.normal(size=len(group)) + 0.7 * rng.normal(size=patients)[group])
    units = [f"u{n:04d}" for n in range(len(group))]
    named = {"encoder": "e", "task": "t", "protocol": "linear", "labels": 9, "all_labels": True, "step": "selected"}
    scores = pd.DataFrame({"unit": units, "group": group, "label": label, "p0": 1 - p, "p1": p, "fold": group % 4})
    return scores.assign(target="", seed=0, **named), pd.DataFrame({"site": site}, index=units)


METRICS = ["auroc", "sensitivity at threshold", "specificity at threshold", "O:E"]


def test_every_subgroup_has_its_numbers_and_its_difference_to_the_rest():
    scores, columns = world(120, 0, worse=1.6)
    table = subgroup_table(scores, columns, resamples=300).set_index(["metric", "subgroup"])
    assert set(table.index.get_level_values(0)) == {*METRICS, "calibration intercept", "calibration slope"}
    for metric in METRICS:
        assert (table.loc[metric, "difference_low"] < table.loc[metric, "difference"]).all()
        assert (table.loc[metric, "p_holm"] >= table.loc[metric, "p"]).all()
    poor = table.loc[("auroc", "c")]
    assert poor["difference"] < -0.2 and poor["difference_high"] < 0 and poor["p_holm"] < 0.001
    assert (poor["units"], poor["groups"]) == (80, 40) and 10 < poor["positive_groups"] < 30
    assert table.loc[("calibration slope", "c"), "value"] < 0.6 < table.loc[("calibration slope", "a"), "value"]
    assert table.loc["calibration slope", "p"].isna().all()


def test_two_values_are_one_comparison():
    scores, columns = world(60, 1)
    table = subgroup_table(scores, columns.replace("c", "b"), resamples=200).query("metric == 'auroc'")
    one, other = table.to_dict("records")
    assert one["difference"] == -other["difference"] and one["difference_low"] == -other["difference_high"]
    assert one["p_holm"] == one["p"] == other["p_holm"]


def test_too_few_counts_patients_of_a_class_not_units():
    """At site c only patients below number 9 can be positive: three at most, each with two units."""
    scores, columns = world(120, 2, rare=9)
    table = subgroup_table(scores, columns, resamples=100).query("subgroup == 'c'")
    assert (table["note"] == "too few").all() and table["value"].isna().all() and (table["positive_groups"] < 4).all()


def test_equal_subgroups_are_seldom_called_different():
    """A difference at any of three sites should be shown in 5 % of worlds: of 14 worlds and four numbers at most 7."""
    shown = []
    for seed in range(14):
        scores, columns = world(90, 100 + seed)
        table = subgroup_table(scores, columns, resamples=120)
        shown.append([(table.loc[table["metric"] == name, "p_holm"] < 0.05).any() for name in METRICS])
    assert np.sum(shown) <= 7, np.mean(shown, axis=0)
