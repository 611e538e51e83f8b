"""Masks and boxes of the public data sets that are here, in their own layouts."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from dicom_writing import write
from radiograph_layouts import PADCHEST, write_covid_rural, write_layouts, write_ms_cxr, write_padchest_gr
from sidelight.data.annotations import annotations_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.chest import KINDS, phantom
from sidelight.errors import DataError


def folder(real_data, name):
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in {real_data}")
    return real_data / name


def test_lesions_of_ham10000(real_data):
    cohort = Cohort.open(folder(real_data, "ham10000"), preset="ham10000")
    found = annotations_of(cohort, "lesion_mask")
    assert found.classes == ("lesion",) and len(found.positions) == len(cohort.items) == 5600
    shares = [found.masks(at).mean() for at in found.positions[::800]]
    assert all(0.01 < share < 0.99 for share in shares)


def test_structures_of_acdc(real_data):
    """The left ventricle's cavity lies inside the myocardium: its centre is within the ring's extent."""
    cohort = Cohort.open(folder(real_data, "acdc"), preset="acdc")
    found = annotations_of(cohort, "structures")
    assert len(found.positions) == 150
    planes = found.masks(0)
    assert planes.shape == (10, 3, 128, 128) and not (planes[:, 1] & planes[:, 2]).any()
    for slices in planes[planes[:, 1:].any((2, 3)).all(axis=1)]:
        rows, columns = np.nonzero(slices[2])
        ring = np.argwhere(slices[1])
        assert (ring.min(0) < [rows.mean(), columns.mean()]).all() and (
            ring.max(0) > [rows.mean(), columns.mean()]
        ).all()


def test_what_radiologists_drew_on_chests(real_data):
    cohort = Cohort.open(folder(real_data, "chest"), preset="covid_chestxray")
    anatomy, opacities = annotations_of(cohort, "anatomy"), annotations_of(cohort, "opacities")
    lungs = annotations_of(cohort, "lungs")
    assert anatomy.classes == ("right_lung", "left_lung", "cardiomediastinum")
    assert (len(anatomy.positions), len(opacities.positions), len(lungs.positions)) == (39, 41, 188)
    both = sorted(set(anatomy.positions) & set(lungs.positions))
    assert len(both) > 5
    for at in both[:8]:  # the right lung is on the left of the picture, and in its box
        masks, boxes = anatomy.masks(at)[0], lungs.boxes(at)
        middle = [np.argwhere(mask).mean(axis=0)[1] for mask in masks[:2]]
        assert middle[0] < middle[1] and boxes.label.tolist() == [0, 1]
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.corners.round().astype(int), strict=False):
            assert mask[max(0, y0) : y1, max(0, x0) : x1].sum() > 0.6 * mask.sum()


def radiograph(path, seed, height=16, width=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (height, width)).astype(np.uint8)
    if path.suffix == ".dcm":
        pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
        write(path, values, modality="DX")
    else:
        Image.fromarray(values).save(path)


def counts(cohort, task):
    """Of each known item its pixels, or its boxes, by the stem of its file."""
    found = annotations_of(cohort, task)
    stems = cohort.items["files"].map(lambda files: files[0].rpartition("/")[2].partition(".")[0])
    mask = found.task.localized == "mask"
    return {
        stems[at]: int(found.masks(at).sum()) if mask else found.boxes(at).corners.tolist() for at in found.positions
    }


def test_rsna_in_its_layout(tmp_path):
    for place, name in enumerate(("aa", "bb", "cc")):
        radiograph(tmp_path / "stage_2_train_images" / f"{name}.dcm", place)
    rows = ["aa,1.0,2.0,4.0,5.0,1", "aa,10.0,2.0,4.0,5.0,1", "bb,,,,,0"]
    (tmp_path / "stage_2_train_labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]))
    info = ["patientId,class", "aa,Lung Opacity", "aa,Lung Opacity", "bb,Normal", "cc,No Lung Opacity / Not Normal"]
    (tmp_path / "stage_2_detailed_class_info.csv").write_text("\n".join(info))
    cohort = Cohort.open(tmp_path, preset="rsna_pneumonia")
    assert not cohort.broken and cohort.tasks["opacity"].classes == ("negative", "Lung Opacity")
    assert counts(cohort, "pneumonia_boxes") == {"aa": [[1, 2, 5, 7], [10, 2, 14, 7]], "bb": []}
    assert counts(cohort, "pneumonia_mask") == {"aa": 40, "bb": 0}


def test_siim_in_its_layout(tmp_path):
    for place, name in enumerate(("1.2.3", "1.2.4", "1.2.5")):
        radiograph(tmp_path / "dicom-images-train" / "s" / "t" / f"{name}.dcm", place)
    rows = ["1.2.3, 17 3 2 1", "1.2.3, 0 2", "1.2.4,-1", "1.2.4,-1"]
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]))
    cohort = Cohort.open(tmp_path, preset="siim_pneumothorax")
    found = annotations_of(cohort, "pneumothorax_mask")
    first, second = (found.masks(at)[0, 0] for at in found.positions)
    assert first.sum() == 6 and not second.any() and len(found.positions) == 2
    assert (
        first[0, 0] and first[1, 0] and first[1, 1] and first[2, 1] and first[3, 1] and first[6, 1]
    )  # down the columns


def test_nih_in_its_layout(tmp_path):
    for place in range(3):
        radiograph(tmp_path / "images_001" / "images" / f"0000000{place}_000.png", place)
    rows = [
        "00000000_000.png,Atelectasis,1.5,2.5,3,4,,,",
        "00000000_000.png,Mass,0,0,1,1,,,",
        "00000001_000.png,Mass,1,1,2,2,,,",
    ]
    (tmp_path / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *rows]))
    cohort = Cohort.open(tmp_path, preset="nih_chestxray8")
    assert counts(cohort, "finding_boxes") == {
        "00000000_000": [[1.5, 2.5, 4.5, 6.5], [0, 0, 1, 1]],
        "00000001_000": [[1, 1, 3, 3]],
    }
    assert annotations_of(cohort, "finding_boxes").boxes(0).label.tolist() == [0, 4]


def test_object_cxr_in_its_layout(tmp_path):
    for place, name in enumerate(("train/00001", "train/00002", "dev/08001")):
        radiograph(tmp_path / f"{name}.jpg", place)
    (tmp_path / "train.csv").write_text("image_name,annotation\n00001.jpg,0 1 1 5 3;2 6 4 10 4 10 8 6 8\n00002.jpg,\n")
    (tmp_path / "dev.csv").write_text("image_name,annotation\n08001.jpg,1 0 0 8 8\n")
    cohort = Cohort.open(tmp_path, preset="object_cxr")
    assert sorted(zip(cohort.items["image"], cohort.items["split"], strict=True)) == [
        ("00001", "train"),
        ("00002", "train"),
        ("08001", "test"),
    ]
    assert counts(cohort, "object_boxes") == {
        "00001": [[1, 1, 5, 3], [6, 4, 10, 8]],
        "00002": [],
        "08001": [[0, 0, 8, 8]],
    }
    assert counts(cohort, "object_mask") == {"00001": 24, "00002": 0, "08001": 52}


def test_covid_rural_in_its_layout(tmp_path):
    found = phantom(patients=6, studies=1, views=1, size=32, difficulty=0.0)
    write_covid_rural(tmp_path, found)
    cohort = Cohort.open(tmp_path, preset="covid_rural")
    assert cohort.items["patient"].tolist()[:2] == ["16400000", "16400001"] and cohort.levels == ("patient",)
    masks = annotations_of(cohort, "opacity_mask")
    assert masks.positions == [1, 2, 4, 5], "a third has no mask"
    for at in masks.positions:
        np.testing.assert_array_equal(masks.masks(at)[0, 0], found.mask(at, "opacity"))


def test_layouts_of_five_data_sets_say_where_the_phantom_has_its_findings(tmp_path):
    """Rectangles and ellipses may be larger than what they hold; run lengths and masks are exact."""
    found = write_layouts(tmp_path, 24, size=48)
    for name, preset, task, kind in (
        ("rsna", "rsna_pneumonia", "pneumonia_mask", "opacity"),
        ("siim", "siim_pneumothorax", "pneumothorax_mask", "effusion"),
        ("object_cxr", "object_cxr", "object_mask", "nodule"),
        ("nih", "nih_chestxray8", "finding_mask", ""),
    ):
        cohort = Cohort.open(tmp_path / name, preset=preset)
        files, drawn = cohort.items["files"].str[0].tolist(), annotations_of(cohort, task)
        held = 0
        for at in drawn.positions:
            number = int(re.findall(r"(\d+)(?:_000)?\.\w+$", files[at])[0]) - (name == "siim")
            seen = drawn.masks(at)[0].any(axis=0)
            true = found.mask(number, kind) if kind else np.any([found.mask(number, one) for one in KINDS], axis=0)
            outside = true & ~seen
            assert outside.sum() <= 0.25 * true.sum(), (name, number)
            held += bool(true.any())
        assert held >= 2, name


def test_ms_cxr_in_its_layout(tmp_path):
    found = phantom(patients=12, studies=1, views=1, size=48, difficulty=0.0)
    write_ms_cxr(tmp_path, found)
    cohort = Cohort.open(tmp_path, preset="ms_cxr")
    assert cohort.levels == ("patient", "study") and not cohort.broken
    drawn = annotations_of(cohort, "finding_boxes")
    kinds = ("opacity", "effusion", "cardiomegaly")
    assert drawn.positions == [at for at in range(12) if any(one.kind in kinds for one in found.findings[at])]
    for at in drawn.positions:
        boxes = [(x, y, x + w, y + h) for kind, x, y, w, h in found.boxes(at) if kind in kinds]
        assert sorted(map(tuple, drawn.boxes(at).corners.astype(int).tolist())) == sorted(boxes)
        said = [one.sentence for one in found.findings[at] if one.kind in kinds]
        assert sorted(drawn.boxes(at).sentences) == sorted(said)
    assert drawn.classes[4] == "Lung Opacity" and len(drawn.classes) == 8


def test_padchest_gr_in_its_layout(tmp_path):
    found = phantom(patients=12, studies=1, views=1, size=48, difficulty=0.0)
    write_padchest_gr(tmp_path, found)
    cohort = Cohort.open(tmp_path, preset="padchest_gr")
    assert cohort.levels == ("patient", "study") and not cohort.broken and len(cohort.items) == 12
    assert cohort.items["patient"].tolist() == [f"p{at}" for at in range(12)]
    assert set(cohort.items["split"]) == {"train", "validation", "test"}
    assert cohort.items["report"].iloc[0] == " ".join(
        [*(one.sentence for one in found.findings[0]), "No pneumothorax."]
    )
    every, eight = (annotations_of(cohort, name) for name in ("sentence_boxes", "finding_boxes"))
    assert every.positions == eight.positions == list(range(12)), (
        "a radiograph without findings has none, and that is known"
    )
    held = 0
    for at in range(12):
        boxes = [(x, y, x + w, y + h) for _, x, y, w, h in found.boxes(at)]
        drawn = every.boxes(at)
        np.testing.assert_allclose(drawn.corners.reshape(-1, 4), np.array(boxes, float).reshape(-1, 4))
        assert drawn.sentences == tuple(one.sentence for one in found.findings[at])
        known = [(PADCHEST[one.kind], one.sentence) for one in found.findings[at] if one.kind != "opacity"]
        drawn = eight.boxes(at)
        assert [(eight.classes[label], said) for label, said in zip(drawn.label, drawn.sentences, strict=True)] == known
        held += len(known)
    assert held > 3


def test_a_broken_padchest_gr_is_one_sentence(tmp_path):
    write_padchest_gr(tmp_path, phantom(patients=4, studies=1, views=1, size=32, difficulty=0.0))
    file = tmp_path / "grounded_reports_20240819.json"
    whole = json.loads(file.read_text())
    for broken, said in (
        ("{", "JSONDecodeError"),
        (json.dumps({"a": 1}), "TypeError"),
        (json.dumps([{"ImageID": "a"}]), "lacks 'findings'"),
        (json.dumps([{"ImageID": "a", "findings": ["text"]}]), "AttributeError"),
        (json.dumps([{"ImageID": "a", "findings": [{"boxes": 1}]}]), "TypeError"),
        (json.dumps([{"ImageID": "a", "findings": [{"labels": "nodule"}]}]), "TypeError"),
        ("[" * 100_000, "RecursionError"),
    ):
        file.write_text(broken)
        with pytest.raises(DataError, match="cannot be read as reports of PadChest-GR.*" + said):
            Cohort.open(tmp_path, preset="padchest_gr")
    findings = next(one["findings"] for one in whole if len(one["findings"]) > 1)
    findings[0]["boxes"] = [[0.1, 0.2, 0.3]]
    file.write_text(json.dumps(whole))
    drawn = annotations_of(Cohort.open(tmp_path, preset="padchest_gr"), "sentence_boxes")
    assert len(drawn.positions) == 3 and "four numbers" in next(iter(drawn.drawings.faulty.values()))
    (tmp_path / "master_table.csv").write_text("ImageID,PatientID\na,b\n")
    with pytest.raises(DataError, match=r"no column 'StudyID'.*master_table.csv of PadChest-GR"):
        Cohort.open(tmp_path, preset="padchest_gr")
