"""Average precision and FROC: numbers by hand, a reference implementation, repetitions, and worlds without a difference."""

import contextlib
import io

import numpy as np
import pytest

from sidelight.metrics.bands import band_of
from sidelight.metrics.boxes import box_row, stacked
from sidelight.metrics.detection import (
    AP50,
    COCO_AP,
    FROC,
    MAP,
    PUBLISHED_FROC,
    RECALLS,
    SENSITIVITIES,
    at_rate,
    precisions,
)
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.sample import sample_of

BOX, FAR = [10.0, 10.0, 30.0, 40.0], [60.0, 60.0, 80.0, 90.0]


def rows(units, **more):
    """Of each unit its detections (score, box) and its true boxes."""
    return stacked(
        [box_row([box for _, box in found], [score for score, _ in found], truth, **more) for found, truth in units]
    )


def test_map_by_hand():
    table = rows([([(0.9, BOX)], [BOX]), ([(0.95, BOX)], []), ([], [BOX])])
    assert MAP(None, table) == pytest.approx(51 / 101 * 0.5) == pytest.approx(0.2524752, abs=1e-7)
    assert MAP(None, table[[2, 0, 1]]) == MAP(None, table)
    assert MAP(None, table[:1]) == 1 == COCO_AP(None, table[:1])
    assert MAP(None, table[2:]) == 0 and np.isnan(MAP(None, table[1:2]))


def test_froc_by_hand():
    table = rows([([(0.9, BOX), (0.8, FAR), (0.7, BOX)], [BOX]), ([], [])])
    assert PUBLISHED_FROC(None, table) == 1.0 == FROC(None, table)
    late = rows([([(0.9, FAR), (0.8, BOX)], [BOX]), ([], [])])  # half a false positive per image before the hit
    assert [one(None, late) for one in SENSITIVITIES] == [0, 0, 1, 1, 1, 1, 1]
    # recorded at 1/8 with nothing hit, at 1/4 after the hit, at 1/2 never: the last stands for the others
    assert PUBLISHED_FROC(None, late) == pytest.approx(6 / 7)
    assert FROC(None, late) == pytest.approx(5 / 7)
    assert PUBLISHED_FROC(None, rows([([], [])])) == 1.0 and np.isnan(FROC(None, rows([([], [])])))
    assert PUBLISHED_FROC(None, rows([([(0.5, BOX)], [BOX, FAR])])) == 0.5  # nothing recorded: the final one


