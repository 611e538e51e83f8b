"""Leaks, copies and contradictions by name, and a split without them: each planted once, counted by hand."""

import json
import shutil

import pytest

from planted import opened, table, write
from sidelight.data.audit.leaks import leak_findings, same_pictures, sides
from sidelight.data.audit.listed import listed, mended_split, moved
from sidelight.data.pixels.cache import build


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """Twelve patients, p0 to p5 train, p6 to p8 valid, p9 to p11 test; p0's photos stand on train and test, p1's on train
    and valid; p2 (train) and p9 (test) share a picture, so do p3 and p4 (both train) under two labels.
    """
    root = tmp_path_factory.mktemp("torn")
    rows = table(12)
    rows["part"] = ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    rows.loc[[1, 3], "part"] = ["test", "val"]
    rows.loc[[4, 5, 18, 19], "diagnosis"] = "ill"
    rows.loc[[6, 7], "diagnosis"], rows.loc[[8, 9], "diagnosis"] = "ill", "healthy"
    write(root / "data", rows, pictures=True)
    photos = root / "data/photos"
    shutil.copy(photos / "p2/2_0.png", photos / "p9/9_1.png")
    shutil.copy(photos / "p3/3_0.png", photos / "p4/4_0.png")
    cohort = opened(root / "data")
    return cohort, build(cohort, size=32, folder=root / "cache")


def test_every_pair_has_both_names_and_sides(torn):
    cohort, pixels = torn
    rows = listed(cohort, same_pictures(cohort, pixels), ["ill"], sides(cohort, "part"))
    said = rows[["kind", "of", "unit", "first", "second", "first_side", "second_side", "pixels"]]
    photo = "photos/{0}/{1}.png".format
    assert said.to_numpy().tolist() == [
        ["leak", "patient", "p0", photo("p0", "0_1"), photo("p0", "0_0"), "test", "train", ""],
        ["leak", "patient", "p1", photo("p1", "1_0"), photo("p1", "1_1"), "train", "valid", ""],
        ["leak", "picture", "", photo("p2", "2_0"), photo("p9", "9_1"), "train", "test", "equal"],
        ["copies", "", "", photo("p2", "2_0"), photo("p9", "9_1"), "train", "test", "equal"],
        ["copies", "", "", photo("p3", "3_0"), photo("p4", "4_0"), "train", "train", "equal"],
        ["contradiction", "ill", "", photo("p3", "3_0"), photo("p4", "4_0"), "train", "train", "equal"],
    ]
    last = rows.iloc[-1]
    assert (last["first_label"], last["second_label"]) == ("ill", "healthy")
    assert (last["first_group"], last["second_group"]) == ("p3", "p4")
    without = listed(cohort, same_pictures(cohort, pixels), [])
    assert without["kind"].tolist() == ["copies", "copies"] and set(without["first_side"]) == {""}


def test_a_leak_between_train_and_valid_is_no_error(torn):
    cohort, pixels = torn
    placed = sides(cohort, "part")
    found = leak_findings(cohort, placed, same_pictures(cohort, pixels))
    assert [(one.severity, one.items) for one in found] == [
        ("error", ("p0",)),
        ("warning", ("p1",)),
        ("error", ("photos/p2/2_0.png", "photos/p9/9_1.png")),
    ]
    assert found[1].sentence.endswith("1 on train and valid; the test side has none of it")
    half = placed.assign(side=placed["side"].replace("test", "valid"))
    assert {one.severity for one in leak_findings(cohort, half, same_pictures(cohort, pixels))} == {"warning"}


def test_the_mended_split_reads_back_and_leaks_nothing(torn, tmp_path):
    cohort, pixels = torn
    pairs, placed = same_pictures(cohort, pixels), sides(cohort, "part")
    split = mended_split(cohort, pairs, ["ill"], placed)
    assert split == mended_split(cohort, pairs[::-1], ["ill"], placed.iloc[::-1])
    file = tmp_path / "mended.json"
    file.write_text(json.dumps(split))
    again = sides(cohort, file)
    assert leak_findings(cohort, again, pairs) == [] and len(again) == 24
    side = dict(zip(again["position"], again["side"], strict=True))
    where = {
        patient: {side[at] for at in cohort.items.index[cohort.items["patient"] == patient]} for patient in ("p0", "p2")
    }
    # ties go to train: p0 has one photo on each side; p2 and p9 together two on each
    assert where == {"p0": {"train"}, "p2": {"train"}}
    assert moved(cohort, split, placed) == 4  # one of p0's, one of p1's, both of p9's


def test_a_group_goes_where_most_of_its_labels_stand(torn):
    cohort, _ = torn
    placed = sides(cohort, "part")
    one_more = placed[placed["position"] != cohort.items.index[cohort.items["item"] == "photos/p2/2_1.png"][0]]
    at = {name: place for place, name in enumerate(cohort.items["item"])}
    pairs = [(at["photos/p2/2_0.png"], at["photos/p9/9_1.png"], True)]
    split = mended_split(cohort, pairs, ["ill"], one_more)
    assert {"photos/p2/2_0.png", "photos/p9/9_0.png", "photos/p9/9_1.png"} <= set(split["test"])
    assert "photos/p2/2_1.png" not in {name for names in split.values() for name in names}  # it stood on no side
