"""The table of formats, and that whatever lists suffixes agrees with it."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sidelight.data.cohort.pattern import parse
from sidelight.data.guess import guess
from sidelight.data.read import read_files
from sidelight.data.read.container import members, split
from sidelight.data.read.formats import FORMATS, SUFFIXES, beside, by_content, by_suffix, is_kind, split_suffix, stem
from sidelight.data.read.still import PILLOW_FORMATS

READ = [(one, suffix) for one in FORMATS for suffix in one.suffixes]


@pytest.mark.parametrize(("one", "suffix"), READ, ids=[suffix for _, suffix in READ])
def test_what_is_read_is_seen_by_init_and_matched_by_any_suffix(tmp_path, one, suffix):
    for name in (f"scan.v2.{suffix}", f"scan.v2.{suffix.upper()}"):
        assert parse("{x}.*").match(name) == {"x": "scan.v2"}
        assert by_suffix(f"a.nii/{name}") is one
    if one.kind == "dicom":  # init opens these
        return
    for patient in range(1, 7):
        path = tmp_path / f"P{patient}" / f"a{patient}.{suffix}"
        path.parent.mkdir()
        path.touch()
    draft = guess(tmp_path)
    assert len(draft.files) == 1
    assert all(parse(draft.files[0][0]).match(f"P{n}/a{n}.{suffix}") for n in range(1, 7))


@pytest.mark.parametrize("header", [suffix for one in FORMATS for suffix in one.headers])
def test_a_header_beside_its_pixels_is_no_item_of_its_own(header):
    assert parse("{x}.*").match(f"a.{header}") is None
    assert by_content(bytes(132), f"a.{header}").kind == "volume"


def test_no_suffix_is_listed_twice_and_every_extra_exists():
    every = [suffix for one in FORMATS for suffix in (*one.suffixes, *one.headers)]
    assert len(every) == len(set(every))
    assert [suffix.lower() for suffix in every] == every
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert {one.extra for one in FORMATS} - {""} <= set(pyproject["project"]["optional-dependencies"])


def test_the_suffixes_of_images_are_those_of_the_formats_that_pillow_may_open():
    Image.init()
    pillows = {suffix for suffix, name in Image.registered_extensions().items() if name in PILLOW_FORMATS}
    listed = {suffix for suffix in SUFFIXES if is_kind(f"a{suffix}", "still") or suffix == ".gif"}
    assert listed - {".heic", ".heif"} == pillows - {".pfm"}  # floating point: refused


@pytest.mark.parametrize("suffix", ["apng", "bmp", "gif", "jfif", "jp2", "j2k", "jpe", "pbm", "pnm", "tif", "webp"])
def test_a_file_is_read_by_what_it_begins_with(tmp_path, suffix):
    picture = Image.fromarray(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8))
    picture.convert("1" if suffix == "pbm" else "L").save(tmp_path / f"a.{suffix}")
    assert by_content((tmp_path / f"a.{suffix}").read_bytes()[:132], f"a.{suffix}") is by_suffix(f"a.{suffix}")
    (tmp_path / f"a.{suffix}").rename(tmp_path / "a")
    assert read_files([tmp_path / "a"], max_frames=1).frames.shape[:3] == (1, 8, 8)


def test_suffixes_of_two_parts_are_one():
    assert [stem(path) for path in ("a/P1.v2.nii.gz", "P1.v2.nii", "P1.tar.gz")] == ["P1.v2", "P1.v2", "P1.tar"]
    assert split_suffix("a.b/c.NII.GZ") == ("a.b/c", ".NII.GZ")
    assert split_suffix("a.b/nii.gz") == ("a.b/nii", ".gz")
    assert by_suffix("notes.txt") is None


def test_what_has_members_may_be_split_and_what_has_none_lists_none(tmp_path):
    for one, suffix in READ:
        path = f"a.{suffix}::x"
        assert split(path) == ((f"a.{suffix}", "x") if one.members else (path, ""))
    (tmp_path / "a.npy").touch()
    assert members(tmp_path / "a.npy", "a.npy") == []


def test_a_header_and_its_pixels_belong_together(tmp_path):
    for name in ("scan.img", "scan.hdr", "head.BRIK.gz", "head.HEAD", "alone.img", "a.nii.gz"):
        (tmp_path / name).touch()
    pairs = {path.name: [one.name for one in beside(path)] for path in tmp_path.iterdir()}
    assert pairs == {
        "scan.img": ["scan.hdr"], "scan.hdr": ["scan.img"], "head.BRIK.gz": ["head.HEAD"], "head.HEAD": ["head.BRIK.gz"],
        "alone.img": [], "a.nii.gz": [],
    }  # fmt: skip
