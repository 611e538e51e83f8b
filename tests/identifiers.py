"""Cohorts in which every place that can hold an identity holds a planted string, and a search for such strings."""

import html
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from sidelight.cli import main

PATIENTS = [f"Vogelsäng{n:02d}" for n in range(12)]
ROOT, TABLE = "Station Quitzow", "Liste_Hümmelchen"
SHOTS = [f"shot-Zwernitz{n:02d}" for n in range(12)]
EXIF = {
    "Artist": "Photographer Ypsilanti",
    "Copyright": "Praxis Wurzelbrunft",
    "ImageDescription": "Melanoma of Mrs Krautwickel",
    "HostComputer": "pc-of-Zirbelnuss",
    "Software": "firmware licensed to Ohnesorgius",
    "Make": "Make-Fleuchhaus",
    "Model": "Model-Grabenschmitz",
    "XPAuthor": "Author Eulenspitz",
    "XPComment": "Comment Dünnbeer",
    "XPTitle": "Title Rübenzagel",
    "XPSubject": "Subject Klabauter",
    "XPKeywords": "Keyword Hutzelmann",
}
SUB = {
    "UserComment": "seen with Schlotterbeck",
    "CameraOwnerName": "owner Pumpernickl",
    "BodySerialNumber": "serial-Q77X31",
    "ImageUniqueID": "uid-Bratwurz",
}
GPS = {"GPSProcessingMethod": "near Obersülzen", "GPSAreaInformation": "Hinterwaldkirch", "GPSDateStamp": "1903:07:29"}
COMMENT, XMP = "comment by Wimmelbach", "xmp-creator-Zottel"
CELLS = {
    "surname": "Knorpelmann",
    "birthday": "1903-02-30",
    "address": "Irrgasse 77b",
    "telephone": "0049-555-0199-31",
    "email": "zuckerwatte@example.org",
    "record": "MRN-8812-Kx",
    "history": "his sister Aurelia Buntspecht had it too",
    "report": "Befund Hauttumor bei Herrn Glockenblum",
    "referrer": "Dr. Eisenbarthel",
    "region": "Nasenspitz of Xaver",
}
WEIGHTS = "Weights of Zaunkönig"
BROKEN, STRAY, ODD_VIEW, NOTE = "broken-Trödelmaier", "row of nobody Fitzliput", "Yorickson", "cohort of Prof. Nebelung"
TAGS = {
    "PatientID": "PID-Murmel-901",
    "PatientName": "WACKELPUDD^INGE",
    "PatientBirthDate": "19030229",
    "PatientAddress": "Kuckucksweg 3",
    "OtherPatientIDs": "OTHER-Murmel-902",
    "PatientTelephoneNumbers": "555-0188-77",
    "PatientComments": "cousin of Strohwitwer",
    "InstitutionName": "Klinikum Siebenschläf",
    "InstitutionalDepartmentName": "Radiologie Unterfloss",
    "ReferringPhysicianName": "TAUSENDFUSS^OTTO",
    "PerformingPhysicianName": "HASENFUSS^EVA",
    "OperatorsName": "RATTENFANG^KURT",
    "StationName": "SCANNERQUADDEL",
    "AccessionNumber": "ACC-Grimbart-7",
    "StudyID": "STUDY-Grimbart-8",
    "StudyDate": "19030731",
    "StudyDescription": "MRT Knie, Frau Zausel",
    "SeriesDescription": "sag T2 Frau Zimtzick",
    "ProtocolName": "protocol Nachtigall",
    "RequestedProcedureDescription": "asked by Dr. Honigtau",
    "ImageComments": "image of Kleinlich",
    "DeviceSerialNumber": "SN-Adlerhorst-12",
    "Manufacturer": "made for Birnbaumer",
    "BodyPartExamined": "KNEE SCHNABEL",
}
FOLDER, SLICE = "Export_Wackelpudd_Inge", "IM_Drosselbart"


def photos(folder: Path) -> Path:
    """Two photographs of each of 12 patients under a planted name each; the root folder."""
    root = folder / ROOT
    rng = np.random.default_rng(0)
    rows = []
    for number, patient in enumerate(PATIENTS):
        for view in ("D", "K"):
            shot = f"{SHOTS[number]}_{number}{view}"
            pixels = rng.integers(30, 120, (40, 40, 3))
            pixels[10:30, 10:30] += 80 * (number % 2)
            path = root / "photos" / patient / f"{shot}_{ODD_VIEW if (number, view) == (3, 'K') else view}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            _jpeg(pixels.astype(np.uint8), path)
            cells = {name: f"{text} ({number})" for name, text in CELLS.items()}
            rows.append(
                {
                    "photo": shot,
                    "patient": patient,
                    "dx": ["nevus", "mel"][number % 2],
                    "site": "ab"[number % 2],
                    **cells,
                }
            )
    (root / "photos" / PATIENTS[0] / f"{BROKEN}_D.jpg").write_bytes(b"\xff\xd8\xff no picture")
    rows.append({**rows[0], "photo": STRAY})
    pd.DataFrame(rows).to_csv(root / f"{TABLE}.csv", index=False, sep=";")
    (root / "cohort.toml").write_text(
        f'# {NOTE}\nfiles = "photos/{{patient}}/{{photo}}_{{view:[A-Za-z]+}}.jpg"\nlevels = ["patient"]\n'
        f'tables = [{{file = "{TABLE}.csv", on = ["photo"]}}]\n[metadata]\npatient = ["region"]\n'
        '[task.mel]\nlabel = "dx"\nunit = "patient"\npositive = ["mel"]\nignore = [""]\n',
        encoding="utf-8",
    )
    return root


