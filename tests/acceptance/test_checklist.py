"""A task of several tasks, judged from two photographs: the seven-point checklist, on lesions in derm7pt's own layout."""

import numpy as np
import pandas as pd
import pytest

import sidelight
from derm7pt_writing import write_phantom
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError, SplitError
from sidelight.evaluation.model.model import read_model
from sidelight.models.image import load_encoder
from sidelight.models.pair import PhotoPair

FIRST = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 8, "device": "cpu", "steps": 2}
CALM = {
    "seeds": 1, "resamples": 100, "device": "cpu", "split": "split", "folds": 2, "knn": {"k": 15},
    "projector": {"epochs": 4, "checks": 2, "width": 16}, "finetune": {"steps": 4, "checks": 2, "batch_size": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("derm7pt")
    write_phantom(root / "release_v0", cases=160, size=36, seed=4, lone=0.1)
    return root, Cohort.open(root / "release_v0", preset="derm7pt")


@pytest.fixture(scope="module")
def runs(world):
    root, cohort = world
    same = {"cache": str(root / "cache"), "quiet": True, "where": {"split": "train"}}
    first = sidelight.pretrain("sm3", cohort, root / "sm3", **FIRST, **same)
    second = {"width": 16, "batch_size": 16, "epochs": 1, "device": "cpu"}
    return first, sidelight.pretrain("sm3_labels", cohort, root / "labels", start=first, **second, **same)


def judged(world, run, protocol="knn", **more):
    root, cohort = world
    return sidelight.evaluate(run, cohort, "checklist", protocol, **{**CALM, "cache": str(root / "cache"), **more})


def of(results, metric, target=""):
    """The row of a metric at all labels."""
    rows = results.results
    return rows[(rows["metric"] == metric) & (rows["target"] == target) & rows["all_labels"]].iloc[0]


def test_pretraining_saw_the_training_side_only(world, runs):
    cohort = world[1]
    train = cohort.items[cohort.items["split"] == "train"]["case"].nunique()
    found = pd.read_json(runs[0].folder / "metrics.jsonl", lines=True)
    assert found["steps_per_epoch"].iloc[0] <= train // 8
    assert runs[0].config["settings"]["where"] == {"split": "train"}


@pytest.mark.parametrize("protocol", ["linear", "projector", "finetune"])
def test_every_protocol_fills_the_tables_and_leaves_a_model(world, runs, protocol, tmp_path):
    heads = world[1].tasks["checklist"].heads
    found = judged(world, runs[1], protocol, out=tmp_path / "judged")
    each = found.results[found.results["metric"].str.match(r"auroc:")]
    assert each.groupby("target", sort=False)["metric"].agg(tuple).to_dict() == {
        head.name: tuple(f"auroc:{one}" for one in head.classes) for head in heads
    }
    tested = (world[1].items.drop_duplicates("case")["split"] == "test").sum()
    assert (each.groupby("target")["positives"].sum() == tested).all() and each["headline"].sum() == 8
    assert each["value"].between(0, 1).all() and (each["low"].isna() | (each["low"] <= each["high"])).all()
    lead = each[each["headline"].astype(bool)]
    assert of(found, "AVG: auroc")["value"] == pytest.approx(lead["value"].mean())
    criteria = lead.loc[lead["target"] != "diagnosis", "value"]
    assert of(found, "AVG, criteria: auroc")["value"] == pytest.approx(criteria.mean())
    assert of(found, "all classes: auroc")["value"] == pytest.approx(each["value"].mean())
    assert {"diagnosis: auroc", "all classes, criteria: precision"} <= set(found.results["metric"])
    assert of(found, "true points: auroc")["value"] > 0.6
    assert 0 <= of(found, "points: sensitivity")["value"] <= 1
    assert (found.results["selected_on"] != "test").all()

    new = Cohort.open("phantom:derm?cases=12&size=40&seed=8&lone=0.3")
    table = sidelight.predict(
        tmp_path / "judged", new, cache=str(tmp_path / "new"), device="cpu", quiet=True, other_kind=True
    )
    assert len(table) == 12 and {"points", "suspected", "decision:streaks", "probability:diagnosis:MEL"} <= set(table)
    assert ((table["points"] >= 3) == (table["suspected"] == "yes")).all() and table["points"].between(0, 10).all()
    model = read_model(tmp_path / "judged")
    if protocol == "linear":
        assert_linear(model.head)
    assert isinstance(model.encoder, PhotoPair) and not model.encoder.shared
    pd.testing.assert_frame_equal(
        table, sidelight.predict(model, new, cache=str(tmp_path / "new"), device="cpu", quiet=True, other_kind=True)
    )
    assert "labels diagnosis (BCC/NEV/MEL/MISC/SK), pigment_network" in (tmp_path / "judged" / "card.md").read_text()


def assert_linear(head):
    """Log-odds of the mean of two lesions' features are the mean of their log-odds."""
    x = np.random.default_rng(0).normal(size=(2, len(head.fill))).astype(np.float32)
    x *= 20 / np.abs(x @ head.probes[1].weight).max()  # no probability is 0
    logits = [np.log(head.probes[1](one)) for one in (x, x.mean(0, keepdims=True))]
    odds = [one[:, 1:] - one[:, :1] for one in logits]
    np.testing.assert_allclose(odds[1][0], odds[0].mean(0), rtol=1e-4, atol=1e-5)


def test_the_reports_show_the_tables(world, runs, tmp_path):
    judged(world, runs[0], out=tmp_path / "out")
    page = sidelight.report(tmp_path / "out", tmp_path / "page.md").read_text()
    assert "AVG: AUROC" in page and "streaks: irregular (" in page and "true points: sensitivity" in page
    assert "One class against the rest" in sidelight.report(tmp_path / "out", tmp_path / "page.html").read_text()


def test_either_photograph_alone_and_label_counts(world, runs):
    both = judged(world, runs[0], labels=[40])
    rows = both.results[both.results["metric"] == "AVG: auroc"]
    assert rows["labels"].tolist()[0] == 40 and rows["labels"].nunique() == 2
    whole = both.scores[both.scores["all_labels"]]
    alone = [judged(world, runs[0], photographs={"test": one}).scores for one in ("first", "second")]
    assert not alone[0]["p0"].equals(alone[1]["p0"]) and len(alone[0]) == len(whole)
    with pytest.raises(ConfigError, match="photographs side by side"):
        plain(world, photographs={"test": "first"})


def test_labels_of_one_kind_of_photograph_serve_for_the_other(world, runs, tmp_path):
    crossed = {"learn": "first", "test": "second"}
    hidden = judged(world, runs[0], "linear", photographs={"learn": "second", "test": "second"})
    found = judged(world, runs[0], "linear", photographs=crossed, out=tmp_path / "crossed")
    nearer = judged(world, runs[0], "linear", photographs={**crossed, "match": "moments"})
    for one in (found, nearer):
        assert one.scores["p0"].nunique() > 20, "they read the photograph in the place of the other"
        assert not one.scores["p0"].equals(hidden.scores["p0"])
    assert not found.scores["p0"].equals(nearer.scores["p0"])
    assert not (tmp_path / "crossed/model").exists()
    with pytest.raises(ConfigError, match="in a place of its own"):
        judged(world, runs[0], "finetune", photographs=crossed)


def plain(world, **more):
    """One encoder that reads all photographs alike."""
    encoder = load_encoder("test_resnet", random=True, image_size=32)
    calm = {"cache": str(world[0] / "cache"), "device": "cpu", "seeds": 1, "resamples": 100, "folds": 2}
    return sidelight.evaluate(encoder, world[1], "blue_whitish_veil", "knn", **calm, **more)


def test_a_run_of_two_towers_reads_any_task_with_both(world, runs, tmp_path):
    root, cohort = world
    more = {"cache": str(root / "cache"), "device": "cpu", "seeds": 1, "resamples": 100, "folds": 2}
    sidelight.evaluate(runs[0], cohort, "blue_whitish_veil", "knn", out=tmp_path, **more)
    assert isinstance(read_model(tmp_path).encoder, PhotoPair)
    found = sidelight.evaluate(runs[1], cohort, "blue_whitish_veil", "projector", **more, projector=CALM["projector"])
    assert found.headline()["value"].notna().all()


def test_rivals_go_through_the_same_door(world, runs):
    plain = load_encoder("test_resnet", random=True, image_size=32)
    assert of(judged(world, plain, "finetune"), "AVG: auroc")["value"] > 0
    with pytest.raises(ConfigError, match="selects on the test set"):
        judged(world, plain, "published")
    with pytest.raises(ConfigError, match="set's own split"):
        judged(world, plain, "published", profile="paper", split=None)
    published = judged(world, runs[1], "published", profile="paper")
    assert (published.results["selected_on"] == "test").all() and published.headline().empty
    train = world[1].items.drop_duplicates("case")["split"].eq("train").sum()
    assert set(published.results["labels"]) == {train}
    with pytest.raises(ConfigError, match="Did you mean 'projector'"):
        judged(world, plain, "projektor")
    with pytest.raises(ConfigError, match="no photograph of the view 'dermatoscopic'"):
        judged(world, plain, photographs={"views": ("dermatoscopic", "clinical")})


def changed(world, **columns):
    """The cohort with other columns."""
    root, cohort = world
    items = cohort.items.assign(**columns)
    return root, Cohort(root / "release_v0", "x", items, cohort.levels, cohort.tasks, 3, cohort.spec)


def test_what_does_not_fit_is_said(world, runs):
    items = world[1].items
    one = np.where(items["split"] == "test", items["streaks"], "absent")
    with pytest.raises(
        SplitError, match=r"streaks cannot be judged: one class only \(absent\) among the units that learn"
    ):
        judged(changed(world, streaks=one), runs[0])
    one = np.where(items["split"] == "test", "absent", items["streaks"])
    with pytest.raises(SplitError, match=r"streaks cannot be judged: one class only \(absent\) among the test side"):
        judged(changed(world, streaks=one), runs[0])
    with pytest.raises(SplitError, match="No labelled unit is on the side 'train'"):
        judged(changed(world, split=items["split"].replace("train", "valid")), runs[0])


def test_a_photograph_on_two_sides_stops(world, runs):
    root = world[0]
    meta = root / "release_v0" / "meta"
    text = (meta / "meta.csv").read_text()
    lone = set(world[1].items.groupby("case").filter(lambda own: len(own) < 2)["case"].astype(int))
    tested, trained = (
        next(int(row) for row in (meta / f"{side}_indexes.csv").read_text().split()[1:] if int(row) not in lone)
        for side in ("test", "train")
    )
    try:
        (meta / "meta.csv").write_text(text.replace(f"NAL/Nal{tested:03d}.jpg", f"NAL/Nal{trained:03d}.jpg"))
        leaky = Cohort.open(root / "release_v0", preset="derm7pt")
        with pytest.raises(SplitError, match="The split leaks"):
            judged((root, leaky), runs[0])
        allowed = judged((root, leaky), runs[0], allow_leak=True)
        assert allowed.results["leaks"].all() and any("LEAKS" in note for note in allowed.notes)
    finally:
        (meta / "meta.csv").write_text(text)


def test_an_external_test_finds_each_label_and_class_by_name(world, runs, tmp_path):
    root, cohort = world
    other = Cohort.open("phantom:derm?cases=80&size=36&seed=9")
    more = {key: value for key, value in CALM.items() if key != "split"}
    found = sidelight.evaluate(runs[0], cohort, "checklist", "knn", other, cache=str(root / "cache"), **more)
    outer = found.results[found.results["task"].str.contains(" on ")]
    assert {"AVG: auroc", "points: auroc"} <= set(outer["metric"])
    assert set(outer["target"]) == {"", *(head.name for head in cohort.tasks["checklist"].heads)}


def test_from_the_command_line(world, runs, capsys, monkeypatch):
    import sys

    from sidelight.cli import main

    root, _ = world
    words = ["evaluate", str(runs[0].folder), "--data", str(root / "release_v0"), "--preset", "derm7pt", "--task"]
    words += ["checklist", "--split", "split", "--protocol", "knn", "--cache", str(root / "cache")]
    words += ["--set", "seeds=1", "--set", "resamples=100", "--set", "device=cpu", "--set", "folds=2"]
    monkeypatch.setattr(sys, "argv", ["sidelight", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    said = capsys.readouterr().out
    assert "pigment_network" in said and "AVG: AUROC" in said and "true points" in said
