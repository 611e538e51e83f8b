"""Folds do not follow the private key of a DICOM folder, and patients on both sides of an external test are found."""

import shutil

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

import sidelight
from dicom_writing import write
from sidelight.config import build
from sidelight.data import identity
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import lasting, shared_items
from sidelight.data.pixels.cache import build as build_cache
from sidelight.data.split import deal
from sidelight.errors import SplitError
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.settings import EvaluateSettings

TOML = """files = "export/*.dcm"
tables = [{file = "list.csv", on = ["study=number"]}]
levels = ["patient", "study"]
[roles]
patient = "dicom:PatientID"
study = "dicom:AccessionNumber"
[task.ill]
label = "label"
unit = "study"
"""
QUIET = {
    "seeds": 1,
    "folds": 3,
    "protocol": "linear",
    "random": True,
    "image_size": 32,
    "device": "cpu",
    "resamples": 100,
}


def hospital(root, patients=range(20), *, seed=0, studies="A", shift=0):
    """One study of two images per patient; the ill ones are brighter in the middle."""
    rng, rows = np.random.default_rng(seed), ["number,label,mass"]
    for patient in patients:
        rows.append(f"{studies}{patient},{'ny'[patient % 2]},{20 + 3 * patient}")
        for image in range(2):
            values = rng.integers(40, 120, (24, 24))
            values[8:16, 8:16] += 90 * (patient % 2)
            tags = {"PatientID": f"P{patient + shift}", "AccessionNumber": f"{studies}{patient}"}
            tags["StudyInstanceUID"] = f"1.2.{ord(studies)}.{patient}"
            name = f"{(patient * 7 + image * 11) % 97:03d}_{patient}_{image}"
            write(root / f"export/{name}.dcm", values.astype(np.uint8), modality="DX", **tags)
    (root / "list.csv").write_text("\n".join(rows))
    (root / "cohort.toml").write_text(TOML)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hospital(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def copies(folder, tmp_path_factory):
    """The same folder three times, each with a key of its own."""
    places = [tmp_path_factory.mktemp("copies") / name for name in "abc"]
    for place in places:
        shutil.copytree(folder, place, ignore=lambda *_: [".sidelight"])
    return [Cohort.open(place) for place in places]


def test_copies_have_the_same_folds_subsets_and_validation_patients(copies):
    settings = build(EvaluateSettings, {"folds": 3})
    assert len({tuple(sorted(cohort.items["patient"])) for cohort in copies}) == 3  # under other names
    found = []
    for cohort in copies:
        pixels = build_cache(cohort, size=16)
        labelled, _ = label_units(cohort, pixels, "ill", settings)
        rows = np.arange(len(pixels))
        dealt = deal(rows, pixels.index["group"].to_numpy(), {"valid": 0.2}, seed=0)["valid"].tolist()
        found.append((labelled.split_hash, labelled.folds, dealt))
    assert found[0] == found[1] == found[2]


def test_copies_have_the_same_results_under_other_names(copies):
    one, two = (sidelight.evaluate("test_resnet", cohort, "ill", **QUIET) for cohort in copies[:2])
    numbers = ["split_hash", "metric", "labels", "value", "low", "high"]
    assert one.results[numbers].round(9).to_csv() == two.results[numbers].round(9).to_csv()
    assert not set(one.scores["unit"]) & set(two.scores["unit"])
    keys = {f"{p}/{s}" for p, s in zip(copies[0].items["patient"], copies[0].items["study"], strict=True)}
    secret = copies[0].key
    assert set(one.scores["unit"]) == {identity.item_hash(name, secret) for name in keys}
    assert set(one.scores["group"]) == {identity.item_hash(name, secret) for name in copies[0].items["patient"]}


def test_plain_names_last_as_they_are(tmp_path):
    (tmp_path / "P1").mkdir()
    (tmp_path / "P1/a.png").touch()
    (tmp_path / "cohort.toml").write_text('files = "{patient}/*.png"\nlevels = ["patient"]\n')
    assert lasting(Cohort.open(tmp_path), "patient") == {}


@pytest.mark.parametrize(
    ("other", "items"),
    [
        ({"patients": range(18, 30), "studies": "B"}, 4),  # two patients again, in new studies
        ({"patients": range(19, 30), "shift": 500}, 2),  # one study again, under another patient number
        ({"patients": range(20, 32), "studies": "B"}, 0),
    ],
)
def test_patients_and_studies_on_both_sides_are_found_under_other_keys(folder, tmp_path, other, items):
    here, there = Cohort.open(folder), Cohort.open(hospital(tmp_path, seed=1, **other))
    assert not set(here.items["patient"]) & set(there.items["patient"])
    assert len(shared_items(here, there)) == items


def test_a_folder_named_after_patients_meets_the_headers(folder, tmp_path):
    for name in ("P3", "P77"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    (tmp_path / "cohort.toml").write_text('files = "{patient}/*.png"\nlevels = ["patient"]\n')
    assert shared_items(Cohort.open(folder), Cohort.open(tmp_path)) == ["P3/a.png"]


def test_an_external_test_stops_unless_they_are_other_people(folder, tmp_path):
    there = hospital(tmp_path, range(10, 46), seed=1, studies="B")
    with pytest.raises(SplitError, match=r"20 items of .* have patients or studies .* other_people=true"):
        sidelight.evaluate("test_resnet", folder, "ill", test=there, **QUIET)
    found = sidelight.evaluate("test_resnet", folder, "ill", test=there, other_people=True, subgroups=["mass"], **QUIET)
    outer = found.subgroups[found.subgroups["task"] != "ill"]
    assert set(outer["subgroup"]) == {"over 58", "(rare values)"}  # the thirds of those that trained: 20, 23, ..., 77
    assert (outer.set_index("subgroup").loc["over 58", "groups"] == 33).all()


def test_no_identifier_is_written_by_the_comparison(folder, tmp_path):
    there = hospital(tmp_path, range(18, 30), seed=1, studies="B")
    here, other = Cohort.open(folder), Cohort.open(there)
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    shared_items(here, other)
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == before
