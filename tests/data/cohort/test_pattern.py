import os

import numpy as np
import pytest

from sidelight.data.cells import natural
from sidelight.data.cohort.pattern import find, parse, walk
from sidelight.errors import ConfigError, DataError, ReadError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_names_own_patterns_and_suffix():
    pattern = parse("photos/{patient}/{lesion}/{view:[A-Z]}{n:[0-9]+}.*")
    assert pattern.names == ("patient", "lesion", "view", "n")
    assert pattern.folder == "photos"
    assert pattern.match("photos/P 1/a-2/D12.JPG") == {"patient": "P 1", "lesion": "a-2", "view": "D", "n": "12"}
    for other in ("photos/P1/a/d12.jpg", "Photos/P1/a/D12.jpg", "photos/P1/a/D12.txt", "photos/P1/x/a/D12.jpg"):
        assert pattern.match(other) is None


def test_a_name_in_braces_stays_within_its_folder_level():
    assert parse("{a}.png").match("x/y.png") is None
    assert parse("{a}_{b}.png").match("x_y_z.png") == {"a": "x", "b": "y_z"}


def test_braces_inside_an_own_pattern():
    assert parse(r"{year:[0-9]{4}}/{x:a\{b}.png").match("2020/a{b.png") == {"year": "2020", "x": "a{b"}


def test_a_repeated_name_matches_the_same_text():
    pattern = parse("{clip}/{clip}_frame{k:[0-9]+}.*")
    assert pattern.match("A/A_frame3.png") == {"clip": "A", "k": "3"}
    assert pattern.match("A/B_frame3.png") is None
    assert pattern.without("A/A_frame3.png", "k") == "A/A_frame*.png"


@pytest.mark.parametrize(
    ("text", "path", "fits"),
    [
        ("a/*.png", "a/b.png", True),
        ("a/*.png", "a/b/c.png", False),
        ("a/**/*.png", "a/c.png", True),
        ("a/**/*.png", "a/b/b/c.png", True),
        ("**/{x}.avi", "c.avi", True),
        ("a/**", "a/b/c.txt", True),
        ("*.png", "a.PNG", False),
        ("benign (1).*", "benign (1).png", True),
        ("a.b.*", "a.b.tiff", True),
        ("{x}.*", "scan.v2.mp4", True),
    ],
)
def test_stars(text, path, fits):
    assert (parse(text).match(path) is not None) is fits


def test_decomposed_unicode_names_match_composed_patterns():
    assert parse("Fu\u00df M\u00fcller/{x}.png").match("Fu\u00df Mu\u0308ller/e\u0301.png") == {"x": "\u00e9"}


def test_members_of_a_file(tmp_path):
    touch(tmp_path, "b.npz", "c.npy", "x/p2.npz")
    np.savez(tmp_path / "a1.npz", left=np.zeros(1), right=np.zeros(1))
    np.savez(tmp_path / "a2.npz", left=np.zeros(1))
    found, *_ = find(tmp_path, ["{case:a.}.*::{side}"], [parse("a1.npz::left")])
    assert [(one.path, one.values) for one in found] == [
        ("a1.npz::right", {"case": "a1", "side": "right"}),
        ("a2.npz::left", {"case": "a2", "side": "left"}),
    ]
    named, *_ = find(tmp_path, ["**/{case}.npz::image"])  # nothing is opened
    assert [one.path for one in named] == [f"{case}.npz::image" for case in ("a1", "a2", "b", "x/p2")]
    assert parse("x/{a}.h5::g/{b}").folder == "x"
    assert parse("x/{a}.h5::g/{b}").match("x/1.h5::g/2") == {"a": "1", "b": "2"}
    assert parse("{a}.npz").match("1.npz::image") is None
    with pytest.raises(ReadError, match=r"^b\.npz: cannot be opened"):
        find(tmp_path, ["b.npz::{side}"])


def test_a_name_behind_a_letter_is_the_number_of_a_member(tmp_path):
    np.savez(tmp_path / "a.npz", s0=np.zeros(1), s10=np.zeros(1), s2=np.zeros(1), sagittal=np.zeros(1))
    found, *_ = find(tmp_path, ["{case}.npz::s{slice}"])
    assert [one.values["slice"] for one in found] == ["0", "2", "10"]
    found, *_ = find(tmp_path, ["{case}.npz::s{slice:.+}"])
    assert [one.values["slice"] for one in found] == ["0", "2", "10", "agittal"]
    assert parse("s{case}.npz::s_{part}").match("sound.npz::s_left") == {"case": "ound", "part": "left"}
    with pytest.raises(DataError, match="a name in braces is a number"):
        find(tmp_path, ["{case}.npz::sagit{tail}"])


