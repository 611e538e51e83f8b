"""What each metric says of itself holds."""

import numpy as np
import pytest

from sidelight.metrics import METRICS, metrics_of


def case(classes, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    return labels, rng.dirichlet(np.ones(classes), len(labels))


TWO = [one.name for one in METRICS.values() if one.where != ("task",) and "class" not in one.where]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_its_values_lie_in_its_range_and_the_better_end_is_that_of_a_perfect_score(metric):
    for seed in range(5):
        for classes in (2,) if metric.name in TWO else (2, 4):
            labels, scores = case(classes, seed)
            value, perfect = metric(labels, scores), metric(labels, np.eye(classes)[labels])
            assert metric.low <= value <= metric.high and metric.low <= perfect <= metric.high
            assert perfect > value if metric.higher_is_better else perfect < value


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_that_ranks_reads_the_order_alone(metric):
    labels, scores = case(2, 1)
    other = scores[:, 1] ** 3 / 2
    same = metric(labels, np.stack([1 - other, other], 1)) == pytest.approx(metric(labels, scores))
    assert same if metric.ranks else same is (metric.name == "pauc above 80 % TPR")


@pytest.mark.parametrize("metric", [one for one in METRICS.values() if one.by_class], ids=lambda one: one.name)
def test_a_metric_by_class_does_not_ask_how_many_units_a_class_has(metric):
    labels, scores = case(2, 2)
    weights = np.random.default_rng(0).integers(1, 4, len(labels)).astype(float)
    assert metric(labels, scores, weights * np.array([1, 5])[labels]) == pytest.approx(metric(labels, scores, weights))


def test_every_metric_has_its_place_in_results():
    assert list(METRICS) == [one.name for one in METRICS.values()]
    assert [one.name for one in metrics_of("task")] == ["auroc", "accuracy", "balanced_accuracy", "f1"]
    assert [one.name for one in METRICS.values() if one.compared] == ["auroc", "balanced_accuracy at threshold"]
