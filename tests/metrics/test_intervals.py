from functools import partial

import numpy as np
import pytest
from scipy.special import ndtri

from sidelight.metrics import intervals, sample
from sidelight.metrics.calibration import BRIER, ECE, ece
from sidelight.metrics.classification import (
    ACCURACY,
    AUROC,
    AVERAGE_PRECISION,
    BALANCED_ACCURACY,
    F1,
    auroc,
    precision,
    recall,
)
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.metric import Metric


def _world(rng, groups, images=10, truth=0.8, icc=0.7, positives=0.5):
    labels = np.repeat(np.arange(groups) < round(groups * positives), images).astype(int)
    patient = np.repeat(rng.standard_normal(groups), images)
    scores = np.sqrt(2) * ndtri(truth) * labels + np.sqrt(icc) * patient
    return labels, scores + np.sqrt(1 - icc) * rng.standard_normal(len(labels)), np.repeat(np.arange(groups), images)


@pytest.mark.parametrize(("groups", "worlds"), [(10, 200), (25, 150), (40, 50)])
def test_coverage_is_near_95_percent_where_rows_would_give_half(groups, worlds):
    rng, hits, rows = np.random.default_rng(groups), [], []
    for index in range(worlds):
        labels, scores, patients = _world(rng, groups)
        found = clustered_interval(labels, scores, patients, AUROC, resamples=250, seed=index)
        hits.append(found.low <= 0.8 <= found.high)
        if index < 40:
            naive = clustered_interval(labels, scores, np.arange(len(labels)), AUROC, resamples=100, seed=index)
            rows.append(naive.low <= 0.8 <= naive.high)
    assert 0.90 <= np.mean(hits) <= 0.99
    assert np.mean(rows) < 0.8


def test_intervals_by_number_of_groups():
    rng, found = np.random.default_rng(0), {}
    for groups in (8, 12, 25, 60):
        labels, scores, patients = _world(rng, groups)
        found[groups] = clustered_interval(labels, scores, patients, AUROC)
        assert found[groups].groups == groups
        assert found[groups].value == pytest.approx(auroc(labels, scores))
    assert [found[groups].method for groups in found] == ["none", "t", "t", "bootstrap"]
    assert [found[groups].few_groups for groups in found] == [True, True, True, False]
    assert np.isnan(found[8].low)
    assert np.isnan(found[8].high)
    assert "too few groups: 8" in found[8].note
    assert "few groups of the rarest class: 6" in found[12].note
    for groups in (12, 25, 60):
        assert 0 <= found[groups].low < found[groups].value < found[groups].high <= 1
    assert found[12].high - found[12].low > found[60].high - found[60].low


@pytest.mark.parametrize(
    "metric",
    [
        *(AUROC, ACCURACY, BALANCED_ACCURACY, F1, AVERAGE_PRECISION),
        Metric("recall:c", partial(recall, of=2), by_class=True),
        Metric("precision:a", partial(precision, of=0)),
    ],
)
@pytest.mark.parametrize("groups", [15, 45])
def test_every_metric_gets_an_interval_for_three_classes_and_seeds(metric, groups):
    rng = np.random.default_rng(3)
    index = np.repeat(np.arange(groups), 4)
    labels = index % 3
    scores = rng.dirichlet(np.ones(3), (2, len(labels))) + 0.3 * np.eye(3)[labels]
    found = clustered_interval(labels, scores, index, metric, resamples=200)
    assert found.value == pytest.approx(np.mean([metric(labels, seed) for seed in scores]))
    assert 0 <= found.low < found.value < found.high <= 1


def test_row_order_and_group_names_do_not_matter_and_the_seed_does():
    labels, scores, patients = _world(np.random.default_rng(1), 50)
    order = np.random.default_rng(2).permutation(len(labels))
    first = clustered_interval(labels, scores, patients, AUROC, seed=5)
    names = np.array([f"patient-{number:04d}" for number in patients])
    again = clustered_interval(labels[order], scores[order], names[order], AUROC, seed=5)
    assert (again.low, again.high) == pytest.approx((first.low, first.high))
    assert clustered_interval(labels, scores, patients, AUROC, seed=6).low != first.low


def test_chunks_do_not_change_the_interval(monkeypatch):
    labels, scores, patients = _world(np.random.default_rng(4), 45)
    whole = clustered_interval(labels, scores, patients, AUROC, resamples=300)
    monkeypatch.setattr(sample, "CELLS", 2000)
    assert clustered_interval(labels, scores, patients, AUROC, resamples=300) == whole


