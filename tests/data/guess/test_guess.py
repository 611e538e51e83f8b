"""Guesses on folders built here, and on real data where they are."""

import gzip
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sidelight.commands.init import fitting_presets, init, open_points
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.pattern import parse
from sidelight.data.cohort.presets import load_preset
from sidelight.data.cohort.units import units
from sidelight.data.guess import guess, render
from sidelight.data.guess.columns import describe
from sidelight.data.guess.paths import find_layouts
from sidelight.data.guess.words import level_of, meets, names_level
from sidelight.errors import DataError
from sidelight.reporting.contact import beside


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def drafted(root, *tables):
    """The draft, and the cohort that its text opens as."""
    draft = guess(root, tables)
    text = render(draft)
    (root / "cohort.toml").write_text(text, encoding="utf-8")
    return draft, Cohort.open(root), text


def counts(cohort, task):
    table = units(cohort, cohort.tasks[task])
    return {name: int((table["label"] == code).sum()) for code, name in enumerate(cohort.tasks[task].classes)}


REGIONS = ["Arm", "Bein", "Rücken", "Gesicht"]
HISTOLOGY = ["Melanom", "Nävus", "Basaliom", "Nävus", ""]


def skin(root, *, width=0, encoding="cp1252", patients=15):
    """Photos by patient and lesion; lesion numbers restart; spreadsheets with decimal commas; blanks were not excised."""
    lesions = ["pid;lesion_nr;Region;Größe_mm;Juckreiz;Histologie;biopsiert"]
    people = ["pid;Nachname;Geburtsdatum;Alter;Geschlecht;Hauttyp"]
    serial = 0
    for patient in range(1, patients + 1):
        sex = ["m", "w", "unbekannt"][patient % 3]
        people.append(
            f"{patient};Muster{patient};0{patient % 9 + 1}.02.19{40 + patient};{30 + patient};{sex};{patient % 4 + 1}"
        )
        for lesion in range(1, 2 + patient % 3):
            serial += 1
            for number, view in enumerate("DK" if serial % 4 else "D", 1):
                touch(root, f"photos/{patient:0{width or 1}d}/{lesion}/{view}{number}.jpg")
            label = HISTOLOGY[serial % 5]
            cut = "ja" if label else "nein"
            row = [
                patient,
                lesion,
                REGIONS[serial % 4],
                f"{serial % 7},{serial % 10}",
                ["ja", "nein"][serial % 2],
                label,
                cut,
            ]
            lesions.append(";".join(map(str, row)))
    (root / "läsionen.csv").write_text("\r\n".join(lesions), encoding=encoding)
    (root / "patienten.csv").write_text("\r\n".join(people), encoding=encoding)


@pytest.mark.parametrize(("width", "pattern"), [(0, "{patient:[0-9]+}"), (4, "{patient_zeros:0*}{patient:[0-9]+}")])
def test_a_clinic_of_photos_by_patient_and_lesion(tmp_path, width, pattern):
    skin(tmp_path, width=width)
    draft, cohort, text = drafted(tmp_path)
    spec = tomllib.loads(text)
    assert spec["files"] == f"photos/{pattern}/{{lesion:[0-9]+}}/{{view:[A-Z]}}{{n:[0-9]+}}.*"
    assert {one["file"]: one["on"] for one in spec["tables"]} == {
        "läsionen.csv": ["patient=pid", "lesion=lesion_nr"],
        "patienten.csv": ["patient=pid"],
    }
    assert spec["levels"] == ["patient", "lesion"]
    assert spec["views"] == {"D": "dermoscopic", "K": "clinical"}
    assert spec["metadata"]["patient"] == ["Alter", "Geschlecht", "Hauttyp"]
    assert sorted(spec["metadata"]["lesion"]) == ["Größe_mm", "Juckreiz", "Region"]
    assert spec["metadata"]["unknown"] == ["unbekannt"]
    assert spec["task"] == {"histologie": {"label": "Histologie", "unit": "lesion"}}
    assert '# positive = ["Melanom", "Basaliom"]' in text or '# positive = ["Basaliom", "Melanom"]' in text
    for out in ("Nachname: identifies a person", "Geburtsdatum: identifies a person", "biopsiert: known only with"):
        assert f"# - {out}" in text
    assert {one.share for one in draft.joins} == {1.0}
    assert set(cohort.items["view"]) == {"dermoscopic", "clinical"}
    assert cohort.items["Größe_mm"].str.fullmatch(r"\d(\.\d)?").all()
    assert sum(counts(cohort, "histologie").values()) < cohort.items.groupby(["patient", "lesion"]).ngroups


