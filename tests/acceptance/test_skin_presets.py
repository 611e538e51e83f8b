"""The presets of skin data: files of each public layout, and the real sets where they are."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import described
from sidelight.data.cohort.presets import load_preset
from sidelight.data.cohort.units import units
from sidelight.errors import DataError

PAD = [
    "patient_id",
    "lesion_id",
    "smoke",
    "background_father",
    "age",
    "gender",
    "region",
    "diameter_1",
    "itch",
    "diagnostic",
    "img_id",
    "biopsed",
]
PAD_ROWS = [
    ["PAT_1", "7", "True", "BRASIL", "50", "MALE", "ARM", "6.0", "UNK", "BCC", "PAT_1_7_1.png", "True"],
    ["PAT_1", "8", "True", "BRAZIL", "51", "MALE", "FACE", "5.0", "True", "NEV", "PAT_1_8_2.png", "False"],
    ["PAT_2", "7", "", "", "70", "", "NECK", "", "False", "ACK", "PAT_2_7_3.png", "False"],
    ["PAT_3", "9", "False", "UNK", "20", "FEMALE", "ARM", "3.0", "False", "SEK", "PAT_3_9_4.png", "False"],
    ["PAT_4", "9", "False", "ITALY", "30", "FEMALE", "ARM", "3.0", "False", "SCC", "PAT_4_9_5.png", "True"],
    ["PAT_5", "9", "False", "ITALY", "31", "FEMALE", "ARM", "3.0", "False", "MEL", "PAT_5_9_6.png", "True"],
    ["PAT_6", "9", "False", "ITALY", "32", "FEMALE", "ARM", "3.0", "False", "ACK", "PAT_6_9_7.png", "False"],
]


def image(path, shade=None):
    """An image of one colour, or a gradient that differs with ``shade``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = np.zeros((8, 8, 3), np.uint8)
    if shade is not None:
        flat = flat + np.arange(8, dtype=np.uint8)[:, None] * 20 + np.uint8(shade % 100)
    Image.fromarray(flat).save(path)


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def counts(cohort, task):
    return np.bincount(units(cohort, cohort.tasks[task])["label"]).tolist()


def pad(root):
    values = load_preset("pad_ufes_20")["metadata"]
    more = [name for name in (*values["patient"], *values["lesion"]) if name not in PAD]
    table(root / "metadata.csv", [*PAD, *more], [row + [""] * len(more) for row in PAD_ROWS])
    for row in PAD_ROWS:
        image(root / "images" / "imgs_part_1" / row[-2])


def test_pad_ufes_20(tmp_path):
    pad(tmp_path)
    cohort = Cohort.open(tmp_path, preset="pad_ufes_20")
    assert units(cohort, cohort.tasks["diagnosis"])["unit"].nunique() == 7  # lesion 7 and 9 are several patients'
    assert cohort.items["background_father"].tolist()[:4] == ["BRAZIL", "BRAZIL", "", "UNK"]
    assert cohort.items["age"].tolist()[:2] == ["50", "50"]
    assert any("'age' differs within 1 of 6 units of level patient: first taken" in note for note in cohort.notices)
    assert counts(cohort, "malignant") == [4, 3] and counts(cohort, "malignant_filled") == [3, 3]
    assert counts(cohort, "risk_filled") == [2, 3]


def test_pad_ufes_20_on_the_real_data(real_data):
    if not (real_data / "pad_ufes_20").is_dir():
        pytest.skip(f"no pad_ufes_20 in {real_data}")
    cohort = Cohort.open(real_data / "pad_ufes_20", preset="pad_ufes_20")
    assert len(cohort.items) == 828 and cohort.items["group"].nunique() == 629
    assert counts(cohort, "diagnosis") == [226, 196, 153, 104, 34, 24]
    assert counts(cohort, "malignant_filled") == [158, 284]
    blank = cohort.items[cohort.items["clinical"] == ""]
    assert len(blank) == 318 and not blank["diagnostic"].isin(["BCC", "SCC", "MEL"]).any()


