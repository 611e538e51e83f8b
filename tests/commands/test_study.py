"""A study runs cell by cell, goes on where it stopped, and says what it could not do."""

import dataclasses
import json
import os

import pandas as pd
import pytest

import sidelight
from sidelight.commands import study as studies
from sidelight.commands.study import provenance
from sidelight.commands.study_file import StudyFile
from sidelight.config import build, load_toml, merge
from sidelight.errors import ConfigError, RunError
from sidelight.files import held

FILE = """
title = "A small study"
data = "phantom:ultrasound?patients=16&clips=2&frames=6&size=40"
seeds = 2
findings = ["Too short to learn."]
limits = ["It is synthetic."]
[pretrain]
encoder = "resnet10t"
image_size = 32
steps = 3
pairs_per_clip = 1
batch_size = 8
max_frames = 6
device = "cpu"
[evaluate]
labels = [8]
folds = 2
frames = 2
max_frames = 6
resamples = 100
device = "cpu"
finetune = {steps = 3, batch_size = 8, checks = 1}
[sizes.cpu]
seeds = 1
[sizes.gpu]
seeds = 5
[parts.diagnosis]
task = "diagnosis"
unit = "clip"
transductive = true
[encoders.random]
[encoders."from scratch"]
protocols = ["finetune"]
[encoders.simclr]
method = "simclr"
[encoders."given weights"]
weights = ""
[[published]]
table = "As published"
columns = ["method", "accuracy"]
rows = [["theirs", 94.6]]
note = "selected on test"
"""