def test_a_flat_folder_of_clips_with_a_pathology_table(tmp_path):
    rows = ["exam_no,pathology,age"]
    for exam in range(1001, 1031):
        rows.append(f"{exam},{['effusion', 'normal', 'stenosis'][exam % 3]},{20 + exam % 60}")
        touch(tmp_path, *(f"US_{exam}_loop{loop}.mp4" for loop in range(1, 2 + exam % 3)))
    (tmp_path / "pathology.csv").write_text("\n".join(rows))
    _, cohort, text = drafted(tmp_path)
    spec = tomllib.loads(text)
    assert spec["files"] == "US_{study:[0-9]+}_loop{loop:[0-9]+}.*"
    assert spec["levels"] == ["study"]
    assert spec["tables"] == [{"file": "pathology.csv", "on": ["study=exam_no"]}]
    assert spec["metadata"] == {"study": ["age"], "numeric": ["age"]}
    assert spec["task"]["pathology"] == {"label": "pathology", "unit": "study"}
    assert counts(cohort, "pathology") == {"effusion": 10, "normal": 10, "stenosis": 10}
    assert "no patient was found" in text


def test_class_folders_with_masks_and_without_a_table(tmp_path):
    for name, count in (("benign", 12), ("malignant", 9), ("normal", 6)):
        touch(tmp_path, *(f"{name}/{name} ({n}).png" for n in range(1, count + 1)))
        touch(
            tmp_path, *(f"{name}/{name} ({n})_mask.png" for n in range(1, count + 1)), f"{name}/{name} (1)_mask_1.png"
        )
    _, cohort, text = drafted(tmp_path)
    spec = tomllib.loads(text)
    assert counts(cohort, "diagnosis") == {"benign": 12, "malignant": 9, "normal": 6}
    assert "levels" not in spec
    assert [len(masks) for masks in cohort.items["masks"]].count(2) == 3
    assert "no patient was found: each item is its own group" in text


def radiographs(root):
    rows = ["file,PatientID,view,report,finding"]
    for n in range(40):
        name = f"r{n * 7919 % 1000:03d}{'abcdef'[n % 6]}.png"
        touch(root, f"xray/{name}")
        words = f"The heart is of normal size in case {n}, no effusion is seen on the {['left', 'right'][n % 2]} side."
        rows.append(f'{name},{n // 2},{["PA", "lateral"][n % 2]},"{words}",{["none", "opacity"][n // 2 % 2]}')
    touch(root, *(f"cine/{serie}/{k:03d}.png" for serie in ("a7x", "b2y", "cc3") for k in range(1, 13)))
    (root / "list.csv").write_text("\n".join(rows))


def test_radiographs_with_reports_beside_stacks_of_frames(tmp_path):
    radiographs(tmp_path)
    _, cohort, text = drafted(tmp_path, "list.csv")
    spec = tomllib.loads(text)
    assert spec["stack"] == "frame"
    assert len(cohort.items) == 43
    assert sorted(set(cohort.items["frames"])) == ["1", "12"]
    assert spec["tables"] == [{"file": "list.csv", "on": ["name=file"]}]
    assert spec["roles"]["view"] == "column:list.view"
    assert spec["levels"] == ["patient"]
    assert (
        '# - report: reads like a report; above the first [table]: report = {column = "report", language = "en"}'
        in text
    )
    assert counts(cohort, "finding") == {"none": 10, "opacity": 10}  # patients
    assert "40 of 43 items have a row" in text


def test_a_chain_of_tables_and_one_that_fits_nowhere(tmp_path):
    touch(tmp_path, *(f"images/img{n:05d}.png" for n in range(30)))
    images = [f"img{n:05d}.png,S{n // 2 + 100}" for n in range(30)]
    (tmp_path / "images.csv").write_text("\n".join(["image,study_id", *images]))
    studies = [f"S{n + 100},P{n // 3 + 7},{['normal', 'tumor'][n % 2]}" for n in range(15)]
    (tmp_path / "studies.csv").write_text("\n".join(["study,patient,diagnosis", *studies]))
    (tmp_path / "prices.csv").write_text("thing,euro\napple,3\npear,4\n")
    draft, cohort, text = drafted(tmp_path)
    assert [one.file for one in draft.joins] == ["images.csv", "studies.csv"]
    assert cohort.levels == ("patient", "study")
    assert cohort.items.loc[4, "patient"] == "P7"
    assert counts(cohort, "diagnosis") == {"normal": 8, "tumor": 7}
    assert "prices.csv is not joined" in text


