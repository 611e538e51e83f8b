import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dicom_writing import write
from sidelight.commands.init import init
from sidelight.data.annotations import annotations_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.guess.drawn_tables import table_tasks

IMAGES = [f"images/c{number}.png" for number in range(4)]


def told(**columns):
    return [(name, list(lines)) for name, _, lines in table_tasks({"t.csv": pd.DataFrame(columns, dtype=str)}, IMAGES)]


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["x", "y", "width", "height"], "xywh"),
        (["x_min", "y_min", "x_max", "y_max"], "xyxy"),
        (["X1", "Y1", "X2", "Y2"], "xyxy"),
    ],
)
def test_boxes_by_the_names_of_their_columns(names, form):
    columns = {
        "image_id": ["c0", "c0", "c1"],
        "class_name": ["Mass", "Nodule", ""],
        **{name: ["1", "2", ""] for name in names},
    }
    ((name, lines),) = told(**columns)
    assert name == "boxes" and lines[0] == f"boxes = {names}".replace("'", '"')
    assert lines[1].startswith(f'box_format = "{form}"')
    assert lines[2:] == ['table = {file = "t.csv", on = ["stem=image_id"]}', 'label = "class_name"']


def test_run_lengths_and_how_they_count():
    assert told(name=["c0.png", "c1.png"], rle=["5 2 9 3", "-1"]) == [
        ("masks", ['mask = "rle"', 'mask_format = "rle"  # or another one: look at the contact sheet',
                   'table = {file = "t.csv", on = ["name=name"]}'])
    ]  # fmt: skip
    ((_, lines),) = told(name=["c0.png"], EncodedPixels=["50 2 9 3"])
    assert lines[1].startswith('mask_format = "rle_siim"')


def test_other_tables_are_none():
    assert told(image=["c0", "c1"], x=["1", "2"], y=["1", "2"]) == []
    assert told(image=["d0", "d1"], x=["1"] * 2, y=["1"] * 2, w=["1"] * 2, h=["1"] * 2) == []
    assert told(image=["c0", "c1"], mask=["a.png", "b.png"]) == []


def test_a_folder_with_a_table_of_boxes_is_drafted_and_opens(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(8):
        values = np.random.default_rng(number).integers(0, 255, (20, 30)).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / "images" / f"c{number}.png")
    rows = [f"c{number},{1 + number},2,4,5,{'mass' if number % 2 else 'nodule'}" for number in range(7)]
    (tmp_path / "boxes.csv").write_text(
        "\n".join(["image,x,y,width,height,label", *rows, "c0,9,9,2,2,mass", "c7,,,,,"])
    )
    init(tmp_path)
    found = annotations_of(Cohort.open(tmp_path), "boxes")
    assert found.classes == ("mass", "nodule") and len(found.positions) == 8
    assert found.boxes(0).corners.tolist() == [[1, 2, 5, 7], [9, 9, 11, 11]] and not len(found.boxes(7).label)


def test_the_same_beside_dicom(tmp_path):
    pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
    for number in range(8):
        values = np.random.default_rng(number).integers(0, 255, (20, 30)).astype(np.uint8)
        write(
            tmp_path / "train" / f"c{number}.dcm",
            values,
            modality="DX",
            PatientID=f"q{number}",
            StudyInstanceUID=f"1.{number}",
        )
    rows = [f"c{number},,,,,0" if number % 2 else f"c{number},1,2,4,5,1" for number in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]))
    init(tmp_path)
    found = annotations_of(Cohort.open(tmp_path), "boxes")
    assert [len(found.boxes(at).label) for at in found.positions] == [1, 0] * 4
