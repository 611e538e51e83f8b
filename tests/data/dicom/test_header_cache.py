"""Headers are read once per file and kept without identity: the same items, no file opened twice."""

import os

import pandas as pd
import pytest

pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

from dicom_writing import ramp, write
from sidelight.commands import init as start
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.dicom import headers
from sidelight.data.pixels.cache import forget_patient

TOML = 'files = "**/*"\nlevels = ["patient"]\n[roles]\npatient = "dicom:PatientID"\nview = "dicom:plane"\n'


@pytest.fixture
def opened(monkeypatch):
    """The names of the files whose headers are read, as they are read."""
    names, real = [], headers.read_header
    monkeypatch.setattr(headers, "read_header", lambda path, name, *args: names.append(name) or real(path, name, *args))
    return names


@pytest.fixture
def tree(tmp_path):
    for patient in range(3):
        for place in range(2):
            tags = {
                "PatientID": f"DOE{patient}",
                "SeriesInstanceUID": f"1.2.{patient}",
                "AccessionNumber": f"ACC{patient}",
            }
            tags |= {
                "SeriesDescription": f"knee of Mr Doe {patient}",
                "PatientAge": "045Y",
                "InstanceNumber": place + 1,
            }
            tags |= {"ImagePositionPatient": [0, 0, place], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
            write(tmp_path / f"p{patient}/{place}.dcm", ramp(), modality="MR", **tags)
    write(tmp_path / "x.dcm", ramp(), modality="MR")
    (tmp_path / "report.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "cohort.toml").write_text(TOML)
    return tmp_path


def test_a_file_that_stays_is_opened_once(tree, opened):
    first = Cohort.open(tree).items
    assert len(opened) == len(set(opened)) == 8
    opened.clear()
    second = Cohort.open(tree).items
    assert opened == ["report.dcm"]  # no image: what is wrong with a file is said anew
    pd.testing.assert_frame_equal(first, second)
    (tree / ".sidelight/headers.parquet").write_bytes(b"PAR1 broken")
    pd.testing.assert_frame_equal(first, Cohort.open(tree).items)


def test_a_file_that_changes_is_opened_again_and_one_that_goes_leaves_the_table(tree, opened):
    Cohort.open(tree)
    opened.clear()
    write(tree / "p0/0.dcm", ramp(), modality="MR", PatientID="DOE9", SeriesInstanceUID="1.2.0")
    (tree / "p1/0.dcm").unlink()
    items = Cohort.open(tree).items
    assert {*opened} == {"p0/0.dcm", "report.dcm"}
    assert len(pd.read_parquet(tree / ".sidelight/headers.parquet")) == 6
    assert items["patient"].nunique() == 5


def test_it_names_nobody(tree):
    Cohort.open(tree)
    file = tree / ".sidelight/headers.parquet"
    assert os.stat(file).st_mode & 0o777 == 0o600 and os.stat(file.parent).st_mode & 0o777 == 0o700
    table = pd.read_parquet(file)
    text = table.to_csv()
    assert set(table["column patient_age"]) == {"45", ""}
    assert not [word for word in ("DOE", "Doe", "ACC", "1.2.", "p0", ".dcm") if word in text]


def test_a_text_that_one_patient_alone_has_is_not_kept(tree, opened):
    for place in range(2):
        write(tree / f"p4/{place}.dcm", ramp(), modality="MR", PatientID="DOE4", Manufacturer="made for Mr Doe")
    first = Cohort.open(tree).items
    assert "Mr Doe" not in pd.read_parquet(tree / ".sidelight/headers.parquet").to_csv()
    opened.clear()
    pd.testing.assert_frame_equal(Cohort.open(tree).items, first)
    assert {*opened} == {"p4/0.dcm", "p4/1.dcm", "report.dcm"}


def test_free_text_selects_though_it_is_not_kept(tree, opened):
    Cohort.open(tree)
    opened.clear()
    where = {"dicom:SeriesDescription": "knee of Mr Doe 1"}
    assert Cohort.open(tree, where=where).items["item"].tolist() == ["p1/0.dcm"]
    assert len(opened) == 8


def test_a_forgotten_patient_leaves_it(tree):
    cohort = Cohort.open(tree)
    forget_patient(cohort, "DOE1")
    assert not (tree / ".sidelight/headers.parquet").exists()


def test_init_opens_each_file_once(tree, opened):
    start.init(tree, force=True)
    assert sorted(name for name in opened if name != "report.dcm") == sorted(
        path.relative_to(tree).as_posix() for path in tree.rglob("*.dcm") if path.name != "report.dcm"
    )