def test_names_that_fit_no_shape_are_matched_all_the_same(tmp_path):
    names = ["a-1.png", "b_c_2/3.png", "x/y/z/{odd}.png", "b_c_2/*.jpg", "Müller 4.JPG", "b_c_2/deep/er.tif", "q.bmp"]
    touch(tmp_path, *names)
    layouts = find_layouts(names)
    for name in names:
        assert any(parse(layout.text()).match(name) is not None for layout in layouts), name
    _, cohort, text = drafted(tmp_path)
    assert len(cohort.items) == len(names)
    assert "no column or folder looks like a diagnosis" in text


def test_a_folder_of_frames_per_clip_under_its_patient(tmp_path):
    touch(tmp_path, *(f"p{p:02d}/c{c}/frame_{k:04d}.png" for p in range(6) for c in (1, 2) for k in range(4)))
    _, cohort, text = drafted(tmp_path)
    assert len(cohort.items) == 12
    assert cohort.levels[0] == "patient"
    assert cohort.items["patient"].nunique() == 6
    assert "only a guess from its place" in text


def test_nothing_to_read_and_tables_that_are_missing(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        guess(tmp_path / "none")
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"no file that sidelight reads.*notes\.txt"):
        guess(tmp_path)
    with pytest.raises(DataError, match=r"lesion\.csv is neither in"):
        guess(tmp_path, ["lesion.csv"])


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    touch(tmp_path, "a.png", "b.png", "empty.csv")
    (tmp_path / "empty.csv").write_text("")
    _, _, text = drafted(tmp_path)
    assert "# TODO: empty.csv is not joined" in text


def test_dicom_trees(tmp_path):
    head = bytes(128) + b"DICM" + b"\x08\x00\x60\x00CS\x02\x00DX"
    for n in range(4):
        path = tmp_path / "export" / f"{n}" / "I1.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(head)
    (tmp_path / "reports.csv").write_text("Accession Number,text\n1,a\n2,b\n")
    spec = tomllib.loads(render(guess(tmp_path)))
    assert spec["files"] == "export/**/*.dcm"
    assert spec["roles"] == {
        "patient": "dicom:PatientID",
        "study": "dicom:AccessionNumber",
        "view": "dicom:ViewPosition",
    }
    assert spec["tables"] == [{"file": "reports.csv", "on": ["study=Accession Number"]}]


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("age", ["61", "72", "58", "58"], "numeric"),
        ("itch", ["ja", "nein", "unbekannt", "ja"], "checkbox"),
        ("family", ["x", "", "", "x"], "checkbox"),
        ("site", ["arm", "leg", "arm", "arm"], "categorical"),
        ("Diagnose", ["NZN", "MM", "NZN", "MM"], "label"),
        ("Versichertennummer", ["A1", "A2", "A3", "A3"], "out"),
        ("seen", ["31.12.2020", "1.2.2021", "3.4.2021", "3.4.2021"], "out"),
        ("accession", ["A10023", "A10024", "A10025", "A10026", "A10027"], "out"),
        ("dx_type", ["histo", "consensus", "histo", "histo"], "afterwards"),
        ("Befund", [f"Herz normal groß, kein Erguss links, kein Infiltrat {n}" for n in range(4)], "report"),
    ],
)
def test_kinds_of_columns(name, cells, kind):
    import pandas as pd

    assert describe(name, pd.Series(cells)).kind == kind


