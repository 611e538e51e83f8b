"""Photos by patient and lesion with two spreadsheets: decimal commas, cp1252, lesion numbers that restart per patient."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

openpyxl = pytest.importorskip("openpyxl", reason="needs the extra 'excel'")

import walkthrough as walk  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402
from sidelight.errors import DataError  # noqa: E402

HISTOLOGY = ["malignes Melanom", "Nävuszellnävus", "", "Basaliom", "Nävuszellnävus", "Melanoma in situ", "dyspl. Nävus"]
BENIGN = ("Nävuszellnävus", "dyspl. Nävus")
REGIONS = ["Rücken", "Arm", "Gesäß", "Fuß"]
CLASSES = (
    'classes = {"Nävuszellnävus" = "benign", "dyspl. Nävus" = "benign", "malignes Melanom" = "malignant", '
    '"Melanoma in situ" = "malignant", Basaliom = "malignant"}'
)


def photo(path, ill, rng):
    """A brown spot on skin; an ill one is large, dark and blue."""
    rows, columns = np.indices((48, 48)) - rng.uniform(20, 28, (2, 1, 1))
    spot = rows**2 + columns**2 < (rng.uniform(13, 16) if ill else rng.uniform(5, 7)) ** 2
    image = np.where(spot[..., None], (40, 30, 70) if ill else (150, 100, 70), (220, 180, 160))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8)).save(path)


def write_clinic(root, patients, *, first=1, labels=True, seed=0):
    """Photos and both spreadsheets; returns which lesion (by patient/number) is ill, as its picture shows."""
    rng = np.random.default_rng(seed)
    lesions, ill, serial = ["Pat_Nr;Läsion;Lokalisation;Größe_mm;Juckreiz;Histologie;Exzision"], {}, 0
    book = openpyxl.Workbook()
    book.active.append(["Pat_Nr", "Nachname", "Geburtsdatum", "Alter", "Geschlecht"])
    for patient in range(first, first + patients):
        book.active.append([patient, f"Müller{patient}", "01.02.1950", 40 + patient * 7 % 37, "mw"[patient % 2]])
        for lesion in range(1, 2 + patient % 3):
            serial += 1
            name = HISTOLOGY[serial % 7]
            ill[f"{patient}/{lesion}"] = sick = name not in (*BENIGN, "") or (not name and serial % 2 == 0)
            for view in "DK":
                photo(root / f"Fotos/{patient}/{lesion}/{view}1.jpg", sick, rng)
            size = f"{rng.uniform(3, 12):.1f}".replace(".", ",")
            cut = "ja" if name else "nein"
            row = [patient, lesion, REGIONS[serial % 4], size, ["ja", "nein"][rng.integers(2)]]
            lesions.append(";".join(map(str, [*row, *([name, cut] if labels else ["", ""])])))
    (root / "Läsionen.csv").write_bytes("\r\n".join(lesions).encode("cp1252"))
    book.save(root / "Patienten.xlsx")
    return ill


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """The clinic's folder with a mended cohort file."""
    root = tmp_path_factory.mktemp("klinik")
    write_clinic(root, 24)
    assert "Read and mend" in walk.sidelight("init", root)
    assert walk.edited(root, {'label = "Histologie"': f'label = "Histologie"\n{CLASSES}'}) <= 2
    return root


@pytest.fixture(scope="module")
def model(clinic, tmp_path_factory):
    """A model that a study of it and an evaluation left."""
    out = tmp_path_factory.mktemp("out")
    walk.studied(clinic, out, "simclr", "histologie")
    assert "The report lies in" in walk.sidelight("report", out / "study", "--out", out / "report.html")
    return walk.judged(clinic, out, "histologie")


