from functools import partial

import numpy as np
import pytest
from sklearn import metrics as reference

from sidelight.metrics import classification as ours
from sidelight.metrics.classification import (
    ACCURACY,
    AUROC,
    AVERAGE_PRECISION,
    F1,
    PARTIAL_AUROC,
    auroc,
    average_precision,
    recall,
)
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.metric import Macro


def _case(classes: int, seed: int, ties: bool):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    scores = rng.dirichlet(np.ones(classes), len(labels)) + 0.3 * np.eye(classes)[labels]
    return labels, np.round(scores, 1) + 0.01 * np.arange(classes) if ties else scores


def _sk_ranking(function, labels, scores, weights):
    if scores.shape[1] == 2:
        return function(labels == 1, scores[:, 1], sample_weight=weights)
    return np.mean([function(labels == c, scores[:, c], sample_weight=weights) for c in range(scores.shape[1])])


def _sk_predicted(function, **extra):
    def call(labels, scores, weights):
        options = dict(extra)
        if options.get("average") == "f1":
            options["average"] = "binary" if scores.shape[1] == 2 else "macro"
        return function(labels, scores.argmax(axis=1), sample_weight=weights, **options)

    return call


HARNESS = {
    "auroc": (ours.auroc, partial(_sk_ranking, reference.roc_auc_score)),
    "average_precision": (ours.average_precision, partial(_sk_ranking, reference.average_precision_score)),
    "accuracy": (ours.accuracy, _sk_predicted(reference.accuracy_score)),
    "balanced_accuracy": (ours.balanced_accuracy, _sk_predicted(reference.balanced_accuracy_score)),
    "f1": (ours.f1, _sk_predicted(reference.f1_score, average="f1", zero_division=0)),
    "precision": (ours.precision, _sk_predicted(reference.precision_score, average=None, zero_division=0)),
    "recall": (ours.recall, _sk_predicted(reference.recall_score, average=None, zero_division=0)),
    "confusion": (ours.confusion_matrix, _sk_predicted(reference.confusion_matrix)),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("name", HARNESS)
def test_agrees_with_scikit_learn_plain_weighted_and_vectorised(name, classes, ties):
    metric, peer = HARNESS[name]
    for seed in range(3):
        labels, scores = _case(classes, seed, ties)
        weights = np.random.default_rng(seed + 100).integers(0, 3, (4, len(labels))).astype(float)
        weights[:, :classes] = 1  # every class stays
        np.testing.assert_allclose(metric(labels, scores), peer(labels, scores, None), atol=1e-12)
        many = metric(labels, scores, weights)
        assert len(many) == 4
        for row, value in zip(weights, many, strict=True):
            np.testing.assert_allclose(value, peer(labels, scores, row), atol=1e-12)
            np.testing.assert_allclose(metric(labels, scores, row), value, atol=1e-12)


@pytest.mark.parametrize("name", HARNESS)
def test_integer_weights_are_repeated_units(name):
    metric = HARNESS[name][0]
    labels, scores = _case(3, 7, True)
    weights = np.random.default_rng(1).integers(0, 4, len(labels))
    repeated = np.repeat(np.arange(len(labels)), weights)
    np.testing.assert_allclose(metric(labels, scores, weights), metric(labels[repeated], scores[repeated]), atol=1e-12)


def test_binary_scores_as_vector_and_as_columns_agree():
    labels, scores = _case(2, 3, False)
    scores = scores / scores.sum(axis=1, keepdims=True)
    for metric in (ours.auroc, ours.average_precision, ours.accuracy, ours.balanced_accuracy, ours.f1, ours.precision):
        np.testing.assert_allclose(metric(labels, scores[:, 1]), metric(labels, scores), atol=1e-12)


def test_auroc_counts_ties_one_half():
    labels = np.array([0, 0, 1, 1])
    assert ours.auroc(labels, np.array([0.1, 0.4, 0.4, 0.8])) == 3.5 / 4
    assert ours.auroc(labels, np.zeros(4)) == 0.5
    assert ours.auroc(labels, np.array([0.0, 0.1, 0.2, 0.3])) == 1.0


def test_an_absent_class_is_nan_where_every_class_is_needed_and_zero_in_ratios():
    labels, scores = np.array([0, 0, 1, 1]), np.eye(3)[[0, 1, 1, 2]]
    for metric in (ours.auroc, ours.average_precision, ours.balanced_accuracy):
        assert np.isnan(metric(labels, scores))
    assert ours.accuracy(labels, scores) == 0.5
    assert ours.recall(labels, scores).tolist() == [0.5, 0.5, 0.0]
    assert ours.precision(labels, scores).tolist() == [1.0, 0.5, 0.0]
    assert ours.recall(labels, scores, of=1) == 0.5
    assert ours.f1(labels, scores) == pytest.approx((2 / 3 + 0.5 + 0) / 3)
    for metric in (ours.auroc, ours.average_precision, ours.balanced_accuracy):
        assert np.isnan(metric(np.ones(3, int), np.array([0.1, 0.9, 0.4])))
        assert np.isnan(metric(np.zeros(3, int), np.array([0.1, 0.9, 0.4])))


def test_a_resample_without_a_class_is_nan_and_leaves_the_others_alone():
    labels, scores = np.array([0, 0, 1]), np.array([0.2, 0.6, 0.5])
    values = ours.auroc(labels, scores, np.array([[1.0, 1, 1], [1, 1, 0], [0, 2, 1]]))
    assert values[0] == 0.5
    assert np.isnan(values[1])
    assert values[2] == 0.0


def test_partial_auroc_is_that_of_isic_2024():
    """The published definition: flip labels and scores, then scikit-learn's curve up to a false positive rate of 0.2."""
    from sklearn.metrics import auc, roc_curve

    from sidelight.metrics.classification import partial_auroc

    def published(labels, scores):
        fpr, tpr, _ = roc_curve(1 - labels, -scores)
        stop = np.searchsorted(fpr, 0.2, "right")
        reach = np.interp(0.2, [fpr[stop - 1], fpr[stop]], [tpr[stop - 1], tpr[stop]])
        return auc(np.append(fpr[:stop], 0.2), np.append(tpr[:stop], reach))

    rng = np.random.default_rng(0)
    for digits in (1, 6):  # with and without ties
        labels = rng.integers(0, 2, 80)
        scores = np.round(rng.random(80) + 0.4 * labels, digits)
        assert partial_auroc(labels, scores) == pytest.approx(published(labels, scores))
        weights = rng.integers(0, 3, (4, 80)).astype(float)
        repeated = [published(np.repeat(labels, w.astype(int)), np.repeat(scores, w.astype(int))) for w in weights]
        assert partial_auroc(labels, scores, weights) == pytest.approx(repeated)
    assert partial_auroc(labels, labels.astype(float)) == pytest.approx(0.2)
    assert np.isnan(partial_auroc(np.ones(3, int), np.arange(3.0)))


def two(scores):
    """Probabilities [..., 2] of the second class."""
    return np.stack([1 - scores, scores], axis=-1)


def test_the_mean_over_labels_by_hand():
    """First label: 0.875 (one tie); second: one of two pairs in order, 0.5."""
    labels = np.array([0, 0, 1, 1, 2, 3, 2])
    scores = two(np.array([0.1, 0.4, 0.4, 0.8, 0.2, 0.3, 0.6]))
    assert Macro(auroc, (2, 2))(labels, scores) == pytest.approx((0.875 + 0.5) / 2)
    assert Macro(partial(recall, of=1), (2, 2))(labels, scores) == pytest.approx((0.5 + 0) / 2)


def test_targets_may_have_different_numbers_of_classes():
    labels = np.array([0, 1, 2, 3, 4])
    scores = np.array([[0.9, 0.1, np.nan], [0.2, 0.8, np.nan], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert Macro(auroc, (2, 3))(labels, scores) == 1
    assert Macro(auroc, (2, 3))(labels[:4], scores[:4]) != Macro(auroc, (2, 3))(labels[:4], scores[:4])  # NaN


def world(groups, seed=0, labels=3):
    """Labels [G, L] and two encoders' scores [G, L]; about a fifth of the labels is unknown."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (groups, labels))
    first, second = (shift * truth + rng.normal(size=truth.shape) for shift in (1.5, 0.5))
    return truth, first, second, rng.random(truth.shape) < 0.8


@pytest.mark.parametrize("groups", [24, 60])
def test_one_target_told_twice_has_the_interval_and_the_difference_of_one(groups):
    truth, first, second, _ = world(groups, labels=1)
    y, names = truth[:, 0], np.arange(groups)
    twice = np.concatenate([y, y + 2]), np.concatenate([names, names])
    a, b = (two(1 / (1 + np.exp(-one[:, 0]))) for one in (first, second))
    aa, bb = np.concatenate([a, a]), np.concatenate([b, b])
    macro = AUROC.over((2, 2))
    assert clustered_interval(twice[0], aa, twice[1], macro) == clustered_interval(y, a, names, AUROC)
    one, both = paired_difference(y, a, b, names, AUROC), paired_difference(twice[0], aa, bb, twice[1], macro)
    assert (both.value, both.low, both.high, both.p) == pytest.approx((one.value, one.low, one.high, one.p))


def test_weights_are_whole_resamples_of_every_target():
    truth, first, _, known = world(30)
    unit, target = np.nonzero(known)
    labels, scores = 2 * target + truth[known], two(first[known])
    weights = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=4).astype(float)
    found = Macro(average_precision, (2, 2, 2))(labels, scores, weights[:, unit])
    for drawn, value in zip(weights, found, strict=True):
        each = []
        for place in range(3):
            rows = np.repeat(np.flatnonzero(known[:, place]), drawn[known[:, place]].astype(int))
            each.append(average_precision(truth[rows, place], first[rows, place]))
        assert value == pytest.approx(np.mean(each))


def test_ranks_are_taken_within_a_target():
    """The second encoder is the first on another scale for each label: nothing differs."""
    truth, first, _, known = world(30)
    _, target = np.nonzero(known)
    labels, scores = 2 * target + truth[known], two(first[known])
    other = two(first[known] * (1 + target) - 7 * target)
    found = paired_difference(labels, scores, other, np.nonzero(known)[0], AUROC.over((2, 2, 2)))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_many_rare_labels_have_no_interval_rather_than_an_endless_one():
    truth = np.zeros((60, 40), int)
    truth[np.arange(80) % 60, np.arange(80) // 2] = 1
    labels, scores = (2 * np.arange(40) + truth).ravel(), two(np.random.default_rng(0).random(2400))
    found = clustered_interval(labels, scores, np.repeat(np.arange(60), 40), AUROC.over((2,) * 40))
    assert found.method == "none" and "a class comes from 2 groups" in found.note and 0 < found.value < 1


@pytest.mark.parametrize("metric", [AUROC, AVERAGE_PRECISION, ACCURACY, F1, PARTIAL_AUROC])
def test_scores_that_are_not_numbers_are_an_error(metric):
    """All positives NaN was an AUROC of 1."""
    with pytest.raises(ValueError, match="2 of 4 scores are not a number"):
        metric(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, np.nan, np.nan]))
