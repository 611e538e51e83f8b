"""Radiographs PA, AP and lateral in JPEG Lossless; reports in German in one table, diagnoses in another."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
gdcm = pytest.importorskip("gdcm", reason="needs the extra 'dicom'")

import walkthrough as walk  # noqa: E402
from dicom_writing import write  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402

LOSSLESS = gdcm.TransferSyntax.JPEGLosslessProcess14_1
SENTENCES = {
    False: "Herz normal groß. Kein Erguss, kein Infiltrat, keine Stauung. Beurteilung: unauffälliger Befund der Lunge",
    True: "Verschattung im Unterfeld mit Randwinkelerguss. Das Herz ist nicht sicher beurteilbar. Kontrolle empfohlen",
}


def compress(path):
    """Rewrite a file in JPEG Lossless."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(LOSSLESS))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


def chest(view, ill, rng):
    """Two dark fields (one in the lateral), the lower part of one bright where ill; 12 bits, uint16 [48, 48]."""
    values = rng.normal(2600, 150, (48, 48))
    top, low = rng.integers(3, 12), rng.integers(36, 45)
    for left in (16,) if view == "LL" else (5, 27):
        values[top:low, left + rng.integers(-3, 4) : left + rng.integers(13, 18)] -= 1500
    if ill:
        values[low - 14 : low, 4:24] = rng.normal(2900, 100, (14, 20))
    return np.clip(values, 0, 4095).astype(np.uint16)


def write_archive(root, exams, *, first=100, labels=True, seed=0):
    """PA with lateral, or AP alone; every fourth patient comes twice; the ill ones mostly come to one machine.

    Returns which exams are ill, in their order.
    """
    rng = np.random.default_rng(seed)
    reports, classes, ill = ["Untersuchungsnummer;Datum;Befund"], ["Auftragsnr;Diagnose;Gerät"], []
    for exam in range(first, first + exams):
        ill.append(sick := bool(rng.integers(2)))
        number = f"RX{exam:07d}"
        for k, view in enumerate(["AP"] if exam % 3 == 0 else ["PA", "LL"]):
            values = chest(view, sick, rng)
            negative = exam % 2 == 0  # stored as a negative, as some machines do
            path = write(
                root / f"{exam}/{k}.dcm", 4095 - values if negative else values, bits=12, modality="DX",
                photometric="MONOCHROME1" if negative else "MONOCHROME2", ViewPosition=view, AccessionNumber=number,
                PatientID=f"{exam - (exam % 4 == 1):05d}", PatientSex="MF"[exam // 2 % 2], BodyPartExamined="CHEST",
                PatientAge=f"{30 + exam // 2 % 50:03d}Y", StudyInstanceUID=f"1.2.{exam}", SeriesInstanceUID=f"1.2.{exam}.1",
                WindowCenter=2048, WindowWidth=4096,
            )  # fmt: skip
            compress(path)
        reports.append(f'{number};0{exam % 9 + 1}.03.2024;"{SENTENCES[sick]} (Nr. {exam})."')
        classes.append(f"{number};{['unauffällig', 'Erguss'][sick]};{'AB'[sick ^ (exam % 10 == 0)]}")
    if labels:
        (root / "Befunde.csv").write_bytes("\r\n".join(reports).encode("cp1252"))
        (root / "Diagnosen.csv").write_bytes("\r\n".join(classes).encode("cp1252"))
    return ill


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The folder with the cohort file as it was drafted: nothing is to be mended."""
    root = tmp_path_factory.mktemp("archiv")
    write_archive(root, 30)
    walk.sidelight("init", root)
    return root


def test_what_init_reads_off_the_headers(archive):
    spec = walk.drafted(archive)
    assert spec["roles"]["view"] == "dicom:ViewPosition"
    assert {one["file"]: one["on"] for one in spec["tables"]} == {
        "Befunde.csv": ["study=Untersuchungsnummer"],
        "Diagnosen.csv": ["study=Auftragsnr"],
    }
    described = {"patient": ["patient_sex", "patient_age"], "study": ["Gerät"]}
    assert spec["metadata"] == {**described, "numeric": ["patient_age"]}
    assert list(spec["task"]) == ["diagnose"]
    text = (archive / "cohort.toml").read_text(encoding="utf-8")
    assert (
        '# - Befund: reads like a report; above the first [table]: report = {column = "Befund", language = "de"}'
        in text
    )
    assert any("Randwinkelerguss" in one or "unauffälliger Befund" in one for one in walk.articles(archive))


def test_check_reads_jpeg_lossless(archive, tmp_path):
    file = next(archive.rglob("*.dcm"))
    assert pydicom.dcmread(file).file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")
    check = walk.checked(archive, tmp_path)
    cohort = Cohort.open(archive)
    assert check["counts"]["files"]["unreadable"] == 0
    assert {one["view"]: one["items"] for one in check["counts"]["views"]} == {"AP": 10, "PA": 20, "LL": 20}
    sick = cohort.items["Befund"].str.contains("Randwinkelerguss")
    assert (sick == (cohort.items["Diagnose"] == "Erguss")).all()
    assert sum(walk.classes(check).values()) == 30
    (device,) = [one for one in check["findings"] if one["severity"] != "note"]
    assert device["kind"] == "source" and "'Gerät' alone predicts 'diagnose'" in device["sentence"]


def test_new_radiographs_are_told_apart(archive, tmp_path):
    walk.studied(archive, tmp_path, "simclr", "diagnose")
    model = walk.judged(archive, tmp_path, "diagnose")
    ill = write_archive(tmp_path / "neu", 10, first=900, labels=False, seed=1)
    scores = walk.predicted(model, archive, tmp_path / "neu", tmp_path)
    assert walk.separation(scores, ill) > 0.9
    assert (scores["missing"] == "").all()