def test_a_part_that_asks_for_masks_is_refused_before_anything_is_trained(tmp_path):
    text = FILE.replace("phantom:ultrasound?patients=16&clips=2&frames=6&size=40", "phantom:chest?patients=4&size=32")
    (tmp_path / "s.toml").write_text(text.replace('task = "diagnosis"\nunit = "clip"', 'task = "finding_masks"'))
    with pytest.raises(ConfigError, match="'finding_masks' asks for masks, and the protocol"):
        sidelight.study(tmp_path / "s.toml", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_study_on_one_folder_says_who_is_at_work(tmp_path):
    (tmp_path / "s.toml").write_text(FILE)
    with held(tmp_path / "out"), pytest.raises(RunError, match=rf"at work in .*out: process {os.getpid()} on "):
        sidelight.study(tmp_path / "s.toml", out=tmp_path / "out")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    (root / "small.toml").write_text(FILE)
    return root


@pytest.fixture(scope="module")
def found(place):
    return run(place)


def run(place, **settings):
    return sidelight.study(place / "small.toml", out=place / "out", cache=str(place / "cache"), quiet=True, **settings)


def test_every_encoder_is_in_the_table_with_its_provenance(found):
    table = found.results[found.results["metric"] == "auroc"]
    assert set(table["encoder"]) == {"random", "from scratch", "simclr"}
    assert set(table["protocol"]) == {"linear", "finetune", "finetune, last step"}
    assert table["seeds"].eq(1).all()
    assert table.loc[table["encoder"] == "simclr", "transductive"].all()
    assert not table.loc[table["encoder"] == "random", "transductive"].any()
    assert table[["split_hash", "data_hash", "encoder_hash"]].notna().all().all()
    assert len(set(table["split_hash"])) == 1
    assert any("no weights given" in note for note in found.notes)
    assert {"difference", "p_holm"} <= set(found.differences.columns)


def test_the_report_shows_what_was_found_and_what_not(found):
    page = (found.folder / "report.html").read_text()
    for text in (
        "A small study",
        "Too short to learn",
        "It is synthetic.",
        "no weights given",
        "94.6",
        "selected on test",
    ):
        assert text in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    card = (found.folder / "card.md").read_text()
    for text in (
        "# Card: A small study",
        "32 labelled units of 16 groups",
        "| simclr |",
        "It is synthetic.",
        "licence",
    ):
        assert text in card, text
    assert len(list(found.folder.glob("runs/*/card.md"))) == 1


def test_the_published_protocol_needs_the_paper_profile(place, found):
    with pytest.raises(ConfigError, match="selects on the test set"):
        run(place, encoders={"random": {"protocols": ["published"]}})


def test_an_unequal_budget_is_said_and_an_equal_one_is_not(place, found, tmp_path):
    assert "not an equal budget" not in (found.folder / "report.html").read_text()
    budget = {"finetune": {"steps": 2}}
    shorter = sidelight.study(
        place / "small.toml", out=tmp_path, cache=str(place / "cache"), quiet=True, evaluate=budget
    )
    sentence = "from scratch had 2 steps at each label count on diagnosis, pre-training 3 to 3: not an equal budget."
    assert sentence in (shorter.folder / "report.html").read_text()


def test_done_cells_are_kept_and_a_missing_one_is_made_again(place, found):
    cells = {path: path.stat().st_mtime_ns for path in (found.folder / "cells").glob("*.parquet")}
    assert len(cells) == 3
    victim = sorted(cells)[0]
    before = pd.read_parquet(victim)
    victim.unlink()
    again = run(place)
    pd.testing.assert_frame_equal(pd.read_parquet(victim), before)
    kept = {path: path.stat().st_mtime_ns for path in cells if path != victim}
    assert all(kept[path] == cells[path] for path in kept)
    pd.testing.assert_frame_equal(
        again.results.drop(columns="seconds"), found.results.drop(columns="seconds"), check_like=True
    )


def test_a_study_killed_in_a_cell_goes_on(place, found, monkeypatch):
    """Two seeds; the second seed's second cell dies, and the next call computes only what is missing."""
    calls: list[str] = []
    real = studies.score

    def dying(evaluation, **more):
        calls.append(evaluation.protocol.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(evaluation, **more)

    monkeypatch.setattr(studies, "score", dying)
    more = {"sizes": {"cpu": {"seeds": 2}}}
    with pytest.raises(KeyboardInterrupt):
        run(place, **more)
    assert len(calls) == 2  # the first seed's three cells were there
    assert run(place, **more).results["seeds"].max() == 2
    assert len(calls) == 4


def test_weights_that_the_user_gives_join_as_a_rival(place, found):
    runs = [sidelight.Run(path.parent) for path in (found.folder / "runs").glob("*/config.json")]
    tower = next(run.folder for run in runs if run.config["settings"]["seed"] == 0) / "towers/image.safetensors"
    results = run(place, encoders={"given weights": {"weights": str(tower)}})
    table = results.results[(results.results["metric"] == "auroc") & (results.results["protocol"] == "linear")]
    values = table.set_index(["encoder", "labels"])["value"]
    for labels in (8, 16):
        assert values["given weights", labels] == values["simclr", labels]


def test_a_page_is_rendered_from_the_table(found, tmp_path):
    page = sidelight.report(found.folder, tmp_path / "small.md").read_text()
    assert "A small study" in page and "Too short to learn" in page
    assert (tmp_path / "figures").is_dir()


def test_what_is_asked_is_recorded_before_the_first_cell(place, tmp_path, monkeypatch):
    asked = {"encoder": "simclr", "task": "diagnosis", "labels": 8, "rival": "random", "metric": "auroc"}

    def stopped(evaluation, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "score", stopped)
    with pytest.raises(KeyboardInterrupt):
        sidelight.study(place / "small.toml", out=tmp_path, cache=str(place / "cache"), quiet=True, headline=asked)
    assert json.loads((tmp_path / "beforehand.json").read_text())["declared"] == asked
    assert not list(tmp_path.glob("cells/*"))


def test_participants_and_silence_stand_on_the_page(found):
    page = (found.folder / "report.html").read_text()
    assert "Nothing was said beforehand" in page and "From files to tested units" in page
    flow = json.loads((found.folder / "participants.json").read_text())["diagnosis"]
    assert flow["steps"][-1]["items"] == found.scores["unit"].nunique() == 32


@pytest.mark.parametrize("name", ["tripod+ai", "claim"])
def test_a_checklist_is_filled_in_from_a_finished_study(found, tmp_path, name):
    page = sidelight.report(found.folder, tmp_path / "x.md", checklist=name).read_text()
    for text in (
        "2 folds over groups, split seed 0",
        "torch",
        "for the authors",
        "Disjoint by patient" * (name == "claim"),
    ):
        assert text in page
    with pytest.raises(ConfigError, match="tripod"):
        sidelight.report(found.folder, tmp_path / "x.md", checklist="tripod")


def test_an_unknown_size_and_an_unknown_key_are_refused(place, found):
    with pytest.raises(ConfigError, match="gpu"):
        run(place, size="gup")
    with pytest.raises(ConfigError, match="protocols"):
        run(place, protocol=["knn"])


def test_unseen_patients_are_not_in_pre_training(place):
    out = place / "unseen"
    parts = {"diagnosis": {"task": "diagnosis", "transductive": False, "unseen": True}}
    found = sidelight.study(
        place / "small.toml", out=out, cache=str(place / "cache"), quiet=True, parts=parts,
        evaluate={"labels": []}, pretrain={"encoder": "test_resnet"}, encoders={"from scratch": {"protocols": ["linear"]}},
    )  # fmt: skip
    runs = sorted((out / "runs").iterdir())
    assert [run.name[-2:] for run in runs] == ["-0", "-1"], "one pre-training for each of two folds"
    cohort = sidelight.Cohort.open("phantom:ultrasound?patients=16&clips=2&frames=6&size=40")
    for number, run in enumerate(runs):
        ((column, said),) = sidelight.Run.open(run).config["settings"]["where"].items()
        assert said == f"!= {number}" and column.startswith("fold_")
    table = found.results[found.results["metric"] == "auroc"]
    assert not table["transductive"].any()
    assert set(table["encoder"]) == {"random", "from scratch", "simclr"}
    kept = found.scores[(found.scores["encoder"] == "simclr") & (found.scores["step"] == "selected")]
    assert kept["unit"].is_unique and len(kept) == len(cohort.items)


def test_a_part_of_strangers_takes_no_run_that_has_met_them(place, found):
    run_folder = min(path.parent for path in found.folder.glob("runs/*/done.json"))
    tower = run_folder / "towers/image.safetensors"
    rows = {"ours": {"run": str(run_folder)}, "given weights": {"weights": str(tower)}}
    plan = build(
        StudyFile, merge(load_toml(place / "small.toml"), {"parts": {"diagnosis": {"unseen": True}}, "encoders": rows})
    )
    cohort = sidelight.Cohort.open(plan.data)
    work = studies.Work(plan, cohort, place / "no", str(place / "cache"), quiet=True, command="")
    with pytest.raises(ConfigError, match=r"'ours' has learnt from patients who are tested.*encoders\.ours\.parts"):
        work.run("cpu")
    other = sidelight.Cohort.open(f"{plan.data}&seed=5")
    elsewhere = dataclasses.replace(other, name="another hospital")
    notes = dataclasses.replace(work, cohort=elsewhere).check_unseen()
    assert notes == [
        "diagnosis: what the weights of given weights have seen of its patients is not known",
        "diagnosis: what the run of ours has seen of its patients is not known",
    ]


def test_transductive_is_computed_whatever_the_file_says(place, found):
    again = run(place, parts={"diagnosis": {"transductive": False}})
    columns = ["encoder", "protocol", "metric", "labels", "transductive"]
    pd.testing.assert_frame_equal(again.results[columns], found.results[columns], check_like=True)
    said = "diagnosis: the study file says transductive = false, but by what they wrote down its encoders have met the patients"
    assert any(note.startswith(said) for note in again.notes)
    assert not any("the study file says" in note for note in found.notes)


def test_a_row_can_be_a_run_of_other_data(place, tmp_path):
    small = {"encoder": "test_resnet", "image_size": 32, "steps": 2, "batch_size": 8, "device": "cpu"}
    told = "phantom:skin?patients=12&size=32"
    run = sidelight.pretrain("slimp", told, tmp_path / "told", cache=str(place / "cache"), quiet=True, **small)
    (tmp_path / "other.toml").write_text("""
title = "Borrowed from others"
data = "phantom:skin?patients=14&size=32&seed=3"
[evaluate]
folds = 2
resamples = 100
device = "cpu"
inputs.reference = "phantom:skin?patients=12&size=32"
[sizes.cpu]
seeds = 1
[parts.malignant]
task = "malignant"
[encoders.told]
run = ""
evaluate = {inputs = {kind = "image+borrowed"}}
[encoders.random]
settings = {encoder = "test_resnet", image_size = 32}
""")
    study = {"out": tmp_path / "out", "cache": str(place / "cache"), "quiet": True}
    without = sidelight.study(tmp_path / "other.toml", **study)
    assert "told: no run given" in without.notes and set(without.results["encoder"]) == {"random"}
    found = sidelight.study(tmp_path / "other.toml", encoders={"told": {"run": str(run.folder)}}, **study)
    assert set(found.results["encoder"]) == {"random", "told"}


def test_what_made_a_number_is_that_of_all_its_seeds():
    parts = [
        {"encoder": "a", "task": "t", "protocol": "linear", "seed": seed, "transductive": False, "split_hash": "s",
         "leaks": False, "data_hash": "d", "encoder_hash": f"e{seed}", "seconds": 10.0 + seed}
        for seed in (0, 0, 1)
    ]  # fmt: skip
    row = provenance(pd.DataFrame(parts)).iloc[0]
    assert row["seconds"] == 21.0 and row["encoder_hash"] not in ("e0", "e1") and row["data_hash"] == "d"
    assert provenance(pd.DataFrame(parts[:2])).iloc[0]["encoder_hash"] == "e0"
