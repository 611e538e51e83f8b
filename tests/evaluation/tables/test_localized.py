"""Masks and boxes stand in every table beside classes: values, intervals, differences, label savings, subgroups."""

import numpy as np
import pandas as pd
import pytest

from sidelight.evaluation.outcomes import BOXES, CLASSES, MASK, box_outcomes, kind_of, mask_outcomes
from sidelight.evaluation.tables import tabulated
from sidelight.evaluation.tables.blocks import blocks
from sidelight.evaluation.tables.comparisons import differences, efficiency
from sidelight.evaluation.tables.localized import localized
from sidelight.evaluation.tables.subgroups import subgroup_table
from sidelight.metrics import METRICS
from sidelight.metrics.boxes import box_row
from sidelight.metrics.heat import HEAT, heat_row
from sidelight.metrics.overlap import POOLED_DICE, mask_row

PATIENTS, ONE, TWO = 45, {"": ("no", "yes")}, {"a": ("no", "yes"), "b": ("no", "yes")}


class Single:
    parts = ()
    unit = "item"


def units():
    return pd.DataFrame(
        {"unit": [f"u{i:03d}" for i in range(PATIENTS)], "group": [f"g{i // 3:03d}" for i in range(PATIENTS)]}
    )


def scored(rows, encoder, labels, seed):
    named = {"encoder": encoder, "task": "t", "protocol": "p", "step": "selected", "fold": 0, "draw": 0}
    return pd.concat(list(rows), ignore_index=True).assign(**named, labels=labels, all_labels=labels == 40, seed=seed)


def masks(encoder, spoilt, targets):
    """Two label counts and seeds; more labels spoil less. Some units hold nothing, of one class some are not known."""
    parts = []
    for labels in (10, 40):
        for seed in range(2):
            rng = np.random.default_rng([seed, labels])
            rows = np.empty((PATIENTS, len(targets), 6))
            known = np.ones((PATIENTS, len(targets)), bool)
            for unit in range(PATIENTS):
                for place in range(len(targets)):
                    truth = np.zeros((10, 10), bool)
                    truth[2:6, 1 : 2 + unit % 5] = unit % 4 != 0
                    found = truth ^ (rng.random((10, 10)) < spoilt * 10 / labels)
                    rows[unit, place] = mask_row(found, truth)
                    known[unit, place] = place == 0 or unit % 6 != 0
            parts.append(scored(mask_outcomes(units(), rows, known, targets), encoder, labels, seed))
    return pd.concat(parts, ignore_index=True)


def boxes(encoder, skill):
    parts = []
    for labels in (10, 40):
        rng = np.random.default_rng([labels])
        rows = []
        for unit in range(PATIENTS):
            truth = [[10, 10, 30, 40]] * (unit % 3 != 0)
            found = truth * (rng.random() < skill * (1 if labels == 40 else 0.6)) + [[50, 50, 60, 60]] * (unit % 4)
            rows.append([box_row(found, rng.random(len(found)), truth)])
        parts.append(scored(box_outcomes(units(), rows, ONE), encoder, labels, 0))
    return pd.concat(parts, ignore_index=True)


def made(scores, targets):
    return tabulated(scores, {"t": targets}, {"t": Single}, resamples=200)["results"]


@pytest.fixture(scope="module")
def two():
    return pd.concat([masks("good one", 0.05, TWO), masks("poor", 0.15, TWO)], ignore_index=True)


