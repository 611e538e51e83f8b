"""Simulated studies against closed formulas, in null worlds, and where there is nothing to say."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sidelight.data.cohort.task import SIGNS, Task
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.plan import (
    Outlook,
    PlanSettings,
    Structure,
    larger,
    noise,
    outlook,
    patients_for,
    scored,
    structure_of,
)
from sidelight.metrics.classification import auroc


def structure(patients, images=1, positives=0.5, classes=2):
    label = np.arange(patients) % classes if positives == 0.5 else (np.arange(patients) < positives * patients) * 1
    return Structure(np.repeat(label, images), np.repeat(np.arange(patients), images), ("",), (classes,))


def hanley_mcneil(value, positives, negatives):
    """Standard error of an AUROC, Hanley and McNeil 1982, with its q1 and q2 for normal scores of equal variance."""
    q1, q2 = (_both(value),) * 2
    spread = value * (1 - value) + (positives - 1) * (q1 - value**2) + (negatives - 1) * (q2 - value**2)
    return np.sqrt(spread / (positives * negatives))


def _both(value):
    """The chance that one positive is above two negatives."""
    z = np.linspace(-8, 8, 4001)
    return np.trapezoid(norm.pdf(z) * norm.cdf(z + np.sqrt(2) * norm.ppf(value)) ** 2, z)


@pytest.mark.parametrize(("classes", "icc"), [(2, 0.0), (2, 0.8), (3, 0.5)])
def test_simulated_scores_have_the_assumed_auroc_and_correlation(classes, icc):
    one, rng = structure(6000, 2, classes=classes), np.random.default_rng(0)
    drawn = noise(one, icc, rng)
    assert auroc(one.labels, scored(one, drawn, 0.8)) == pytest.approx(0.8, abs=0.01)
    assert np.corrcoef(drawn[::2, 1], drawn[1::2, 1])[0, 1] == pytest.approx(icc, abs=0.03)
    assert drawn.std() == pytest.approx(1, abs=0.02)


def test_several_labels_each_have_the_assumed_auroc():
    one = structure(4000)
    several = Structure(
        np.r_[one.labels, one.labels[:3000] + 2], np.r_[one.groups, one.groups[:3000]], ("a", "b"), (2, 2)
    )
    drawn = scored(several, noise(several, 0.5, np.random.default_rng(0)), 0.7)
    assert several.metric(several.labels, drawn) == pytest.approx(0.7, abs=0.015)
    assert [(name, part.patients) for name, part in several.parts()] == [("a", 4000), ("b", 3000)]


def test_width_and_power_of_independent_units_are_those_of_the_closed_formula():
    """Hanley and McNeil's standard error; the difference of two encoders without correlation has the root of both squares."""
    found = outlook(structure(150), PlanSettings(worlds=40, correlation=0.0, gain=0.1), 0.8, equal=False)
    error = hanley_mcneil(0.8, 75, 75)
    assert found.width == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found.spread == pytest.approx(np.hypot(error, hanley_mcneil(0.9, 75, 75)), rel=0.25)
    assert found.difference == pytest.approx(0.1, abs=0.03)
    assert found.with_interval == 1


def test_equal_encoders_are_told_apart_in_about_5_percent_and_power_grows_with_patients():
    settings = PlanSettings(worlds=100, gain=0.08)
    few, many = (outlook(structure(patients, 3), settings, 0.8) for patients in (24, 90))
    assert few.false <= 0.1 and many.false <= 0.1
    assert many.power > few.power + 0.2
    assert many.width < few.width


def test_six_patients_are_too_few_and_more_of_them_are_enough():
    one, settings = structure(6, 4), PlanSettings(worlds=20, gain=0.3, auroc=(0.6,), width=0.5)
    own = outlook(one, settings, 0.6)
    assert (own.with_interval, own.power, own.false) == (0, 0, 0)
    assert np.isnan(own.width) and "too few groups" in own.note
    found = larger(one, own, settings, 0.6)
    assert [row.patients for row in found[:3]] == [6, 9, 12]
    assert np.isfinite(found[-1].width)
    for needed in patients_for(found, settings):
        assert 9 < needed <= 48


def test_more_patients_keep_the_mixture():
    one = Structure(np.r_[np.zeros(8, int), 1, 1], np.r_[np.arange(8), 8, 9], ("",), (2,))
    assert (one.of(40).rarest, one.of(40).patients, len(one.of(40).labels)) == (8, 40, 40)
    assert (one.of(15).rarest, one.of(15).patients) == (3, 15)
    same = one.of(10)
    assert sorted(same.labels) == sorted(one.labels)


def test_patients_are_interpolated_along_their_root():
    rows = [
        Outlook(n, n, n, 1 / np.sqrt(n), 1.0, power, 0.05, 0.05, 0.1, 0.1, 100) for n, power in ((100, 0.5), (225, 0.9))
    ]
    widths, powers = patients_for(rows, PlanSettings(width=0.08))
    assert widths == np.ceil(1 / 0.08**2)
    assert powers == np.ceil((10 + 5 * norm.ppf(0.8) / norm.ppf(0.9)) ** 2)
    assert patients_for(rows, PlanSettings(width=0.05))[0] == float("inf")
    assert patients_for(rows, PlanSettings(width=0.1))[0] == 100


def test_labels_that_one_patient_has_are_left_out():
    task = Task("t", ("a", "b"), "item", ("a", "b"), "multilabel")
    units = pd.DataFrame({"group": list("pqrs"), "label": [(0, 0), (1, 0), (0, 1), (1, -1)]})
    found = structure_of(units, task)
    assert (found.names, found.sizes, found.labels.tolist()) == (("a",), (len(SIGNS),), [0, 1, 0, 1])
    with pytest.raises(DataError, match="two patients with"):
        structure_of(units.assign(label=[(0, 0)] * 4), task)


def test_a_gain_beyond_1_is_refused():
    from sidelight.config import build

    with pytest.raises(ConfigError, match="below 1"):
        build(PlanSettings, {"auroc": (0.97,)})
