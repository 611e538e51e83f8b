"""Write the folders of the tutorials: synthetic pictures and invented patients, laid out as a hospital's export would be.

    python docs/tutorials/folders.py photos|ultrasound|radiographs|knee OUT [--new] [--seed N]

``--new`` writes later patients of the same kind: other pictures, no labels; another seed writes
another hospital. A bright spot tells the label, with noise; the folders are for trying commands, not for measuring anything.
"""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

PATIENTS = 24
LATER = 6
HISTOLOGY = (
    *("Nävuszellnävus", "Nävus, dysplastisch", "seborrhoische Keratose"),
    *("Melanom, superfiziell spreitend", "Melanom in situ", "Basalzellkarzinom, nodulär"),
)
REPORTS = (
    ("Herz normal groß. Lunge frei belüftet.", "Kein Pleuraerguss, kein Infiltrat."),
    ("Verschattung des rechten Randwinkels.", "Pleuraerguss rechts."),
)
SEQUENCES = {"sag PD FS": (0, 1, 0, 0, 0, -1), "cor PD FS": (1, 0, 0, 0, 0, -1), "ax PD FS": (1, 0, 0, 0, 1, 0)}
NORMALS = {"sag PD FS": (1, 0, 0), "cor PD FS": (0, 1, 0), "ax PD FS": (0, 0, 1)}
SOP = {"US": "1.2.840.10008.5.1.4.1.1.3.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1", "MR": "1.2.840.10008.5.1.4.1.1.4"}
LOSSLESS = "1.2.840.10008.1.2.4.70"