def test_t_interval_by_hand_for_accuracy():
    """Twelve groups of one unit, nine right: the jackknife is p (1 - p) / (n - 1), all groups are one stratum of the
    variance.
    """
    labels = np.array([0, 1] * 6)
    right = np.array([1] * 9 + [0] * 3)
    scores = np.where(right == 1, labels, 1 - labels).astype(float)
    found = clustered_interval(labels, scores, np.arange(12), ACCURACY)
    variance = 0.75 * 0.25 / 11
    left_out = np.where(right == 1, 8 / 11, 9 / 11)
    by_hand = 11 / 12 * ((left_out - left_out.mean()) ** 2).sum()
    assert by_hand == pytest.approx(variance)
    measured, df = intervals._jackknife(left_out, labels, fixed=False)
    assert measured == pytest.approx(variance, rel=0.02)
    assert 5 <= df <= 11
    assert found.low < 0.55
    assert 0.9 < found.high < 1


def test_degrees_of_freedom_follow_the_smaller_class_when_it_carries_the_variance():
    left_out = np.concatenate([np.linspace(-1, 1, 4), np.zeros(16)])
    strata = np.array([0] * 4 + [1] * 16)
    variance, df = intervals._jackknife(left_out, strata, fixed=True)
    assert df == pytest.approx(3)
    assert variance == pytest.approx(3 / 4 * (left_out**2).sum())


def test_a_perfect_score_has_a_wide_interval_and_says_why():
    for groups in (12, 60):
        index = np.repeat(np.arange(groups), 5)
        labels = (index < groups // 2).astype(int)
        found = clustered_interval(labels, labels.astype(float), index, AUROC)
        assert (found.value, found.high, found.method) == (1.0, 1.0, "bound")
        assert found.low == pytest.approx(0.025 ** (2 / groups))
        assert "binomial bound" in found.note
        assert clustered_interval(labels, 1.0 - labels, index, AUROC).high == pytest.approx(1 - 0.025 ** (2 / groups))
        assert clustered_interval(labels, labels.astype(float), index, ACCURACY).low == pytest.approx(
            0.025 ** (1 / groups)
        )


def test_one_huge_patient_is_not_many_trials():
    index = np.concatenate([np.zeros(91, int), np.arange(1, 10), np.repeat(np.arange(10, 20), 10)])
    labels = (index < 10).astype(int)
    found = clustered_interval(labels, labels.astype(float), index, AUROC)
    assert found.low < 0.1


@pytest.mark.parametrize("groups", [20, 100])
def test_constant_scores_have_no_interval(groups):
    labels, _, patients = _world(np.random.default_rng(0), groups)
    found = clustered_interval(labels, np.zeros(len(labels)), patients, AUROC)
    assert (found.value, found.method, np.isnan(found.low)) == (0.5, "none", True)
    assert "constant scores" in found.note


def test_resamples_without_a_class_are_redrawn_and_counted():
    own = sample.sample_of((np.arange(50) < 2).astype(int), np.arange(50))
    weights, redrawn = sample.resampled(own, 500, np.random.default_rng(0))
    assert ((weights @ own.present) > 0).all()
    assert redrawn == pytest.approx(500 * 0.96**50 / (1 - 0.96**50), rel=0.5)
    assert sample.resampled(own, 500, np.random.default_rng(0), metric=ACCURACY)[1] == 0


@pytest.mark.parametrize(("groups", "positive", "worlds"), [(40, 5, 150), (100, 5, 150), (600, 10, 60), (100, 20, 60)])
def test_coverage_with_a_rare_class(groups, positive, worlds):
    """A bootstrap chosen by all groups covered 80 to 90 % here, and missed on the flattering side."""
    hits = []
    for index in range(worlds):
        rng = np.random.default_rng([groups, positive, index])
        labels, scores, patients = _world(rng, groups, images=3, positives=positive / groups)
        found = clustered_interval(labels, scores, patients, AUROC, resamples=250, seed=index)
        hits.append(found.low <= 0.8 <= found.high)
        assert found.few_groups == (positive < 20)
    assert 0.9 <= np.mean(hits) <= 0.99


def test_fewer_than_five_patients_of_a_class_have_no_interval_however_many_there_are_of_the_other():
    labels, scores, patients = _world(np.random.default_rng(0), 600, images=1, positives=4 / 600)
    found = clustered_interval(labels, scores, patients, AUROC)
    assert (found.method, found.few_groups, np.isnan(found.low)) == ("none", True, True)
    assert "a class comes from 4 groups" in found.note
    assert clustered_interval(labels, scores, patients, ACCURACY).method == "bootstrap"


def test_the_jackknife_in_blocks_gives_the_variance_of_single_groups(monkeypatch):
    labels, scores, patients = _world(np.random.default_rng(0), 250, images=2, positives=0.1)
    for metric in (AUROC, AVERAGE_PRECISION, ACCURACY):
        single, blocked = (_t_width(monkeypatch, blocks, labels, scores, patients, metric) for blocks in (1000, 50))
        assert blocked == pytest.approx(single, rel=0.25)


def _t_width(monkeypatch, blocks, labels, scores, patients, metric):
    monkeypatch.setattr(intervals, "JACKKNIFE_BLOCKS", blocks)
    monkeypatch.setattr(intervals, "MANY_GROUPS", 1000)
    found = clustered_interval(labels, scores, patients, metric)
    assert found.method == "t"
    return found.high - found.low


def test_a_level_that_the_resamples_cannot_show_takes_the_t_interval():
    labels, scores, patients = _world(np.random.default_rng(0), 60)
    wide = clustered_interval(labels, scores, patients, AUROC, level=1 - 0.05 / 56, resamples=300)
    usual = clustered_interval(labels, scores, patients, AUROC, resamples=300)
    assert (wide.method, usual.method) == ("t", "bootstrap")
    assert wide.low < usual.low and usual.high < wide.high


def test_a_class_of_one_group_or_an_absent_class_has_no_interval():
    index = np.arange(30)
    single = clustered_interval((index == 0).astype(int), np.random.default_rng(0).random(30), index, AUROC)
    assert (single.method, np.isnan(single.low)) == ("none", True)
    assert "a class comes from 1 group" in single.note
    absent = clustered_interval(index % 2, np.random.default_rng(0).random((30, 3)), index, AUROC)
    assert np.isnan(absent.value)
    assert "absent" in absent.note


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"do not fit 10 labels"):
        clustered_interval(np.arange(10) % 2, np.zeros((3, 4, 2)), np.arange(10), AUROC)


