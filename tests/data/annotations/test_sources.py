"""Every way of saying masks and boxes in ``cohort.toml``, on folders of tiny pictures."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from dicom_writing import write
from sidelight.data.annotations import annotations_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.units import units
from sidelight.errors import ConfigError, DataError

ROWS, COLUMNS = 4, 6
SPOT = np.zeros((ROWS, COLUMNS), np.uint8)
SPOT[1:3, 2:4] = 255


def picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Four images of two patients; the masks are what each test writes."""
    noise = np.random.default_rng(0).integers(0, 255, (4, ROWS, COLUMNS)).astype(np.uint8)
    for values, name in zip(noise, ("p1_a", "p1_b", "p2_a", "p2_b"), strict=True):
        picture(tmp_path / "images" / f"{name}.png", values)
    return tmp_path


def opened(folder, task, *, name="lesion", **keys) -> Cohort:
    spec = {"files": "images/{patient}_{image}.png", "levels": ["patient"], "task": {name: task}, **keys}
    (folder / "cohort.toml").write_text("\n".join(f"{key} = {toml(value)}" for key, value in spec.items()))
    return Cohort.open(folder)


def toml(value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value) if not isinstance(value, list) else "[" + ", ".join(map(toml, value)) + "]"


def drawn(cohort, name="lesion"):
    """Of each known item the pixels of each class, or its boxes with their classes."""
    found = annotations_of(cohort, name)
    items = cohort.items["item"].str.removeprefix("images/").str.removesuffix(".png")
    if found.task.localized == "mask":
        return {items[at]: found.masks(at).sum((0, 2, 3)).tolist() for at in found.positions}
    boxes = {at: found.boxes(at) for at in found.positions}
    return {
        items[at]: [(found.classes[label], *map(float, box)) for label, box in zip(one.label, one.corners, strict=True)]
        for at, one in boxes.items()
    }


def notes(cohort, name="lesion"):
    return cohort.tasks[name].drawings.notes


def faulty(cohort, name="lesion"):
    return " ".join(cohort.tasks[name].drawings.faulty.values())


def test_a_file_per_image_and_what_is_missing(folder):
    picture(folder / "masks" / "p1_a_lesion.png", SPOT)
    picture(folder / "masks" / "p2_b_lesion.png", SPOT * 0)
    picture(folder / "masks" / "p9_z_lesion.png", SPOT)
    cohort = opened(folder, {"mask": "masks/{patient}_{image}_lesion.png"})
    assert drawn(cohort) == {"p1_a": [4], "p2_b": [0]}
    assert cohort.tasks["lesion"].classes == ("lesion",) and cohort.tasks["lesion"].heads[0].kind == "mask"
    assert units(cohort, cohort.tasks["lesion"])[["unit", "group", "label"]].to_numpy().tolist() == [
        ["images/p1_a.png", "p1", 0],
        ["images/p2_b.png", "p2", 0],
    ]
    said = " ".join(notes(cohort))
    assert "2 of 4 items have no mask: they are left out" in said and "1 mask files or rows belong to no item" in said
    assert not cohort.notices  # commands that learn classes do not speak of masks
    empty = opened(folder, {"mask": "masks/{stem}_lesion.png", "where_missing": "empty"})
    assert drawn(empty) == {"p1_a": [4], "p1_b": [0], "p2_a": [0], "p2_b": [0]}
    chosen = opened(folder, {"mask": "masks/{stem}_lesion.png", "where": {"patient": "p2"}})
    assert drawn(chosen) == {"p2_b": [0]}


def test_masks_beside_their_images_are_no_items(folder):
    picture(folder / "images" / "p1_a_mask.png", SPOT)
    cohort = opened(folder, {"mask": "images/{patient}_{image:[a-z]}_mask.png"})
    assert len(cohort.items) == 4 and drawn(cohort) == {"p1_a": [4]}
    assert len(Cohort.open(folder, labels=False).items) == 4


