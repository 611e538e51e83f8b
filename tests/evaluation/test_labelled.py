"""A given split: what leaks stops, what does not leak is judged on its test side, and the test side chooses nothing."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sidelight
from planted import table, write
from sidelight.cli import app
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.chest import KINDS
from sidelight.data.pixels.cache import build
from sidelight.errors import ConfigError, SplitError
from sidelight.evaluation.labelled import SplitSettings, label_units
from sidelight.evaluation.model.model import read_model

QUICK = {"seeds": 1, "frames": 1, "resamples": 100, "device": "cpu", "image_size": 32, "folds": 2}


def rows(patients=40):
    """Two photos of each patient; a quarter of the patients is tested, the fifth and tenth of every twenty are valid."""
    frame = table(patients)
    number = frame["patient"].str[1:].astype(int)
    return frame.assign(part=np.where(number % 4 == 3, "testing", np.where(number % 5 == 1, "val", "Training")))


def ward(root, frame, unit="item"):
    """A folder with a cohort file."""
    write(root, frame, pictures=True)
    (root / "cohort.toml").write_text(
        'files = "photos/{patient}/{photo}.png"\nlevels = ["patient"]\n'
        'tables = [{file = "table.csv", on = ["photo=photo"]}]\n'
        f'[task.ill]\nlabel = "diagnosis"\npositive = ["ill"]\nunit = "{unit}"\n'
    )
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return ward(tmp_path_factory.mktemp("given"), rows())


def judged(data, split="part", protocol="knn", **more):
    return sidelight.evaluate("test_resnet", data, "ill", protocol, random=True, split=split, **{**QUICK, **more})


@pytest.fixture(scope="module")
def found(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return judged(place, protocol="linear", out=out, labels=[8, 500]), out


def json_of(frame, path):
    """The split as a file of patients, in the spelling of the column."""
    path.write_text(json.dumps({side: part["patient"].unique().tolist() for side, part in frame.groupby("part")}))
    return path


@pytest.mark.parametrize("task", ["finding_masks", "finding_boxes"])
def test_units_with_masks_or_boxes_come_in_folds_of_patients(task, tmp_path):
    cohort = Cohort.open("phantom:chest?patients=12&size=32")
    pixels = build(cohort, size=32, channels=1, folder=tmp_path)
    labelled, _ = label_units(cohort, pixels, task, SplitSettings(folds=3, merge_duplicates=False))
    assert {head.kind for head in labelled.heads} == {task.removeprefix("finding_").replace("masks", "mask")}
    assert list(labelled.targets) == list(KINDS)
    assert len(labelled.table) == len(cohort.items) and labelled.table["rows"].map(len).eq(1).all()
    owner = labelled.table.set_index("unit")["group"]
    sides = [set(owner[list(fold)]) for fold in labelled.folds]
    assert sum(map(len, sides)) == 12 and set.union(*sides) == set(owner)


def test_the_test_side_alone_is_scored_and_said(found):
    results, out = found
    auroc = results.results[results.results["metric"] == "auroc"]
    assert auroc["labels"].tolist() == [8, 60] and set(auroc["units"]) == {20} and set(auroc["groups"]) == {10}
    assert not auroc["leaks"].any() and "--split part" in auroc["command"].iloc[0]
    assert "ill: given split, 48 units train, 12 are valid, 20 are tested" in results.notes
    assert "labels = 500 was not run: there are only 48 units" in results.notes
    shown = results.scores[results.scores["step"] == "selected"]
    assert shown["unit"].nunique() == 20 and (shown["fold"] == -1).all()
    card = (out / "card.md").read_text()
    assert "20 units of 10 groups are its test side" in card
    assert "training (48) and validation (12) sides of a given split were learnt from, and the 20 of 10 groups" in card
    facts = read_model(out).facts
    assert facts.trained_on["units"] == 60 and facts.tested_on == {"train": 48, "valid": 12, "units": 20, "groups": 10}


def test_without_calibration_nothing_but_the_test_side_is_scored_and_the_numbers_stay(place, found, tmp_path):
    results = judged(place, protocol="linear", out=tmp_path / "out", labels=[8], calibrate=False)
    assert (results.scores["fold"] == -1).all() and not (tmp_path / "out" / "model.json").exists()
    assert any(note.startswith("No model is saved") for note in results.notes)
    own, known = (r.results[r.results["metric"] == "auroc"]["value"].tolist() for r in (results, found[0]))
    assert own == known
    left = set(found[0].results["metric"]) - set(results.results["metric"])
    assert any(name.endswith("at threshold") for name in left)


def test_a_column_and_a_file_are_one_split(place, found, tmp_path):
    named = json_of(rows(), tmp_path / "split.json")
    again = judged(place, named, "linear", labels=[8, 500])
    assert "--split FILE.json" in again.results["command"].iloc[0]
    columns = ["metric", "labels", "value", "low", "high", "split_hash"]
    pd.testing.assert_frame_equal(again.results[columns], found[0].results[columns])
    other = rows().assign(part=lambda t: t["part"].where(t["patient"] != "p1", "Training"))
    moved = judged(place, json_of(other, named))
    assert moved.results["split_hash"].iloc[0] != found[0].results["split_hash"].iloc[0]


def test_labels_of_the_test_side_choose_nothing(found, tmp_path):
    turned = rows()
    tested = turned["part"] == "testing"
    turned.loc[tested, "diagnosis"] = turned.loc[tested, "diagnosis"].map({"ill": "healthy", "healthy": "ill"})
    out = tmp_path / "out"
    results = judged(ward(tmp_path, turned), protocol="linear", out=out, labels=[8, 500])
    before, after = (one.scores.drop(columns=["unit", "group", "label"]) for one in (found[0], results))
    pd.testing.assert_frame_equal(before, after)
    assert (found[0].scores["label"] != results.scores["label"]).sum() == 120  # at 8 labels by five draws, and at all
    one, other = read_model(found[1]), read_model(out)
    assert one.facts.targets == other.facts.targets
    np.testing.assert_array_equal(one.head.probes[0].weight, other.head.probes[0].weight)


def test_threshold_and_calibration_come_from_the_units_that_learn(found):
    results, out = found
    inside = results.scores[results.scores["step"] == "inside"]
    assert inside["unit"].nunique() == 60 and not set(inside["unit"]) & set(
        results.scores.loc[results.scores["step"] == "selected", "unit"]
    )
    target = read_model(out).facts.targets[""]
    tested = results.scores.query("step == 'selected' and all_labels").sort_values("unit")
    called = target.calibration(tested[["p0", "p1"]].to_numpy())[:, 1] >= target.threshold
    ill = tested["label"].to_numpy() == 1
    point = results.results.set_index("metric").query("all_labels")["value"]
    assert point["sensitivity at threshold"] == pytest.approx(called[ill].mean())
    assert point["specificity at threshold"] == pytest.approx(1 - called[~ill].mean())


def leaking(tmp_path, unit="item"):
    """A photo of a training patient stands on the test side, and a test picture is shown again by another patient."""
    frame = rows()
    frame.loc[0, "part"] = "testing"
    root = ward(tmp_path, frame, unit)
    (root / "photos/p8/8_0.png").write_bytes((root / "photos/p3/3_0.png").read_bytes())
    return root


def test_a_leak_stops_and_names_what_crosses(tmp_path):
    with pytest.raises(SplitError, match=r"1 of 40 units of 'patient' .* for example 'p0'.*1 pair .*allow-leak"):
        judged(leaking(tmp_path))


def test_a_leak_between_training_and_validation_is_remarked_and_does_not_mark_the_test_side(tmp_path):
    frame = rows()
    frame.loc[0, "part"] = "val"
    cohort = sidelight.Cohort.open(ward(tmp_path, frame))
    labelled, notes = label_units(cohort, build(cohort, size=32), "ill", SplitSettings(split="part"))
    assert labelled.leaks == () and len(labelled.tested) == 20
    assert (
        "1 of 40 units of 'patient' stand on two sides of the split: 1 on train and valid; the test side has none of it"
        in notes
    )


def test_scores_say_on_which_side_their_units_stand(place, found):
    scores = found[0].scores
    assert set(scores.loc[scores["step"] == "selected", "side"]) == {"test"}
    inside = scores[scores["step"] == "inside"].drop_duplicates("unit")["side"].value_counts().to_dict()
    assert inside == {"train": 48, "valid": 12} and not scores["merged"].any()


def test_an_allowed_leak_stands_in_every_result(tmp_path):
    root = leaking(tmp_path / "data")
    results = judged(root, allow_leak=True, out=tmp_path / "out")
    assert results.results["leaks"].all() and " --split part --allow-leak" in results.results["command"].iloc[0]
    said = [note for note in results.notes if "LEAKS" in note]
    assert len(said) == 2 and not any("p0" in note or "p3" in note for note in said)
    card = (tmp_path / "out" / "card.md").read_text()
    assert "**The given split leaks**" in card and said[0] in card
    page = sidelight.report(tmp_path / "out", tmp_path / "page.md").read_text()
    assert "given split leaks" in page[: page.index("| task |")] and "Rows on a split that leaks" in page
    # the patient's other photo trains: each photo stands where the split has it
    assert set(results.results["units"]) == {21}


def test_a_unit_that_stands_on_two_sides_learns_and_is_tested_with_its_own_items(tmp_path):
    root = leaking(tmp_path, "patient")
    with pytest.raises(SplitError, match="p0"):
        judged(root)
    results = judged(root, allow_leak=True)
    assert set(results.results["units"]) == {11}
    assert results.scores.query("step == 'inside'")["unit"].nunique() == 30


def test_units_on_no_side_are_left_out_and_counted(tmp_path):
    frame = rows()
    frame.loc[frame["patient"] == "p0", "part"] = ""
    results = judged(ward(tmp_path, frame))
    assert "ill: given split, 46 units train, 12 are valid, 20 are tested, 2 on no side are left out" in results.notes
    assert "2 of 80 items are on no side of the split" in results.notes


def test_names_of_nothing_here_stop_and_are_said_where_they_are_allowed(place, tmp_path):
    test = [f"p{number}" for number in range(3, 40, 4)]
    names = {"train": ["p1", "p2", "p4", "p5", "p6"], "test": [*test[:5], *(f"P-0{name[1:]}" for name in test[5:])]}
    (tmp_path / "split.json").write_text(json.dumps(names))
    said = r"5 names of the split are of nothing .* 'P-023', .* Did you mean 'p23' by the first\? .*--allow-missing"
    with pytest.raises(SplitError, match=said):
        judged(place, tmp_path / "split.json")
    results = judged(place, tmp_path / "split.json", allow_missing=True)
    (note,) = [note for note in results.notes if "of nothing" in note]
    assert note == "5 names of the split are of nothing in the cohort and it was used all the same (allow_missing)"
    assert " --split FILE.json --allow-missing" in results.results["command"].iloc[0]
    assert set(results.results["units"]) == {10} and not results.results["leaks"].any()


def test_splits_that_cannot_be_used(place, tmp_path):
    with pytest.raises(SplitError, match=r"has the side '[ABC]'.*train, test"):
        judged(place, "site", allow_leak=True)
    with pytest.raises(ConfigError, match="has its own folds"):
        judged(place, protocol="published", profile="paper")
    (tmp_path / "no.json").write_text('{"train": ["p1", "p2", "p4"], "valid": ["p3"]}')
    with pytest.raises(SplitError, match="No labelled unit is on the side 'test'"):
        judged(place, tmp_path / "no.json")


def test_fine_tuning(place):
    few = {"finetune": {"steps": 2, "checks": 1, "batch_size": 4}}
    results = judged(place, protocol="finetune", **few).results
    assert set(results.loc[results["metric"] == "auroc", "units"]) == {20}


def test_flags_and_settings_are_one_thing(place, tmp_path):
    words = ["evaluate", "test_resnet", "--random", "--data", str(place), "--task", "ill", "--protocol", "knn"]
    quick = [word for key, value in QUICK.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    (tmp_path / "given.toml").write_text('split = "part"')
    ways = {"flag": ["--split", "part"], "toml": ["--config", str(tmp_path / "given.toml")]}
    expected = judged(place).results["value"]
    for name, more in ways.items():
        said = CliRunner().invoke(app, [*words, *quick, *more, "--out", str(tmp_path / name)])
        assert said.exit_code == 0 and "20 are tested" in said.output, said.output
        pd.testing.assert_series_equal(pd.read_parquet(tmp_path / name / "results.parquet")["value"], expected)


def test_pre_training_on_the_train_side_alone_is_not_transductive(place, tmp_path):
    small = {"image_size": 32, "encoder": "test_resnet", "steps": 1, "batch_size": 4, "device": "cpu", "quiet": True}
    for where, seen in (({"part": "Training"}, False), ({}, True)):
        run = sidelight.pretrain("simclr", place, tmp_path / str(seen), where=where, **small)
        results = sidelight.evaluate(run, place, "ill", "knn", split="part", **QUICK).results
        assert set(results["transductive"]) == {seen}


STUDY = """
title = "On a given split"
seeds = 1
protocols = ["knn"]
[pretrain]
encoder = "test_resnet"
image_size = 32
[evaluate]
{quick}
[encoders.random]
[parts.ill]
task = "ill"
"""


def test_a_study_on_a_split_file_is_made_anew_when_the_file_changes(place, tmp_path):
    quick = "\n".join(f"{key} = {json.dumps(value)}" for key, value in QUICK.items() if key != "image_size")
    (tmp_path / "given.toml").write_text(STUDY.format(quick=quick))
    split = json_of(rows(), tmp_path / "split.json")

    def run():
        given = {"evaluate": {"split": str(split)}}
        return sidelight.study(tmp_path / "given.toml", data=str(place), out=tmp_path / "out", quiet=True, **given)

    one = run()
    json_of(rows().assign(part=lambda t: t["part"].where(t["patient"] != "p1", "Training")), split)
    other = run()
    assert len(list((tmp_path / "out/cells").glob("*.parquet"))) == 2
    assert one.results["split_hash"].iloc[0] != other.results["split_hash"].iloc[0]
    assert str(split) not in (tmp_path / "out/study.json").read_text()


def test_cardiac_phases_of_one_patient_on_two_sides(real_data, tmp_path):
    """ACDC: split by phase of the heart cycle it leaks, split by patient it does not."""
    root = real_data / "acdc"
    if not root.is_dir():
        pytest.skip(f"no acdc in {real_data}")
    data = tmp_path / "acdc"
    data.mkdir()
    for entry in root.iterdir():
        if entry.suffix == ".csv" or (entry.suffix == ".npz" and int(entry.stem[7:10]) % 20 in range(1, 9)):
            (data / entry.name).symlink_to(entry)
    (data / "cohort.toml").write_text(
        'files = "{patient}_{frame}.npz::image"\nlevels = ["patient"]\n'
        'tables = [{file = "series.csv", on = ["name=file"]}]\n'
        '[task.ill]\nlabel = "diagnosis"\nignore = ["HCM", "MINF", "RV"]\npositive = ["DCM"]\n'
    )
    names = sorted(path.name for path in data.glob("*.npz"))
    patients = sorted({name.split("_")[0] for name in names})
    split = tmp_path / "split.json"
    quick = {"max_frames": 2, "cache": str(tmp_path / "cache")}
    split.write_text(json.dumps({"train": names[::2], "test": names[1::2]}))
    with pytest.raises(SplitError, match=f"{len(patients)} of {len(patients)} units of 'patient'.*'patient001'"):
        judged(data, split, **quick)
    split.write_text(json.dumps({"train": patients[::2], "test": patients[1::2]}))
    results = judged(data, split, **quick)
    assert not results.results["leaks"].any() and set(results.results["units"]) == {16}