def _forecasts(rng, groups, classes, images=4):
    """Probabilities that are right: the labels are drawn from them."""
    logits = np.repeat(rng.normal(size=(groups, classes)), images, axis=0) + rng.normal(size=(groups * images, classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) < rng.random((len(chances), 1))).sum(axis=1)
    return labels, chances, np.repeat(np.arange(groups), images)


@pytest.mark.parametrize("classes", [2, 6])
def test_resamples_of_a_calibration_error_lie_above_it_so_it_has_no_interval(classes):
    rng = np.random.default_rng(0)
    labels, chances, groups = _forecasts(rng, 60, classes)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=400)[:, groups].astype(float)
    assert np.mean(ece(labels, chances, weights) > ece(labels, chances)) > 0.9
    for metric in (ECE, ECE.over((classes,))):
        found = clustered_interval(labels, chances, groups, metric)
        assert (found.value, found.method) == (pytest.approx(ece(labels, chances)), "none")
        assert np.isnan([found.low, found.high]).all()
        assert "biased upwards" in found.note
    found = clustered_interval(labels, chances, groups, BRIER)
    assert (found.method, found.low < found.value < found.high) == ("bootstrap", True)


def _distinct(labels, scores, weights=None):
    """The share of units that a resample holds: at most that of the sample itself, so resampling cannot reach it."""
    rows = np.ones((1, len(labels))) if weights is None else weights
    worth = np.linspace(1, 2, len(labels))
    share = 0.9 * ((rows > 0) @ worth) / worth.sum()
    return float(share[0]) if weights is None else share


def test_limits_that_do_not_hold_the_value_are_not_shown():
    labels, chances, groups = _forecasts(np.random.default_rng(1), 60, 2)
    found = clustered_interval(labels, chances, groups, Metric("distinct", _distinct))
    assert (found.value, found.method) == (pytest.approx(0.9), "none")
    assert np.isnan([found.low, found.high]).all()
    assert "do not hold the value" in found.note
