import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from sidelight.evaluation.tables.calibration import at_prevalence, calibrated, calibration_tables
from sidelight.metrics.decisions import threshold_of_cost

TARGETS = {"t": {"": ["no", "yes"]}}


def world(patients=60, seed=0, prevalence=0.3, seeds=2):
    """Two units a patient in four folds, stated log-odds twice the true ones."""
    rng = np.random.default_rng(seed)
    group, parts = np.repeat(np.arange(patients), 2), []
    true = rng.normal(size=len(group)) + logit(prevalence)
    label = (rng.random(len(group)) < expit(true)).astype(int)
    for number in range(seeds):
        p = expit(2 * (true + 0.2 * rng.normal(size=len(group))))
        part = pd.DataFrame({"label": label, "group": group, "p0": 1 - p, "p1": p, "fold": group % 4, "seed": number})
        parts.append(part.assign(unit=[f"u{n:04d}" for n in range(len(group))]))
    named = {"encoder": "e", "task": "t", "protocol": "linear", "labels": 90, "all_labels": True, "step": "selected"}
    return pd.concat(parts, ignore_index=True).assign(target="", **named)


def test_calibration_mends_the_slope_and_the_table_says_so():
    scores = world(200)
    rows = []
    for table, kind in ((scores, "as predicted"), (calibrated(scores), "calibrated")):
        found, curve = calibration_tables(table, TARGETS, kind, resamples=200)
        rows += found
        assert len(curve) == 40 and all(0 <= one["low"] <= one["observed"] <= one["high"] <= 1 for one in curve[5:35])
    value = pd.DataFrame(rows).set_index(["kind", "measure"])
    slope = value.xs("calibration slope", level="measure")
    assert (
        slope.loc["as predicted", "high"] < 0.8 and slope.loc["calibrated", "low"] < 1 < slope.loc["calibrated", "high"]
    )
    assert (value["positive_groups"] <= value["positives"]).all() and (value["groups"] == 200).all()
    assert (value["interval"] == "bootstrap").all() and (value["seeds"] == 2).all()


def test_a_cost_gives_the_threshold_and_another_task_keeps_its_own():
    scores = pd.concat([world(), world().assign(task="other")], ignore_index=True)
    after = calibrated(scores, {"t": 4.0})
    cuts = after.groupby("task")["cut"].unique()
    assert cuts["t"].tolist() == [threshold_of_cost(4)] and len(cuts["other"]) > 1
    own = after[after["task"] == "t"]
    assert (own["called"] == (own["p1"] >= 0.2)).all()


def test_another_prevalence_is_another_table():
    """Moved to the prevalence at which it is then measured, a calibrated forecast stays one."""
    after = calibrated(world(300))
    moved = at_prevalence(after, {"t": 0.05, "other": None})
    assert list(moved) == [0.05] and (moved[0.05]["p1"] < after["p1"]).all()
    rows, _ = calibration_tables(moved[0.05], TARGETS, "moved", prevalence=0.05, resamples=200)
    ratio = next(row for row in rows if row["measure"] == "O:E")
    assert ratio["low"] < 1 < ratio["high"]
    assert at_prevalence(after, {}) == {}


def test_few_patients_have_numbers_and_no_intervals():
    rows, curve = calibration_tables(world(8), TARGETS, "as predicted")
    assert all(np.isnan(row["low"]) and "too few" in row["interval_note"] for row in rows)
    assert np.isfinite([row["value"] for row in rows]).all() and np.isnan([one["low"] for one in curve]).all()


def test_each_of_three_classes_is_measured_against_the_rest():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 90)
    label = [rng.choice(3, p=row) for row in p]
    table = pd.DataFrame({"label": label, "p0": p[:, 0], "p1": p[:, 1], "p2": p[:, 2], "group": np.arange(90) // 2})
    named = {"encoder": "e", "task": "t", "protocol": "knn", "labels": 9, "all_labels": True, "step": "selected"}
    table = table.assign(unit=[f"{n:03d}" for n in range(90)], fold=0, seed=0, target="", **named)
    rows, _ = calibration_tables(table, {"t": {"": ["a", "b", "c"]}}, "as predicted", resamples=100)
    assert [row["class"] for row in rows[::3]] == ["a", "b", "c"]
    assert all(row["value"] == pytest.approx(1, abs=0.3) for row in rows[1::3])
