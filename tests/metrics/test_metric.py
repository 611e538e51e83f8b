"""What each metric says of itself holds."""

import numpy as np
import pytest

from sidelight.metrics import METRICS, metrics_of
from sidelight.metrics.boxes import box_row, stacked
from sidelight.metrics.heat import heat_row
from sidelight.metrics.overlap import mask_row

OF_CLASSES = {name: one for name, one in METRICS.items() if not one.localized}
LOCALIZED = {name: one for name, one in METRICS.items() if one.localized}


def case(classes, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    return labels, rng.dirichlet(np.ones(classes), len(labels))


TWO = [one.name for one in OF_CLASSES.values() if one.where != ("task",) and "class" not in one.where]


@pytest.mark.parametrize("metric", OF_CLASSES.values(), ids=OF_CLASSES)
def test_its_values_lie_in_its_range_and_the_better_end_is_that_of_a_perfect_score(metric):
    for seed in range(5):
        for classes in (2,) if metric.name in TWO else (2, 4):
            labels, scores = case(classes, seed)
            value, perfect = metric(labels, scores), metric(labels, np.eye(classes)[labels])
            assert metric.low <= value <= metric.high and metric.low <= perfect <= metric.high
            assert perfect > value if metric.higher_is_better else perfect < value


@pytest.mark.parametrize("metric", OF_CLASSES.values(), ids=OF_CLASSES)
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


@pytest.mark.parametrize("metric", LOCALIZED.values(), ids=LOCALIZED)
def test_rows_of_masks_and_boxes_have_their_range_and_the_better_end_is_that_of_the_truth(metric):
    rng, rows = np.random.default_rng(0), {"found": [], "true": []}
    for _ in range(12):
        truth = np.zeros((16, 16), bool)
        top, left, high, wide = *rng.integers(0, 8, 2), *rng.integers(3, 8, 2)
        truth[top : top + high, left : left + wide] = True
        box = [left, top, left + wide, top + high]
        if "mask" in metric.where:
            for name, found in (("found", truth ^ (rng.random((16, 16)) < 0.3)), ("true", truth)):
                heat = found + 0.01 * rng.random(found.shape)  # of a map without noise there is no contrast to noise
                rows[name].append(np.concatenate([mask_row(found, truth), heat_row(heat, truth)]))
        else:
            rows["found"].append(box_row([np.add(box, 2), rng.uniform(0, 16, 4)], rng.random(2), [box]))
            rows["true"].append(box_row([box], [0.5], [box]))
    found, true = stacked(rows["found"]), stacked(rows["true"])
    own = metric.among(np.stack([found, true]) if metric.column else found)
    value, perfect = own(None, found), own(None, true)
    assert own.low <= value <= own.high < np.inf and own.low <= perfect <= own.high
    if metric.name != "cnr":  # it has no end
        assert perfect == (own.high if own.higher_is_better else own.low)
    assert perfect > value if own.higher_is_better else perfect < value


def test_every_metric_has_its_place_in_results():
    assert list(METRICS) == [one.name for one in METRICS.values()]
    assert [one.name for one in metrics_of("task")] == ["auroc", "accuracy", "balanced_accuracy", "f1"]
    assert [one.name for one in LOCALIZED.values() if one.compared] == [
        "dice",
        "dice by image",
        "pointing",
        "map",
        "coco ap",
        "froc",
    ]
    assert [one.name for one in OF_CLASSES.values() if one.compared] == ["auroc", "balanced_accuracy at threshold"]
