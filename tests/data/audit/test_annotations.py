"""Each fault of masks and boxes, planted once."""

import numpy as np
import pytest
from PIL import Image

from sidelight.data.audit.annotations import annotation_findings
from sidelight.data.audit.leaks import same_pictures
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Record
from sidelight.data.pixels.cache import build

SIDE = 32
MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[8:20, 8:20] = 255


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path):
    """Eight patients with an image and a mask each."""
    for patient in range(8):
        noise = np.random.default_rng(patient).integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
        save(tmp_path / "images" / f"P{patient:02d}.png", noise)
        save(tmp_path / "masks" / f"P{patient:02d}.png", MASK)
    return tmp_path


def found(folder, task='mask = "masks/{stem}.png"', more=""):
    text = f'files = "images/{{patient}}.png"\nlevels = ["patient"]\n{more}\n[task.spot]\n{task}\n'
    (folder / "cohort.toml").write_text(text)
    cohort = Cohort.open(folder, record=Record())
    assert not cohort.broken, cohort.broken
    pixels = build(cohort, size=32, channels=1, folder=folder / "cache", max_bad_fraction=1.0)
    return annotation_findings(cohort, cohort.tasks["spot"], pixels, same_pictures(cohort, pixels))


def told(findings):
    return [(one.severity, one.sentence.removeprefix("Task 'spot': "), one.items) for one in findings]


def test_clean_masks_are_no_finding(folder):
    assert found(folder) == []


@pytest.mark.parametrize(
    ("values", "severity", "sentence"),
    [
        (np.zeros((SIDE, SIDE + 1), np.uint8), "error", "1 of 8 masks are of another size than their image"),
        (MASK // 255 * np.arange(SIDE, dtype=np.uint8), "error", "1 of 8 masks hold values that are no class"),
        (MASK * 0, "note", "1 of 8 masks are empty: they say that nothing is there"),
        (MASK * 0 + 255, "warning", "1 of 8 masks have a class that covers the whole image"),
    ],
)
def test_one_mask_that_is_wrong(folder, values, severity, sentence):
    save(folder / "masks" / "P03.png", values)
    assert told(found(folder)) == [(severity, sentence, ("images/P03.png",))]


def test_a_mask_that_cannot_be_read(folder):
    (folder / "masks" / "P03.png").write_bytes(b"no picture")
    ((severity, sentence, items),) = told(found(folder))
    assert (severity, items) == ("error", ("images/P03.png",)) and sentence.startswith("1 of 8 masks cannot be read")


def test_a_mask_of_other_slices(folder):
    np.save(folder / "masks" / "P03.npy", np.stack([MASK, MASK]))
    (folder / "masks" / "P03.png").unlink()
    assert told(found(folder, 'mask = "masks/{stem}.*"')) == [
        ("error", "1 of 8 masks have other slices than their series", ("images/P03.png",))
    ]


def test_missing_and_stray_masks_are_counted(folder):
    (folder / "masks" / "P03.png").rename(folder / "masks" / "P99.png")
    first, second = told(found(folder))
    assert first[:2] == ("note", "1 of 8 items have no mask (where_missing says what that means)")
    assert second == ("warning", "1 mask files or rows belong to no item", ("masks/P99.png",))


def test_classes_that_are_missing_in_some_or_all(folder):
    for patient in range(8):
        (folder / "masks" / f"P{patient:02d}.png").rename(folder / "masks" / f"P{patient:02d}_a.png")
    save(folder / "masks" / "P01_b.png", MASK * 0)
    save(folder / "masks" / "P01_c.png", MASK)
    task = 'mask = "masks/{stem}_{label}.png"\nclasses = ["a", "b"]\nwhere_missing = "empty_beside_others"'
    sentences = [one[1] for one in told(found(folder, task))]
    assert sentences == [
        "7 items have a mask of some classes only (where_missing says what that means)",
        "`classes` does not name 1 label of files, which are passed over",
        "nothing is drawn of the class 'b'",
    ]


def test_equal_images_with_different_masks(folder):
    for patient in (4, 5):
        save(folder / "images" / f"P0{patient}.png", np.asarray(Image.open(folder / "images" / "P06.png")))
    save(folder / "masks" / "P04.png", MASK.T[::-1])
    torn = [one for one in told(found(folder)) if "equal pixels" in one[1]]
    assert [one[:2] for one in torn] == [("warning", "2 pairs of items with equal pixels have different masks")]
    assert set(torn[0][2]) == {"images/P04.png", "images/P05.png", "images/P06.png"}


def test_masks_that_name_another_patient(folder):
    rows = "\n".join(f"P{patient:02d},masks/P{(patient + 1) % 8:02d}.png" for patient in range(8))
    (folder / "t.csv").write_text(f"patient,path\n{rows}\n")
    (one,) = found(folder, 'mask = "path"', 'tables = [{file = "t.csv", on = ["patient"]}]')
    assert (
        one.severity == "error"
        and "the name of 8 of 8 mask files holds another patient than their image has" in one.sentence
    )


def test_boxes_beyond_the_image_and_without_extent(folder):
    rows = ["P00,1,1,5,5", "P01,1,1,40,5", "P02,3,3,0,4", "P03,-9,1,12,4", "P04,x,1,1,1", "P05,,,,", "P07,0,0,32.5,32"]
    (folder / "t.csv").write_text("\n".join(["patient,x,y,w,h", *rows]))
    task = 'boxes = ["x", "y", "w", "h"]\nbox_format = "xywh"\ntable = {file = "t.csv", on = ["patient"]}'
    assert [one[:2] for one in told(found(folder, task))] == [
        ("note", "1 of 8 items have no box (where_missing says what that means)"),
        ("warning", "what is said of 1 item is no box, so they are left out"),
        ("error", "2 of 5 boxes go beyond their image: is `box_format` right?"),
        ("error", "1 of 5 boxes have no width or no height"),
    ]


def test_a_task_of_classes_has_none():
    cohort = Cohort.open("phantom:chest?patients=4&size=32")
    assert annotation_findings(cohort, cohort.tasks["diagnosis"], None, []) == []
