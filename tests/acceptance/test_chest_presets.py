"""Radiographs with reports in their public layouts: MIMIC-CXR, covid-chestxray; and the phantom that fills them."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimic_writing import write_mimic
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import ReportSpec
from sidelight.data.cohort.units import units
from sidelight.data.phantoms.chest import KINDS, SIDES, ZONES, phantom
from sidelight.data.reports.reports import read_reports
from sidelight.errors import ConfigError, DataError


@pytest.mark.parametrize("together", [False, True])
def test_mimic_cxr(tmp_path, together):
    made = phantom(patients=10, size=48)
    cohort = Cohort.open(write_mimic(tmp_path, made, together=together), preset="mimic_cxr")
    assert cohort.levels == ("patient", "study")
    assert set(cohort.items["view"]) == {"PA", "AP"}
    assert len(cohort.items) == len(made.items)
    assert cohort.items["split"].value_counts().to_dict() == made.items["split"].value_counts().to_dict()
    found = read_reports(cohort)
    assert len(found) == 20
    assert [len(study.items) for study in found.studies] == made.items.groupby(["patient", "study"]).size().tolist()
    for study, report in zip(found.studies, made.items.groupby(["patient", "study"])["report"].first(), strict=True):
        assert " ".join(study.sentences) == report.partition("FINDINGS:\n ")[2].strip()
    table = units(cohort, cohort.tasks["effusion"])
    assert cohort.tasks["effusion"].classes == ("absent", "present")
    assert table["label"].tolist() == made.items.groupby(["patient", "study"])["effusion"].first().astype(int).tolist()


def test_mimics_drop_rules(tmp_path):
    made = phantom(patients=4, studies=2, views=1, size=48)
    root = write_mimic(tmp_path, made)
    archive = root / "mimic-cxr_2-0-0" / "mimic-cxr-reports.zip"
    with zipfile.ZipFile(archive) as file:
        texts = {name: file.read(name).decode() for name in file.namelist()}
    names = list(texts)
    texts[names[0]] = "                FINAL REPORT\n HISTORY: cough.\n\n The last paragraph says it all.\n"
    texts[names[1]] = " FINDINGS: \n IMPRESSION: Clear lungs.\n"
    del texts[names[2]]
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in texts.items():
            file.writestr(name, text)
    found = read_reports(Cohort.open(root, preset="mimic_cxr"))
    assert len(found) == 5
    assert list(found.left_out.values()) == [1, 0, 2]


def test_a_table_that_is_no_gzip_says_so(tmp_path):
    root = write_mimic(tmp_path, phantom(patients=2, size=48), together=True)
    (root / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(b"dicom_id,study_id\n")
    with pytest.raises(DataError, match="cannot be unpacked"):
        Cohort.open(root, preset="mimic_cxr")


@pytest.mark.parametrize("reduced", [False, True])
def test_covid_chestxray(tmp_path, reduced):
    (tmp_path / "images").mkdir()
    for n in range(6):
        Image.fromarray(np.full((20, 20), 40 * n, np.uint8)).save(tmp_path / "images" / f"{n}.png")
    table = pd.DataFrame({"patientid": ["1", "1", "2", "2", "3", "3"], "finding": "Pneumonia"})
    table["view"] = ["PA", "PA", "AP Supine", "L", "AP", "Axial"]
    table["file" if reduced else "filename"] = [f"{n}.png" for n in range(6)]
    table["notes" if reduced else "clinical_notes"] = ["Opacity. Fever.", "Opacity. Fever.", "Clear.", "Side.", "", ""]
    if not reduced:
        table["other_notes"] = ["", "", "Second thought.", "", "", ""]
    table.to_csv(tmp_path / ("cxr.csv" if reduced else "metadata.csv"), index=False)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(tmp_path / "masks" / "1__left_lung.png")
    cohort = Cohort.open(tmp_path, preset="covid_chestxray")
    assert cohort.items["view"].tolist() == ["PA", "PA", "AP Supine", "AP"]
    assert units(cohort, cohort.tasks["projection"])["label"].tolist() == [0, 0, 1, 1]
    assert cohort.items["left_lung"].tolist() == [(), ("masks/1__left_lung.png",), (), ()]
    assert not any(cohort.items["right_lung"])
    found = read_reports(cohort)
    assert [study.items.tolist() for study in found.studies] == [[0, 1], [2]]
    second = ("Clear.",) if reduced else ("Clear.", "Second thought.")
    assert [study.sentences for study in found.studies] == [("Opacity.", "Fever."), second]


def test_the_real_radiographs_with_notes(real_data):
    cohort = Cohort.open(real_data / "cxr", preset="covid_chestxray")
    found = read_reports(cohort)
    assert (len(cohort.items), cohort.items["group"].nunique()) == (188, 104)
    assert (len(found), len({study.group for study in found.studies})) == (80, 49)
    assert sum(len(study.items) for study in found.studies) == 84


def test_the_real_radiographs_with_masks(real_data):
    if not (real_data / "chest").is_dir():
        pytest.skip(f"no chest in {real_data}")
    cohort = Cohort.open(real_data / "chest", preset="covid_chestxray")
    assert (len(cohort.items), cohort.items["group"].nunique()) == (297, 161)  # 31 of the 328 are lateral
    assert sum(len(study.items) for study in read_reports(cohort).studies) == 183
    masks = cohort.items[list(cohort.spec.companions)].map(len)
    assert (int(masks.sum().sum()), int(masks.any(axis=1).sum()), int(masks["consolidation"].sum())) == (251, 41, 14)
    assert len(units(cohort, cohort.tasks["projection"])) == 297 and not cohort.notices


def test_the_phantom_reports_what_it_shows():
    made = phantom(patients=40, size=64)
    again = phantom(patients=40, size=64)
    assert (made.read(3, 1).frames == again.read(3, 1).frames).all()
    assert made.items.equals(again.items)
    for position, item in made.items.iterrows():
        found = made.findings[position]
        assert (item["diagnosis"] == "ill") == bool(found)
        for kind in KINDS:
            assert (item[kind] == "1") == made.mask(position, kind).any() == any(one.kind == kind for one in found)
        assert [box[0] for box in made.boxes(position)] == [one.kind for one in found]
        for one, (_, x, y, width, height) in zip(found, made.boxes(position), strict=True):
            assert one.sentence in item["report"]
            if not one.side:
                continue
            assert f"{one.side}" in one.sentence and f"{one.zone} zone" in one.sentence
            assert (x + width / 2 < 32 * (1 + made.places[position].right)) == (
                one.side == SIDES[0]
            )  # the patient's right is on the left
            assert abs((y + height / 2) / 64 - (0.33, 0.51, 0.7)[ZONES.index(one.zone)]) < 0.15
            lit = made.extent(position, one)
            assert (lit.any(0).sum(), lit.any(1).sum()) == (width, height)


def test_a_finding_is_brighter_than_the_same_place_without_it():
    made = phantom(patients=60, size=64, difficulty=0.2, views=1)
    inside, outside = [], []
    for position, found in enumerate(made.findings):
        image = made.read(position, 1).frames[0].astype(float)
        for one in found:
            if one.kind in ("opacity", "nodule"):
                lit = made.extent(position, one)
                inside.append(image[lit].mean() - image.mean())
                outside.append(image[lit[:, ::-1]].mean() - image.mean())
    assert np.mean(inside) > np.mean(outside) + 10


def test_phantom_options():
    for values in ({"patients": 1}, {"size": 8}, {"difficulty": 2.0}):
        with pytest.raises(ConfigError):
            phantom(**values)
    cohort = Cohort.open("phantom:chest?patients=30&size=48")
    assert cohort.class_tasks == ["diagnosis", *KINDS]
    assert set(cohort.tasks) - set(cohort.class_tasks) == {"finding_masks", "finding_boxes"}
    assert cohort.spec.report == ReportSpec(column=("report",))


def test_the_real_clips_with_comments_have_no_label_words(real_data):
    cohort = Cohort.open(real_data / "covid19_ultrasound", preset="covid19_ultrasound")
    found = read_reports(cohort)
    assert len(found) > 50
    text = " ".join(one for study in found.studies for one in study.sentences).lower()
    assert "consolidation" in text
    for word in ("pneumonia", "covid", "healthy", "normal", "viral", "bacterial"):
        assert f" {word} " not in text
