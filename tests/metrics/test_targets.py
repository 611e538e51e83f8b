from functools import partial

import numpy as np
import pytest

from sidelight.metrics.classification import auroc, average_precision, recall
from sidelight.metrics.intervals import clustered_interval, paired_difference
from sidelight.metrics.targets import Macro


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
    macro = Macro(auroc, (2, 2))
    assert clustered_interval(twice[0], aa, twice[1], macro) == clustered_interval(y, a, names, auroc)
    one, both = paired_difference(y, a, b, names, auroc), paired_difference(twice[0], aa, bb, twice[1], macro)
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
    found = paired_difference(labels, scores, other, np.nonzero(known)[0], Macro(auroc, (2, 2, 2)))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_many_rare_labels_have_no_bootstrap_rather_than_an_endless_one():
    truth = np.zeros((60, 40), int)
    truth[np.arange(80) % 60, np.arange(80) // 2] = 1
    labels, scores = (2 * np.arange(40) + truth).ravel(), two(np.random.default_rng(0).random(2400))
    found = clustered_interval(labels, scores, np.repeat(np.arange(60), 40), Macro(auroc, (2,) * 40))
    assert found.method == "none" and "too many rare classes" in found.note and 0 < found.value < 1
