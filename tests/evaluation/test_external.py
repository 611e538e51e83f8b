"""An external test that shares pictures, files or DICOM objects with what was learnt from is none."""

import numpy as np
import pytest
from PIL import Image, ImageOps

import sidelight
from planted import table, write
from sidelight.data.audit.shared import shared_files, shared_objects
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import SplitError

QUICK = {"seeds": 1, "frames": 1, "resamples": 100, "device": "cpu", "image_size": 64, "folds": 2}
FILE = (
    'files = "photos/{patient}/{photo}.{kind:png|jpg}"\nlevels = ["patient"]\n'
    'tables = [{file = "table.csv", on = ["photo=photo"]}]\n[task.ill]\nlabel = "diagnosis"\npositive = ["ill"]\n'
)


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    root = tmp_path_factory.mktemp("ward")
    write(root, table(12), pictures=True, pixel=9)
    (root / "cohort.toml").write_text(FILE)
    return root


def elsewhere(ward, root, change):
    """The photos of a ward under other patients, each changed."""
    root.mkdir(exist_ok=True)
    (root / "table.csv").write_text((ward / "table.csv").read_text())
    for path in sorted(ward.glob("photos/*/*.png")):
        new = root / "photos" / f"another {path.parent.name}" / path.name
        new.parent.mkdir(parents=True, exist_ok=True)
        change(path, new)
    (root / "cohort.toml").write_text('name = "there"\n' + FILE)
    return root


def reencoded(path, new):
    with Image.open(path) as image:
        ImageOps.mirror(image.convert("RGB")).save(new.with_suffix(".jpg"), quality=90)


def test_re_encoded_and_mirrored_copies_are_refused_or_said(ward, tmp_path):
    there = elsewhere(ward, tmp_path / "there", reencoded)
    with pytest.raises(SplitError, match=r"24 items of there show what items of .* no external test.*--allow-leak"):
        sidelight.evaluate("test_resnet", ward, "ill", "knn", test=there, random=True, **QUICK)
    out = tmp_path / "out"
    found = sidelight.evaluate(
        "test_resnet", ward, "ill", "knn", test=there, random=True, allow_leak=True, out=out, **QUICK
    )
    leaks = found.results.groupby("task")["leaks"].agg(["all", "any"])
    assert leaks.loc["ill"].tolist() == [False, False] and leaks.loc["ill on there"].tolist() == [True, True]
    assert any(note.startswith("The external test LEAKS and was made all the same") for note in found.notes)
    assert "**The external test leaks**" in (out / "card.md").read_text()
    assert " --allow-leak" in found.results["command"].iloc[0]


def test_other_pictures_are_an_external_test(ward, tmp_path):
    write(tmp_path, table(12), pictures=True, seed=5, pixel=9)
    (tmp_path / "cohort.toml").write_text(FILE)
    found = sidelight.evaluate("test_resnet", ward, "ill", "knn", test=tmp_path, random=True, **QUICK)
    assert not found.results["leaks"].any()


def test_a_class_that_is_not_there_is_named(tmp_path):
    for name, kinds in (("here", ("a", "b", "c")), ("there", ("a", "b", "a"))):
        rows = table(18)
        rows["diagnosis"] = np.array(kinds)[np.arange(36) // 2 % 3]
        write(tmp_path / name, rows, pictures=True, seed=len(name), pixel=9)
        task = 'label = "diagnosis"\nclasses = ["a", "b", "c"]\noptional = true\n'
        (tmp_path / name / "cohort.toml").write_text(
            f'name = "{name}"\n' + FILE.split("[task")[0] + f"[task.kind]\n{task}"
        )
    found = sidelight.evaluate(
        "test_resnet", tmp_path / "here", "kind", "knn", test=tmp_path / "there", random=True, **QUICK
    )
    rows = found.results.query("task == 'kind on there' and metric == 'auroc'")
    assert rows["value"].isna().all() and len(rows)
    said = "kind on there: no unit of c is there, so AUROC, which asks for every class, is unknown"
    assert said in found.notes


def test_equal_files_are_found_whatever_they_are_called(ward, tmp_path):
    there = elsewhere(ward, tmp_path, lambda path, new: new.write_bytes(path.read_bytes()))
    here, other = Cohort.open(ward), Cohort.open(there)
    assert len(shared_files(here, other)) == 24
    next(there.glob("photos/*/*.png")).write_bytes(b"\0" * 100)
    assert len(shared_files(here, other)) == len(other.items) - 1


def test_dicom_objects_are_found_under_other_keys_and_patients(tmp_path):
    pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
    from dicom_writing import write as write_dicom

    toml = 'files = "*.dcm"\nlevels = ["patient"]\n[roles]\npatient = "dicom:PatientID"\n'
    wards = [("here", range(4), range(4)), ("there", range(3, 7), range(10, 14)), ("other", range(7, 9), range(4))]
    for name, objects, patients in wards:
        (tmp_path / name).mkdir()
        for number, patient in zip(objects, patients, strict=False):
            tags = {"PatientID": f"P{patient}", "SeriesInstanceUID": f"1.2.{number}", "SOPInstanceUID": f"1.3.{number}"}
            write_dicom(
                tmp_path / name / f"{patient}.dcm", np.full((8, 8), number, np.uint8) + np.eye(8, dtype="u1"), **tags
            )
        (tmp_path / name / "cohort.toml").write_text(toml)
    here, there, other = (Cohort.open(tmp_path / name) for name, *_ in wards)
    assert shared_objects(here, there) == ["10.dcm"] and shared_objects(here, other) == []