def test_codes_for_unknown():
    import pandas as pd

    assert describe("smoker", pd.Series(["0", "1", "9", "1"])).unknown == ("9",)
    assert describe("size", pd.Series(["3", "-1", "9", "4.5"])).unknown == ("-1",)
    assert describe("change", pd.Series(["3", "-1", "-9", "4.5"])).unknown == ()


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (("Melanom", "Nävus"), "Melanom"),
        (("MEL", "NEV"), "MEL"),
        (("nv", "mel"), "mel"),
        (("benign", "suspicious"), "suspicious"),
        (("healthy", "carcinoma"), "carcinoma"),
    ],
)
def test_of_two_classes_the_malignant_one_is_the_positive_one(tmp_path, values, positive):
    for k in range(12):
        (tmp_path / f"P{k:02d}").mkdir()
        Image.new("L", (32, 32), 20 * k).save(tmp_path / f"P{k:02d}/a.png")
    rows = "\n".join(f"P{k:02d},{values[k % 2]}" for k in range(12))
    (tmp_path / "d.csv").write_text(f"patient,diagnosis\n{rows}\n", encoding="utf-8")
    text = init(tmp_path).read_text(encoding="utf-8")
    said = re.search(r"classes = \[(.*?)\]", text)
    assert said and said[1].split(", ")[1] == f'"{positive}"'


def shots(root, names):
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 5 * (n % 50)).save(root / name)


def test_patient_numbers_that_come_again_under_another_site_are_asked_about(tmp_path):
    shots(tmp_path, [f"{site}/{k}/{n}.png" for site in ("Bern", "Basel") for k in range(1, 9) for n in (1, 2)])
    rows = "".join(f"{site},{k},{'ill' if k % 2 else 'well'}\n" for site in ("Bern", "Basel") for k in range(1, 9))
    (tmp_path / "d.csv").write_text(f"site,patient,diagnosis\n{rows}")
    said = [point for point in open_points(init(tmp_path)) if "come again under each folder" in point]
    assert len(said) == 1 and "if these are other people they are one here" in said[0]


def test_file_names_in_other_capitals_are_told(tmp_path):
    shots(tmp_path, [f"IMG_{k:04d}.jpg" for k in range(12)])
    rows = "".join(f"IMG_{k:04d}.JPG,P{k // 2},{'ill' if k % 2 else 'well'}\n" for k in range(12))
    (tmp_path / "list.csv").write_text(f"filename,pat_id,diagnosis\n{rows}")
    said = "list.csv is not joined: its column filename holds the files' names in other capitals"
    assert any(point.startswith(said) for point in open_points(init(tmp_path)))


def test_every_format_of_tables_is_looked_at_and_texts_only_where_they_have_columns(tmp_path):
    shots(tmp_path, [f"P{k:02d}/a.png" for k in range(12)])
    rows = "".join(f"P{k:02d}\t{'ill' if k % 2 else 'well'}\n" for k in range(12))
    (tmp_path / "data.txt").write_text(f"patient\tdiagnosis\n{rows}")
    (tmp_path / "README.txt").write_text("Made by the clinic.\nAsk before use.\n")
    ages = "patient;age\n" + "".join(f"P{k:02d};{30 + k}\n" for k in range(12))
    (tmp_path / "more.csv.gz").write_bytes(gzip.compress(ages.encode()))
    (tmp_path / "old.xls").write_bytes(b"x")
    (tmp_path / "~$new.xlsx").write_bytes(b"x")
    text, points = init(tmp_path).read_text(), open_points(tmp_path / "cohort.toml")
    assert (
        'file = "data.txt", on = ["patient=patient"]' in text
        and 'file = "more.csv.gz", on = ["patient=patient"]' in text
    )
    assert any(point.startswith("old.xls is not joined") and "Save it as .xlsx or CSV" in point for point in points)
    assert "README" not in text and "~$new" not in text