def picture(rng: np.random.Generator, size: int, label: int, colour: bool = False) -> np.ndarray:
    """Smooth noise with a spot whose brightness tells the label, uint8 ``[size, size]`` or ``[size, size, 3]``."""
    rough = rng.normal(size=(size // 8, size // 8))
    ground = np.kron(rough, np.ones((8, 8))) * 12 + rng.normal(size=(size, size)) * 10 + 90
    y, x = np.mgrid[:size, :size] - size / 2 + rng.uniform(-4, 4, (2, 1, 1))
    spot = np.exp(-(x**2 + y**2) / (size / 6) ** 2) * (30 + 50 * label + 25 * rng.normal())
    grey = np.clip(ground + spot, 0, 255)
    if not colour:
        return grey.astype(np.uint8)
    return np.stack([grey, grey * 0.8, grey * 0.7], axis=-1).astype(np.uint8)


def photos(root: Path, rng: np.random.Generator, patients: range, new: bool) -> None:
    """PATIENT/LESION/D1.jpg (dermoscopic) and K1.jpg (clinical); lesions are numbered anew for each patient."""
    lesions, people = [], []
    for number in patients:
        patient = f"P{number:03d}"
        people.append(
            (patient, int(rng.integers(25, 85)), "mw"[int(rng.integers(2))], ("I", "II", "III", "IV")[number % 4])
        )
        for lesion in range(1, int(rng.integers(2, 5)) + 1):
            kind = int(rng.integers(6))
            for view in "DK":
                path = root / patient / str(lesion) / f"{view}1.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(rng, 96, int(kind > 2), colour=True)).save(path, quality=90)
            excised = "" if new or rng.random() < 0.2 else HISTOLOGY[kind]
            region = ("Rücken", "Unterschenkel", "Schläfe", "Arm")[int(rng.integers(4))]
            width = f"{rng.uniform(2, 15):.1f}".replace(".", ",")
            lesions.append(f"{patient};{lesion};{region};{width};{'ja' if rng.random() < 0.3 else 'nein'};{excised}")
    header = "PatNr;Läsion;Region;Durchmesser_mm;Juckreiz;Histologie"
    (root / "Läsionen.csv").write_bytes("\r\n".join([header, *lesions, ""]).encode("cp1252"))
    table = pd.DataFrame(people, columns=["PatNr", "Alter", "Geschlecht", "Hauttyp"])
    table.to_excel(root / "Patienten.xlsx", index=False)


def ultrasound(root: Path, rng: np.random.Generator, patients: range, new: bool) -> None:
    """An export of numbered files: per examination two grey cine loops, a still and a colour Doppler loop."""
    rows, count = ["accession;pathology"], 0
    for number in patients:
        label = int(rng.integers(2))
        common = {**who("US", number), "FrameTime": "40"}
        for kind in ("cine", "cine", "still", "doppler"):
            frames = 1 if kind == "still" else 12
            values = np.stack([picture(rng, 96, label) for _ in range(frames)])
            tags: dict[str, Any] = {"NumberOfFrames": frames} if frames > 1 else {}
            if kind == "doppler":
                values = np.stack([values, values // 2, values // 3], axis=-1)
                values[:, 30:60, 30:60] = (220, 40, 40)
            count += 1
            save(
                root / "export" / f"IM{count:04d}.dcm",
                values if frames > 1 else values[0],
                "US",
                count,
                {**common, **tags},
            )
        if number % 8:
            rows.append(f"{common['AccessionNumber']};{'malignant' if label else 'benign'}")
    if not new:
        (root / "pathology.csv").write_text("\n".join(rows) + "\n")


def radiographs(root: Path, rng: np.random.Generator, patients: range, new: bool) -> None:
    """Chest radiographs, PA and lateral or AP alone, JPEG Lossless; findings as codes and reports as text, in two tables."""
    coded, reports, count = ["Untersuchung;Alter;Erguss"], ["Accession;Befund;Beurteilung"], 0
    for number in patients:
        label = int(rng.integers(2))
        tags = who("DX", number)
        for view in ("AP",) if number % 3 == 0 else ("PA", "LL"):
            count += 1
            values = picture(rng, 128, label).astype(np.uint16) * 16
            path = root / "pacs" / f"{number // 10:02d}" / f"{count:05d}.dcm"
            save(path, values, "DX", 10_000 + count, {**tags, "ViewPosition": view}, bits=12, lossless=True)
        coded.append(f"{tags['AccessionNumber']};{int(rng.integers(20, 90))};{'ja' if label else 'nein'}")
        reports.append(";".join((tags["AccessionNumber"], *REPORTS[label])))
    if new:
        coded = [row.rpartition(";")[0] for row in coded]
    (root / "Diagnosen.csv").write_bytes("\r\n".join(coded).encode("cp1252"))
    if not new:
        (root / "Befunde.csv").write_bytes("\r\n".join(reports).encode("cp1252"))


def knee(root: Path, rng: np.random.Generator, patients: range, new: bool) -> None:
    """Knee examinations: a localizer and three sequences of eight slices each; three labels per examination."""
    rows, count = ["accession,abnormal,acl,meniscus"], 0
    for number in patients:
        acl, meniscus = (int(value) for value in rng.integers(2, size=2))
        tags = who("MR", number)
        for series, (name, orientation) in enumerate([("localizer", SEQUENCES["ax PD FS"]), *SEQUENCES.items()]):
            normal = np.array(NORMALS.get(name, (0, 0, 1)))
            for place in rng.permutation(3 if name == "localizer" else 8):
                count += 1
                label = {"sag PD FS": acl, "cor PD FS": meniscus}.get(name, 0)
                more = {
                    **{"SeriesInstanceUID": uid(f"series {number} {series}"), "SeriesDescription": name},
                    "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER" if name == "localizer" else "M"],
                    "ImageOrientationPatient": list(orientation),
                    "ImagePositionPatient": [float(value) for value in normal * 4.0 * int(place)],
                    "InstanceNumber": int(place) + 1,
                }
                values = picture(rng, 64, label).astype(np.uint16) * 8
                path = root / "export" / f"{int(rng.integers(16**8)):08X}.dcm"
                save(path, values, "MR", 20_000 + count, {**tags, **more}, bits=12)
        rows.append(f"{tags['AccessionNumber']},{int(acl or meniscus)},{acl},{meniscus}")
    if not new:
        (root / "labels.csv").write_text("\n".join(rows) + "\n")


def who(modality: str, number: int) -> dict[str, Any]:
    """An invented patient and examination."""
    return {
        **{"PatientID": f"{70000 + 37 * number}", "PatientName": f"Muster^Vorname{number}"},
        **{"AccessionNumber": f"{modality}{3000 + 11 * number}", "StudyInstanceUID": uid(f"study {modality} {number}")},
        **{"PatientSex": "MF"[number % 2], "PatientAge": f"{20 + 7 * number % 60:03d}Y"},
    }


def uid(text: str) -> str:
    """A UID that is the same at every run."""
    return f"2.25.{int(hashlib.sha256(text.encode()).hexdigest()[:30], 16)}"


def save(
    path: Path,
    values: np.ndarray,
    modality: str,
    number: int,
    tags: dict[str, Any],
    bits: int = 8,
    lossless: bool = False,
) -> None:
    """A DICOM file of ``values`` ([H, W], [H, W, 3], or with frames before these)."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = SOP[modality]
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid(f"image {modality} {number}")
    colour = values.shape[-1] == 3
    one.Modality, one.SamplesPerPixel = modality, 3 if colour else 1
    one.Rows, one.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    one.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        one.PlanarConfiguration = 0
    one.BitsAllocated, one.BitsStored, one.HighBit = values.dtype.itemsize * 8, bits, bits - 1
    one.PixelRepresentation = 0
    for tag, value in tags.items():
        setattr(one, tag, value)
    one.PixelData = values.tobytes()
    one["PixelData"].VR = "OB" if one.BitsAllocated == 8 else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)
    if lossless:
        compress(path)


def compress(path: Path) -> None:
    """The same file as JPEG Lossless (first-order prediction), which many archives send."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    writer.Write()


KINDS: dict[str, Callable[[Path, np.random.Generator, range, bool], None]] = {
    **{"photos": photos, "ultrasound": ultrasound, "radiographs": radiographs, "knee": knee}
}


def main() -> None:
    """Write one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--new", action="store_true", help="later patients, without labels")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    patients = range(901, 901 + LATER) if given.new else range(1, PATIENTS + 1)
    KINDS[given.kind](given.out, np.random.default_rng([given.seed, int(given.new)]), patients, given.new)


if __name__ == "__main__":
    main()