def test_what_init_reads_off_the_folder(clinic):
    spec = walk.drafted(clinic)
    assert {one["file"]: one["on"] for one in spec["tables"]} == {
        "Läsionen.csv": ["patient=Pat_Nr", "lesion=Läsion"],
        "Patienten.xlsx": ["patient=Pat_Nr"],
    }
    assert (spec["levels"], spec["views"]) == (["patient", "lesion"], {"D": "dermoscopic", "K": "clinical"})
    assert spec["metadata"] == {
        "patient": ["Alter", "Geschlecht"], "lesion": ["Lokalisation", "Größe_mm", "Juckreiz"],
        "numeric": ["Alter", "Größe_mm"],
    }  # fmt: skip
    items = Cohort.open(clinic).items
    assert items["Größe_mm"].str.fullmatch(r"\d+\.\d").all() and "Gesäß" in set(items["Lokalisation"])


def test_check_counts_lesions_and_sees_a_table_that_contradicts_itself(clinic, tmp_path):
    check = walk.checked(clinic, tmp_path)
    assert walk.classes(check) == {("histologie", "benign"): 21, ("histologie", "malignant"): 20}
    assert {one["level"]: one["units"] for one in check["counts"]["levels"]} == {"patient": 24, "lesion": 48}
    assert set(walk.found(check)) == {("source", "note")}  # brightness and bytes, which are the disease here
    copy = tmp_path / "kopie"
    shutil.copytree(clinic, copy, ignore=shutil.ignore_patterns(".sidelight"))
    with (copy / "Läsionen.csv").open("ab") as file:
        file.write("\r\n1;1;Arm;3,0;ja;Basaliom;ja".encode("cp1252"))
    assert walk.found(walk.checked(copy, tmp_path, code=1))[0] == ("table", "error")


def test_new_patients_are_told_apart(clinic, model, tmp_path):
    ill = write_clinic(tmp_path / "neu", 8, first=500, labels=False, seed=1)
    scores = walk.predicted(model, clinic, tmp_path / "neu", tmp_path)
    assert list(scores.index) == list(ill)
    assert walk.separation(scores, list(ill.values())) > 0.9
    assert (scores["missing"] == "").all() and set(scores["decision"]) == {"benign", "malignant"}
    assert scores["item"].tolist() == [f"Fotos/{name}/D1.jpg" for name in ill]


def test_new_patients_need_no_tables(clinic, model, tmp_path):
    ill = write_clinic(tmp_path / "neu", 6, first=500, seed=1)
    for name in ("Läsionen.csv", "Patienten.xlsx"):
        (tmp_path / "neu" / name).unlink()
    new, out = tmp_path / "neu", tmp_path / "scores.csv"
    said = walk.sidelight("predict", model, "--data", new, "--cohort", clinic, "--out", out, "--names")
    assert "The table Läsionen.csv is not there: goes without its columns." in said
    assert "probability is that of 'malignant'" in said
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == len(ill) + 1


def test_a_table_that_names_the_patients_must_be_there(model, tmp_path):
    photo(tmp_path / "a.jpg", False, np.random.default_rng(0))
    (tmp_path / "cohort.toml").write_text(
        'files = "{photo}.jpg"\ntables = [{file = "who.csv", on = ["photo"]}]\nlevels = ["patient", "lesion"]\n'
    )
    with pytest.raises(DataError, match=r"The level patient .*who\.csv is not there.*Put who\.csv into"):
        walk.sidelight("predict", model, "--data", tmp_path, "--out", tmp_path / "scores.csv")


def test_a_join_that_is_off_by_one_row_is_seen_on_the_contact_sheet(tmp_path):
    write_clinic(tmp_path, 6)
    book = openpyxl.load_workbook(tmp_path / "Patienten.xlsx")
    sheet = book.active
    for line in range(2, 8):
        sheet.cell(line, 1).value += 1  # each row's number is the next patient's
    book.save(tmp_path / "Patienten.xlsx")
    walk.sidelight("init", tmp_path)
    shown = walk.articles(tmp_path)
    assert len(shown) == 12
    for article in shown:
        patient = int(re.search(r"Fotos/(\d)/", article)[1])
        if patient == 1:
            assert "No row in Patienten.xlsx" in article
            continue
        assert f"Patienten.xlsx, line {patient}<" in article and f'<dd class="key">{patient}</dd>' in article
        assert f"Müller{patient - 1}<" in article and f">{40 + (patient - 1) * 7 % 37}<" in article
    assert any("No row in" in article for article in shown)
