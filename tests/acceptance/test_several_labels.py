"""A task of several label columns, from the folder to the prediction: missing labels, a rare one, one that cannot be judged."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sidelight
from sidelight.errors import ConfigError, SplitError
from sidelight.evaluation.model.model import read_model
from sidelight.metrics.classification import auroc

QUICK = {"seeds": 1, "frames": 1, "resamples": 100, "device": "cpu", "image_size": 32, "folds": 2, "random": True}
CORNERS = {"left": (2, 2), "right": (2, 14), "rare": (14, 8)}


def knees(root, patients=48, *, seed=0, labels=True, names=tuple(CORNERS), shift=0):
    """A photo per patient with a bright square for each label; every seventh patient's ``right`` is unknown."""
    rng = np.random.default_rng(seed)
    rows, at = [";".join(["patient", *names, "sex", "lone", "none", "part"])], np.arange(patients)
    truth = np.stack([rng.permutation(at) % 2, rng.permutation(at) % 3 == 0, at % 8 == at // 8 % 2], axis=1)
    for number, own in enumerate(truth.astype(int)):
        image = rng.integers(40, 120, (24, 24))
        for (top, left), sign in zip(CORNERS.values(), own, strict=True):
            image[top : top + 8, left : left + 8] += 80 * sign
        patient = f"pat{number + shift:03d}"
        path = root / "photos" / patient / "a1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(image.astype(np.uint8)).save(path)
        cells = {name: str(sign) for name, sign in zip(CORNERS, own.tolist(), strict=True)}
        cells["right"] = "" if number % 7 == 3 else cells["right"]
        said = [cells[name] if labels else "" for name in names]
        part = "test" if number % 4 == 1 else "train"
        rows.append(";".join([patient, *said, "mf"[number % 2], str(int(number == 5)), "0", part]))
    (root / "table.csv").write_text("\n".join(rows))
    (root / "cohort.toml").write_text(
        'files = "photos/{patient}/{view:[a-z]}{n}.png"\nlevels = ["patient"]\n'
        'tables = [{file = "table.csv", on = ["patient"]}]\n'
        f'[task.findings]\nlabel = {json.dumps(list(names))}\nunit = "patient"\n'
        f'[task.with_lone]\nlabel = {json.dumps([names[0], "lone"])}\nunit = "patient"\n'
        '[task.hopeless]\nlabel = ["lone", "none"]\nunit = "patient"\n'
    )
    return root, truth.astype(int)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return knees(tmp_path_factory.mktemp("knees"))[0]


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return knees(tmp_path_factory.mktemp("new"), 24, seed=1, labels=False, shift=500)


@pytest.fixture(scope="module")
def judged(here, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, sidelight.evaluate("test_resnet", here, "findings", out=out, labels=[12], **QUICK)


def test_each_label_has_its_numbers_and_its_support(judged):
    table = judged[1].results
    rows = table[table["metric"].eq("auroc") & table["all_labels"]].set_index("target")
    assert rows.index.tolist() == ["", "left", "right", "rare"]
    assert rows["units"].tolist() == [48, 48, 41, 48]
    assert rows.loc[["left", "rare"], "positives"].tolist() == [24, 6]
    assert rows.loc["", "value"] == pytest.approx(rows["value"].iloc[1:].mean()) and (rows["value"] > 0.8).all()
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    assert len(judged[1].headline()) == 2 and set(judged[1].headline()["labels"]) == {12, 24}
    metrics = set(table.loc[table["target"] == "rare", "metric"])
    assert {
        "average_precision",
        "sensitivity at 0.5",
        "specificity at threshold",
        "ece, calibrated",
        "brier",
    } <= metrics
    assert {"micro auroc", "micro sensitivity at threshold"} <= set(table.loc[table["target"] == "", "metric"])
    scored = judged[1].scores.groupby(["labels", "target"])["unit"].nunique()
    assert all(scored[count].to_dict() == {"left": 48, "rare": 48, "right": 41} for count in (12, 24))
    groups = judged[1].subgroups
    assert set(groups["target"]) == {"", *CORNERS} and set(groups["subgroup"]) == {"f", "m"}
    assert set(groups.loc[groups["target"] == "rare", "note"]) == {"too few"}


def test_the_pages_show_every_label(judged, tmp_path):
    card, table = (judged[0] / "card.md").read_text(), judged[1].results
    left, right, rare = table[table["metric"].eq("auroc") & table["all_labels"]]["positives"].iloc[1:].astype(int)
    for words in (
        "labels left, right, rare (each no or yes)",
        f"{left} left, {right} right, {rare} rare",
        "| rare | auroc |",
        "rare: positive from",
    ):
        assert words in card, words
    page = sidelight.report(judged[0], tmp_path / "page.html").read_text()
    assert (
        "<h2" in page
        and ">Labels<" in page
        and "findings (mean over 3 labels)" in page
        and "average precision" in page
        and "with it" in page
    )
    assert "| rare |" in sidelight.report(judged[0], tmp_path / "page.md").read_text()
    assert b"pat0" not in b"".join(path.read_bytes() for path in judged[0].rglob("*") if path.is_file())


@pytest.mark.parametrize("protocol", ["linear", "knn", "finetune"])
def test_new_patients_get_every_label(here, judged, new, tmp_path, protocol):
    out, budget = judged[0], {"steps": 60, "checks": 2, "batch_size": 12, "lr": 3e-3}
    if protocol != "linear":
        out = tmp_path / "out"
        weighted = {"balance": "inverse_frequency", "finetune": budget, **QUICK}
        results = sidelight.evaluate("test_resnet", here, "findings", protocol, out=out, **weighted)
        assert results.headline()["value"].min() > 0.6
        card = (out / "card.md").read_text()
        if protocol == "finetune":
            assert "with a linear head, classes weighted by inverse frequency" in card
        else:
            assert "balance changes nothing" in card and "weighted" not in card
    table = sidelight.predict(out, new[0], tmp_path / "scores.csv", device="cpu", quiet=True)
    assert table.attrs["positive"] == ""
    columns = [f"{kind}:{name}" for name in CORNERS for kind in ("probability", "calibrated", "decision")]
    assert list(table.columns) == ["unit", *columns, "outside", "distance", "missing", "items", "use"]
    for place, name in enumerate(CORNERS):
        assert table[f"calibrated:{name}"].between(0, 1).all() and set(table[f"decision:{name}"]) <= {"no", "yes"}
        if name != "rare":
            assert auroc(new[1][:, place], table[f"probability:{name}"].to_numpy()) > 0.65
    again = sidelight.predict(read_model(out), new[0], device="cpu", quiet=True)
    pd.testing.assert_frame_equal(table, again)


def test_a_label_that_one_patient_has_is_left_out_and_named(here):
    results = sidelight.evaluate("test_resnet", here, "with_lone", "knn", **QUICK)
    assert set(results.results["target"]) == {"", "left"}
    assert "The label lone is left out: 1 groups with and 47 without it among the units that learn" in results.notes


def test_a_given_split_asks_for_every_label_on_its_test_side(here, tmp_path):
    results = sidelight.evaluate("test_resnet", here, "findings", "knn", split="part", **QUICK)
    assert set(results.results["target"]) == {"", *CORNERS}
    assert set(results.results.query("target == 'left' and metric == 'auroc'")["units"]) == {12}
    table = (here / "table.csv").read_text()
    other, _ = knees(tmp_path / "other")
    (other / "table.csv").write_text(table.replace(";1;f;0;0;test", ";0;f;0;0;test"))
    left = sidelight.evaluate("test_resnet", other, "findings", "knn", split="part", **QUICK)
    assert "The label rare is left out: 0 groups with and 12 without it among the test side" in left.notes


def test_a_task_of_which_no_label_can_be_judged_says_why(here):
    with pytest.raises(SplitError, match=r"lone is left out.*none is left out"):
        sidelight.evaluate("test_resnet", here, "hopeless", "knn", **QUICK)


def test_elsewhere_each_label_is_found_by_its_name(here, judged, tmp_path):
    there, _ = knees(tmp_path / "there", 24, seed=5, names=("rare", "left"), shift=900)
    found = sidelight.evaluate("test_resnet", here, "findings", "knn", test=there, **QUICK)
    outer = found.results[found.results["task"].str.contains(" on ") & (found.results["metric"] == "auroc")]
    assert outer["target"].tolist() == ["", "left", "rare"] and (outer["value"] > 0.7).all()
    assert any("right is not judged" in note for note in found.notes)
    text = (there / "cohort.toml").read_text().replace('label = ["rare", "left"]', 'label = "left"\npositive = ["1"]')
    (there / "cohort.toml").write_text(text)
    with pytest.raises(ConfigError, match="several label columns in one"):
        sidelight.evaluate("test_resnet", here, "findings", "knn", test=there, **QUICK)


STUDY = """
title = "Every label"
seeds = 1
[pretrain]
encoder = "test_resnet"
image_size = 32
[evaluate]
{quick}
[parts.findings]
task = "findings"
[encoders.plain]
[encoders.weighted]
evaluate = {{balance = "inverse_frequency"}}
"""


def test_a_study_reports_both_with_and_without_weights(here, tmp_path):
    quick = {key: value for key, value in QUICK.items() if key not in ("image_size", "random", "seeds")}
    (tmp_path / "labels.toml").write_text(
        STUDY.format(quick="\n".join(f"{key} = {json.dumps(value)}" for key, value in quick.items()))
    )
    found = sidelight.study(tmp_path / "labels.toml", data=str(here), out=tmp_path / "out", quiet=True)
    rare = found.scores[found.scores["target"] == "rare"].groupby("encoder")["p1"].mean()
    assert rare["weighted"] > rare["plain"]
    assert len(found.headline()) == 2 and set(found.differences["metric"]) == {
        "auroc",
        "balanced_accuracy at threshold",
    }
    page = (tmp_path / "out" / "report.html").read_text()
    labels = page[page.index(">Labels<") :]
    assert labels.index(">rare<") < labels.index(">weighted<", labels.index(">rare<"))
    assert "| weighted |" in (tmp_path / "out" / "card.md").read_text()


def test_the_published_protocol_refuses_several_labels(here):
    with pytest.raises(ConfigError, match="several labels"):
        sidelight.evaluate("test_resnet", here, "findings", "published", profile="paper", **QUICK)
