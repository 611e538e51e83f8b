import json

import numpy as np
import pytest
from PIL import Image

from sidelight.data.annotations import annotations_of
from sidelight.data.annotations.coco import Boxed, box_of, coco_of, mask_of_mark, read_coco
from sidelight.data.annotations.drawn import Box, Counts, Misdrawn, Polygons
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import DataError

SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]


def written(folder, annotations, **more):
    said = {
        "images": [{"id": 7, "file_name": "a.png", "height": 5, "width": 7}, {"id": 8, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "nodule"}, {"id": 5, "name": "mass"}],
        "annotations": annotations,
    }
    path = folder / "coco.json"
    path.write_text(json.dumps({**said, **more}))
    return path


def test_boxes_polygons_and_run_lengths(tmp_path):
    annotations = [
        {"image_id": 7, "category_id": 1, "bbox": [1, 1, 2, 2], "segmentation": SQUARE},
        {"image_id": 7, "category_id": 5, "segmentation": {"size": [5, 7], "counts": ";230008O"}},
        {"image_id": 7, "category_id": 5, "segmentation": {"size": [5, 7], "counts": [0, 35]}, "iscrowd": 1},
    ]
    found = read_coco(written(tmp_path, annotations), "coco.json")
    assert found.categories == ("nodule", "mass") and found.images["b.png"] == ()
    one, packed, plain = found.images["a.png"]
    assert (one.category, packed.category, plain.crowd) == ("nodule", "mass", True)
    assert box_of(one, 3) == Box((1, 1, 2, 2), "xywh", 3)
    drawn = [mask_of_mark(mark, 0) for mark in (one, packed, plain)]
    assert [type(one) for one in drawn] == [Polygons, Counts, Counts]
    assert [int(np.sum(one.plane(5, 7))) for one in drawn] == [4, 7, 35]
    with pytest.raises(Misdrawn, match=r"7 x 5 image.*8 x 5"):
        drawn[1].plane(5, 8)


def test_annotations_without_what_is_asked(tmp_path):
    annotations = [
        {"image_id": 7, "category_id": 1},
        {"image_id": 7, "category_id": 1, "segmentation": {"counts": [1]}},
    ]
    bare, sizeless = read_coco(written(tmp_path, annotations), "coco.json").images["a.png"]
    with pytest.raises(DataError, match="'nodule' has no bbox"):
        box_of(bare, 0)
    with pytest.raises(DataError, match="'nodule' has no segmentation"):
        mask_of_mark(bare, 0)
    with pytest.raises(DataError, match="unknown segmentation"):
        mask_of_mark(sizeless, 0)


def test_one_broken_annotation_loses_its_image_alone(tmp_path):
    good = {"image_id": 8, "category_id": 1, "bbox": [1, 1, 2, 2]}
    for broken in ({"category_id": 99}, {"category_id": 1, "bbox": [1, 2]}, {"category_id": 1, "bbox": "none"}, {}):
        found = read_coco(written(tmp_path, [{"id": 3, "image_id": 7, **broken}, good]), "coco.json")
        assert list(found.faulty) == ["a.png"] and "coco.json: annotation 3 has" in found.faulty["a.png"]
        assert len(found.images["b.png"]) == 1 and found.strays == 0
    found = read_coco(written(tmp_path, [{**good, "image_id": 99}, good, "x", {"image_id": []}]), "coco.json")
    assert (found.strays, dict(found.faulty), len(found.images["b.png"])) == (3, {}, 1)


@pytest.mark.parametrize(
    ("annotations", "more", "said"),
    [
        (None, {}, "no whole COCO file"),
        ([], {"images": None}, "no whole COCO file"),
        ([], {"images": [{"id": 1}]}, "lacks 'file_name'"),
        ([], {"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]}, "twice"),
    ],
)
def test_files_that_are_not_whole(tmp_path, annotations, more, said):
    with pytest.raises(DataError, match=said):
        read_coco(written(tmp_path, annotations, **more), "coco.json")


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_coco(tmp_path / "none.json", "none.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="no whole COCO"):
        read_coco(tmp_path / "deep.json", "deep.json")


def test_boxes_that_are_written_are_read_back_by_a_task(tmp_path):
    for name in ("a", "b"):
        Image.linear_gradient("L").resize((30, 20)).save(tmp_path / f"{name}.png")
    images = [
        Boxed("a.png", 20, 30, [[1.5, 2.0, 11.5, 8.0], [0.0, 0.0, 30.0, 20.0]], [1, 0], [0.9, 0.25], {"unit": "00ff"}),
        Boxed("b.png", 20, 30, [], [], []),
    ]
    said = coco_of(images, ("nodule", "mass"), {"use": "research"})
    assert said["images"][0] == {"id": 1, "file_name": "a.png", "width": 30, "height": 20, "unit": "00ff"}
    first = said["annotations"][0]
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [1.5, 2, 10, 6],
        "area": 60,
        "iscrowd": 0,
        "score": 0.9,
    }
    (tmp_path / "found.json").write_text(json.dumps(said))
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"\n[task.found]\nboxes = "found.json"\n')
    cohort = Cohort.open(tmp_path)
    found = annotations_of(cohort, "found")
    assert found.classes == ("mass", "nodule") and len(found.positions) == 2
    boxes = [found.boxes(position) for position in range(2)]
    assert boxes[0].corners.tolist() == images[0].corners and boxes[0].label.tolist() == [0, 1]
    assert len(boxes[1].corners) == 0
