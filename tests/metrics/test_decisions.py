"""Decisions worked by hand on ten units."""

import numpy as np
import pytest

from sidelight.metrics.classification import partial_auroc
from sidelight.metrics.decisions import (
    FIXED,
    at_fixed,
    cells,
    log_likelihood_ratios,
    net_benefit,
    predictive_values,
    rates,
    share_right,
    threshold_of_cost,
)

LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.6, 0.1, 0.7, 0.5, 0.3, 0.2, 0.2, 0.1])
EVERYONE = np.ones((1, 10))


def test_net_benefit_by_hand():
    """At 0.25 three of four ill and three of six well are called: 3/10 - 3/10 x 1/3; everybody: 4/10 - 6/10 x 1/3.
    At 0.5 three and two: 3/10 - 2/10; everybody: 4/10 - 6/10."""
    found = net_benefit(LABELS, SCORES[None], np.arange(10), np.array([0.25, 0.5]))(EVERYONE)[0]
    assert found == pytest.approx([0.2, 0.1, 0.2, -0.2])


def test_net_benefit_of_resamples_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    labels, score, groups = rng.integers(0, 2, 60), rng.random(60), np.arange(60) // 3
    weights = rng.integers(0, 3, (4, 20)).astype(float)
    at = np.array([0.1, 0.3, 0.6])
    found = net_benefit(labels, score[None], groups, at)(weights)
    for row, times in zip(found, weights, strict=True):
        w = times[groups]
        for place, t in enumerate(at):
            called = score >= t
            assert row[place] == pytest.approx(
                (w @ (called & (labels == 1)) - w @ (called & (labels == 0)) * t / (1 - t)) / w.sum()
            )


def test_two_by_two_and_what_is_made_of_it():
    """Called from 0.5 on: TP 3, FP 2, FN 1, TN 4. PPV 3/5, NPV 4/5, LR+ (3/4) / (2/6), LR- (1/4) / (4/6)."""
    called = SCORES[None] >= 0.5
    assert cells(LABELS, called).sum(axis=1).tolist() == [[3, 2, 1, 4]]
    index = np.arange(10)
    assert rates(LABELS, called, index)(EVERYONE)[0] == pytest.approx([3 / 4, 4 / 6])
    right = called == (LABELS == 1)
    assert share_right(right, called, index)(EVERYONE)[0] == pytest.approx([3 / 5])
    assert share_right(right, ~called, index)(EVERYONE)[0] == pytest.approx([4 / 5])
    assert np.exp(log_likelihood_ratios(LABELS, called, index)(EVERYONE)[0]) == pytest.approx([9 / 4, 3 / 8])


def test_predictive_values_at_another_prevalence():
    """Of 1,000 of whom 20 are ill, 18 are found and 98 called wrongly; at its own prevalence it is the table's own PPV."""
    ppv, npv = predictive_values(np.array([0.9]), np.array([0.9]), 0.02)
    assert ppv == pytest.approx([18 / 116]) and npv == pytest.approx([882 / 884])
    assert predictive_values(np.array([3 / 4]), np.array([4 / 6]), 0.4)[0] == pytest.approx([3 / 5])


def test_the_cost_of_a_miss_is_a_threshold():
    assert [threshold_of_cost(cost) for cost in (1, 4, 19)] == pytest.approx([0.5, 0.2, 0.05])


def test_fixed_points_of_the_curve_by_hand():
    """Ten well: 90 % specificity allows one false alarm; two of three ill lie above the second, at 0.6."""
    labels = np.r_[np.ones(3, int), np.zeros(10, int)]
    scores = np.r_[0.9, 0.7, 0.3, 0.8, 0.6, np.linspace(0.01, 0.08, 8)]
    found = dict(zip(FIXED, at_fixed(labels, scores, np.ones((1, 13)))[0], strict=True))
    assert found["sensitivity at 90 % specificity"] == pytest.approx(2 / 3)
    # between the first two false alarms sensitivity rises before, so half a false alarm has one of three
    assert found["sensitivity at 95 % specificity"] == pytest.approx(1 / 3)
    assert found["specificity at 90 % sensitivity"] == pytest.approx(0.8)


def test_points_of_the_curve_are_those_of_scikit_learn():
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(3)
    for digits in (1, 2, 8):
        labels = rng.integers(0, 2, 200)
        scores = (rng.normal(size=200) + labels).round(digits)
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        found = at_fixed(labels, scores, np.ones((1, 200)))[0]
        for value, (given, gained, least) in zip(
            found,
            [
                (fpr, tpr, 0.1),
                (fpr, tpr, 0.05),
                (1 - tpr[::-1], 1 - fpr[::-1], 0.1),
                (1 - tpr[::-1], 1 - fpr[::-1], 0.05),
            ],
            strict=True,
        ):
            last = np.append(np.flatnonzero(np.diff(given)), len(given) - 1)  # the best of equal errors
            place = np.searchsorted(given[last], least, "right")
            before, after = last[place - 1], last[place - 1] + 1
            share = (least - given[before]) / (given[after] - given[before])
            assert value == pytest.approx(gained[before] + share * (gained[after] - gained[before]))


def test_the_area_above_a_sensitivity_is_that_of_every_resample_alone():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 80), rng.random(80).round(1)
    weights = rng.integers(0, 3, (6, 80)).astype(float)
    each = [partial_auroc(np.repeat(labels, row), np.repeat(scores, row)) for row in weights.astype(int)]
    assert partial_auroc(labels, scores, weights) == pytest.approx(each)
