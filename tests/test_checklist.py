"""The checklist from two photographs, on lesions in derm7pt's own layout: its protocols, its split, one photograph at test."""

import numpy as np
import pandas as pd
import pytest

import sidelight
from derm7pt_writing import write_phantom
from sidelight.checklist import evaluate_checklist
from sidelight.data.cohort import Cohort
from sidelight.errors import ConfigError, DataError, SplitError
from sidelight.metrics.checklist import CHECKLIST
from sidelight.models.image import load_encoder

FIRST = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 8, "device": "cpu", "steps": 2}
SHORT = {"epochs": 6, "checks": 2, "width": 16, "batch_size": 32}
CALM = {"seeds": 1, "resamples": 100, "device": "cpu", "train": SHORT}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("derm7pt")
    write_phantom(root / "release_v0", cases=120, size=36, seed=3, lone=0.1)
    return root, Cohort.open(root / "release_v0", preset="derm7pt")


@pytest.fixture(scope="module")
def runs(world):
    root, cohort = world
    same = {"cache": str(root / "cache"), "quiet": True}
    first = sidelight.pretrain("sm3", cohort, root / "sm3", where={"split": "train"}, **FIRST, **same)
    second = {"width": 16, "batch_size": 16, "epochs": 1, "device": "cpu", "where": {"split": "train"}}
    return first, sidelight.pretrain("sm3_labels", cohort, root / "labels", start=first, **second, **same)


def judged(world, run, protocol="linear", **more):
    root, cohort = world
    return evaluate_checklist(run, cohort, protocol, cache=str(root / "cache"), **{**CALM, **more})


def test_pretraining_saw_the_training_side_only(world, runs):
    cohort = world[1]
    train = cohort.items[cohort.items["split"] == "train"]["case"].nunique()
    found = pd.read_json(runs[0].folder / "metrics.jsonl", lines=True)
    assert found["steps_per_epoch"].iloc[0] <= train // 8
    assert runs[0].config["settings"]["where"] == {"split": "train"}


@pytest.mark.parametrize("protocol", ["linear", "projector", "finetune"])
def test_every_protocol_fills_the_tables(world, runs, protocol, tmp_path):
    found = judged(world, runs[1], protocol, out=tmp_path)
    table = found.labels_table
    assert table.groupby("label", sort=False)["class"].agg(tuple).to_dict() == {h.name: h.classes for h in CHECKLIST}
    tested = (world[1].items.drop_duplicates("case")["split"] == "test").sum()
    assert (table.groupby("label")["support"].sum() == tested).all()
    whole = table["support"].between(1, tested - 1)
    assert (
        table.loc[whole, ["auroc", "sensitivity", "specificity", "precision"]]
        .apply(lambda c: c.between(0, 1))
        .all(axis=None)
    )
    assert (table.loc[whole, "low"] <= table.loc[whole, "auroc"]).all() and (table["selected_on"] == "validation").all()
    assert set(found.averages["average"]) == {
        "AVG",
        "AVG, criteria",
        "all classes",
        "all classes, criteria",
        "diagnosis",
    }
    assert found.rule["attributes"].tolist() == ["predicted", "true"]
    assert found.rule.loc[1, "auroc"] > 0.6
    assert {path.name for path in tmp_path.iterdir()} == {"labels_table.csv", "averages.csv", "rule.csv", "notes.txt"}
    pd.testing.assert_frame_equal(judged(world, runs[1], protocol).labels_table, table)


def test_a_linear_probe_is_linear(world, runs):
    """The same number, with logistic regression by hand on the features of the two encoders."""
    from sidelight.evaluation.attributes import fit_heads, read_cases
    from sidelight.methods.photos import find_lesions
    from sidelight.scoring import open_pixels

    root, cohort = world
    from sidelight.evaluation.settings import EvaluateSettings

    pixels = open_pixels(cohort, 40, EvaluateSettings(cache=str(root / "cache")), quiet=True)
    lesions = find_lesions(cohort, pixels, np.arange(len(pixels)), ("dermoscopic", "clinical"))
    towers = runs[0].encoder("dermoscopic"), runs[0].encoder("clinical")
    cases = read_cases(towers, pixels, lesions, np.zeros((len(lesions.rows), 1), np.int64))
    cases.truth[::2] = 1
    predict = fit_heads(cases, [CHECKLIST[2]], seed=0)
    logit = lambda some: np.log(predict(some)[0][:, 1] / predict(some)[0][:, 0])  # noqa: E731
    whole = cases.take(np.flatnonzero(cases.present.all(axis=1))[:3])
    moved = whole.take(np.array([0, 1, 2]))
    moved.vectors[:] = (whole.vectors[[0]] + whole.vectors[[1]]) / 2
    assert logit(moved)[0] == pytest.approx(logit(whole)[:2].mean(), rel=1e-3, abs=1e-4)


