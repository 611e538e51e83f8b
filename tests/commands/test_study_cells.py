"""A finished number or run stands for what was asked: where labels, masks, metadata or reports change, it is made anew."""

import os

import numpy as np
import pytest
from PIL import Image

import sidelight
from sidelight.commands.study import prepared
from sidelight.commands.study_file import StudyFile
from sidelight.config import build
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.reports.reports import report_state
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


def opened(folder):
    return prepared(
        build(StudyFile, STUDY), str(folder), folder / "out", "", cache=None, quiet=True, allow_outside=False
    )


def places(folder):
    """Of each part and row the file of its scores, and of each row with a method its run."""
    work = opened(folder)
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


def test_what_is_known_to_hold_nothing_is_judged_too(folder):
    rows = (folder / "rows.csv").read_text()
    (folder / "rows.csv").write_text(rows.replace(",1 2 3 4", ",", 5))
    text = COHORT.replace('box_format = "xywh"', 'box_format = "xywh"\nwhere_missing = "unknown"')
    (folder / "cohort.toml").write_text(text)
    before = places(folder)
    (folder / "cohort.toml").write_text(text.replace("unknown", "empty"))
    assert changed(before, places(folder)) == [of("boxes"), set()]


def test_pixels_of_a_mask_that_lie_beside_it_count(folder):
    header = "ObjectType = Image\nNDims = 2\nDimSize = 32 32\nElementType = MET_UCHAR\nElementDataFile = {name}.raw\n"
    for at in range(30):
        (folder / "masks" / f"i{at}.mhd").write_text(header.format(name=f"i{at}"))
        (folder / "masks" / f"i{at}.raw").write_bytes(bytes(1024))
    (folder / "cohort.toml").write_text(COHORT.replace("masks/{image}.png", "masks/{image}.mhd"))
    before = places(folder)
    (folder / "masks" / "i3.raw").write_bytes(bytes([1] * 1024))
    os.utime(folder / "masks" / "i3.raw", (1, 1))
    assert changed(before, places(folder)) == [of("spots"), set()]


def test_a_study_keeps_its_names_while_files_change_under_it(folder):
    work = opened(folder)
    cell = next(one for one in work.cells() if one.part_name == "spots")
    before = work.file_of(cell)[0]
    os.utime(folder / "masks" / "i3.png", (1, 1))
    assert work.file_of(cell)[0] == before != opened(folder).file_of(cell)[0]


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


@pytest.mark.parametrize(
    ("method", "read", "before", "after"),
    [
        ("slimp", "metadata", '["age", "smoker"]', '["age"]'),
        ("slimp", "metadata", "i3,p3,0,33", "i3,p3,0,34"),
        ("clip", "reports", "33,yes,Nodule", "33,yes,Large nodule"),
    ],
)
def test_a_run_is_not_gone_on_with_on_other_metadata_or_reports(folder, method, read, before, after):
    common = {"out": folder / "run", "cache": str(folder / "cache"), "quiet": True, "encoder": "test_byobnet"}
    common |= {"image_size": 32, "steps": 2, "device": "cpu"}
    if method == "clip":
        common |= {"text": {"width": 16, "layers": 1, "heads": 2}}
    file = folder / ("rows.csv" if before not in COHORT else "cohort.toml")
    sidelight.pretrain(method, str(folder), **common)
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(RunError, match=rf"written by other settings: learns_from\.{read}"):
        sidelight.pretrain(method, str(folder), **common)
    file.write_text(text)
    sidelight.pretrain(method, str(folder), **common)


def test_exchanged_reports_are_other_ones_and_a_copy_of_their_files_is_not(folder):
    def state(root):
        return report_state(Cohort.open(root))

    before, rows = state(folder), (folder / "rows.csv").read_text()
    (folder / "rows.csv").write_text(rows.replace("33,yes,Nodule", "33,yes,Mass"))
    mass_is_fourth = state(folder)
    (folder / "rows.csv").write_text(rows.replace("34,no,Nodule", "34,no,Mass"))
    assert len({before, mass_is_fourth, state(folder)}) == 3
    for at in range(30):
        (folder / f"i{at}.txt").write_text("A nodule.")
    (folder / "cohort.toml").write_text(COHORT.replace('"words"', '{files = ["{image}.txt"]}'))
    before = state(folder)
    os.utime(folder / "i3.txt", (1, 1))
    assert state(folder) == before


def test_a_row_goes_on_that_starts_from_one_that_could_not_be_judged(folder):
    plan = STUDY | {"encoders": {"first": {"method": "slimp"}, "second": {"method": "slimp", "start": "first"}}}
    work = prepared(
        build(StudyFile, plan), str(folder), folder / "out", "", cache=None, quiet=True, allow_outside=False
    )
    left = work.without({("grade", "first"): "why", ("spots", "first"): "why", ("spots", "second"): "why"})
    named = [(cell.part_name, cell.encoder) for cell in left.cells()]
    assert named == [("grade", "second"), ("boxes", "first"), ("boxes", "second")]
    assert [left.run_of(cell).name for cell in left.cells()] == [
        work.run_of(cell).name for cell in work.cells() if (cell.part_name, cell.encoder) in named
    ]
    assert set(left.plan.parts) == {"grade", "boxes"}


def test_a_later_stage_starts_from_the_earlier_one_and_not_from_the_weights_of_the_study(folder, tmp_path):
    rows = {"first": {"method": "slimp"}, "second": {"method": "slimp", "start": "first"}}
    pretrain = {**STUDY["pretrain"], "initial": "imagenet"}
    plan = build(StudyFile, {**STUDY, "pretrain": pretrain, "encoders": rows})
    work = prepared(plan, str(folder), tmp_path / "out", "", cache=None, quiet=True, allow_outside=False)
    given = {cell.encoder: work.recipe(cell)[0].get("initial") for cell in work.cells()}
    assert given == {"first": "imagenet", "second": None}
