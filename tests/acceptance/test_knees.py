"""Knee series of several sequences, with localizers, and three labels per study."""

import shutil

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

import walkthrough as walk  # noqa: E402
from dicom_writing import write  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402

SEQUENCES = {
    "PD SAG FS": ([0, 1, 0, 0, 0, -1], [-1, 0, 0]),
    "T1 COR": ([1, 0, 0, 0, 0, -1], [0, 1, 0]),
    "T2 TRA": ([1, 0, 0, 0, 1, 0], [0, 0, 1]),
}
SLICES = 4


def knee(rng, bright):
    """Slices of noise with a bright square where the series shows something; uint16 [4, 32, 32]."""
    values = rng.normal(300, 60, (SLICES, 32, 32))
    values[:, 6:24, 6:24] += 1200 * bright
    return np.clip(values, 0, None).astype(np.uint16)


def write_scans(root, patients, *, first=1, labels=True, seed=0):
    """Three series and a localizer per study; returns the three labels of each study: bool [patients, 3]."""
    rng = np.random.default_rng(seed)
    rows, truth = ["Studie,abnormal,acl,meniscus"], []
    for patient in range(first, first + patients):
        tear, torn = rng.integers(2, size=2) if rng.random() < 0.8 else (0, 0)
        truth.append([tear or torn, tear, torn])
        shared = {
            "modality": "MR", "PatientID": f"P{patient}", "StudyInstanceUID": f"1.2.{patient}", "PatientSex": "M",
            "AccessionNumber": f"MR{patient:05d}", "Manufacturer": "Acme", "BodyPartExamined": "KNEE",
        }  # fmt: skip
        for k, (name, (orientation, normal)) in enumerate(SEQUENCES.items()):
            values = knee(rng, [tear, torn, 0][k])
            for place in rng.permutation(SLICES).tolist():
                write(
                    root / f"DICOM/{patient}/{k}/{rng.integers(10**9):09d}.dcm", values[place], **shared,
                    SeriesInstanceUID=f"1.2.{patient}.{k}", SeriesDescription=name, ImageOrientationPatient=orientation,
                    ImagePositionPatient=[4 * place * part for part in normal], InstanceNumber=place + 1,
                    ImageType=["ORIGINAL", "PRIMARY"],
                )  # fmt: skip
        write(
            root / f"DICOM/{patient}/9/localizer.dcm", knee(rng, 0)[0], **shared, SeriesInstanceUID=f"1.2.{patient}.9",
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, 0],
        )  # fmt: skip
        rows.append(f"MR{patient:05d},{int(tear or torn)},{tear},{torn}")
    if labels:
        (root / "labels.csv").write_text("\n".join(rows))
    return np.array(truth, bool)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The folder with a mended cohort file."""
    root = tmp_path_factory.mktemp("knie")
    write_scans(root, 20)
    walk.sidelight("init", root)
    assert walk.edited(root, {'# where.localizer = "false"': 'where.localizer = "false"'}) == 1
    return root


def test_what_init_reads_off_the_headers(scans):
    spec = walk.drafted(scans)
    assert spec["files"] == "DICOM/**/*.dcm"
    assert spec["roles"]["view"] == "dicom:plane"
    assert spec["tables"] == [{"file": "labels.csv", "on": ["study=Studie"]}]
    assert spec["task"] == {
        name: {"label": name, "unit": "study", "classes": ["0", "1"]} for name in ("abnormal", "acl", "meniscus")
    }
    text = (scans / "cohort.toml").read_text(encoding="utf-8")
    assert "# Series: PD SAG FS (20), T1 COR (20), T2 TRA (20)." in text
    assert len(walk.articles(scans)) == 12


def test_the_line_that_tells_sequences_apart_works_when_it_is_taken_in(scans, tmp_path):
    shutil.copytree(scans, tmp_path / "kopie")
    (line,) = [one for one in (scans / "cohort.toml").read_text().splitlines() if "derive.sequence" in one]
    assert walk.edited(tmp_path / "kopie", {line: line.removeprefix("# ")}) == 1
    items = Cohort.open(tmp_path / "kopie").items
    assert items["sequence"].value_counts().to_dict() == dict.fromkeys(SEQUENCES, 20)
    assert (items["sequence"] == "T1 COR").equals(items["view"] == "coronal")


def test_check_counts_series_and_three_labels_per_study(scans, tmp_path):
    check = walk.checked(scans, tmp_path)
    assert check["counts"]["items"] == 60 and check["counts"]["files"]["frames"] == 60 * SLICES
    counts = walk.classes(check)
    assert all(counts[name, "0"] + counts[name, "1"] == 20 for name in ("abnormal", "acl", "meniscus"))
    assert {one["with_all_views"] for one in check["counts"]["views"]} == {20}
    assert not [one for one in walk.found(check) if one[1] != "note"]


def test_new_knees_are_told_apart(scans, tmp_path):
    walk.studied(scans, tmp_path, "simclr", "abnormal")
    model = walk.judged(scans, tmp_path, "acl")
    truth = write_scans(tmp_path / "neu", 10, first=900, labels=False, seed=1)
    scores = walk.predicted(model, scans, tmp_path / "neu", tmp_path)
    assert walk.separation(scores, truth[:, 1]) > 0.9
    assert set(scores["items"]) == {3}
