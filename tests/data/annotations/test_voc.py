import pytest

from sidelight.data.annotations.voc import read_voc
from sidelight.errors import ReadError

OBJECT = "<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"


def written(folder, text):
    path = folder / "a.xml"
    path.write_text(text)
    return path


def test_pixels_are_counted_from_one_and_the_last_belongs(tmp_path):
    one = OBJECT.format(name=" nodule ", a=1, b=1, c=10, d=5) + OBJECT.format(name="mass", a=3, b=2, c=3, d=2)
    found = read_voc(written(tmp_path, f"<annotation><size/>{one}</annotation>"), "a.xml")
    assert found == [("nodule", (0, 0, 10, 5)), ("mass", (2, 1, 3, 2))]
    assert read_voc(written(tmp_path, "<annotation></annotation>"), "a.xml") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation>", "no XML"),
        ("<svg/>", "begins with <svg>"),
        ("<annotation><object><name>x</name></object></annotation>", "without a bndbox"),
        (f"<annotation>{OBJECT.format(name='x', a='one', b=1, c=2, d=2)}</annotation>", "not four numbers"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "entities"),
    ],
)
def test_other_files(tmp_path, text, said):
    with pytest.raises(ReadError, match=said):
        read_voc(written(tmp_path, text), "a.xml")
