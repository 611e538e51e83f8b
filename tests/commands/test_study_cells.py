"""A finished number or run stands for what was asked: where labels, masks, metadata or reports change, it is made anew."""

import os

import numpy as np
import pytest
from PIL import Image

import sidelight
from sidelight.commands.study import prepared
from sidelight.commands.study_file import StudyFile
from sidelight.config import build
from sidelight.errors import RunError

COHORT = """
files  = "images/{image}.png"
levels = ["patient"]
report = "words"
[[tables]]
file = "rows.csv"
on   = ["image"]
[roles]
patient = "column:patient"
[metadata]
patient = ["age", "smoker"]
[task.grade]
label    = "grade"
positive = ["2"]
negative = ["0", "1"]
[task.spots]
mask = "masks/{image}.png"
[task.boxes]
boxes      = "box"
box_format = "xywh"
"""
STUDY = {
    "title": "x",
    "seeds": 1,
    "pretrain": {"encoder": "test_byobnet", "image_size": 32, "steps": 1},
    "evaluate": {"folds": 3, "resamples": 100},
    "parts": {
        "grade": {"task": "grade"},
        "spots": {"task": "spots", "protocols": ["segment_linear"]},
        "boxes": {"task": "boxes", "protocols": ["detect_yolo"]},
    },
    "encoders": {
        "random": {},
        "simclr": {"method": "simclr"},
        "slimp": {"method": "slimp"},
        "clip": {"method": "clip"},
    },
}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["image,patient,grade,age,smoker,words,box"]
    for at in range(30):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            image = rng.integers(0, 200, (32, 32), dtype=np.uint8)
            Image.fromarray(image if kind == "images" else (image > 100).astype(np.uint8)).save(
                tmp_path / kind / f"i{at}.png"
            )
        rows.append(f"i{at},p{at},{at % 3},{30 + at},{'yes' if at % 2 else 'no'},Nodule on the left.,1 2 3 4")
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    (tmp_path / "cohort.toml").write_text(COHORT)
    return tmp_path


def places(folder):
    """Of each part and row the file of its scores, and of each row with a method its run."""
    work = prepared(
        build(StudyFile, STUDY), str(folder), folder / "out", "", cache=None, quiet=True, allow_outside=False
    )
    cells = {(cell.part_name, cell.encoder): work.file_of(cell)[0].name for cell in work.cells()}
    runs = {cell.encoder: work.run_of(cell).name for cell in work.cells() if cell.row.method}
    return cells, runs


def changed(before, after):
    return [{key for key in old if old[key] != new[key]} for old, new in zip(before, after, strict=True)]


def of(part, *rows):
    return {(part, row) for row in rows or STUDY["encoders"]}


def test_what_is_the_same_keeps_its_name(folder):
    before = places(folder)
    (folder / "cohort.toml").write_text(
        COHORT + '[task.old]\nlabel = "grade"\npositive = ["1", "2"]\nnegative = ["0"]\n'
    )
    assert changed(before, places(folder)) == [set(), set()], "a further task is no reason to train anew"


def test_another_meaning_of_labels_is_judged_anew_and_nothing_is_trained(folder):
    before = places(folder)
    (folder / "cohort.toml").write_text(COHORT.replace('["2"]', '["1", "2"]').replace('["0", "1"]', '["0"]'))
    assert changed(before, places(folder)) == [of("grade"), set()]


def test_a_mended_mask_is_judged_anew(folder):
    before = places(folder)
    file = folder / "masks" / "i3.png"
    Image.fromarray(np.ones((32, 32), np.uint8)).save(file)
    os.utime(file, (1, 1))
    assert changed(before, places(folder)) == [of("spots"), set()]


def test_other_metadata_train_anew_what_learns_from_them(folder):
    before = places(folder)
    (folder / "cohort.toml").write_text(COHORT.replace('["age", "smoker"]', '["age"]'))
    cells, runs = changed(before, places(folder))
    assert runs == {"slimp"} and cells == of("grade") | of("spots") | of("boxes"), "heads may read them, too"


def test_reports_that_are_read_otherwise_train_anew_what_learns_from_them(folder):
    before = places(folder)
    (folder / "cohort.toml").write_text(COHORT.replace('"words"', '{column = ["words"], hide = ["nodule"]}'))
    cells, runs = changed(before, places(folder))
    assert runs == {"clip"} and cells == of("grade", "clip") | of("spots", "clip") | of("boxes", "clip")


def test_the_numbers_are_those_of_the_labels_as_they_are_now(folder):
    study = folder / "study.toml"
    study.write_text(
        'title = "x"\nseeds = 1\n[pretrain]\nencoder = "test_byobnet"\nimage_size = 32\n[evaluate]\nfolds = 3\n'
        'resamples = 100\n[parts.grade]\ntask = "grade"\n[encoders.random]\n'
    )
    counts = []
    for text in (COHORT, COHORT.replace('["2"]', '["1", "2"]').replace('["0", "1"]', '["0"]')):
        (folder / "cohort.toml").write_text(text)
        done = sidelight.study(study, data=str(folder), out=folder / "out", cache=str(folder / "cache"), quiet=True)
        tested = done.scores[done.scores["step"].eq("selected") & done.scores["all_labels"]]
        counts.append(int(tested["label"].sum()))
    assert counts == [10, 20]


def test_a_run_is_not_gone_on_with_on_other_metadata(folder):
    common = {"out": folder / "run", "cache": str(folder / "cache"), "quiet": True, "encoder": "test_byobnet"}
    common |= {"image_size": 32, "steps": 2, "device": "cpu"}
    sidelight.pretrain("slimp", str(folder), **common)
    (folder / "cohort.toml").write_text(COHORT.replace('["age", "smoker"]', '["age"]'))
    with pytest.raises(RunError, match=r"written by other settings: learns_from\.metadata"):
        sidelight.pretrain("slimp", str(folder), **common)
    (folder / "cohort.toml").write_text(COHORT)
    sidelight.pretrain("slimp", str(folder), **common)