def test_ham10000(tmp_path):
    names = ["akiec", "akiec", "bcc", "bcc", "bkl", "df", "mel", "mel", "nv", "vasc"]
    rows = [[f"HAM_{dx}", f"ISIC_{n}", dx, "histo", "40.0", "male", "unknown"] for n, dx in enumerate(names)]
    table(
        tmp_path / "HAM10000_metadata.csv",
        ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"],
        rows,
    )
    for number in range(10):
        image(tmp_path / f"HAM10000_images_part_{1 + number % 2}" / f"ISIC_{number}.jpg")
    cohort = Cohort.open(tmp_path, preset="ham10000")
    assert (cohort.levels, cohort.items["group"].nunique()) == (("lesion",), 7)
    assert counts(cohort, "diagnosis") == [1] * 7
    (tmp_path / "HAM10000_metadata.csv").unlink()
    with pytest.raises(DataError, match="rename it"):
        Cohort.open(tmp_path, preset="ham10000")


def slice3d(target):
    given = load_preset("isic2024")["metadata"]
    names = [*given["patient"], *given["item"]]
    header = ["isic_id", "patient_id", *names, *([target] if target else []), "iddx_full", "lesion_id"]
    rows = [
        [f"ISIC_{n}", f"IP_{n // 2}", *("60" if name in given["numeric"] else "male" for name in names)]
        + ([str(int(n == 3))] if target else [])
        + ["Benign", ""]
        for n in range(4)
    ]
    return header, rows


def test_isic2024_in_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    table(tmp_path / "train-metadata.csv", *slice3d("target"))
    stream = io.BytesIO()
    Image.radial_gradient("L").resize((9, 9)).convert("RGB").save(stream, "JPEG")
    with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
        for number in range(4):
            file[f"ISIC_{number}"] = np.void(stream.getvalue())
    cohort = Cohort.open(tmp_path, preset="isic2024")
    assert (len(cohort.items), cohort.items["group"].nunique()) == (4, 2)
    assert counts(cohort, "malignant") == [3, 1] and counts(cohort, "risk") == [1, 1]
    assert cohort.read(0, max_frames=1).frames.shape == (1, 9, 9, 3)


def test_isic2024_unpacked_and_from_the_challenge(tmp_path):
    table(tmp_path / "a" / "train-metadata.csv", *slice3d("target"))
    header, rows = slice3d("")
    table(tmp_path / "b" / "ISIC_2024_Training_Input" / "metadata.csv", header, rows)
    truth = [[f"ISIC_{n}", f"{int(n == 3)}.0"] for n in range(4)]
    table(tmp_path / "b" / "ISIC_2024_Training_GroundTruth.csv", ["isic_id", "malignant"], truth)
    for number in range(4):
        image(tmp_path / "a" / "train-image" / "image" / f"ISIC_{number}.jpg")
        image(tmp_path / "b" / "ISIC_2024_Training_Input" / f"ISIC_{number}.jpg")
    for folder, preset in (("a", "isic2024_jpg"), ("b", "isic2024_challenge")):
        cohort = Cohort.open(tmp_path / folder, preset=preset)
        assert counts(cohort, "malignant") == [3, 1] and counts(cohort, "risk") == [1, 1]


def test_hiba(tmp_path):
    header = "isic_id,age_approx,anatom_site_1,anatom_site_2,anatom_site_special,concomitant_biopsy,diagnosis_1,fa"
    header += "mily_hx_mm,fitzpatrick_skin_type,image_type,lesion_id,patient_id,personal_hx_mm,sex"
    kinds = ["dermoscopic", "clinical: overview", "dermoscopic"]
    rows = [
        [f"ISIC_{n}", "40", "arm", "", "", "True", word, "", "II", kind, f"IL_{n}", f"IP_{n // 2}", "", "male"]
        for n, (kind, word) in enumerate(zip(kinds, ["Benign", "Malignant", "Indeterminate"], strict=True))
    ]
    table(tmp_path / "metadata.csv", header.split(","), rows)
    for number in range(3):
        image(tmp_path / f"ISIC_{number}.jpg")
    cohort = Cohort.open(tmp_path, preset="hiba")
    assert cohort.items["view"].tolist() == ["dermoscopic", "clinical", "dermoscopic"]
    assert counts(cohort, "malignant") == [1, 1]


MILK = ["AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC"]