def test_suffixes_of_two_parts():
    assert parse("{x}.*").match("P1.v2.NII.gz") == {"x": "P1.v2"}


@pytest.mark.parametrize(
    "text", ["", "/a/{x}.png", "../{x}.png", "C:/x.png", "{x.png", "{a b}.png", "{x:[}.png", "{x}{x:y}"]
)
def test_bad_patterns_are_refused(text):
    with pytest.raises(ConfigError):
        parse(text)


def test_natural_order_counts():
    assert sorted(["f10", "f2", "f1a", "10", "a"], key=natural) == ["10", "a", "f1a", "f2", "f10"]


def test_walk_passes_over_hidden_files_and_survives_loops(tmp_path):
    touch(tmp_path, "a/1.png", ".hidden/2.png", "a/.3.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert walk(tmp_path) == (["a/1.png"], [], ["a/loop@"])


def test_a_link_takes_no_file_away_from_the_folder_that_holds_it(tmp_path):
    """Some links sort first; a folder that lies elsewhere is read under its link."""
    touch(tmp_path, "data/images/p1/1.png", "data/new/p2/1.png", "far/p3/1.png", "far/p4/1.png")
    root = tmp_path / "data"
    (root / "Teaching").mkdir()
    for link, target in {"Teaching/p1": "images/p1", "Teaching/far": "../far", "b": "images"}.items():
        (root / link).symlink_to(root / target, target_is_directory=True)
    files, _, passed = walk(root)
    assert files == ["Teaching/far/p3/1.png", "Teaching/far/p4/1.png", "images/p1/1.png", "new/p2/1.png"]
    assert passed == ["b@", "Teaching/p1@"]
    found, _, said = find(root, ["images/{patient}/{n}.png", "new/{patient}/{n}.png"])
    assert [one.values["patient"] for one in found] == ["p1", "p2"]
    assert said == "2 links to folders that are read already ('b', 'Teaching/p1')"


def test_find_takes_the_first_pattern_that_fits_and_names_empty_folders(tmp_path):
    touch(tmp_path, "v/10.mp4", "v/2.mp4", "s/1.png", "s/notes.txt")
    (tmp_path / "s" / "empty").mkdir()
    found, empty, _ = find(tmp_path, ["v/{clip}.*", "{kind}/{still}.*"])
    assert [one.path for one in found] == ["s/1.png", "v/2.mp4", "v/10.mp4"]
    assert [one.values for one in found] == [{"kind": "s", "still": "1"}, {"clip": "2"}, {"clip": "10"}]
    assert empty == ["s/empty"]


def test_no_match_says_folder_pattern_and_an_example(tmp_path):
    touch(tmp_path, "a/readme.txt", "b/x.png")
    with pytest.raises(DataError) as error:
        find(tmp_path, ["photos/{x}.*"])
    for part in (str(tmp_path), "photos/{x}.*", "b/x.png"):
        assert part in str(error.value)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no files at all"):
        find(tmp_path / "none", ["{x}.*"])


RUBBISH = [
    "P1/@eaDir/1.png/SYNO_THUMB_M.jpg",
    "#recycle/1.png",
    "$RECYCLE.BIN/1.png",
    "P2/thumbnails/1.png",
    "P1/1_thumb.jpg",
]


def test_rubbish_is_passed_over_and_counted(tmp_path):
    touch(tmp_path, "P1/1.png", "P2/thumbnail_study_1.png", *RUBBISH, "P2/@eaDir/1.png/x.jpg")
    found, _, passed = find(tmp_path, ["**/{image}.*"])
    assert [one.path for one in found] == ["P1/1.png", "P2/thumbnail_study_1.png"]
    assert sorted(passed.split(" and ")) == [
        "1 folder #recycle", "1 folder $RECYCLE.BIN", "1 folder thumbnails", "1 thumbnail or preview", "2 folders @eaDir"
    ]  # fmt: skip
    named, _, _ = find(tmp_path, ["{patient}/thumbnails/{image}.*"])  # asked for by name, it is none
    assert [one.path for one in named] == ["P2/thumbnails/1.png"]


def test_names_that_are_no_utf_8_are_read_as_western(tmp_path):
    touch(tmp_path, os.fsdecode("Müller/Größe.png".encode("cp1252")))
    found, *_ = find(tmp_path, ["{patient}/{image}.*"])
    assert found[0].values == {"patient": "Müller", "image": "Größe"} and (tmp_path / found[0].path).is_file()
