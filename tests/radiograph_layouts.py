"""The chest phantom written as five public data sets have their files, so that their presets and tasks run from raw files.

Which finding of the phantom stands for which of a data set is a convention: opacities are RSNA's pneumonia and COVID Rural's
opacity, effusions SIIM's pneumothorax, nodules the foreign objects, and NIH's eight findings are each of them in turn.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dicom_writing import write
from sidelight.data.phantoms.chest import ChestPhantom, phantom

NIH = {
    "opacity": ("Pneumonia", "Infiltrate", "Atelectasis"),
    "nodule": ("Nodule", "Mass"),
    "effusion": ("Effusion", "Pneumothorax"),
    "cardiomegaly": ("Cardiomegaly",),
}
MS_CXR = {"opacity": "Lung Opacity", "effusion": "Pleural Effusion", "cardiomegaly": "Cardiomegaly"}
SETS = ("rsna", "covid_rural", "siim", "object_cxr", "nih")


def write_layouts(root: Path, patients: int, *, sets=SETS, size: int = 96, seed: int = 5) -> ChestPhantom:
    """Data sets below ``root``, each of the same radiographs; one radiograph a patient."""
    found = phantom(patients=patients, studies=1, views=1, size=size, seed=seed, difficulty=0.0)
    for name in sets:
        globals()[f"write_{name}"](root / name, found)
    return found


def write_rsna(root: Path, found: ChestPhantom) -> None:
    """Boxes of opacities; every patient has at least one row."""
    labels, info = ["patientId,x,y,width,height,Target"], ["patientId,class"]
    for at, image in images(found):
        write(root / "stage_2_train_images" / f"{name(at)}.dcm", image, modality="DX", PatientID=name(at))
        boxes = [box[1:] for box in found.boxes(at) if box[0] == "opacity"]
        labels += [f"{name(at)},{x:.1f},{y:.1f},{w:.1f},{h:.1f},1" for x, y, w, h in boxes] or [f"{name(at)},,,,,0"]
        other = "No Lung Opacity / Not Normal" if found.findings[at] else "Normal"
        info += [f"{name(at)},{'Lung Opacity' if boxes else other}"] * max(1, len(boxes))
    text(root / "stage_2_train_labels.csv", labels)
    text(root / "stage_2_detailed_class_info.csv", info)


def write_covid_rural(root: Path, found: ChestPhantom) -> None:
    """Masks of 0 and 1 of opacities, for two of three radiographs."""
    folder = root / "covid_rural_annot"
    for at, image in images(found):
        stem = f"COVID-19-AR-{16400000 + at}_{1 + at % 12:02d}-{1 + at % 28:02d}-2020-XR"
        save(folder / "jpgs" / f"{stem}.jpg", image)
        if at % 3:
            save(folder / "pngs_masks" / f"{stem}.png", found.mask(at, "opacity").astype(np.uint8))
    text(root / "covid_rural_patient_info.csv", ["id,age"])
    text(root / "covid_rural_radiologist_notes.csv", ["id,note"])


def write_siim(root: Path, found: ChestPhantom) -> None:
    """Run lengths of effusions down the columns, in two rows where there are two; a blank before the second header and cell."""
    rows = ["ImageId, EncodedPixels"]
    for at, image in images(found):
        uid = f"1.2.276.0.7230010.3.1.4.{at + 1}"
        write(root / "dicom-images-train" / f"s{at}" / "t" / f"{uid}.dcm", image, modality="DX")
        masks = [found.extent(at, one) for one in found.findings[at] if one.kind == "effusion"]
        rows += [f"{uid}, {siim_runs(mask)}" for mask in masks] or [f"{uid}, -1"]
    text(root / "train-rle.csv", rows)


def write_object_cxr(root: Path, found: ChestPhantom) -> None:
    """Nodules as rectangles, ellipses and polygons; the last fifth is dev."""
    rows = {"train": ["image_name,annotation"], "dev": ["image_name,annotation"]}
    for at, image in images(found):
        side = "dev" if at >= 0.8 * len(found.items) else "train"
        save(root / side / f"{at:05d}.jpg", image)
        shapes = []
        for place, (kind, x, y, w, h) in enumerate(found.boxes(at)):
            corners = (x, y, x + w, y, x + w, y + h, x, y + h)
            drawn = (at + place) % 3
            if kind == "nodule":
                shapes.append(" ".join(map(str, (drawn, *((x, y, x + w, y + h) if drawn < 2 else corners)))))
        rows[side].append(f"{at:05d}.jpg,{';'.join(shapes)}")
    for side, lines in rows.items():
        text(root / f"{side}.csv", lines)


def write_nih(root: Path, found: ChestPhantom) -> None:
    """Boxes of eight findings; of radiographs without one a row in the large table alone."""
    boxes = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    entries = ["Image Index,Finding Labels,Follow-up #,Patient ID"]
    for at, image in images(found):
        file = f"{at:08d}_000.png"
        save(root / "images" / "images_001" / "images" / file, image)
        named = [(NIH[kind][at % len(NIH[kind])], x, y, w, h) for kind, x, y, w, h in found.boxes(at)]
        boxes += [f"{file},{label},{x}.5,{y}.5,{w}.0,{h}.0,,," for label, x, y, w, h in named]
        entries.append(f"{file},{'|'.join(sorted({one[0] for one in named})) or 'No Finding'},0,{at}")
    text(root / "BBox_List_2017.csv", boxes)
    text(root / "Data_Entry_2017_v2020.csv", entries)


def write_ms_cxr(root: Path, found: ChestPhantom) -> None:
    """Boxes with the sentences that they are of; of radiographs without a finding no row."""
    rows = ["dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,split"]
    for at, image in images(found):
        patient, study, uid = 10000000 + at, 50000000 + at, f"{at:08x}-0a0a0a0a-0b0b0b0b-0c0c0c0c-0d0d0d0d"
        path = f"files/p{str(patient)[:2]}/p{patient}/s{study}/{uid}.jpg"
        save(root / path, image)
        for one, (kind, x, y, w, h) in zip(found.findings[at], found.boxes(at), strict=True):
            if MS_CXR.get(kind):
                where = f"{x},{y},{w},{h},{found.size},{found.size}"
                rows.append(f'{uid},{MS_CXR[kind]},"{one.sentence}",{path},{where},{"test" if at % 4 else "val"}')
    text(root / "MS_CXR_Local_Alignment_v1.1.0.csv", rows)


PADCHEST = {
    "effusion": "pleural effusion",
    "cardiomegaly": "cardiomegaly",
    "nodule": "nodule",
    "opacity": "consolidation",
}


def write_padchest_gr(root: Path, found: ChestPhantom) -> None:
    """Sentences with boxes as shares of the sides, and some without; a patient's row once for each finding; an image before."""
    studies, table = [], ["StudyID,ImageID,PatientID,label,label_group,split"]
    for at, image in images(found):
        uid, side = f"2168401113669640138295431665120133381357{at:05d}_02-094-102.png", found.size
        save(root / "PadChest_GR_files" / "PadChest_GR" / uid, image)
        said = [
            {"sentence_en": one.sentence, "sentence_es": f"ES {one.sentence}", "abnormal": True, "labels": [PADCHEST[kind]],
             "boxes": [[x / side, y / side, (x + w) / side, (y + h) / side]], "extra_boxes": [[0, 0, 1, 1]], "locations": []}
            for one, (kind, x, y, w, h) in zip(found.findings[at], found.boxes(at), strict=True)
        ]  # fmt: skip
        said.append({"sentence_en": "No pneumothorax.", "sentence_es": "Sin neumotórax.", "abnormal": False})
        studies.append({"StudyID": f"s{at}", "ImageID": uid, "PreviousStudyID": None, "findings": said})
        names = [PADCHEST[kind] for kind, *_ in found.boxes(at)] or ["Normal"]
        split = ("train", "validation", "test")[0 if at % 5 < 3 else at % 5 - 2]
        table += [f"s{at},{uid},p{at},{one},{one},{split}" for one in names]
    save(root / "PadChest_GR_progression_prior_studies" / "before.png", image)
    text(root / "grounded_reports_20240819.json", [json.dumps(studies)])
    text(root / "master_table.csv", table)


def images(found: ChestPhantom):
    """Position and uint8 [size, size] of each radiograph."""
    return ((at, found.read(at, 1).frames[0]) for at in range(len(found.items)))


def name(at: int) -> str:
    return f"{at:08d}-aaaa-4bbb-8ccc-{at:012d}"


def siim_runs(mask: np.ndarray) -> str:
    """Gap and length of each run down the columns; the gap counts from the end of the run before."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat)).reshape(-1, 2)
    ends = np.concatenate([[0], edges[:-1, 1]])
    return " ".join(f"{first - end} {last - first}" for (first, last), end in zip(edges, ends, strict=True))


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