def test_other_sheets_of_a_workbook_are_named(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra 'excel'")
    shots(tmp_path, [f"P{k:02d}/a.png" for k in range(6)])
    book = openpyxl.Workbook()
    book.active.title = "Legende"
    book.active.append(["Spalte", "Bedeutung"])
    book.active.append(["Dx", "Diagnose"])
    book.create_sheet("Daten").append(["patient", "Dx"])
    book.save(tmp_path / "Studie.xlsx")
    said = 'of Studie.xlsx the sheet Legende was read; it also has Daten: where that is the table, say sheet = "Daten"'
    assert any(point.startswith(said) for point in open_points(init(tmp_path)))


def test_words():
    assert [level_of(text) for text in ("PAT_", "Läsion-Nr", "exam", "IMG_")] == ["patient", "lesion", "study", ""]
    assert [names_level(text) for text in ("PatientID", "lesion_nr", "patient_age", "pid")] == [
        "patient",
        "lesion",
        "",
        "patient",
    ]
    assert meets("Hauttyp", ("hauttyp",)) and not meets("tissue", ("tis",))


@pytest.mark.parametrize(
    ("folder", "levels", "task", "groups"),
    [
        ("pad_ufes_20", ("patient", "lesion"), "diagnostic", 629),
        ("covid19_ultrasound", ("recording",), "label", 42),
        ("cxr", ("patient",), "finding", 104),
    ],
)
def test_real_data(tmp_path, real_data, folder, levels, task, groups):
    root = real_data / folder
    if not root.is_dir():
        pytest.skip(f"no {folder} in {real_data}")
    text = render(guess(root), root=str(root))
    (tmp_path / "cohort.toml").write_text(text, encoding="utf-8")
    cohort = Cohort.open(tmp_path, allow_outside=True)
    assert (cohort.levels, cohort.items["group"].nunique()) == (levels, groups)
    assert task in cohort.tasks
    assert str(root) not in str(cohort.spec)


def image(path: Path, shade: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(shade).integers(0, 60, (24, 32, 3))
    Image.fromarray((noise + shade).astype(np.uint8)).save(path)


def test_init_writes_once_and_elsewhere_with_a_root(tmp_path):
    folder, other = tmp_path / "data", tmp_path / "other"
    for n in range(5):
        image(folder / f"a{n}.png", 20 * n)
    file = init(folder)
    assert file == folder / "cohort.toml"
    assert (folder / ".sidelight" / "contact.html").stat().st_mode & 0o777 == 0o600
    assert Cohort.open(folder).items["item"].tolist() == [f"a{n}.png" for n in range(5)]
    with pytest.raises(Exception, match="exists already"):
        init(folder)
    file.write_text("# mine")
    init(folder, force=True)
    assert file.read_text().startswith("# Drafted by")
    elsewhere = init(folder, out=other / "cohort.toml", contact=tmp_path / "sheet.html")
    assert (tmp_path / "sheet.html").is_file()
    assert not (other / ".sidelight").exists()
    assert len(Cohort.open(elsewhere).items) == 5
    assert len(Cohort.open(other).items) == 5


def test_a_public_data_set_is_known_by_its_tables(tmp_path):
    rows = ["patient_id,lesion_id,img_id,diagnostic", *(f"PAT_{n},{n},PAT_{n}.png,NEV" for n in range(6))]
    for n in range(6):
        image(tmp_path / "images" / "imgs_part_1" / f"PAT_{n}.png", 20 * n)
    (tmp_path / "metadata.csv").write_text("\n".join([*rows, ""]))
    assert "--preset" not in init(tmp_path, force=True).read_text()  # another metadata.csv: it lacks columns
    known = load_preset("pad_ufes_20")["metadata"]
    more = [*known["patient"], *known["lesion"]]
    full = [rows[0] + "".join(f",{name}" for name in more), *(row + "," * len(more) for row in rows[1:])]
    (tmp_path / "metadata.csv").write_text("\n".join([*full, ""]))
    file = init(tmp_path, force=True)
    assert "public data set that needs no such file: --preset pad_ufes_20 (see" in open_points(file)[0]


@pytest.mark.parametrize(
    ("folder", "presets"),
    [
        ("covid_blues", ["covid_blues", "covid_blues_findings"]),
        ("hannover_cxr", ["hannover_cxr"]),
        ("chest", ["covid_chestxray"]),
        ("pad_ufes_20", ["pad_ufes_20"]),
        ("covid19_ultrasound", ["covid19_ultrasound"]),
    ],
)
def test_real_data_sets_are_known(real_data, folder, presets):
    if not (real_data / folder).is_dir():
        pytest.skip(f"no {folder} in {real_data}")
    assert fitting_presets(real_data / folder) == presets


def test_what_does_not_open_stands_as_comments(tmp_path, torn_tasks):
    skin(tmp_path, patients=6)
    text = init(tmp_path).read_text(encoding="utf-8")
    assert "tasks only stand as comments, because the whole did not open: the task is torn" in text.replace("\n# ", " ")
    assert "\n# [task.histologie]" in text
    assert Cohort.open(tmp_path).tasks == {}


def test_numbered_images_of_a_class_or_a_part_are_no_frames(tmp_path):
    touch(tmp_path, *(f"train/{name}/im{k:04d}.jpg" for name in ("NORMAL", "PNEUMONIA") for k in range(20)))
    touch(tmp_path, *(f"test/{name}/im{k:04d}.jpg" for name in ("NORMAL", "PNEUMONIA") for k in range(20, 25)))
    _, cohort, text = drafted(tmp_path)
    assert "stack" not in tomllib.loads(text)
    assert counts(cohort, "diagnosis") == {"NORMAL": 25, "PNEUMONIA": 25}
    assert set(cohort.items["split"]) == {"train", "test"}


def test_visits_are_dates_below_the_patient(tmp_path):
    days = ["2020-01-03", "2021-03-11"]
    touch(tmp_path, *(f"P{p:03d}/{day}/{k}.jpg" for p in range(12) for day in days for k in (1, 2)))
    rows = [f"P{p:03d},{day},{(7 * p + len(days)) % 13},{'ab'[p % 2]}" for p in range(12) for day in days]
    (tmp_path / "visits.csv").write_text("\n".join(["patient,date,score,diagnosis", *rows]))
    _, cohort, text = drafted(tmp_path)
    spec = tomllib.loads(text)
    assert spec["levels"] == ["patient", "study"]
    assert spec["tables"] == [{"file": "visits.csv", "on": ["patient=patient", "study=date"]}]
    assert counts(cohort, "diagnosis") == {"a": 6, "b": 6}


def test_a_column_called_like_a_part_of_the_path_keeps_its_table(tmp_path):
    touch(tmp_path, *(f"US_{exam}_loop{loop}.mp4" for exam in range(40, 60) for loop in (1, 2)))
    rows = [f"{exam},{exam % 3 + 7},{['normal', 'stenosis'][exam % 2]}" for exam in range(40, 60)]
    (tmp_path / "t.csv").write_text("\n".join(["exam,loop,pathology", *rows]))
    _, cohort, text = drafted(tmp_path)
    spec = tomllib.loads(text)
    assert spec["files"] == "US_{study:[0-9]+}_loop{loop:[0-9]+}.*"
    assert spec["metadata"] == {"study": ["t.loop"], "numeric": ["t.loop"]}
    assert cohort.items["loop"].tolist()[:2] == ["1", "2"]
    assert cohort.items["t.loop"].tolist()[:3] == ["8", "8", "9"]


def test_the_clips_of_the_readme(tmp_path):
    clips = [(p, c) for p in range(12) for c in range(1, 2 + p % 3)]
    touch(tmp_path, *(f"P{p:03d}/{c}.{['mp4', 'avi'][c % 2]}" for p, c in clips))
    rows = [f"P{p:03d};{c};{['pneumonia', 'normal'][(p + c) % 2]}" for p, c in clips]
    (tmp_path / "labels.csv").write_text("\n".join(["patient;clip;diagnosis", *rows]))
    spec = tomllib.loads(drafted(tmp_path)[2])
    assert spec["files"] == "{patient:P[0-9]+}/{clip:[0-9]+}.*"
    assert spec["tables"] == [{"file": "labels.csv", "on": ["patient=patient", "clip=clip"]}]
    assert spec["levels"] == ["patient", "clip"]
    assert spec["task"]["diagnosis"]["unit"] == "clip"


def test_a_table_of_paths_from_further_up_says_so(tmp_path):
    names = [
        f"train/patient{p:05d}/study1/view{v}_{['frontal', 'lateral'][v - 1]}.jpg" for p in range(9) for v in (1, 2)
    ]
    touch(tmp_path, *names)
    (tmp_path / "train.csv").write_text("\n".join(["Path,Edema", *(f"Chex/{name},1" for name in names)]))
    _, cohort, text = drafted(tmp_path)
    assert (
        tomllib.loads(text)["files"] == "train/patient{patient:[0-9]+}/study1/view{n:[0-9]+}_{view:frontal|lateral}.*"
    )
    assert cohort.levels == ("patient",)
    assert "its column Path holds paths from a folder further up" in text.replace("\n# ", " ")


def test_a_column_called_name_does_not_hide_the_files_of_the_next_table(tmp_path):
    touch(tmp_path, *(f"x{n}q.png" for n in range(12)))
    (tmp_path / "a.csv").write_text("\n".join(["photo,name", *(f"x{n}q.png,Muster {n}" for n in range(12))]))
    (tmp_path / "b.csv").write_text("\n".join(["picture,dx", *(f"x{n}q.png,{'ab'[n % 2]}" for n in range(12))]))
    draft, cohort, _ = drafted(tmp_path)
    assert [one.file for one in draft.joins] == ["a.csv", "b.csv"]
    assert "a.name" in cohort.items and "name" not in cohort.items
    assert [one.row.tolist() for one in beside(cohort)] == [list(range(12))] * 2


@pytest.mark.parametrize(
    ("arrays", "files", "masks"),
    [
        (("image", "label"), "{image}.npz::image", "{image}.npz::label"),
        (("image_mask", "scan"), "{image}.npz::scan", "{image}.npz::image_mask"),
        (("img",), "{image}.*", None),
        (("t1", "t2"), "{image}.*", None),
    ],
)
def test_of_files_of_several_arrays_the_picture_is_named(tmp_path, arrays, files, masks):
    for n, name in enumerate(("ab", "cde", "fx", "gaa", "hq")):
        np.savez(tmp_path / f"{name}.npz", **{array: np.full((4, 5), n, np.uint8) for array in arrays})
    draft, cohort, text = drafted(tmp_path)
    spec = tomllib.loads(text)
    assert spec["files"] == files
    assert spec.get("companions", {}).get("masks") == masks
    assert len(cohort.items) == 5
    assert any("hold the arrays t1, t2" in point for point in draft.todo) == (arrays == ("t1", "t2"))


def test_classes_with_fewer_patients_than_folds_are_ignored(tmp_path):
    """Three photos of a single patient's melanoma are three photos, and one patient."""
    rows = ["photo,patient_id,diagnosis"]
    for n in range(40):
        patient = 20 if n > 36 else n % 20
        touch(tmp_path, f"{n}.png")
        rows.append(f"{n},P{patient:03d},{'melanoma' if patient == 20 else ['nevus', 'wart', 'scar'][patient % 3]}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    draft, cohort, text = drafted(tmp_path)
    assert draft.tasks[0].few == (("melanoma", 1),)
    assert 'ignore = ["", "melanoma"]' in text and "units of patient, as many as folds need: melanoma (1)" in text
    assert cohort.tasks["diagnosis"].classes == ("nevus", "scar", "wart")
    (tmp_path / "list.csv").write_text("\n".join(rows).replace("wart", "nevus").replace("scar", "nevus"))
    draft, cohort, text = drafted(tmp_path)
    assert "ignore" not in text.split("[task.diagnosis]")[1] and "map classes together" in text


def labelled(root, column, cells):
    touch(root, *(f"images/{k:03d}.png" for k in range(len(cells))))
    rows = "".join(f"{k:03d};{cell}\n" for k, cell in enumerate(cells))
    (root / "labels.csv").write_text(f"image;{column}\n{rows}")
    return drafted(root)


def test_cells_of_several_labels_lose_none(tmp_path):
    cells = ["No Finding", "Effusion", "Effusion|Mass", "Mass|Effusion|Cardiomegaly"]
    _, cohort, text = labelled(tmp_path, "Finding Labels", cells * 5)
    task = tomllib.loads(text)["task"]["finding_labels"]
    assert (task["separator"], task["negative"]) == ("|", ["No Finding"])
    found = units(cohort, cohort.tasks["finding_labels"])["label"]
    assert cohort.tasks["finding_labels"].classes == ("Effusion", "Mass", "Cardiomegaly")
    assert found.tolist()[:4] == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]


def test_yes_and_no_in_several_spellings_are_two_classes(tmp_path):
    _, cohort, text = labelled(tmp_path, "Pleural Effusion", ["1", "0", "Y", "nein", "-1", ""] * 5)
    task = tomllib.loads(text)["task"]["pleural_effusion"]
    assert (sorted(task["positive"]), sorted(task["negative"]), task["ignore"]) == (
        ["1", "Y"],
        ["0", "nein"],
        ["", "-1"],
    )
    assert units(cohort, cohort.tasks["pleural_effusion"])["label"].tolist()[:4] == [1, 0, 1, 0]
    draft, _, text = labelled(tmp_path, "Edema", ["1", "-1", ""] * 5)  # no negative: neither a task nor metadata
    assert draft.metadata == draft.tasks == () and "Edema: says '1' or that it is uncertain" in text


def test_one_file_name_for_all_patients_is_no_level(tmp_path):
    touch(tmp_path, *(f"P{k:02d}/img.png" for k in range(20)))
    (tmp_path / "labels.csv").write_text("\n".join(["id,dx", *(f"P{k:02d},{'ab'[k % 2]}" for k in range(20))]))
    _, cohort, text = drafted(tmp_path)
    assert tomllib.loads(text)["files"] == "{patient:P[0-9]+}/img.*" and cohort.levels == ("patient",)
    assert cohort.items["patient"].nunique() == 20


def test_thumbnails_of_a_store_are_no_items(tmp_path):
    touch(tmp_path, *(f"P{k:02d}/{part}" for k in range(12) for part in (f"a{k}.png", f"@eaDir/a{k}.png/THUMB_M.jpg")))
    _, cohort, text = drafted(tmp_path)
    assert len(cohort.items) == 12 and "Passed over: 12 folders @eaDir." in text
    assert "Passed over: 12 folders @eaDir" in cohort.notices


def test_names_that_are_no_utf_8_make_a_draft_that_opens(tmp_path):
    for k in range(8):
        touch(tmp_path, os.fsdecode(f"Müller{k}/bösartig_{k}.png".encode("cp1252")))
    (tmp_path / "t.csv").write_text("\n".join(["patient,dx", *(f"Müller{k},{'ab'[k % 2]}" for k in range(8))]))
    _, cohort, _ = drafted(tmp_path)
    assert cohort.items["patient"].tolist()[:2] == ["Müller0", "Müller1"] and cohort.items["dx"].tolist()[:2] == [
        "a",
        "b",
    ]
    assert len(cohort.hash) == 16


def test_medmnist_is_many_pictures_with_their_labels_and_their_split(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for side, count in (("train", 8), ("val", 3), ("test", 4)):
        arrays[f"{side}_images"] = rng.integers(0, 256, (count, 6, 6, 3), np.uint8)
        arrays[f"{side}_labels"] = np.arange(count)[:, None] % 2
    np.savez_compressed(tmp_path / "dermamnist.npz", **arrays)
    _, cohort, text = drafted(tmp_path)
    assert tomllib.loads(text)["parser"] == "medmnist" and cohort.items["split"].value_counts().to_dict() == {
        "train": 8, "test": 4, "valid": 3
    }  # fmt: skip
    assert counts(cohort, "label") == {"0": 8, "1": 7}
    np.testing.assert_array_equal(cohort.read(9, max_frames=1).frames[0], arrays["val_images"][1])
    arrays["train_labels"] = np.eye(8, 3, dtype=np.uint8)
    arrays = {name: one for name, one in arrays.items() if name.startswith("train")}
    np.savez_compressed(tmp_path / "dermamnist.npz", **arrays)
    items = Cohort.open(tmp_path, parser="medmnist", task={}).items
    assert items["labels"].tolist() == ["0", "1", "2", *["none"] * 5]
    np.savez_compressed(tmp_path / "dermamnist.npz", train_images=arrays["train_images"], train_labels=np.zeros(3))
    with pytest.raises(DataError, match="8 pictures and 3 labels"):
        Cohort.open(tmp_path)


@pytest.mark.parametrize("name", ["{0:03d}/scan.nii.gz", "sub-{0:03d}.npy", "{0:03d}.hdf5", "p{0:03d}.mha.img"])
def test_every_format_that_is_read_is_drafted(tmp_path, name):
    touch(tmp_path, *(name.format(k) for k in range(6)))
    assert guess(tmp_path).media == 6


def test_the_original_layout_of_acdc_is_known_by_its_texts(tmp_path):
    for k in range(3):
        touch(tmp_path, f"patient{k:03d}/patient{k:03d}_frame01.nii.gz")
        (tmp_path / f"patient{k:03d}/Info.cfg").write_text(f"ED: 1\nES: 9\nGroup: {('NOR', 'DCM', 'RV')[k]}\n")
    assert fitting_presets(tmp_path) == ["acdc"]


def test_ids_that_are_blank_below_a_filled_cell_are_noticed(tmp_path):
    touch(tmp_path, *(f"img/{k:02d}.png" for k in range(12)))
    rows = [f"{'' if k % 2 else f'P{k}'},{k:02d},{'ab'[k % 2]}" for k in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["patient,image,dx", *rows]))
    _, cohort, text = drafted(tmp_path)
    assert 'fill = ["patient"]' in " ".join(text.replace("\n#", "").split()) and "patient" not in cohort.levels
