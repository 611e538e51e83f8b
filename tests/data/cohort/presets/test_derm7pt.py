"""derm7pt's own layout: sizes, sides, the 24 class counts of the test side, its grouping, and copies that are not whole."""

import numpy as np
import pytest

from derm7pt_writing import LABELS, release, write_meta, write_phantom
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.presets.derm7pt import CASES, TEST_COUNTS
from sidelight.data.cohort.units import units
from sidelight.errors import DataError, ReadError

CLASSES = [5, 3, 2, 3, 3, 3, 3, 2]


def touch(root, rows):
    for row in rows:
        for column in ("derm", "clinic"):
            path = root / "images" / row[column]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("release_v0")
    rows, sides = release(TEST_COUNTS, CASES)
    write_meta(root, rows, sides)
    touch(root, rows)
    return root


@pytest.fixture
def small(tmp_path):
    write_phantom(tmp_path, cases=24, size=32, seed=1)
    return tmp_path


def test_the_release(whole):
    cohort = Cohort.open(whole, preset="derm7pt")
    assert (len(cohort.items), cohort.levels, cohort.channels) == (2022, ("case",), 3)
    sides = cohort.items.groupby("split")["case"].agg(set)
    assert {side: len(cases) for side, cases in sides.items()} == {"train": 413, "valid": 203, "test": 395}
    assert set.union(*sides) == {str(row) for row in range(1011)}
    assert sum(map(len, sides)) == 1011
    assert any("class counts of its test side are right" in notice for notice in cohort.notices)
    tested = set(sides["test"])
    for label, expected in TEST_COUNTS.items():
        table = units(cohort, cohort.tasks[label])
        found = table["label"][table["unit"].isin(tested)].value_counts()
        assert tuple(found.get(code, 0) for code in range(len(expected))) == expected
    assert [len(cohort.tasks[label].classes) for label in LABELS] == CLASSES


def test_the_grouping():
    tasks = Cohort.open("phantom:derm?cases=8").tasks
    from sidelight.data.cohort.presets import load_preset

    preset = load_preset("derm7pt")["task"]
    assert sum(len(task["classes"]) for task in preset.values() if "classes" in task) == 20 + 3 + 2 + 8 + 5 + 3 + 3 + 4
    assert preset["diagnosis"]["classes"]["melanoma metastasis"] == "MEL"
    assert preset["vascular_structures"]["classes"]["within regression"] == "regular"
    assert preset["pigmentation"]["classes"]["localized irregular"] == "irregular"
    assert set(preset) <= set(tasks)


def test_one_changed_label_is_noticed(whole, tmp_path):
    rows, sides = release(TEST_COUNTS, CASES)
    rows[-1]["streaks"] = "absent"
    write_meta(tmp_path, rows, sides, under_meta=False)
    (tmp_path / "images").symlink_to(whole / "images")
    cohort = Cohort.open(tmp_path, preset="derm7pt")
    notice = next(one for one in cohort.notices if "release_v0" in one)
    assert "NOT derm7pt's release_v0" in notice
    assert "streaks 258/44/93 on the test side, not 257/44/94" in notice
    assert "diagnosis" not in notice


def test_the_phantom_in_this_layout_is_read_back(small):
    cohort = Cohort.open(small, preset="derm7pt")
    phantom = Cohort.open("phantom:derm?cases=24&size=32&seed=1")
    assert set(cohort.items["view"]) == {"dermoscopic", "clinical"}
    assert cohort.items.groupby("case")["view"].nunique().eq(2).all()
    read, truth = cohort.read(0, max_frames=1).frames[0], phantom.read(0, max_frames=1).frames[0]
    assert read.shape == truth.shape  # 25 pixels are cut off every side
    assert np.abs(read.astype(int) - truth).mean() < 8
    codes = units(cohort, cohort.tasks["streaks"])["label"].tolist()
    names = phantom.items.drop_duplicates("case")["streaks"].tolist()
    assert [cohort.tasks["streaks"].classes[code] for code in codes] == names


def test_without_labels(small):
    cohort = Cohort.open(small, preset="derm7pt", labels=False)
    assert len(cohort.items) == 48 and not cohort.tasks and not any("release_v0" in one for one in cohort.notices)


def test_an_unknown_value_is_refused(small):
    path = small / "meta" / "meta.csv"
    path.write_text(path.read_text().replace("clark nevus", "klark nevus"))
    with pytest.raises(DataError, match=r"'diagnosis' of meta.csv holds 'klark nevus'.*Did you mean 'clark nevus'"):
        Cohort.open(small, preset="derm7pt")


def test_a_case_on_two_sides_and_an_index_out_of_range(small):
    path = small / "meta" / "test_indexes.csv"
    kept = path.read_text()
    path.write_text(kept + (small / "meta" / "train_indexes.csv").read_text().split()[1] + "\n")
    with pytest.raises(DataError, match=r"is in train_indexes.csv and in test_indexes.csv"):
        Cohort.open(small, preset="derm7pt")
    for wrong in ("24", "-1", "x"):
        path.write_text(f"{kept}{wrong}\n")
        with pytest.raises(DataError, match=rf"test_indexes.csv holds the index '{wrong}'.*0 to 23"):
            Cohort.open(small, preset="derm7pt")
    path.unlink()
    with pytest.raises(DataError, match=r"test_indexes.csv"):
        Cohort.open(small, preset="derm7pt")


def test_a_missing_photograph_leaves_the_other(small):
    (small / "images" / "NEL" / "Nel003.JPG").unlink()
    cohort = Cohort.open(small, preset="derm7pt")
    assert cohort.items.loc[cohort.items["case"] == "3", "view"].tolist() == ["clinical"]
    assert any("1 of 48 photographs that meta.csv names are missing" in notice for notice in cohort.notices)


def test_shared_files_and_capitals(small):
    path = small / "meta" / "meta.csv"
    path.write_text(path.read_text().replace("NEL/Nel002.JPG", "nel/Nel001.jpg"))
    cohort = Cohort.open(small, preset="derm7pt")
    shared = cohort.items[cohort.items["files"].map(lambda files: files == ("images/NEL/Nel001.JPG",))]
    assert shared["case"].tolist() == ["1", "2"]
    assert cohort.items["item"].is_unique
    assert any("1 files are named more than once" in notice for notice in cohort.notices)


def test_a_photograph_that_is_all_border(small):
    from PIL import Image

    Image.new("RGB", (50, 400), (9, 9, 90)).save(small / "images" / "NEL" / "Nel000.JPG", format="JPEG")
    cohort = Cohort.open(small, preset="derm7pt")
    with pytest.raises(ReadError, match=r"50 x 400 pixels are not more than a border of 25"):
        cohort.read(0, max_frames=1)
