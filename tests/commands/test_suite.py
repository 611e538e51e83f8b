"""Suites: sets that are absent or broken, and parts that cannot be judged, are named, and everything else goes on."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from radiograph_layouts import write_covid_rural, write_object_cxr, write_siim
from sidelight.commands.suite import is_suite, suite
from sidelight.data.phantoms.chest import phantom
from sidelight.errors import ConfigError
from sidelight.models.image import create_encoder

SUITE = """
title = "Three sets"
tasks = [
  {set = "siim", part = "linear", title = "1 SIIM", metric = "dice"},
  {set = "rural", part = "linear", title = "2 rural", metric = "dice"},
  {set = "rural", part = "few", title = "3 rural, few", metric = "dice"},
  {set = "gone", part = "boxes", title = "4 gone", metric = "map"},
]
[common]
title     = "of each"
seeds     = 1
protocols = ["segment_linear"]
pretrain  = {encoder = "test_byobnet", image_size = 32}
evaluate  = {calibrate = false, resamples = 100, allow_leak = true, segment_linear = {steps = 3, rates = [1e-2]}}
[common.encoders.random]
[common.encoders.yours]
run = ""
[sets.siim]
folder = "siim"
says   = "all that SIIM has"
split  = {shares = [0.5, 0.25, 0.25]}
study  = {preset = "siim_pneumothorax", parts = {linear = {task = "pneumothorax_mask"}}}
[sets.rural]
folder = "rural"
split  = {holding = "opacity_mask", subsets = {few = {train = 5}}}
[sets.rural.study]
preset = "covid_rural"
parts  = {linear = {task = "opacity_mask"}, few = {task = "opacity_mask", evaluate = {split = "few"}}}
[sets.gone]
folder = "gone"
study  = {preset = "object_cxr", parts = {boxes = {task = "object_boxes", protocols = ["detect_yolo"]}}}
"""


@pytest.fixture
def places(tmp_path):
    (tmp_path / "suite.toml").write_text(SUITE)
    found = phantom(patients=30, studies=1, views=1, size=32, seed=2, difficulty=0.0)
    write_siim(tmp_path / "data" / "siim", found)
    write_covid_rural(tmp_path / "data" / "rural", found)
    return tmp_path


def run(places, **settings):
    file, data = places / "suite.toml", str(places / "data")
    return suite(file, data=data, out=places / "out", cache=str(places / "cache"), quiet=True, **settings)


def test_an_absent_set_is_named_and_the_others_have_numbers_once(places):
    assert is_suite(places / "suite.toml")
    done = run(places)
    assert done.sentence == "3 of 4 tasks have numbers"
    assert done.faults == {"4 gone": "absent: there is no folder gone"}
    assert set(done.table["task"]) == {"1 SIIM", "2 rural", "3 rural, few"} and set(done.table["encoder"]) == {"random"}
    said = json.loads((done.folder / "suite.json").read_text())["sets"]
    assert [one["state"] for one in said] == ["done", "done", "absent: there is no folder gone"]
    assert [len(one["hashes"]) for one in said] == [1, 2, 0]
    sides = json.loads((done.folder / "rural" / "splits" / "few.json").read_text())
    assert (len(sides["train"]), len(sides["valid"]), len(sides["test"])) == (5, 4, 4)
    page = (done.folder / "report.html").read_text()
    assert "3 of 4 tasks have numbers" in page and "Absent: gone." in page and "all that SIIM has" in page
    cells = {path: path.stat().st_mtime_ns for path in done.folder.glob("*/cells/*.json")}
    assert len(cells) == 3 and run(places).table.equals(done.table)
    assert cells == {path: path.stat().st_mtime_ns for path in done.folder.glob("*/cells/*.json")}, "nothing anew"


def test_what_is_broken_is_named_and_the_rest_goes_on(places):
    table = places / "data" / "siim" / "train-rle.csv"
    table.write_text(table.read_text().replace("EncodedPixels", "Runs"))
    done = run(places, sets={"rural": {"split": {"subsets": {"few": {"train": 0}}}}})
    assert set(done.faults) == {"1 SIIM", "3 rural, few", "4 gone"} and set(done.table["task"]) == {"2 rural"}
    assert (
        "EncodedPixels" in done.faults["1 SIIM"]
        and "No labelled unit is on the side 'train'" in done.faults["3 rural, few"]
    )
    page = (done.folder / "report.html").read_text()
    assert "1 of 4 tasks have numbers" in page and "1 SIIM: " in page and "3 rural, few: " in page
    (places / "data" / "rural").rename(places / "data" / "elsewhere")
    assert run(places).sentence == "0 of 4 tasks have numbers", "numbers of what is no longer there are not shown"


def test_what_is_asked_wrongly_stops_before_anything_is_computed(places):
    for settings, said in (
        ({"tasks": [{"set": "sim", "part": "linear", "title": "1", "metric": "dice"}]}, "of the set 'sim'"),
        ({"tasks": [{"set": "siim", "part": "line", "title": "1", "metric": "dice"}]}, "of the part 'line'"),
        ({"tasks": [{"set": "siim", "part": "linear", "title": "1", "metric": "dize"}]}, "has the metric 'dize'"),
        ({"sets": {"siim": {"study": {"parts": {"linear": {"tusk": "x"}}}}}}, "tusk"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(places, **settings)
    with pytest.raises(ConfigError, match="was given no data"):
        suite(places / "suite.toml", out=places / "out")


def test_a_row_that_cannot_be_is_named_and_the_page_is_written(places):
    done = run(places, common={"encoders": {"imagenet": {"weights": "imagenet"}}})
    assert done.sentence == "3 of 4 tasks have numbers" and set(done.table["encoder"]) == {"random"}
    assert done.faults == {"4 gone": "absent: there is no folder gone"}
    assert set(done.absent_rows) == {(task, "imagenet") for task in ("1 SIIM", "2 rural", "3 rural, few")}
    assert all("No ImageNet weights of test_byobnet" in why for why in done.absent_rows.values())
    page = (done.folder / "report.html").read_text()
    assert "imagenet has no numbers in 1 SIIM, 2 rural, 3 rural, few: No ImageNet weights of test_byobnet" in page
    alone = {"random": {"weights": ""}, "imagenet": {"weights": "imagenet"}}
    none = run(places, common={"encoders": alone})
    assert none.sentence == "0 of 4 tasks have numbers" and "No ImageNet weights" in none.faults["1 SIIM"]
    blank = run(places, common={"encoders": {"random": {"weights": ""}}})
    assert blank.faults["1 SIIM"].startswith("No row of the study has weights or a run")


def test_a_part_whose_only_row_waits_says_that_there_is_no_number(places):
    done = run(places, common={"encoders": {"random": {"parts": ["linear"]}, "yours": {"parts": ["few"]}}})
    assert done.faults["3 rural, few"] == "no number with all labels of its part"
    assert set(done.table["task"]) == {"1 SIIM", "2 rural"}


def test_a_split_that_all_have_in_common_is_one_of_their_own(places):
    """Parts that name none take it; a set that has no such split says which there are."""
    done = run(places, common={"evaluate": {"split": "few"}})
    sides = [
        json.loads((places / "out" / "rural" / "splits" / f"{name}.json").read_text()) for name in ("few", "whole")
    ]
    assert [len(one["train"]) for one in sides] == [5, 12]
    assert "asks for the split 'few'" in done.faults["1 SIIM"] and "2 rural" in set(done.table["task"])


def test_a_file_of_weights_stands_in_for_the_run_that_a_row_waits_for(places):
    torch.manual_seed(0)
    file = places / "own.pth"
    torch.save(create_encoder("test_byobnet", channels=1, image_size=32).network.state_dict(), file)
    done = run(places, common={"encoders": {"yours": {"weights": str(file)}}})
    assert set(done.table["encoder"]) == {"random", "yours"}


def test_a_part_of_several_protocols_says_which(places):
    study = {"parts": {"linear": {"protocols": ["segment_linear", "segment_unet"]}}}
    with pytest.raises(ConfigError, match="names no protocol"):
        run(places, sets={"siim": {"study": study}})


def test_id_files_count_what_they_place_and_unknown_names_are_said(places):
    folder = places / "data" / "siim" / "splits"
    folder.mkdir()
    uids = [f"1.2.276.0.7230010.3.1.4.{at + 1}" for at in range(30)]
    for side, names in {"train": [*uids[:18], "nobody"], "valid": uids[18:24], "test": uids[24:]}.items():
        (folder / f"{side}.csv").write_text("\n".join(names) + "\n")  # without a header
    done = run(places, common={"evaluate": {"allow_missing": True}})
    page = (done.folder / "report.html").read_text()
    assert "18 train, 6 valid, 6 test; by the id files in splits/" in page
    assert "1 names of the id files are of nothing in the data" in page


def test_of_data_that_are_not_public_no_name_gets_on_the_page(places):
    photos = places / "data" / "private"
    for at in range(12):
        path = photos / f"Mueller_Hans_{at}" / "a.png"
        path.parent.mkdir(parents=True)
        rng = np.random.default_rng(at)
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(path)
        Image.fromarray(255 * (rng.random((32, 32)) < 0.4).astype(np.uint8)).save(path.with_name("a_mask.png"))
    Image.new("L", (20, 20)).save(photos / "Mueller_Hans_3" / "a_mask.png")
    toml = 'files = "{patient}/a.png"\nlevels = ["patient"]\n[images]\nchannels = 1\n[task.spot]\nmask = "{patient}/a_mask.png"\n'
    (photos / "cohort.toml").write_text(toml)
    study = {"parts": {"spot": {"task": "spot"}}}
    one = {"private": {"folder": "private", "split": {"shares": [0.5, 0.25, 0.25]}, "study": study}}
    task = [{"set": "private", "part": "spot", "title": "spots", "metric": "dice"}]
    for broken in (False, True):
        if broken:
            (photos / "cohort.toml").write_text(toml.replace("spot", "other"))
        done = run(places, sets=one, tasks=task)
        said = "".join(
            path.read_text() for path in done.folder.rglob("*") if path.suffix in (".html", ".json", ".md", ".csv")
        )
        assert "Mueller" not in said and str(places) not in (done.folder / "suite.json").read_text()
        assert done.faults == ({"spots": "ConfigError: the terminal said why"} if broken else {})


def test_a_mask_of_another_size_is_left_out_and_said(places):
    path = next((places / "data" / "rural" / "covid_rural_annot" / "pngs_masks").glob("*.png"))
    Image.open(path).resize((20, 20)).save(path)
    done = run(places)
    assert "2 rural" in set(done.table["task"])
    page = (done.folder / "report.html").read_text()
    assert "is 20 x 20 pixels" in page and "10 of 30 items have no mask: they are left out" in page


def test_boxes_of_objects_are_a_task_too(places):
    write_object_cxr(
        places / "data" / "gone", phantom(patients=20, studies=1, views=1, size=32, seed=2, difficulty=0.0)
    )
    split = {"shares": [0.8, 0.2, 0.0], "tested": "split"}
    small = {"steps": 2, "rates": [1e-3], "width": 16}
    study = {"parts": {"boxes": {"evaluate": {"detect_yolo": small}}}}
    done = run(places, sets={"gone": {"split": split, "study": study}})
    assert done.sentence == "4 of 4 tasks have numbers" and not done.faults
