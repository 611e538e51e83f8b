"""Suites: sets that are absent or broken, and parts that cannot be judged, are named, and everything else goes on."""

import json

import pytest
from PIL import Image

from radiograph_layouts import write_covid_rural, write_object_cxr, write_siim
from sidelight.commands.suite import is_suite, suite
from sidelight.data.phantoms.chest import phantom
from sidelight.errors import ConfigError, EncoderError

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
    assert [one["state"] for one in said] == ["done", "done", "absent"]
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
        ({"common": {"encoders": {"imagenet": {"weights": "imagenet"}}}}, "No ImageNet weights of test_byobnet"),
    ):
        with pytest.raises((ConfigError, EncoderError), match=said):
            run(places, **settings)
    with pytest.raises(ConfigError, match="was given no data"):
        suite(places / "suite.toml", out=places / "out")


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
