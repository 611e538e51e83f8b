import pytest

from sidelight.data.annotations.yolo import class_names, read_yolo
from sidelight.errors import ReadError


def written(folder, text):
    path = folder / "a.txt"
    path.write_text(text)
    return path


def test_boxes_and_polygons(tmp_path):
    found = read_yolo(written(tmp_path, "0 0.5 0.5 0.2 0.1\n\n03 0 0 1 0 1 1\n"), "a.txt")
    assert found == [("0", (0.5, 0.5, 0.2, 0.1)), ("3", (0, 0, 1, 0, 1, 1))]
    assert read_yolo(written(tmp_path, ""), "a.txt") == []


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.2", "nodule 0.5 0.5 0.2 0.1", "0 a b c d", "0 0 0 1 0 1", "0 nan 0 1 1"])
def test_other_lines(tmp_path, line):
    with pytest.raises(ReadError, match="line 2 is neither"):
        read_yolo(written(tmp_path, f"0 0.5 0.5 0.2 0.1\n{line}\n"), "a.txt")


def test_names_beside_or_above(tmp_path):
    (tmp_path / "labels" / "train").mkdir(parents=True)
    assert class_names(tmp_path, "labels/train") == []
    (tmp_path / "classes.txt").write_text("nodule\nmass\n\n")
    assert class_names(tmp_path, "labels/train") == class_names(tmp_path, "") == ["nodule", "mass"]


@pytest.mark.parametrize(
    "text",
    [
        "train: a\nnames: ['nodule', \"mass\"]\n",
        "names:\n  0: nodule\n  1: mass\nnc: 2\n",
        "nc: 2\nnames:\n- nodule\n- 'mass'",
    ],
)
def test_names_of_data_yaml(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    assert class_names(tmp_path, "") == ["nodule", "mass"]