PHOTO_STRINGS = (
    *(*PATIENTS, ROOT, TABLE, *SHOTS, *EXIF.values(), *SUB.values(), *GPS.values(), COMMENT, XMP, *CELLS.values()),
    *(WEIGHTS, BROKEN, STRAY, ODD_VIEW, NOTE),
)


def _jpeg(pixels: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    for name, text in EXIF.items():
        exif[ExifTags.Base[name]] = text.encode("utf-16-le") if name.startswith("XP") else text
    place = exif.get_ifd(ExifTags.IFD.Exif)
    for name, text in SUB.items():
        place[ExifTags.Base[name]] = b"ASCII\0\0\0" + text.encode() if name == "UserComment" else text
    spot = exif.get_ifd(ExifTags.IFD.GPSInfo)
    spot[ExifTags.GPS.GPSLatitudeRef], spot[ExifTags.GPS.GPSLatitude] = "N", (48.0, 12.0, 30.5)
    for name, text in GPS.items():
        spot[ExifTags.GPS[name]] = text if name == "GPSDateStamp" else text.encode()
    Image.fromarray(pixels).save(path, quality=95, exif=exif, comment=COMMENT.encode(), xmp=f"<x>{XMP}</x>".encode())


def dicoms(folder: Path) -> Path:
    """Six patients with a volume of two slices each; every tag, file and folder of the first one is planted."""
    from dicom_writing import dataset

    root = folder / ROOT
    for number in range(6):
        for at in range(2):
            rng = np.random.default_rng([number, at])
            tags = {name: text if number == 0 else f"other {number}"[:16] for name, text in TAGS.items()}
            tags |= {"PatientBirthDate": TAGS["PatientBirthDate"], "StudyDate": TAGS["StudyDate"]}
            tags |= {"BodyPartExamined": TAGS["BodyPartExamined"] if number == 0 else "KNEE"}
            one = dataset(
                rng.integers(0, 900, (24, 24)).astype(np.int16), modality="MR", SeriesInstanceUID=f"1.2.{number}.7",
                StudyInstanceUID=f"1.2.{number}", ImagePositionPatient=[0, 0, 5 * at],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0], SpecificCharacterSet="ISO_IR 192", **tags,
            )  # fmt: skip
            one.private_block(0x0099, "Maker of Kesselflick", create=True).add_new(1, "LO", "private Mottenkist")
            path = root / f"{FOLDER}{number}" / f"{SLICE}{at}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            one.save_as(path, enforce_file_format=True)
    (root / f"{FOLDER}5" / "2.dcm").write_bytes(path.read_bytes()[:700])
    (root / "cohort.toml").write_text(
        'files = "**/*.dcm"\nlevels = ["patient", "study"]\n[roles]\npatient = "dicom:PatientID"\n'
        'study = "dicom:AccessionNumber"\nview = "dicom:BodyPartExamined"\n'
    )
    return root


DICOM_STRINGS = (ROOT, *TAGS.values(), "Maker of Kesselflick", "private Mottenkist", FOLDER, SLICE)


def leaks(folder: Path, strings: tuple[str, ...]) -> list[str]:
    """Which of ``strings`` stand in a file below ``folder``, or in a name there, as ``FILE: STRING``."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        content = b"\0".join([name.encode(), *(_layers(path) if path.is_file() else ())]).lower()
        found += [f"{name}: {text}" for text in strings if any(one.lower() in content for one in _spelt(text))]
    return found


def said(text: str, strings: tuple[str, ...]) -> list[str]:
    """Which of ``strings`` stand in what a command printed, however its lines were broken."""
    whole = re.sub(r"\s+", "", text).lower()
    return [one for one in strings if re.sub(r"\s+", "", one).lower() in whole]


def _layers(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what it says once it is unpacked."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield str(table.schema.metadata).encode()
        yield "\0".join(str(cell) for column in table.columns for cell in column.to_pylist()).encode()
    if path.suffix in (".html", ".md"):
        yield html.unescape(content.decode()).encode()


def _spelt(text: str) -> set[bytes]:
    """A string as files may hold it."""
    encodings = ("utf-8", "utf-16-le", "latin-1")
    plain = {text, text.replace(" ", "_"), text.replace("^", " ")}
    return {one.encode(code) for one in plain for code in encodings} | {json.dumps(text)[1:-1].encode()}


def flags(**settings):
    """Settings as ``--set`` takes them, those of a group by their dotted names."""
    words = []
    for key, value in settings.items():
        inner = value.items() if isinstance(value, dict) and value else [("", value)]
        for name, one in inner:
            words += ["--set", f"{key}.{name}={json.dumps(one)}" if name else f"{key}={json.dumps(one)}"]
    return words


def spoken(commands):
    """What each command printed, run in this process with no terminal; none may fail."""
    texts = {}
    with pytest.MonkeyPatch.context() as patch:
        for words in commands:
            stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
            patch.setattr(sys, "argv", ["sidelight", *words])
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            with pytest.raises(SystemExit) as left:
                main()
            heard = stream.buffer.getvalue().decode()
            texts[words[0]] = texts.get(words[0], "") + heard
            assert left.value.code in (0, None) or words[0] == "check", heard
    return texts
