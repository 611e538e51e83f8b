"""The whole way on a small phantom: pretrain, resume, evaluate, report; and bad input."""

import dataclasses
import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sidelight
from sidelight.config import build, parse_flags
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError, DataError, EncoderError, RunError
from sidelight.evaluation.protocols import published
from sidelight.evaluation.settings import EvaluateSettings

TINY = {
    "image_size": 32,
    "encoder": "resnet10t",
    "epochs": 1,
    "pairs_per_clip": 1,
    "batch_size": 8,
    "max_frames": 6,
    "device": "cpu",
}
EVALUATE = {"frames": 2, "seeds": 1, "max_frames": 6, "resamples": 100, "device": "cpu"}
CHEST = "phantom:chest?patients=4&size=32"


@pytest.fixture(scope="module")
def cohort():
    return Cohort.open("phantom:ultrasound?patients=16&clips=2&frames=6&size=40")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def run(cohort, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "simclr"
    return sidelight.pretrain("simclr", cohort, folder, quiet=True, cache=cache, **TINY)


def test_a_run_says_all_that_identifies_it(run):
    config = run.config
    assert config["method"] == "simclr"
    assert config["settings"]["encoder"] == "resnet10t"
    assert {"hash", "name"} <= set(config["data"])
    assert len(config["split_hash"]) == 16
    assert run.finished
    card = (run.folder / "card.md").read_text()
    assert config["split_hash"] in card and "Training: 28 items, 14 patients or recording groups, 168 frames" in card


def test_evaluate_gives_values_with_intervals_and_provenance(run, cohort, cache, tmp_path):
    results = sidelight.evaluate(run, cohort, "diagnosis", labels=[8], cache=cache, out=tmp_path, **EVALUATE)
    row = results.headline().iloc[-1]
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert row["groups"] == 16
    assert {"split_hash", "data_hash", "encoder_hash", "command"} <= set(results.results.columns)
    read = dict(results.results[["labels", "cases_read"]].drop_duplicates().to_numpy())
    assert len(read) == 2 and read[26] == pytest.approx(4 / 5 * 32) and 8 < read[8] < 26
    assert (tmp_path / "results.parquet").is_file()


def test_the_command_in_the_results_holds_every_setting_that_changes_a_number(run, cohort, cache, tmp_path):
    given = {**EVALUATE, "labels": [8], "balance": "inverse_frequency", "finetune": {"steps": 4}, "subgroups": []}
    results = sidelight.evaluate(run, cohort, "diagnosis", cache=cache, **given)
    words = shlex.split(results.results["command"].iloc[0])
    assert words[:3] == ["sidelight", "evaluate", "simclr"] and "--task" in words
    flags = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert "cache" not in " ".join(words) and "device" not in " ".join(words)
    again, asked = (build(EvaluateSettings, values) for values in (parse_flags(flags), given))
    assert again == asked.model_copy(update={"device": "auto"})


def test_pre_training_that_saw_the_test_items_is_named(run, cohort, cache, tmp_path):
    found = sidelight.evaluate(run, cohort, "diagnosis", cache=cache, **EVALUATE)
    assert found.results["transductive"].all()
    other = Cohort.open("phantom:ultrasound?patients=16&clips=2&frames=6&size=40&seed=5")
    elsewhere = dataclasses.replace(other, name="another hospital")
    outside = sidelight.evaluate(run, elsewhere, "diagnosis", "knn", test=cohort, cache=cache, **EVALUATE).results
    assert outside.groupby("task")["transductive"].unique().map(list).to_dict() == {
        "diagnosis": [False], f"diagnosis on {cohort.alias}": [True],
    }  # fmt: skip
    assert not sidelight.evaluate(run, elsewhere, "diagnosis", cache=cache, **EVALUATE).results["transductive"].any()


def test_no_file_of_a_run_or_result_names_an_item(run, cohort, cache, tmp_path):
    sidelight.evaluate(run, cohort, "diagnosis", cache=cache, out=tmp_path, **EVALUATE)
    names = [name.encode() for name in cohort.items["item"]]
    for folder in (run.folder, tmp_path):
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(name in content for name in names), path


def test_evaluation_leaves_the_encoder_as_it_was(run, cohort, cache):
    encoder = sidelight.load_encoder(run.folder)
    encoder.train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    sidelight.evaluate(encoder, cohort, "diagnosis", cache=cache, **EVALUATE)
    assert encoder.training
    assert all((value == before[name]).all() for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("protocol", ["knn", "finetune", "finetune_last"])
def test_other_protocols(run, cohort, cache, protocol):
    small = {"steps": 4, "checks": 2, "batch_size": 8}
    results = sidelight.evaluate(run, cohort, "diagnosis", protocol, finetune=small, folds=2, cache=cache, **EVALUATE)
    protocols = set(results.results["protocol"])
    assert protocols == ({"knn"} if protocol == "knn" else {protocol, f"{protocol}, last step"})
    assert results.headline()["value"].between(0, 1).all()


def test_published_is_marked_and_kept_out_of_the_headline(run, cohort, cache, monkeypatch):
    monkeypatch.setattr(published, "EPOCHS", 2)
    monkeypatch.setattr(published, "BATCH", 8)
    with pytest.raises(ConfigError, match="profile='paper'"):
        sidelight.evaluate(run, cohort, "diagnosis", "published", cache=cache, **EVALUATE)
    found = sidelight.evaluate(
        run, cohort, "diagnosis", "published", profile="paper", folds=2, cache=cache, **{**EVALUATE, "frames": 1}
    )
    assert (found.results["selected_on"] == "test").all()
    assert found.headline().empty
    accuracy = found.results[found.results["metric"] == "accuracy"].set_index("protocol")["value"]
    assert accuracy["published"] >= accuracy["published, last step"]


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(run, cohort, cache):
    before = (run.folder / "done.json").read_text()
    again = sidelight.pretrain("simclr", cohort, run.folder, quiet=True, cache=cache, **TINY)
    assert (again.folder / "done.json").read_text() == before
    with pytest.raises(RunError, match="lr"):
        sidelight.pretrain("simclr", cohort, run.folder, quiet=True, cache=cache, lr=0.5, **TINY)


def test_where_selects_what_is_learnt_from(cohort, cache, tmp_path):
    column = cohort.items["diagnosis"]
    run = sidelight.pretrain(
        "simclr", cohort, tmp_path / "r", quiet=True, cache=cache, where={"diagnosis": column.iloc[0]}, **TINY
    )
    start = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert start["steps_per_epoch"] == max((column == column.iloc[0]).sum() * 9 // 10 // 8, 1)
    with pytest.raises(DataError, match="where"):
        sidelight.pretrain("simclr", cohort, tmp_path / "s", quiet=True, cache=cache, where={"diagnosis": "no"}, **TINY)


def photos(root, name="ward"):
    """A folder of ten patients with a stack of two frames each; of one stack a frame is broken."""
    for number in range(20):
        path = root / name / f"Meier{number // 2}" / f"frame{number % 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (36, 36), np.uint8)).save(path)
    path.write_bytes(b"")
    (root / name / "cohort.toml").write_text(
        'files = "{patient}/frame{n}.png"\nstack = "n"\nlevels = ["patient"]\n'
        '[derive]\nlabel = {from = "patient", pattern = "[0-9]"}\n'
        '[task.odd]\nlabel = "label"\nunit = "patient"\npositive = ["1", "3", "5", "7"]\n'
    )
    return root / name


def test_what_was_left_out_names_no_file_and_a_folder_lends_no_name(tmp_path):
    root = photos(tmp_path)
    few = {**TINY, "encoder": "test_resnet", "steps": 1, "batch_size": 2, "max_bad_fraction": 0.5, "valid_fraction": 0}
    run = sidelight.pretrain("simclr", root, tmp_path / "run", quiet=True, **few)
    left = pd.read_csv(run.folder / "quarantine.csv")
    assert left["reason"].tolist() == ["is empty (0 bytes). Copy it again or leave it out."]
    opened = Cohort.open(root)
    assert left["item"].tolist() == [opened.item_hash(9)]
    assert run.config["data"]["name"] == opened.alias == Cohort.open(root.rename(tmp_path / "moved")).alias
    assert opened.alias.startswith("cohort-") and "ward" not in (run.folder / "config.json").read_text()
    assert Cohort.open(tmp_path / "moved", name="given").alias == "given"


def test_a_copy_with_another_key_is_known_again_by_its_pixels(tmp_path):
    root = photos(tmp_path)
    few = {**TINY, "encoder": "test_resnet", "steps": 1, "batch_size": 2, "max_bad_fraction": 0.5, "valid_fraction": 0}
    run = sidelight.pretrain("simclr", root, tmp_path / "run", quiet=True, **few)
    copy = shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns(".sidelight"))
    assert Cohort.open(copy).alias != Cohort.open(root).alias
    settings = {**EVALUATE, "folds": 2, "max_bad_fraction": 0.5}
    assert sidelight.evaluate(run, copy, "odd", "knn", **settings).results["transductive"].all()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda c: sidelight.pretrain("simclrr", c, "x"), ConfigError, "simclr"),
        (lambda c: sidelight.pretrain("simclr", c, "x", learning_rate=1), ConfigError, "Unknown setting"),
        (lambda c: sidelight.pretrain("simclr", c, "x", epoch=1), ConfigError, "epochs"),
        (lambda c: sidelight.pretrain("simclr", c, "x", profile="papre"), ConfigError, "paper"),
        (lambda c: sidelight.pretrain("meta_uscl", c, "x", weights="meta", optimizer="rmsprop"), ConfigError, "sgd"),
        (lambda c: sidelight.evaluate("resnet10t", c, "diagnosis"), EncoderError, "--random"),
        (lambda c: sidelight.evaluate("nowhere/run", c, "diagnosis"), EncoderError, "nowhere"),
        (lambda c: sidelight.evaluate("resnet10t", c, "diagnosys", random=True), ConfigError, "diagnosis"),
        (lambda c: sidelight.evaluate("resnet10t", c, "diagnosis", fold=3, random=True), ConfigError, "folds"),
        (lambda c: sidelight.pretrain("simclr", "no/such/folder", "x"), DataError, "does not exist"),
        (lambda c: sidelight.evaluate("resnet10t", CHEST, "finding_masks", random=True), ConfigError, "learns classes"),
        (
            lambda c: sidelight.evaluate("resnet10t", CHEST, "finding_boxes", "retrieval", random=True),
            ConfigError,
            "asks for boxes",
        ),
        (
            lambda c: sidelight.pretrain("simclr", CHEST, "x", monitor_task="finding_masks"),
            ConfigError,
            "asks for mask",
        ),
    ],
)
def test_bad_input_says_what_to_do(cohort, call, error, says):
    with pytest.raises(error, match=says):
        call(cohort)


def test_monitor_reads_a_labelled_set_while_training(cohort, cache, tmp_path):
    settings = {**TINY, "monitor_task": "diagnosis", "monitor_every": 1}
    run = sidelight.pretrain("simclr", cohort, tmp_path / "m", quiet=True, cache=cache, **settings)
    metrics = run.metrics()
    knn = metrics.loc[metrics["kind"] == "epoch", "knn"]
    assert np.isfinite(knn).all()
    assert len(knn) == 1
