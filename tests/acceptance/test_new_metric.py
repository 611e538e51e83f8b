"""A metric of one's own, one file and one line: Matthews correlation of classes, Dice of what masks have met."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef

from sidelight.evaluation.tables import tabulated
from sidelight.evaluation.tables.blocks import Block
from sidelight.evaluation.tables.comparisons import differences, efficiency
from sidelight.evaluation.tables.subgroups import subgroup_table
from sidelight.evaluation.tables.summary import value_row
from sidelight.metrics import METRICS, Metric
from sidelight.metrics.arrays import ratio
from sidelight.metrics.classification import confusion_matrix
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.overlap import areas, pooled_dice
from sidelight.reporting.numbers import metric_name

# the file: src/sidelight/metrics/matthews.py


def matthews(labels, scores, weights=None):
    """Matthews correlation of true and predicted classes, in [-1, 1]; 0 where only one class is there or predicted."""
    matrix = confusion_matrix(labels, scores, weights)  # [C, C], or [R, C, C] for R resamples
    true, called, total = matrix.sum(axis=-1), matrix.sum(axis=-2), matrix.sum(axis=(-2, -1))
    above = np.trace(matrix, axis1=-2, axis2=-1) * total - (true * called).sum(axis=-1)
    below = np.sqrt((total**2 - (true**2).sum(axis=-1)) * (total**2 - (called**2).sum(axis=-1)))
    value = ratio(above, below, 0.0)
    return value if np.ndim(value) else float(value)


MATTHEWS = Metric("matthews", matthews, "Matthews correlation", low=-1, where=("task",), compared=True, per_label=True)

# the line, in src/sidelight/metrics/__init__.py: MATTHEWS among the METRICS


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setitem(METRICS, MATTHEWS.name, MATTHEWS)


def case(classes, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    return labels, rng.dirichlet(np.ones(classes), len(labels)) + 0.3 * np.eye(classes)[labels]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_agrees_with_scikit_learn_plain_weighted_and_vectorised(classes):
    for seed in range(3):
        labels, scores = case(classes, seed)
        called = scores.argmax(axis=1)
        weights = np.random.default_rng(seed + 9).integers(0, 3, (4, len(labels))).astype(float)
        assert matthews(labels, scores) == pytest.approx(matthews_corrcoef(labels, called))
        for row, value in zip(weights, matthews(labels, scores, weights), strict=True):
            assert value == pytest.approx(matthews_corrcoef(labels, called, sample_weight=row))
            assert matthews(labels, scores, row) == pytest.approx(value)
    assert matthews(np.array([0, 1]), np.array([0.1, 0.2])) == 0


def score_table(encoder, strength, groups):
    parts = []
    for seed in range(2):
        for count in (8, 32):
            rng = np.random.default_rng([len(encoder), seed, count])
            label = np.repeat(np.arange(groups) % 2, 2)
            p = 1 / (1 + np.exp(-(strength * np.log2(count) / 3 * (2 * label - 1) + rng.normal(size=len(label)))))
            names = {
                "unit": [f"u{i:03d}" for i in range(len(label))],
                "group": [f"g{i // 2:03d}" for i in range(len(label))],
            }
            table = pd.DataFrame({**names, "target": "", "label": label, "p0": 1 - p, "p1": p, "labels": count})
            parts.append(table.assign(all_labels=count == 32, seed=seed, fold=0, step="selected"))
    return pd.concat(parts).assign(encoder=encoder, task="t", protocol="linear")


class Single:
    parts = ()
    unit = "item"


@pytest.mark.parametrize(("groups", "method"), [(30, "t"), (60, "bootstrap")])
def test_it_stands_in_every_table_with_its_interval(added, groups, method):
    scores = pd.concat([score_table("good one", 0.8, groups), score_table("poor", -0.2, groups)], ignore_index=True)
    made = tabulated(scores, {"t": {"": ["no", "yes"]}}, {"t": Single}, resamples=200)["results"]
    rows = made[made["metric"] == "matthews"].set_index(["encoder", "labels"])
    assert len(rows) == 4 and set(rows["interval"]) == {method}
    own = scores[(scores["encoder"] == "good one") & (scores["labels"] == 32)]
    each = [matthews_corrcoef(one["label"], one["p1"] > 0.5) for _, one in own.groupby("seed")]
    good, poor = rows.loc[("good one", 32)], rows.loc[("poor", 32)]
    assert good["value"] == pytest.approx(np.mean(each)) and good["seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert -1 <= good["low"] < good["value"] < good["high"] <= 1 and good["low"] > 0
    assert -1 <= poor["low"] < poor["value"] < 0
    compared = differences(scores, resamples=200)
    found = compared[(compared["metric"] == "matthews") & (compared["labels"] == 32)].iloc[0]
    assert abs(found["difference"]) == pytest.approx(good["value"] - poor["value"]) and found["p_holm"] < 0.01
    assert metric_name("matthews") == "Matthews correlation"
    factor = efficiency(scores, compared, metric="matthews", resamples=50).query(
        "encoder == 'good one' and labels == 8"
    )
    assert factor["factor"].item() > 1
    sides = pd.DataFrame({"sex": "m"}, index=scores["unit"].unique())
    table = subgroup_table(scores, sides, metric="matthews", resamples=200).query("encoder == 'good one'")
    table = table[table["metric"] == "matthews"]
    assert table["value"].item() == pytest.approx(good["value"]) and table["low"].item() == pytest.approx(good["low"])


def test_limits_are_those_of_its_range_and_the_ends_have_a_bound():
    index = np.repeat(np.arange(24), 3)
    labels = index % 2
    for scores, value in ((labels, 1.0), (1 - labels, -1.0)):
        found = clustered_interval(labels, scores.astype(float), index, MATTHEWS)
        assert (found.value, found.method) == (value, "bound") and f"value of {value:.0f}" in found.note
        least = 2 * 0.025 ** (1 / 12) - 1
        assert (found.low, found.high) == (pytest.approx((least, 1)) if value == 1 else pytest.approx((-1, -least)))


def test_a_metric_of_zero_to_one_is_the_same_on_another_scale():
    labels, scores = case(2, 4)
    groups = np.arange(len(labels)) % 31
    wide = Metric("wide", lambda *given: 6 * METRICS["auroc"](*given) - 2, low=-2, high=4, by_class=True, ranks=True)
    one, other = (clustered_interval(labels, scores, groups, metric) for metric in (METRICS["auroc"], wide))
    assert (other.value, other.low, other.high) == pytest.approx(
        [6 * each - 2 for each in (one.value, one.low, one.high)]
    )


# Rows without a class: of each image the pixels that are found and true, found, true


def dice(labels, rows, weights=None):
    """2 x intersection / (found + true), pooled over images; rows [N, 3]; 0 where nothing is there and nothing found."""
    both, found, true = np.moveaxis((np.ones(len(rows)) if weights is None else weights) @ rows, -1, 0)
    value = ratio(2 * both, found + true, 0.0)
    return value if np.ndim(value) else float(value)


DICE = Metric("dice", dice, "Dice")


def masks(patients, seed, spoilt):
    """True masks [N, 8, 8] of three images a patient, and two that were found, the second with more pixels spoilt."""
    rng = np.random.default_rng(seed)
    truth = rng.random((3 * patients, 8, 8)) < 0.4
    return truth, *(truth ^ (rng.random(truth.shape) < share) for share in spoilt), np.repeat(np.arange(patients), 3)


def rows_of(found, truth):
    return areas(found, truth).astype(float)


@pytest.mark.parametrize(("patients", "method"), [(8, "none"), (24, "t"), (60, "bootstrap")])
def test_dice_has_its_interval_by_patient_and_a_paired_difference(patients, method):
    truth, good, poor, groups = masks(patients, 0, (0.1, 0.2))
    ours, theirs = rows_of(good, truth), rows_of(poor, truth)
    found = clustered_interval(None, ours, groups, DICE)
    assert found.value == pytest.approx(pooled_dice(None, areas(good, truth))) and found.method == method
    gap = paired_difference(None, ours, theirs, groups, DICE)
    assert gap.value == pytest.approx(found.value - pooled_dice(None, areas(poor, truth)))
    if method == "none":
        assert np.isnan([found.low, found.high, gap.low]).all()
        return
    assert 0 < found.low < found.value < found.high < 1 and found.groups == patients
    assert 0 < gap.low < gap.value < gap.high and gap.p < 0.01
    seeds = clustered_interval(None, np.stack([ours, theirs]), groups, DICE)
    assert seeds.value == pytest.approx(found.value - gap.value / 2)


def test_dice_covers_the_truth_by_patient():
    """Each patient's masks are spoilt by a share of their own: the Dice of very many patients is the truth."""

    def world(patients, seed):
        rng = np.random.default_rng(seed)
        share = np.repeat(rng.uniform(0, 0.4, patients), 5)[:, None, None]
        truth = rng.random((5 * patients, 6, 6)) < 0.4
        return rows_of(truth ^ (rng.random(truth.shape) < share), truth), np.repeat(np.arange(patients), 5)

    real = dice(None, world(20_000, 0)[0])
    for patients in (12, 25, 45):
        found = [clustered_interval(None, *world(patients, seed), DICE, resamples=250) for seed in range(1, 101)]
        assert np.mean([one.low <= real <= one.high for one in found]) >= 0.89


def test_a_block_of_masks_gives_rows_as_one_of_classes_does():
    truth, good, _, groups = masks(20, 1, (0.1, 0.2))
    other, _, worse, _ = masks(20, 2, (0.1, 0.2))
    both = np.concatenate([rows_of(good, truth), rows_of(worse, other)])
    block = Block(
        both[None], np.repeat([0, 1], 60), np.tile(groups, 2), np.tile(np.arange(60), 2), True, ("liver", "spleen"), (1, 1)
    )  # fmt: skip
    each = [value_row(part, DICE, 100) for _, part in block.parts()]
    whole = value_row(block, block.of(DICE), 100)
    assert [row["value"] for row in each] == pytest.approx([dice(None, both[:60]), dice(None, both[60:])])
    assert whole["value"] == pytest.approx(np.mean([row["value"] for row in each]))
    assert whole["low"] < whole["value"] < whole["high"] and (whole["groups"], whole["units"]) == (20, 60)
    assert np.isnan(whole["positives"])
