"""Each class against the rest, each label with its support: two ways of weighting stand side by side."""

import numpy as np
import pandas as pd

from sidelight.evaluation.tables.summary import summarise
from sidelight.metrics.classification import auroc
from sidelight.reporting.study.labels import class_table, label_table

NAMES = ["normal", "rare", "common"]


def scores(encoder, target="", classes=3):
    rng = np.random.default_rng(len(encoder))
    label = rng.choice(classes, 60, p=[0.5, 0.1, 0.4] if classes == 3 else [0.8, 0.2])
    table = pd.DataFrame(rng.dirichlet(np.ones(classes), 60) + np.eye(classes)[label] * 0.3)
    table = table.div(table.sum(axis=1), axis=0).set_axis([f"p{c}" for c in range(classes)], axis=1)
    table["unit"] = table["group"] = [f"u{number:02d}" for number in range(60)]
    fixed = {
        "encoder": encoder,
        "task": "t",
        "protocol": "series",
        "labels": 60,
        "all_labels": True,
        "seed": 0,
        "fold": 0,
    }
    return table.assign(label=label, target=target, step="selected", **fixed)


def test_each_class_against_the_rest() -> None:
    table = pd.concat([scores("plain"), scores("weighted")])
    rows = summarise(table, {"t": {"": NAMES}}, resamples=100)
    plain = table[table["encoder"] == "plain"]
    found = rows[rows["encoder"] == "plain"].set_index("metric")
    each = [float(auroc((plain["label"] == c).astype(int), plain[f"p{c}"])) for c in range(3)]
    np.testing.assert_allclose([found.loc[f"auroc:{name}", "value"] for name in NAMES], each)
    np.testing.assert_allclose(np.mean(each), found.loc["auroc", "value"])
    assert found.loc["auroc:rare", "positives"] == (plain["label"] == 1).sum()
    assert found.loc["auroc:rare", "low"] < found.loc["auroc:rare", "value"] < found.loc["auroc:rare", "high"]
    shown = class_table(rows)
    assert shown.header[:4] == ("class", "encoder", "units", "of it") and len(shown.header) == 8
    assert [row[:2] for row in shown.rows] == [(name, one) for name in NAMES for one in ("plain", "weighted")]


def test_two_classes_have_no_such_table() -> None:
    assert not class_table(summarise(scores("plain", classes=2), {"t": {"": ["no", "yes"]}}, resamples=100)).rows


def test_two_ways_of_weighting_stand_side_by_side_label_by_label() -> None:
    table = pd.concat([scores(one, label, 2) for one in ("plain", "weighted") for label in ("acl", "meniscus")])
    rows = summarise(table, {"t": {"acl": ["no", "yes"], "meniscus": ["no", "yes"]}}, resamples=100)
    shown = label_table(rows[rows["target"] != ""])
    assert [row[:2] for row in shown.rows] == [(x, y) for x in ("acl", "meniscus") for y in ("plain", "weighted")]
    for column in ("units", "with it", "AUROC", "average precision", "accuracy", "F1", "sensitivity", "specificity"):
        assert any(name.startswith(column) for name in shown.header), (column, shown.header)
    assert all("–" not in row for row in shown.rows)
