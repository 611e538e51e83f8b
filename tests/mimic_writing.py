"""Writes a phantom's radiographs and reports in the layout of MIMIC-CXR-JPG and MIMIC-CXR, in a folder each or in one."""

import zipfile
from pathlib import Path

import pandas as pd
from PIL import Image

from sidelight.data.phantoms.chest import ChestPhantom

LABELS = {"Cardiomegaly": "cardiomegaly", "Pleural Effusion": "effusion", "Consolidation": "opacity"}


def write_mimic(root: Path, phantom: ChestPhantom, *, together: bool = False, lateral: bool = True) -> Path:
    """JPEGs, split, metadata and chexpert as csv.gz, reports in a zip; every study also gets a lateral view, if ``lateral``."""
    images = root if together else root / "mimic-cxr-jpg_2-0-0"
    reports = root if together else root / "mimic-cxr_2-0-0"
    for folder in (images, reports):
        folder.mkdir(parents=True, exist_ok=True)
    rows, texts, labels = [], {}, {}
    for position, item in phantom.items.iterrows():
        subject, study = (
            10000000 + int(item["patient"][1:]),
            50000000 + 100 * int(item["patient"][1:]) + int(item["study"]),
        )
        place = f"p{str(subject)[:2]}/p{subject}/s{study}"
        names = [(f"{position:08x}-frontal", item["view"])]
        if lateral and item["item"].endswith("/0"):
            names.append((f"{position:08x}-side", "LATERAL"))
        for dicom, view in names:
            path = images / "files" / place / f"{dicom}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(phantom.read(position, 1).frames[0]).save(path, quality=95)
            rows.append((dicom, study, subject, item["split"], view))
        texts[f"files/{place}.txt"] = item["report"]
        labels[subject, study] = [{"1": "1.0", "0": ""}[item[column]] for column in LABELS.values()]
    table = pd.DataFrame(rows, columns=["dicom_id", "study_id", "subject_id", "split", "ViewPosition"])
    name = "mimic-cxr-2.0.0-{}.csv.gz"
    table.drop(columns="ViewPosition").to_csv(images / name.format("split"), index=False)
    table.drop(columns="split").to_csv(images / name.format("metadata"), index=False)
    findings = pd.DataFrame([(*key, *row) for key, row in labels.items()], columns=["subject_id", "study_id", *LABELS])
    findings.assign(Edema="", Atelectasis="").to_csv(images / name.format("chexpert"), index=False)
    with zipfile.ZipFile(reports / "mimic-cxr-reports.zip", "w") as archive:
        for member, text in texts.items():
            archive.writestr(member, text)
    return root
