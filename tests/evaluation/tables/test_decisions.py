import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from sidelight.config import build
from sidelight.errors import ConfigError
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.calibration import calibrated_with_thresholds
from sidelight.evaluation.tables.decisions import (
    DecisionSettings,
    by_patient,
    curve,
    decision_curves,
    decision_rows,
    operating_points,
    points,
)

TARGETS = {"t": {"": ["no", "yes"]}}


def world(patients, seed, strength=1.5, seeds=1):
    rng = np.random.default_rng(seed)
    group, parts = np.repeat(np.arange(patients), 2), []
    label = (rng.random(len(group)) < 0.3).astype(int)
    for number in range(seeds):
        p = expit(strength * (label - 0.5) - 1 + rng.normal(size=len(group)))
        part = pd.DataFrame({"label": label, "group": group, "p0": 1 - p, "p1": p, "fold": group % 4, "seed": number})
        parts.append(part.assign(unit=[f"u{n:04d}" for n in range(len(group))]))
    named = {"encoder": "e", "task": "t", "protocol": "linear", "labels": 90, "all_labels": True, "step": "selected"}
    return pd.concat(parts, ignore_index=True).assign(target="", **named)


def test_a_patient_is_what_any_of_their_units_is():
    labels, calls, names = by_patient(
        np.array([0, 1, 0, 0, 0]), np.array([[False, False, True, False, False]]), np.array([7, 7, 8, 8, 9])
    )
    assert (labels.tolist(), calls.tolist(), names.tolist()) == ([1, 0, 0], [[False, True, False]], [7, 8, 9])


def test_points_by_hand():
    """40 patients: of 16 ill 12 are called, of 24 well 6. At prevalence 0.1: PPV = 0.075 / (0.075 + 0.25 x 0.9)."""
    labels = np.r_[np.ones(16, int), np.zeros(24, int)]
    called = np.r_[np.ones(12), np.zeros(4), np.ones(6), np.zeros(18)].astype(bool)[None]
    rows = {row["measure"]: row for row in points(labels, called, np.arange(40), prevalence=0.1, resamples=300)}
    expected = {
        "true positives": 12, "false positives": 6, "false negatives": 4, "true negatives": 18, "sensitivity": 0.75,
        "specificity": 0.75, "PPV": 12 / 18, "NPV": 18 / 22, "LR+": 3, "LR−": 1 / 3,
        "PPV at prevalence 0.1": 0.25, "NPV at prevalence 0.1": 27 / 28,
    }  # fmt: skip
    assert {name: row["value"] for name, row in rows.items()} == pytest.approx(expected)
    for name in list(expected)[4:]:
        assert rows[name]["low"] < rows[name]["value"] < rows[name]["high"], name


def test_the_table_holds_both_counts_and_the_spread_of_the_threshold():
    scores = world(120, 0, seeds=2)
    after, drawn = calibrated_with_thresholds(scores)
    table = decision_rows(after, TARGETS, drawn, {}, resamples=200).set_index(["per", "measure"])
    assert table.loc["unit", "units"].eq(240).all() and table.loc["patient", "units"].eq(120).all()
    for per, count in (("unit", 240), ("patient", 120)):
        cells = ["true positives", "false positives", "false negatives", "true negatives"]
        assert table.loc[per].loc[cells, "value"].sum() == count
    cut = table.loc[("unit", "threshold")]
    assert cut["low"] < cut["value"] < cut["high"] and cut["interval"] == "spread"
    # the same number as in the results, with the same interval
    known = operating_points(after, resamples=200).set_index("metric")
    for name in ("sensitivity", "specificity"):
        found, same = table.loc[("unit", name)], known.loc[f"{name} at threshold"]
        assert found[["value", "low", "high"]].tolist() == same[["value", "low", "high"]].tolist()
    given, none = calibrated_with_thresholds(scores, {"t": 9.0})
    fixed = decision_rows(given, TARGETS, none, {}, resamples=100).set_index(["per", "measure"])
    assert none == {} and fixed.loc[("unit", "threshold"), "value"] == 0.1
    assert np.isnan(fixed.loc[("unit", "threshold"), "low"])


def test_a_useful_model_is_shown_to_be_useful_where_it_is():
    after, _ = calibrated_with_thresholds(world(300, 1, strength=3.0))
    asked = {"t": build(DecisionSettings, {"thresholds": [0.1, 0.6]})}
    table = decision_curves(after, TARGETS, asked, resamples=200)
    assert (table["threshold"].min(), table["threshold"].max()) == (pytest.approx(0.1), pytest.approx(0.6))
    assert ((table["low"] <= table["net_benefit"]) & (table["net_benefit"] <= table["high"])).all()
    assert table.loc[table["threshold"].between(0.2, 0.5), "better"].all()
    assert (table["everybody"].diff().iloc[1:] < 0).all()


@pytest.mark.parametrize("patients", [30, 120])
def test_a_useless_model_is_not_shown_to_be_useful(patients):
    """Probabilities that know nothing, near the prevalence, where chance has most room: at most 2 of 60 worlds."""
    shown = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels, groups = (rng.random(2 * patients) < 0.3).astype(int), np.repeat(np.arange(patients), 2)
        p = expit(-0.85 + 0.5 * rng.normal(size=len(labels)))
        rows = curve(labels, p[None], groups, np.linspace(0.05, 0.5, 46), resamples=200)
        shown += any(row["better"] for row in rows)
    assert shown <= 2


def test_settings_say_what_is_wrong_and_leave_old_cells_alone():
    for wrong in ({"thresholds": [0.5, 0.1]}, {"thresholds": [0.1]}, {"miss_cost": 0}, {"prevalence": 1.0}):
        with pytest.raises(ConfigError, match=f"decisions.{next(iter(wrong))}"):
            build(EvaluateSettings, {"decisions": wrong})
    assert "decisions" not in EvaluateSettings().for_cell_hash()


def test_where_everybody_is_ill_there_is_no_specificity():
    labels, called = np.ones(40, int), (np.arange(40) < 24)[None]
    rows = {row["measure"]: row for row in points(labels, called, np.arange(40), resamples=100)}
    assert rows["sensitivity"]["value"] == pytest.approx(0.6) and np.isnan(rows["specificity"]["value"])
    assert np.isnan([rows["specificity"]["low"], rows["specificity"]["high"]]).all()


def test_a_seed_that_calls_nobody_leaves_the_ppv_of_the_others():
    labels = np.r_[np.ones(20, int), np.zeros(20, int)]
    called = np.stack([np.arange(40) < 24, np.zeros(40, bool)])
    row = next(row for row in points(labels, called, np.arange(40), resamples=100) if row["measure"] == "PPV")
    assert row["value"] == pytest.approx(20 / 24) and "nobody is called so in 1 of 2 draws" in row["interval_note"]
