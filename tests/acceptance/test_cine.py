"""DICOM cine loops with stills and colour Doppler among them; a pathology list by accession number, several loops per exam."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

import walkthrough as walk  # noqa: E402
from dicom_writing import write  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402

FRAMES = 12


def loop(ill, rng, frames=FRAMES):
    """Speckle with a beating dark chamber; an ill one is surrounded by a bright rim. uint8 [T, 40, 40]."""
    rows, columns = np.indices((40, 40)) - rng.uniform(18, 22, (2, 1, 1))
    radius = np.hypot(rows, columns)
    beat = 8 + 2 * np.sin(np.arange(frames) / frames * 2 * np.pi)[:, None, None]
    values = rng.integers(40, 100, (frames, 40, 40)) * (radius > beat)
    values[(radius > beat) & (radius < beat + 5)] += 120 * ill
    return values.astype(np.uint8)


def write_exams(root, exams, *, first=7000, seed=0, labels=True):
    """Two or three loops per exam, a still, a colour loop; returns which accession numbers are ill."""
    rng = np.random.default_rng(seed)
    rows, ill = ["Auftrag;Patient;Befundklasse"], {}
    for place, exam in enumerate(range(first, first + exams)):
        number, patient = f"US-{exam}", f"DOE^{exam if exam % 6 else exam - 1}"  # every sixth is seen a second time
        ill[number] = sick = bool(rng.integers(2))
        tags = {
            "modality": "US", "PatientID": patient, "AccessionNumber": number, "StudyInstanceUID": f"1.2.{exam}",
            "SeriesInstanceUID": f"1.2.{exam}.1", "PatientSex": "MF"[exam % 2], "PatientAge": f"{20 + exam % 60:03d}Y",
            "Manufacturer": ["Acme", "Best"][rng.integers(2)], "FrameTime": 40,
        }  # fmt: skip
        folder = root / "export" / f"S{place:03d}"
        for k in range(2 + exam % 2):
            write(folder / f"IM{k:04d}", loop(sick, rng), NumberOfFrames=FRAMES, **tags)
        write(folder / "IM0010", loop(sick, rng, 1)[0], **tags)
        flow = np.repeat(loop(sick, rng)[..., None], 3, axis=-1)
        flow[..., 0] |= 128
        write(folder / "IM0020", flow, NumberOfFrames=FRAMES, **tags)
        rows.append(f"{number};{patient};{['normal', 'Erguss'][sick]}")
    rows.append("US-1;DOE^1;normal")
    if labels:
        (root / "Pathologie.csv").write_bytes("\r\n".join(rows).encode("cp1252"))
    return ill


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The folder with a mended cohort file, and what was mended."""
    root = tmp_path_factory.mktemp("labor")
    write_exams(root, 20)
    walk.sidelight("init", root)
    lines = {f"# where.{one}": f"where.{one}" for one in ('frames = ">= 10"', 'colour = "grey"')}
    assert walk.edited(root, lines) <= 2
    return root


def test_what_init_reads_off_the_headers(lab):
    spec = walk.drafted(lab)
    assert spec["files"] == "export/**/*"
    assert spec["roles"] == {"patient": "dicom:PatientID", "study": "dicom:AccessionNumber"}
    assert spec["tables"] == [{"file": "Pathologie.csv", "on": ["study=Auftrag"]}]
    assert spec["metadata"] == {
        "patient": ["patient_sex", "patient_age"], "study": ["manufacturer"],
        "numeric": ["patient_age"], "conflict": {"patient_sex": "first", "patient_age": "first"},
    }  # fmt: skip
    assert spec["task"] == {"befundklasse": {"label": "Befundklasse", "unit": "study", "classes": ["normal", "Erguss"]}}
    shown = walk.articles(lab)
    assert len(shown) == 12
    assert all("Pathologie.csv, line" in one and "data:image/jpeg" in one and "From the header" in one for one in shown)


def test_check_counts_grey_loops_alone(lab, tmp_path):
    check = walk.checked(lab, tmp_path)
    items = Cohort.open(lab).items
    assert set(items["frames"]) == {"12"} and set(items["colour"]) == {"grey"} and len(items) == 50
    assert check["counts"]["files"]["clips"] == 50
    assert sum(walk.classes(check).values()) == items["study"].nunique() == 20
    # one row of the list is of an exam that is not here; patients who came twice have two ages
    assert [one for one in walk.found(check) if one[0] != "source"] == [("join", "note"), ("conflict", "note")]


def test_new_exams_are_told_apart_and_no_identifier_is_left(lab, tmp_path):
    walk.studied(lab, tmp_path, "meta_uscl", "befundklasse")
    model = walk.judged(lab, tmp_path, "befundklasse")
    ill = write_exams(tmp_path / "neu", 10, first=9000, labels=False, seed=1)
    scores = walk.predicted(model, lab, tmp_path / "neu", tmp_path)
    assert (scores["outside"] == "True").sum() <= 3 and "not reliable, for the model" in (model / "card.md").read_text()
    # an accession number is known as a hash alone: the path says which exam it is
    assert scores["item"].tolist() == [f"export/S{place:03d}/IM0000" for place in range(10)]
    assert walk.separation(scores, list(ill.values())) > 0.9
    left = walk.bytes_of(tmp_path / "study") + walk.bytes_of(model) + (tmp_path / "scores.csv").read_bytes()
    assert left and b"US-7" not in left and b"US-9" not in left and b"DOE" not in left