def test_several_files_of_one_image_are_united(folder):
    picture(folder / "masks" / "p1_a_1.png", SPOT)
    picture(folder / "masks" / "p1_a_2.png", SPOT[::-1])
    assert drawn(opened(folder, {"mask": "masks/{stem}_{n:[0-9]}.png"})) == {"p1_a": [4]}
    picture(folder / "masks" / "p1_a_2.png", np.roll(SPOT, 2, axis=1))
    assert drawn(opened(folder, {"mask": "masks/{stem}_{n:[0-9]}.png"})) == {"p1_a": [8]}


def test_classes_by_value(folder):
    picture(folder / "masks" / "p1_a.png", SPOT // 255 + (np.arange(COLUMNS) == 0) * 7)
    task = {"mask": "masks/{stem}.png", "classes": {"1": "lung", "7": "heart"}}
    assert drawn(opened(folder, task)) == {"p1_a": [4, 4]}
    assert drawn(opened(folder, {**task, "classes": {"1": "both", "7": "both"}})) == {"p1_a": [8]}
    assert drawn(opened(folder, {**task, "classes": {"1": "lung"}, "ignore": [7]})) == {"p1_a": [4]}
    cohort = opened(folder, {**task, "classes": {"one": "lung"}})
    with pytest.raises(ConfigError, match="names the value 'one' of a mask"):
        raise_broken(cohort)


def raise_broken(cohort, name="lesion"):
    """The reason why the task cannot be used, with its kind."""
    assert name in cohort.broken
    text = cohort.broken[name]
    raise (ConfigError if "DataError" not in text else DataError)(text)


def test_a_file_per_class(folder):
    for label in ("lung", "heart"):
        picture(folder / "masks" / f"p1_a__{label}.png", SPOT)
    picture(folder / "masks" / "p2_a__lung.png", SPOT)
    picture(folder / "masks" / "p2_b__tube.png", SPOT)
    task = {"mask": "masks/{stem}__{label}.png", "classes": ["lung", "heart"]}
    cohort = opened(folder, task)
    assert drawn(cohort) == {"p1_a": [4, 4]}
    assert "1 items have a mask of some classes only: they are left out" in " ".join(notes(cohort))
    assert cohort.tasks["lesion"].drawings.unnamed == {"tube": 1}
    beside = opened(folder, {**task, "where_missing": "empty_beside_others"})
    assert drawn(beside) == {"p1_a": [4, 4], "p2_a": [4, 0], "p2_b": [0, 0]}
    every = opened(folder, {**task, "where_missing": "empty"})
    assert drawn(every) == {"p1_a": [4, 4], "p1_b": [0, 0], "p2_a": [4, 0], "p2_b": [0, 0]}
    named = opened(folder, {**task, "classes": {"heart": "Heart", "lung": "Lung"}})
    assert named.tasks["lesion"].classes == ("Heart", "Lung")
    free = {"mask": task["mask"], "where_missing": "empty_beside_others"}
    assert opened(folder, free).tasks["lesion"].classes == ("heart", "lung", "tube")
    with pytest.raises(ConfigError, match="where_missing = 'empty_beside_others'"):
        raise_broken(opened(folder, {"mask": task["mask"]}))
    own = opened(folder, {"mask": {"Lung": "masks/{stem}__lung.png", "Heart": "masks/{stem}__heart.png"}})
    assert own.tasks["lesion"].classes == ("Lung", "Heart") and drawn(own) == {"p1_a": [4, 4]}


def table(folder, text, name="t.csv"):
    (folder / name).write_text(text)
    return {"file": name, "on": ["stem=image"]}


def test_run_lengths_of_a_table_with_several_rows(folder):
    rows = table(folder, "image,rle\np1_a,1 2 3 1\np1_a,0 1\np1_b,-1\np2_a,\np7_a,1 1\n")
    cohort = opened(folder, {"mask": "rle", "mask_format": "rle_siim", "table": rows})
    assert drawn(cohort) == {"p1_a": [4], "p1_b": [0], "p2_a": [0]}
    assert "1 mask files or rows belong to no item" in " ".join(notes(cohort))
    labelled = table(folder, "image,rle,organ\np1_a,1 2,lung\np1_a,1 5,heart\np1_b,,lung\n", "l.csv")
    task = {"mask": "rle", "mask_format": "rle", "table": labelled, "label": "organ"}
    assert drawn(opened(folder, task)) == {"p1_a": [5, 2], "p1_b": [0, 0]}
    with pytest.raises(ConfigError, match=r"'heart' \(1\) are no class.*ignore"):
        raise_broken(opened(folder, {**task, "classes": ["lung"]}))
    assert drawn(opened(folder, {**task, "classes": ["lung"], "ignore": ["heart"]})) == {"p1_a": [2], "p1_b": [0]}


def test_a_column_of_the_items(folder):
    picture(folder / "m" / "x.png", SPOT)
    joined = [table(folder, "image,path,corners\np1_a,m/x.png,0 0 2 0 2 2 0 2\np1_b,,\n")]
    assert drawn(opened(folder, {"mask": "path"}, tables=joined)) == {"p1_a": [4]}
    polygons = opened(folder, {"mask": "corners", "mask_format": "polygon"}, tables=joined)
    assert drawn(polygons) == {"p1_a": [4]}
    wrong = opened(folder, {"mask": "pth"}, tables=joined)
    with pytest.raises(ConfigError, match=r"'pth', which no item has.*'path'"):
        raise_broken(wrong)


BOXES = "image,x,y,w,h,kind\np1_a,1,1,2,2,nodule\np1_a,0,0,6,4,mass\np1_b,,,,,\np2_a,1,1,oops,2,mass\n"


def test_boxes_of_a_table(folder):
    task = {"boxes": ["x", "y", "w", "h"], "box_format": "xywh", "label": "kind", "table": table(folder, BOXES)}
    cohort = opened(folder, task)
    assert drawn(cohort) == {"p1_a": [("nodule", 1, 1, 3, 3), ("mass", 0, 0, 6, 4)], "p1_b": []}
    assert cohort.tasks["lesion"].classes == ("mass", "nodule") and cohort.tasks["lesion"].heads[0].kind == "boxes"
    assert "what is said of 1 items cannot be used" in " ".join(notes(cohort))
    one = opened(folder, {**task, "classes": {"nodule": "finding", "mass": "finding"}})
    assert drawn(one)["p1_a"] == [("finding", 1, 1, 3, 3), ("finding", 0, 0, 6, 4)]
    with pytest.raises(ConfigError, match=r"box_format = \"xywh\""):
        raise_broken(opened(folder, {key: value for key, value in task.items() if key != "box_format"}))
    filled = {"mask": task.pop("boxes"), **task}
    assert drawn(opened(folder, filled)) == {"p1_a": [24, 4], "p1_b": [0, 0]}


def test_a_column_of_boxes_per_class(folder):
    joined = [table(folder, 'image,right,left\np1_a,"0 0 1 1","2,0,1,1"\np1_b,1 1 1 1,\n')]
    task = {"boxes": {"right lung": "right", "left lung": ["left"]}, "box_format": "xywh"}
    assert drawn(opened(folder, task, tables=joined)) == {
        "p1_a": [("right lung", 0, 0, 1, 1), ("left lung", 2, 0, 3, 1)]
    }


def test_coco_by_path_name_and_stem(folder):
    said = {
        "images": [
            {"id": 1, "file_name": "images/p1_a.png"},
            {"id": 2, "file_name": "p1_b.png"},
            {"id": 3, "file_name": "elsewhere/p2_a.jpg"},
            {"id": 4, "file_name": "p9_a.png"},
        ],
        "categories": [{"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
            {
                "image_id": 3,
                "category_id": 2,
                "bbox": [0, 0, 1, 1],
                "segmentation": {"size": [4, 6], "counts": [0, 24]},
            },
            {"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1], "iscrowd": 1, "segmentation": [[9, 9, 8, 8, 9, 8]]},
        ],
    }
    (folder / "coco.json").write_text(json.dumps(said))
    boxes = opened(folder, {"boxes": "coco.json"})
    assert drawn(boxes) == {"p1_a": [("nodule", 1, 1, 3, 3)], "p1_b": [], "p2_a": [("mass", 0, 0, 1, 1)]}
    masks = opened(folder, {"mask": "coco.json", "classes": ["nodule", "mass"]})
    found = annotations_of(masks, "lesion")
    assert found.masks(0).sum((0, 2, 3)).tolist() == [4, 0] and found.masks(2).sum((0, 2, 3)).tolist() == [0, 24]
    with pytest.raises(DataError, match="inside its 6 x 4 image"):
        found.masks(1)


def test_voc_and_yolo(folder):
    (folder / "xml").mkdir()
    (folder / "labels").mkdir()
    one = "<object><name>mass</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"
    (folder / "xml" / "p1_a.xml").write_text(f"<annotation>{one}</annotation>")
    (folder / "xml" / "p1_b.xml").write_text("<annotation>")
    cohort = opened(folder, {"boxes": "xml/{stem}.xml"})
    assert drawn(cohort) == {"p1_a": [("mass", 0, 1, 3, 4)]} and "p1_b.xml: is no XML" in faulty(cohort)
    (folder / "labels" / "p1_a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (folder / "labels" / "p2_a.txt").write_text("")
    task = {"boxes": "labels/{stem}.txt", "classes": ["nodule", "mass"]}
    assert drawn(opened(folder, task)) == {"p1_a": [("mass", 1.5, 1, 4.5, 3)], "p2_a": []}
    (folder / "labels" / "p1_a.txt").write_text("0 0 0 0.5 0 0.5 1 0 1\n")
    masks = {"mask": "labels/{stem}.txt", "classes": {"0": "nodule"}}
    assert drawn(opened(folder, masks)) == {"p1_a": [12], "p2_a": [0]}
    assert "holds a polygon. Say `mask`" in faulty(opened(folder, task))


def test_masks_of_the_frames_of_a_stack(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (3, ROWS, COLUMNS)).astype(np.uint8)
    for n, values in enumerate(noise):
        picture(tmp_path / "s" / "p1" / f"{n * 5}.png", values)
    picture(tmp_path / "m" / "p1" / "10.png", SPOT)
    picture(tmp_path / "m" / "p1" / "0.png", SPOT // 255 * (np.arange(COLUMNS) == 2))
    stack = {"files": "s/{patient}/{slice}.png", "stack": "slice"}
    cohort = opened(tmp_path, {"mask": "m/{patient}/{slice}.png"}, **stack)
    found = annotations_of(cohort, "lesion")
    assert found.masks(0).sum((1, 2, 3)).tolist() == [2, 0, 4]
    assert found.masks(0, [2, 0]).sum((1, 2, 3)).tolist() == [4, 2]


def test_a_volume_is_no_mask_of_dicom_files(tmp_path):
    pytest.importorskip("pydicom")
    for patient in "ab":
        write(tmp_path / "ct" / f"{patient}.dcm", np.arange(24, dtype=np.int16).reshape(4, 6))
        (tmp_path / "seg").mkdir(exist_ok=True)
        (tmp_path / "seg" / f"{patient}.nii.gz").write_bytes(b"any")
    cohort = opened(tmp_path, {"mask": "seg/{stem}.nii.gz"}, files="ct/{image}.dcm", levels=[])
    with pytest.raises(ConfigError, match=r"seg/a.nii.gz: a volume as the mask of DICOM files.*segmentation object"):
        raise_broken(cohort)


def test_optional_and_nothing_there(folder):
    cohort = opened(folder, {"mask": "masks/{stem}.png", "optional": True})
    assert not cohort.tasks and not cohort.broken and "nothing is drawn on any item" in " ".join(cohort.notices)
    rows = {"boxes": ["x", "y", "w", "h"], "box_format": "xywh", "table": {"file": "t.csv", "on": ["stem=image"]}}
    for task, why in (
        ({"boxes": "coco.json"}, "coco.json is not there"),
        (rows, "t.csv is not there"),
        ({"mask": "no"}, "'no'"),
    ):
        cohort = opened(folder, {**task, "optional": True})
        assert not cohort.tasks and not cohort.broken and why in " ".join(cohort.notices)
    with pytest.raises(ConfigError, match=r"no item has a mask: 'masks/{stem}.png' meets none"):
        raise_broken(opened(folder, {"mask": "masks/{stem}.png"}))


@pytest.mark.parametrize(
    ("task", "keys", "said"),
    [
        ({"mask": "m/x.png"}, {}, "shares no name with the items"),
        ({"mask": "m/{stem}.png"}, {"images": {"crop": "sector"}}, "crop = 'sector' cuts what is not written down"),
        ({"mask": "m/{stem}.xml"}, {}, "VOC files hold boxes"),
        ({"boxes": "m/{stem}.png"}, {}, r"COCO \(.json\), VOC"),
        ({"boxes": ["x", "y"], "box_format": "xywh"}, {}, "names 2 columns"),
        ({"mask": "none.json"}, {}, "none.json does not exist"),
        ({"mask": "m/{stem}.png", "mask_format": "rle"}, {}, "Take these out"),
        ({"mask": {"a": "m/{stem}.png"}, "classes": ["a"]}, {}, "Take `classes` out"),
    ],
)
def test_keys_that_do_not_fit(folder, task, keys, said):
    with pytest.raises(ConfigError, match=said):
        raise_broken(opened(folder, task, **keys))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({}, "either label or tasks, or mask, or boxes"),
        ({"mask": "a.json", "boxes": "a.json"}, "Make a task of each"),
        ({"mask": "a.json", "positive": ["x"]}, "it is for classes"),
        ({"mask": "a.json", "unit": "patient"}, "it is drawn on an image"),
        ({"boxes": "a.json", "mask_format": "rle"}, "`mask_format` and boxes"),
        ({"label": "x", "box_format": "xywh"}, "neither `mask` nor `boxes`"),
        ({"label": "x", "phrases": {"a": "b"}}, "`phrases`, but neither `mask` nor `boxes`"),
        ({"mask": "a.json", "where_missing": "none"}, "where_missing"),
        ({"mask": "a.json", "table": {"file": "x.csv"}}, "table.on"),
    ],
)
def test_keys_that_exclude_each_other(folder, task, said):
    with pytest.raises(ConfigError, match=said):
        opened(folder, task)


def test_phrases_of_classes(folder):
    picture(folder / "masks" / "p1_a.png", SPOT // 255)
    task = {"mask": "masks/{stem}.png", "classes": {"1": "opacity", "2": "large_heart"}}
    said = {"opacity": ["ground glass opacity", "consolidation"]}
    found = opened(folder, task | {"phrases": said}).tasks["lesion"]
    assert found.phrases_of("opacity") == ("ground glass opacity", "consolidation")
    assert found.phrases_of("large_heart") == ("large heart",)
    assert opened(folder, task | {"phrases": {"opacity": "one"}}).tasks["lesion"].phrases_of("opacity") == ("one",)
    for wrong, why in (
        ({"opacty": ["x"]}, "'opacity'"),
        ({"opacity": [" "]}, "texts with words"),
        ({"opacity": []}, "with words"),
    ):
        with pytest.raises(DataError, match=why):
            opened(folder, task | {"phrases": wrong}).task("lesion")


def test_a_task_of_masks_is_no_part_of_others(folder):
    picture(folder / "masks" / "p1_a.png", SPOT)
    tasks = {
        "where": {"mask": "masks/{stem}.png"},
        "who": {"label": "patient"},
        "both": {"tasks": ["who", "where"]},
    }
    spec = {"files": "images/{patient}_{image}.png", "levels": ["patient"], "task": tasks}
    (folder / "cohort.toml").write_text("\n".join(f"{key} = {toml(value)}" for key, value in spec.items()))
    cohort = Cohort.open(folder)
    assert cohort.class_tasks == ["who"] and "names 'where', which has a mask target" in cohort.broken["both"]
    with pytest.raises(ConfigError, match="asks for mask"):
        cohort.class_task("where")