def test_either_photograph_alone_and_label_counts(world, runs):
    both = judged(world, runs[0], labels=[20])
    assert sorted(both.labels_table["labels"].unique())[0] == 20
    assert both.averages.groupby("labels").size().tolist() == [5, 5]
    alone = [judged(world, runs[0], test=one).labels_table["auroc"] for one in ("first", "second")]
    assert not alone[0].equals(alone[1]) and not alone[0].equals(both.labels_table["auroc"][:24])
    learnt = judged(world, runs[0], learn="first", test="first").labels_table
    blind = judged(world, runs[0], learn="first", test="second").labels_table
    whole = blind["support"] > 0
    assert (blind.loc[whole, "auroc"].dropna() - 0.5).abs().max() < 0.25 < (learnt["auroc"] - 0.5).abs().max()


def test_rivals_go_through_the_same_door(world, runs):
    plain = load_encoder("test_resnet", random=True, image_size=32)
    found = judged(world, plain, "finetune")
    assert found.averages["auroc"].notna().any()
    with pytest.raises(ConfigError, match="selects on the test set"):
        judged(world, plain, "published")
    published = judged(world, plain, "published", profile="paper")
    assert (published.averages["selected_on"] == "test").all()
    with pytest.raises(ConfigError, match="Did you mean 'projector'"):
        judged(world, plain, "projektor")


def test_what_does_not_fit_is_said(world, runs, tmp_path):
    root, cohort = world
    meta = root / "release_v0" / "meta"
    items = cohort.items
    one_class = Cohort(root / "release_v0", "x", items, cohort.levels, cohort.tasks, 3, cohort.spec)
    train = one_class.items["split"] == "train"
    changed = items.assign(streaks=np.where(train, "absent", items["streaks"]))
    one_class = Cohort(root / "release_v0", "x", changed, cohort.levels, cohort.tasks, 3, cohort.spec)
    with pytest.raises(DataError, match="'streaks' has one class only among"):
        judged((root, one_class), runs[0])
    without = Cohort(
        root / "release_v0",
        "x",
        items.assign(split=items["split"].replace("valid", "")),
        cohort.levels,
        cohort.tasks,
        3,
        cohort.spec,
    )
    with pytest.raises(SplitError, match="No case is on the side 'valid'"):
        judged((root, without), runs[0])
    text = (meta / "meta.csv").read_text()
    tested = int((meta / "test_indexes.csv").read_text().split()[1])
    trained = int((meta / "train_indexes.csv").read_text().split()[1])
    try:
        (meta / "meta.csv").write_text(text.replace(f"NAL/Nal{tested:03d}.jpg", f"NAL/Nal{trained:03d}.jpg"))
        leaky = Cohort.open(root / "release_v0", preset="derm7pt")
        with pytest.raises(SplitError, match=r"1 pairs of cases on different sides show the same photograph"):
            judged((root, leaky), runs[0])
        allowed = judged((root, leaky), runs[0], allow_leak=True)
        assert allowed.labels_table["leaks"].all() and "LEAKS" in allowed.notes[0]
    finally:
        (meta / "meta.csv").write_text(text)


def test_from_the_command_line(world, runs, capsys, monkeypatch):
    import sys

    from sidelight.cli import main

    root, _ = world
    words = [
        "evaluate",
        str(runs[0].folder),
        "--data",
        str(root / "release_v0"),
        "--preset",
        "derm7pt",
        "--task",
        "checklist",
    ]
    words += ["--cache", str(root / "cache"), "--set", "seeds=1", "--set", "resamples=100", "--set", "device=cpu"]
    monkeypatch.setattr(sys, "argv", ["sidelight", *words, "--out", str(root / "out")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    said = capsys.readouterr().out
    assert "pigment_network" in said and "AVG" in said and "Seven-point rule, predicted attributes" in said
    assert (root / "out" / "averages.csv").is_file()