def world(units, seed, skill=0.6, step=0.0):
    """Units with 0 to 2 true boxes; each is found with probability ``skill``, a little off, beside false alarms."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(units):
        truth = [
            [*corner, *(corner + rng.uniform(10, 30, 2))] for corner in rng.uniform(0, 60, (rng.integers(0, 3), 2))
        ]
        hits = [
            (rng.uniform(0.3, 1), (np.array(box) + rng.normal(0, 1.5, 4)).tolist())
            for box in truth
            if rng.random() < skill
        ]
        alarms = [
            (rng.uniform(0, 0.8), [*corner, *(corner + 15)]) for corner in rng.uniform(0, 60, (rng.integers(0, 4), 2))
        ]
        each = [(round(score / step) * step if step else score, box) for score, box in hits + alarms]
        found.append((each, truth))
    return found


def test_precision_at_a_recall_by_hand_and_as_it_is_counted_one_by_one():
    table = rows([([(0.9, BOX)], [BOX]), ([(0.95, BOX)], []), ([], [BOX])])
    found = precisions(table[None], np.arange(3), np.array([0, 0.5, 0.51, 1]))(np.ones((1, 3)))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0, 0]])
    twice = precisions(table[None], np.arange(3), np.array([0, 0.5, 0.67, 1]))(np.array([[2.0, 1, 1]]))
    np.testing.assert_allclose(twice, [[2 / 3, 2 / 3, 0, 0]])
    rng = np.random.default_rng(0)
    world = rows([([(rng.random(), BOX if rng.random() < 0.6 else FAR) for _ in range(3)], [BOX]) for _ in range(20)])
    weights = rng.integers(0, 3, (7, 20)).astype(float)
    curve = precisions(np.stack([world, world]), np.arange(20), RECALLS)(weights)
    for row, drawn in zip(weights.astype(int), curve, strict=True):
        each = np.repeat(world, row, axis=0)[:, 1:].reshape(-1, 4)
        right = each[np.argsort(-each[:, 0], kind="stable"), 2].astype(int) & 1
        last = np.append(np.diff(np.sort(-each[:, 0])) > 0, True)
        recall, precision = np.cumsum(right)[last] / row.sum(), (np.cumsum(right) / np.arange(1, len(right) + 1))[last]
        for wanted, found in zip(RECALLS, drawn, strict=True):
            there = (recall >= wanted - 1e-12) & (np.append(0, recall[:-1]) < recall)
            assert found == pytest.approx(precision[there][0] if there.any() else 0)


def test_bands_of_precision_hold_the_truth():
    rng, recalls = np.random.default_rng(0), np.array([0.1, 0.3, 0.5])

    def world(patients):
        units = []
        for skill in np.repeat(rng.beta(4, 3, patients), 2):
            seen = [(0.3 + 0.7 * rng.random(), BOX)] if rng.random() < skill else []
            units.append((seen + [(rng.random(), FAR) for _ in range(rng.poisson(0.7))], [BOX]))
        return rows(units), np.repeat(np.arange(patients), 2)

    def padded(table):
        return np.pad(table, ((0, 0), (0, 41 - table.shape[1])), constant_values=np.nan)[None]

    everyone, groups = world(3000)
    truth = precisions(padded(everyone), groups, recalls)(np.ones((1, 3000)))[0]
    held = []
    for _ in range(60):
        table, groups = world(50)
        band = band_of(precisions(padded(table), groups, recalls), sample_of(None, groups), resamples=200)
        held.append((band.low <= truth) & (truth <= band.high))
    assert (np.mean(held, axis=0) > 0.87).all(), np.mean(held, axis=0)


def test_cases_at_a_rate_of_false_positives_by_hand():
    late = rows([([(0.9, FAR), (0.8, BOX)], [BOX]), ([], [])])
    assert [part.tolist() for part in at_rate(late, 0.5)] == [[1, 0], [1, 0]]
    assert [part.tolist() for part in at_rate(late, 0.25)] == [[0, 0], [0, 0]]
    assert [part.tolist() for part in at_rate(rows([([], []), ([], [BOX])]))] == [[0, 0], [0, 0]]


def test_as_coco_evaluates():
    """Against faster-coco-eval, at its overlaps and at those of the RSNA challenge."""
    coco = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    units = world(60, 0)
    sized = [([x, y, z - x, w - y], at) for at, (_, truth) in enumerate(units) for x, y, z, w in truth]
    annotations = [
        {"id": n + 1, "image_id": at, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, (box, at) in enumerate(sized)
    ]
    results = [
        {"image_id": at, "category_id": 1, "score": score, "bbox": [x, y, z - x, w - y]}
        for at, (found, _) in enumerate(units)
        for score, (x, y, z, w) in found
    ]
    data = {
        "images": [{"id": at} for at in range(len(units))],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(data)
        judge = coco.COCOeval_faster(truth, truth.loadRes(results), "bbox")
        judge.run()
    table = rows(units)
    assert COCO_AP(None, table) == pytest.approx(judge.stats[0], abs=1e-6)
    assert AP50(None, table) == pytest.approx(judge.stats[1], abs=1e-6)


def plain_precision(units, bit):
    """Average precision as textbooks write it, detection by detection."""
    table = rows(units)
    found = sorted(
        (row for unit in table for row in unit[1:].reshape(-1, 4) if row[0] == row[0]), key=lambda row: -row[0]
    )
    total, right, points = table[:, 0].sum(), 0, []
    for count, row in enumerate(found, 1):
        right += int(row[1]) >> bit & 1
        points.append((right / total, right / count))
    return np.mean([max([p for r, p in points if r >= wanted], default=0) for wanted in np.linspace(0, 1, 101)])


def test_as_a_textbook_has_it():
    for seed in range(3):
        units = world(25, seed)
        assert MAP(None, rows(units)) == pytest.approx(np.mean([plain_precision(units, bit) for bit in range(8)]))


@pytest.mark.parametrize(
    "metric", [MAP, COCO_AP, AP50, FROC, *SENSITIVITIES[:2], PUBLISHED_FROC], ids=lambda one: one.name
)
@pytest.mark.parametrize("step", [0.0, 0.25], ids=["all scores differ", "many ties"])
def test_weights_are_repetitions_and_order_means_nothing(metric, step):
    table = rows(world(20, 1, step=step))
    weights = np.random.default_rng(2).integers(0, 3, (4, len(table))).astype(float)
    if metric is PUBLISHED_FROC:  # which records by detection: repetitions are others, and ties come as they come
        weights = (weights > 0).astype(float)
    together = metric(None, table, weights)
    for row, value in zip(weights, together, strict=True):
        assert value == pytest.approx(metric(None, np.repeat(table, row.astype(int), axis=0)))
        assert metric(None, table, row) == pytest.approx(value)
    if metric is not PUBLISHED_FROC or not step:
        assert metric(None, table[::-1]) == pytest.approx(metric(None, table))


@pytest.mark.parametrize("metric", [MAP, FROC], ids=lambda one: one.name)
def test_better_is_seen_and_equal_is_not(metric):
    groups = np.arange(120) // 2
    good, poor, other = (rows(world(120, 5, skill)) for skill in (0.9, 0.3, 0.3))
    wide = max(part.shape[1] for part in (good, poor, other))
    good, poor, other = (stacked(list(part), wide) for part in (good, poor, other))
    labels = (good[:, 0] > 0).astype(int)
    found = clustered_interval(labels, good, groups, metric, resamples=200)
    assert found.method == "bootstrap" and 0 < found.low < found.value < found.high < 1
    same = paired_difference(labels, poor, other, groups, metric, resamples=200, permutations=100)
    assert (same.low, same.value, same.high, same.p) == (0, 0, 0, 1)


def test_equal_rivals_are_rarely_told_apart():
    told = 0
    for seed in range(40):
        units = world(60, seed, 0.0)
        each = []
        for rival in range(2):
            rng = np.random.default_rng([seed, rival])
            own = [
                ([(rng.uniform(0.3, 1), box) for box in truth if rng.random() < 0.6] + found, truth)
                for found, truth in units
            ]
            each.append(list(rows(own)))
        wide = max(len(row) for part in each for row in part)
        one, other = (stacked(part, wide) for part in each)
        labels = (one[:, 0] > 0).astype(int)
        gap = paired_difference(labels, one, other, np.arange(60), MAP, resamples=200, permutations=2)
        told += not gap.low <= 0 <= gap.high
    assert told / 40 <= 0.125


@pytest.mark.parametrize(("heavy", "method"), [(1, "bootstrap"), (20, "t")])
def test_a_patient_with_most_of_the_boxes_is_not_one_of_many(heavy, method):
    """As 45 patients 86 of 100 intervals of FROC hold the truth where one has 20 times the boxes; they are worth nine."""
    covered = 0
    for seed in range(60):
        rng, rows_of = np.random.default_rng([seed, heavy]), []
        for patient in range(45):
            count = 3 * (heavy if patient == 0 else 1)
            truth = np.array([[100 * at, 0, 100 * at + 20, 20] for at in range(count)], float)
            found = truth[rng.random(count) < rng.uniform(0.3, 0.9)]
            rows_of.append(box_row(found, rng.random(len(found)), truth))
        table = clustered_interval(np.ones(45, int), stacked(rows_of), np.arange(45), FROC, resamples=200)
        assert table.method == method
        covered += table.low <= 0.6 <= table.high
    assert covered >= 53
