"""Numbers lost at each step add up, with their reasons; table 1 is worked by hand; nobody is named."""

import json

import pytest

from planted import opened, table, write
from sidelight.config import build
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.participants import RARE, participants, sentences
from sidelight.evaluation.settings import EvaluateSettings

TASK = {"ill": {"label": "diagnosis", "positive": ["ill"], "ignore": ["odd"], "where": {"itch": ["yes", "no", ""]}}}


@pytest.fixture(scope="module")
def rows():
    """40 patients of 2 photographs; two patients are elsewhere, one has no label, one a label that is left out."""
    found = table(patients=40, seed=3)
    found["site"] = ["A" if int(p[1:]) < 30 else "B" for p in found["patient"]]
    found.loc[found["patient"].isin(["p4", "p5"]), "site"] = "elsewhere"
    found.loc[found["patient"] == "p6", "site"] = "tiny"
    found.loc[found["patient"] == "p1", "diagnosis"] = ""
    found.loc[found["patient"] == "p2", "diagnosis"] = "odd"
    found.loc[found["patient"].isin(["p7", "p8", "p9"]), "age"] = ""
    found["side"] = ["test" if int(p[1:]) % 4 == 0 else "train" for p in found["patient"]]
    found.loc[found["patient"] == "p11", "side"] = ""
    return found


@pytest.fixture(scope="module")
def cohort(rows, tmp_path_factory):
    """Both photographs of patient 10 and one of patient 12 are broken."""
    root = write(tmp_path_factory.mktemp("planted"), rows, pictures=True)
    for patient, photo in (("p10", "10_0"), ("p10", "10_1"), ("p12", "12_1")):
        (root / "photos" / patient / f"{photo}.png").write_bytes(b"no picture")
    return opened(root, where={"site": ["A", "B", "tiny"]}, task=TASK)


def found(cohort, **settings):
    resolved = build(EvaluateSettings, {"merge_duplicates": False, **settings})
    pixels = open_pixels(cohort, 32, resolved, quiet=True)
    labelled, _ = label_units(cohort, pixels, "ill", resolved)
    return participants(cohort, pixels, "ill", labelled, resolved.subgroups)


def test_the_flow_adds_up_and_says_why(cohort):
    steps = {step["step"]: step for step in found(cohort)["steps"]}
    for earlier, later in zip(list(steps.values()), list(steps.values())[1:], strict=False):
        for counted in ("items", "patients"):
            assert later[counted] + sum(lost[counted] for lost in later["lost"]) == earlier[counted], later
    assert [(step["items"], step["patients"]) for step in steps.values()] == [
        (80, 40), (76, 38), (76, 38), (73, 37), (69, 35), (69, 35), (69, 35),
    ]  # fmt: skip
    assert steps["in the cohort"]["lost"] == [{"reason": "left out by the cohort's where", "items": 4, "patients": 2}]
    (broken,) = steps["readable"]["lost"]
    assert broken["reason"].startswith("unreadable: ") and (broken["items"], broken["patients"]) == (3, 1)
    reasons = {lost["reason"]: (lost["items"], lost["patients"]) for lost in steps["labelled"]["lost"]}
    assert reasons == {"label unknown": (2, 1), "label left out by the task": (2, 1)}
    assert steps["tested"]["units"] == 69, "the unit of this task is the photograph"


def test_sides_of_a_split_stand_side_by_side(cohort):
    """36 patients can be placed, 11 is on no side; every fourth is tested, 4 is elsewhere: 0, 8, 12, ... 36."""
    whole = found(cohort, split="side")
    assert whole["sides"] == ["train", "test"]
    placed, tested = whole["steps"][-2:]
    assert placed["lost"] == [{"reason": "on no side of the split", "items": 2, "patients": 1}]
    assert (tested["items"], tested["patients"]) == (17, 9)
    assert tested["lost"] == [{"reason": "learned from (train)", "items": 50, "patients": 25}]
    patients = whole["rows"][0]["sides"]
    assert {side: facts["count"] for side, facts in patients.items()} == {"train": 25, "test": 9}


def test_table_one_is_the_pandas_of_the_table(cohort, rows):
    kept = rows[~rows["patient"].isin(["p1", "p2", "p4", "p5", "p10"])]
    ages = kept.drop_duplicates("patient")["age"].replace("", None).dropna().astype(float)
    lines = {(row["name"], row["value"]): row["sides"]["all"] for row in found(cohort)["rows"]}
    assert lines["patients", ""]["count"] == 35 and lines["images", ""]["count"] == 69
    ill = int((kept[kept["photo"] != "12_1"]["diagnosis"] == "ill").sum())
    assert lines["ill", "ill"] == {"count": ill, "of": 69}
    age = lines["age", ""]
    assert age["count"] == len(ages) == 32 and age["of"] == 35
    assert (age["mean"], age["sd"]) == (pytest.approx(ages.mean()), pytest.approx(ages.std()))
    assert [age[one] for one in ("q1", "median", "q3")] == pytest.approx(list(ages.quantile([0.25, 0.5, 0.75])))
    assert lines["age", "(missing)"] == {"count": 3, "of": 35}
    women = int((kept.drop_duplicates("patient")["sex"] == "f").sum())
    assert lines["sex", "f"] == {"count": women, "of": 35}


def test_nobody_is_named(cohort):
    whole = found(cohort)
    sites = {row["value"]: row["sides"]["all"]["count"] for row in whole["rows"] if row["name"] == "site"}
    assert sites[RARE] == 1 and "tiny" not in sites and "elsewhere" not in sites
    text = json.dumps(whole) + " ".join(sentences(whole))
    assert not any(f"p{number}/" in text or f"{number}_0" in text for number in range(40))


def test_the_flow_in_words(cohort):
    said = sentences(found(cohort))
    assert said[0] == "found: 80 items, 40 patient groups"
    assert said[1] == "in the cohort: 76 items, 38 patient groups (without 4 left out by the cohort's where)"


def test_units_are_counted_once_where_they_are_the_patients(cohort, rows, tmp_path):
    photographs = [row["name"] for row in found(cohort)["rows"][:3]]
    assert photographs == ["patients", "units", "images"]
    root = write(tmp_path, rows, pictures=True)
    by_patient = opened(root, task={"ill": {**TASK["ill"], "unit": "patient"}})
    assert [row["name"] for row in found(by_patient)["rows"][:3]] == ["patients", "images", "ill"]