def milk(root):
    """Twelve lesions with both photographs, the last without its clinical one."""
    header = "lesion_id,image_type,isic_id,attribution,copyright_license,image_manipulation,age_approx,sex,skin_tone_class,site"
    scores = [name for name in load_preset("milk10k")["metadata"]["never"] if name.startswith("MONET")]
    rows, truth = [], []
    for n in range(12):
        truth.append([f"IL_{n:07d}", *(f"{float(place == n % len(MILK))}" for place in range(len(MILK)))])
        for slot, kind in enumerate(["clinical: close-up", "dermoscopic"]):
            if (n, slot) != (11, 0):
                name = f"ISIC_{2 * n + slot:07d}"
                facts = ["x", "CC-BY-NC", "", "40.0", "male", "3.0", "head_neck_face" if n % 2 else "trunk"]
                rows.append([f"IL_{n:07d}", kind, name, *facts, *(["0.61", "7.1e-05"][(n + slot) % 2] for _ in scores)])
                image(root / "MILK10k_Training_Input" / f"IL_{n:07d}" / f"{name}.jpg", shade=20 * n + slot)
    table(root / "MILK10k_Training_Metadata.csv", [*header.split(","), *scores], rows)
    table(root / "MILK10k_Training_GroundTruth.csv", ["lesion_id", *MILK], truth)


def test_milk10k(tmp_path):
    milk(tmp_path)
    cohort = Cohort.open(tmp_path, preset="milk10k")
    assert len(cohort.items) == 23 and cohort.items["group"].nunique() == 12
    assert cohort.items["view"].value_counts().to_dict() == {"dermoscopic": 12, "clinical": 11}
    task = cohort.tasks["diagnosis"]
    found = units(cohort, task)
    assert task.classes == tuple(MILK) and task.views == ("dermoscopic", "clinical")
    assert np.array(found["label"].tolist()).sum(0).tolist() == [2, *[1] * 10]
    assert counts(cohort, "malignant") == [6, 6] and counts(cohort, "site") == [6, 6]
    concepts = units(cohort, cohort.tasks["concepts"])
    assert len(concepts) == 23 and set(concepts["label"]) == {(1,) * 7, (0,) * 7}
    assert "site" not in described(cohort, "lesion")


def test_milk10k_on_the_real_data(real_data):
    if not (real_data / "milk10k").is_dir():
        pytest.skip(f"no milk10k in {real_data}")
    cohort = Cohort.open(real_data / "milk10k", preset="milk10k")
    assert len(cohort.items) == 7878 and cohort.items["group"].nunique() == 3939 and not cohort.broken
    nine = units(cohort, cohort.tasks["diagnosis_nine"])
    assert len(nine) == 3939 - 35 - 6
    assert np.array(nine["label"].tolist()).sum(0).tolist() == [230, 1874, 410, 45, 33, 337, 566, 366, 37]
    assert counts(cohort, "malignant") == [1126, 2813]
    assert sum(counts(cohort, "site")) == 3939 - 19
    concepts = np.array(units(cohort, cohort.tasks["concepts"])["label"].tolist())
    assert concepts.shape == (7878, 7) and concepts.sum(0).tolist() == [2197, 950, 478, 2257, 1920, 613, 1100]


def test_paired_sets_of_one_row_per_photograph_train(tmp_path):
    """What the layouts give is what SM3 pairs: a dermoscopic and a clinical photograph of one lesion."""
    milk(tmp_path)
    run = sidelight.pretrain(
        "sm3", tmp_path, tmp_path / "run", preset="milk10k", encoder="test_resnet", image_size=32, projection=8,
        batch_size=8, steps=1, device="cpu", quiet=True, cache=str(tmp_path / "cache"), valid_fraction=0,
    )  # fmt: skip
    assert {path.stem for path in (run.folder / "towers").iterdir()} >= {"dermoscopic", "clinical"}
    assert not (run.folder / "examples.safetensors").exists()  # its licence lets nobody pass pictures on


def test_bcn20000(tmp_path):
    header = "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split"
    rows = [
        [f"BCN_{n}.jpg", "40", "arm", word, f"L_{n // 2}", "2010-01-01", "male", "train"]
        for n, word in enumerate(["MEL", "MEL", "NV"])
    ]
    table(tmp_path / "bcn_20000_train.csv", header.split(","), rows)
    for number in range(3):
        image(tmp_path / "images" / f"BCN_{number}.jpg")
    cohort = Cohort.open(tmp_path, preset="bcn20000")
    assert cohort.items["group"].tolist() == ["L_0", "L_0", "L_1"]
    assert counts(cohort, "diagnosis") == [1, 1]
