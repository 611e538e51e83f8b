"""Drafted tasks of masks and boxes: each layout is written, drafted, opened, and its masks are read."""

import json
import tomllib

import numpy as np
import pytest
from PIL import Image

from sidelight.commands.init import init
from sidelight.data.annotations import annotations_of
from sidelight.data.cohort.cohort import Cohort

SIDE = 24
MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[4:10, 6:12] = 1
NAMES = [f"case{number:03d}" for number in range(12)]


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        save(tmp_path / "images" / f"{name}.png", rng.integers(0, 255, (SIDE, SIDE)))
    return tmp_path


def drafted(folder, task):
    """The drafted task, and what is drawn on the first image."""
    spec = tomllib.loads(init(folder).read_text(encoding="utf-8"))
    assert spec["images"] == {"fit": "pad"}
    cohort = Cohort.open(folder)
    assert len(cohort.items) == len(NAMES) and not cohort.broken and (folder / ".sidelight" / "contact.html").is_file()
    found = annotations_of(cohort, task)
    assert len(found.positions) == len(NAMES)
    drawn = found.masks(0).sum((0, 2, 3)) if found.task.localized == "mask" else found.boxes(0).corners
    return spec["task"][task], found.classes, drawn.tolist()


def test_masks_of_one_class(folder):
    for name in NAMES:
        save(folder / "masks" / f"{name}.png", MASK * 255)
    assert drafted(folder, "masks") == ({"mask": "masks"}, ("masks",), [36])


def test_masks_of_classes_by_value(folder):
    for name in NAMES:
        save(folder / "masks" / f"{name}_mask.png", MASK + 3 * MASK.T)
    task, classes, drawn = drafted(folder, "masks")
    assert task == {"mask": "masks", "classes": {"1": "class 1", "3": "class 3", "4": "class 4"}}
    both = int((MASK & MASK.T).sum())
    assert classes == ("class 1", "class 3", "class 4") and drawn == [36 - both, 36 - both, both]


def test_masks_of_a_class_each(folder):
    for place, name in enumerate(NAMES):
        save(folder / "masks" / f"{name}__lung.png", MASK)
        if place % 2 == 0:
            save(folder / "masks" / f"{name}__heart.png", MASK.T)
    task, classes, drawn = drafted(folder, "masks")
    assert task["mask"].endswith("__{label}.png") and task["where_missing"] == "empty_beside_others"
    assert (classes, drawn) == (("heart", "lung"), [36, 36])


def test_arrays_of_image_and_mask(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        np.savez(
            tmp_path / f"{name}.npz",
            image=rng.integers(0, 255, (5, SIDE, SIDE)).astype(np.uint8),
            label=np.stack([MASK] * 5),
        )
    assert drafted(tmp_path, "masks") == ({"mask": "masks"}, ("masks",), [180])


@pytest.mark.parametrize("polygons", [False, True])
def test_coco(folder, polygons):
    more = {"segmentation": [[6, 4, 12, 4, 12, 10, 6, 10]]} if polygons else {}
    said = {
        "images": [{"id": place, "file_name": f"{name}.png"} for place, name in enumerate(NAMES)],
        "categories": [{"id": 1, "name": "nodule"}],
        "annotations": [{"image_id": place, "category_id": 1, "bbox": [6, 4, 6, 6], **more} for place in range(12)],
    }
    (folder / "coco.json").write_text(json.dumps(said))
    (folder / "other.json").write_text(json.dumps({"images": []}))
    key, name, drawn = ("mask", "masks", [36]) if polygons else ("boxes", "boxes", [[6, 4, 12, 10]])
    assert drafted(folder, name) == ({key: "coco.json"}, ("nodule",), drawn)


def test_voc(folder):
    box = "<bndbox><xmin>7</xmin><ymin>5</ymin><xmax>12</xmax><ymax>10</ymax></bndbox>"
    (folder / "xml").mkdir()
    for name in NAMES:
        (folder / "xml" / f"{name}.xml").write_text(
            f"<annotation><object><name>nodule</name>{box}</object></annotation>"
        )
    assert drafted(folder, "boxes") == ({"boxes": "xml/{stem}.xml"}, ("nodule",), [[6, 4, 12, 10]])


def test_yolo_in_two_folders(folder):
    for place, name in enumerate(NAMES):
        path = folder / "labels" / ("train" if place % 3 else "val") / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1 0.5 0.5 0.5 0.25\n")
    (folder / "data.yaml").write_text("names: [nodule, mass]\n")
    task = {"boxes": "labels/**/{stem}.txt", "classes": ["nodule", "mass"]}
    assert drafted(folder, "boxes") == (task, ("nodule", "mass"), [[6, 9, 18, 15]])


def test_notes_beside_images_are_no_boxes(folder):
    for name in NAMES:
        (folder / "images" / f"{name}.txt").write_text("There is a nodule.")
        (folder / "images" / f"{name}.xml").write_text("<svg/>")
    (folder / "list.json").write_text("[1, 2]")
    assert "task.boxes" not in init(folder).read_text() and not Cohort.open(folder).tasks