def test_masks_of_several_classes(two):
    results = made(two, TWO).set_index(["encoder", "labels", "metric", "target"])
    assert set(results.index.get_level_values("metric")) == {one.name for one in MASK.metrics} - set(HEAT)
    row = results.loc[("good one", 40, "dice", "b")]
    own = two[(two["encoder"] == "good one") & (two["labels"] == 40) & (two["target"] == "b")]
    each = [POOLED_DICE(None, MASK.read(part, None)) for _, part in own.groupby("seed")]
    assert row["value"] == pytest.approx(np.mean(each)) and row["seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert row["low"] < row["value"] < row["high"] and row["units"] == own["unit"].nunique() == PATIENTS - 8
    assert row["positives"] == own[own["seed"] == 0]["label"].sum()
    whole = results.loc[("good one", 40, "dice", "")]
    assert whole["value"] == pytest.approx(results.loc[("good one", 40, "dice", ["a", "b"]), "value"].mean())
    assert whole["units"] == PATIENTS and whole["groups"] == 15
    far = results.loc[("poor", 40, "hd95", "a")]
    assert 0 < far["low"] < far["value"] < far["high"] <= np.hypot(10, 10)


def test_differences_label_savings_and_subgroups(two):
    gaps = differences(two, resamples=200)
    assert set(gaps["metric"]) == {"dice", "dice by image"}
    assert (gaps["low"] > 0).all() and (gaps["p_holm"] < 0.05).all()
    factors = efficiency(two, gaps, metric="dice", resamples=100).query("encoder == 'good one' and labels == 10")
    assert factors["factor"].item() > 1
    columns = pd.DataFrame({"sex": ["m", "f"] * 22 + ["m"]}, index=units()["unit"])
    table = subgroup_table(two, columns, resamples=100)
    assert set(table["metric"]) == {"dice"} and set(table["target"]) == {"", "a", "b"}
    shown = table[table["target"] == "a"]
    assert shown["value"].notna().all() and shown["difference"].notna().all()


def test_maps_bring_metrics_of_their_own(two):
    rng = np.random.default_rng(0)
    truth = np.zeros((10, 10), bool)
    truth[2:6, 3:6] = True

    def mapped(encoder, clear):
        own = [heat_row(clear * truth + rng.random((10, 10)), truth) for _ in range(PATIENTS)]
        part = two[(two["encoder"] == "good one") & (two["target"] == "a") & (two["seed"] == 0)].assign(encoder=encoder)
        part = part[part["labels"] == 40].assign(target="", **dict(zip(HEAT, np.transpose(own), strict=True)))
        return part.assign(**{name: part[name].where(part["label"] == 1) for name in HEAT})

    scores = pd.concat([mapped("good one", 1), mapped("poor", 0)], ignore_index=True)
    results = made(scores, ONE).set_index(["encoder", "metric"])
    assert set(results.index.get_level_values("metric")) == {one.name for one in MASK.metrics}
    own = scores[scores["encoder"] == "poor"]
    for name in HEAT:
        row = results.loc[("poor", name)]
        assert row["value"] == pytest.approx(own[name].mean()) and row["low"] < row["value"] < row["high"]
    gaps = differences(scores, resamples=200).set_index("metric")
    assert set(gaps.index) == {"dice", "dice by image", "pointing"} and gaps.loc["pointing", "low"] > 0
    before = pd.concat(
        [own.drop(columns=list(HEAT)), mapped("good one", 1)], ignore_index=True
    )  # scored in former days
    assert set(differences(before, resamples=200)["metric"]) == {"dice", "dice by image"}


def test_boxes_of_encoders_with_other_numbers_of_detections():
    scores = pd.concat([boxes("good one", 0.95), boxes("poor", 0.3)], ignore_index=True)
    results = made(scores, ONE).set_index(["encoder", "labels", "metric"])
    assert set(results.index.get_level_values("metric")) == {one.name for one in BOXES.metrics}
    assert results.loc[("good one", 40, "map"), "value"] > results.loc[("poor", 40, "map"), "value"]
    assert results.loc[("good one", 40, "froc"), "low"] > 0 and results.loc[("good one", 40, "map"), "positives"] == 30
    gaps = differences(scores, resamples=200)
    assert set(gaps["metric"]) == {"map", "coco ap", "froc"} and (gaps[gaps["labels"] == 40]["low"] > 0).all()


def test_rows_survive_a_file_and_stand_beside_classes(tmp_path, two):
    label = np.arange(PATIENTS) % 2
    p = np.where(label == 1, 0.7, 0.4) + np.linspace(-0.2, 0.2, PATIENTS)
    classes = units().assign(target="", label=label, p0=1 - p, p1=p)
    alone = scored([classes], "good one", 40, 0).assign(task="c", protocol="linear")
    scores = pd.concat([alone, two, boxes("good one", 0.9).assign(task="b")], ignore_index=True)
    targets = {"c": ONE, "t": TWO, "b": ONE}
    before = tabulated(alone, {"c": ONE}, {"c": Single}, resamples=100)["results"]
    scores.to_parquet(tmp_path / "scores.parquet")
    again = pd.read_parquet(tmp_path / "scores.parquet")
    results = tabulated(again, targets, dict.fromkeys(targets, Single), resamples=100)["results"]
    kept = results[results["task"] == "c"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[before.columns], before, check_dtype=False)
    pd.testing.assert_frame_equal(
        localized(again, resamples=100), localized(scores, resamples=100), check_exact=False, rtol=1e-12
    )
    assert len(CLASSES.of(again)) == PATIENTS and {kind.name for _, kind in [(0, MASK), (0, BOXES)]} == {
        "mask",
        "boxes",
    }
    assert [block.localized for _, block in blocks(again, kind=BOXES)] == [True, True]


def test_every_metric_is_of_one_kind_of_row():
    for metric in METRICS.values():
        kinds = [kind for kind in (CLASSES, MASK, BOXES) if kind.measures(metric)]
        assert kinds == [kind_of(metric)]
    assert all(METRICS[kind.headline].compared for kind in (CLASSES, MASK, BOXES))


def test_results_with_nothing_localized_have_no_such_rows():
    assert localized(pd.DataFrame({"step": ["selected"], "p0": [1.0]})).empty
