"""The presets of MR series, written in their public layouts."""

import numpy as np
import pytest

import mr_writing
from sidelight.data.annotations import annotations_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.units import units
from sidelight.data.phantoms.knee import phantom
from sidelight.data.read import read_files
from sidelight.errors import DataError, ReadError


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    source = phantom(exams=20, slices=3, size=16, seed=3)
    return source, mr_writing.mrnet(tmp_path_factory.mktemp("mrnet"), source, valid=6)


def test_mrnet_keeps_its_zeros_and_joins_both_sides(knees):
    source, root = knees
    cohort = Cohort.open(root, preset="mrnet")
    assert len(cohort.items) == 60 and cohort.levels == ("exam",) and not cohort.notices
    assert cohort.items["exam"].str.fullmatch("[0-9]{4}").all()
    assert sorted(set(cohort.items["view"])) == ["axial", "coronal", "sagittal"]
    table = units(cohort, cohort.tasks["diagnosis"]).set_index("unit")
    assert len(table) == 20 and cohort.tasks["diagnosis"].kind == "multilabel"
    for exam, knee in enumerate(source.knees):
        assert table["label"][f"{exam:04d}"] == knee.labels
        assert len(table["items"][f"{exam:04d}"]) == 3
    sides = cohort.items.groupby("exam")["split"].first()
    assert (sides == "test").sum() == 6 and (sides == "train").sum() == 14
    clip = cohort.read(0, max_frames=9)
    assert clip.frames.shape == (3, 16, 16) and not clip.timed


def test_mrnet_with_holes(knees, tmp_path):
    """A stray file, an exam without one plane and one without a label stop nothing."""
    source, _ = knees
    root = mr_writing.mrnet(tmp_path, source, valid=2)
    (root / "train" / "coronal" / "notes.txt").write_text("x")
    (root / "train" / "coronal" / "0003.npy").unlink()
    lines = (root / "train-acl.csv").read_text().splitlines()
    (root / "train-acl.csv").write_text("\n".join(line for line in lines if not line.startswith("0005")))
    cohort = Cohort.open(root, preset="mrnet")
    table = units(cohort, cohort.tasks["diagnosis"]).set_index("unit")
    assert len(cohort.items) == 59 and len(table["items"]["0003"]) == 2
    assert table["label"]["0005"][1] == -1 and table["label"]["0005"][0] == source.knees[5].labels[0]
    assert any("3 of 59 items have no row in train-acl.csv" in notice for notice in cohort.notices)
    assert "0005" not in set(units(cohort, cohort.tasks["acl"])["unit"])


def test_mrnet_labels_that_lost_their_zeros_are_told(knees, tmp_path):
    source, _ = knees
    root = mr_writing.mrnet(tmp_path, source, valid=2)
    for side in ("train", "valid"):
        lines = (root / f"{side}-acl.csv").read_text().splitlines()
        (root / f"{side}-acl.csv").write_text("\n".join(f"x{line}" for line in lines))
    with pytest.raises(DataError, match=r"No item has a row in train-acl\.csv.*'0000'.*'x0000'"):
        Cohort.open(root, preset="mrnet")


def test_a_table_without_header_names_all_its_columns(tmp_path):
    np.save(tmp_path / "07.npy", np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "labels.csv").write_text("07,1\n")
    spec = {"files": "{exam}.npy", "levels": ["exam"]}
    (tmp_path / "cohort.toml").write_text('files = "{exam}.npy"\nlevels = ["exam"]\n')
    table = {"file": "labels.csv", "columns": ["exam", "acl"], "on": ["exam"]}
    assert Cohort.open(tmp_path, **spec, tables=[table]).items["acl"].tolist() == ["1"]
    with pytest.raises(DataError, match="has 2 columns, `columns` names 1"):
        Cohort.open(tmp_path, **spec, tables=[{**table, "columns": ["exam"]}])


def test_acdc_in_its_original_layout(tmp_path):
    pytest.importorskip("nibabel", reason="needs the extra 'nifti'")
    root = mr_writing.acdc(tmp_path, {"patient001": ("DCM", 1, 12, 5), "patient002": ("NOR", 1, 9, 4)})
    cohort = Cohort.open(root, preset="acdc")
    items = cohort.items.set_index("item")
    assert len(items) == 4 and all("of its classes are" in one or "are not here" in one for one in cohort.notices)
    first = items.loc["training/patient001/patient001_frame12.nii.gz"]
    assert (first["patient"], first["view"], first["diagnosis"], first["height"]) == (
        "patient001",
        "ES",
        "DCM",
        "184.0",
    )
    assert first["masks"] == ("training/patient001/patient001_frame12_gt.nii.gz",)
    assert cohort.tasks["diagnosis"].classes == ("NOR", "DCM") and sorted(cohort.class_tasks) == [
        "DCM",
        "NOR",
        "diagnosis",
    ]
    structures = annotations_of(cohort, "structures")
    labels = read_files(
        [root / first["masks"][0]], max_frames=99
    ).frames  # uint8 stays as it is, and lies as the image does
    assert [(structures.masks(1)[:, place] == (labels == place + 1)).all() for place in range(3)] == [True] * 3
    assert structures.classes == ("right ventricle", "myocardium", "left ventricle")
    assert [cohort.read(place, max_frames=99).length for place in range(4)] == [5, 5, 4, 4]
    assert len(Cohort.open(root / "training", preset="acdc").items) == 4
    (root / "training" / "patient002" / "Info.cfg").write_text("ED: one\nES: 9\nGroup: NOR\n")
    with pytest.raises(DataError, match=r"training/patient002/Info\.cfg says.*ED: NUMBER"):
        Cohort.open(root, preset="acdc")


def test_a_volume_in_time_is_no_series(tmp_path):
    pytest.importorskip("nibabel", reason="needs the extra 'nifti'")
    root = mr_writing.acdc(tmp_path, {"patient001": ("DCM", 1, 12, 5)})
    files = "**/{patient:patient[0-9]+}/{patient}_{frame:4d}.nii.gz"
    cohort = Cohort.open(root, preset="acdc", labels=False, files=files, tables=[], roles={"view": "column:frame"})
    with pytest.raises(ReadError, match="is 4D: 2 volumes of 5 slices"):
        cohort.read(0, max_frames=9)


def test_acdc_in_the_reduced_layout(real_data):
    root = real_data / "acdc"
    if not root.is_dir():
        pytest.skip(f"no acdc in {real_data}")
    cohort = Cohort.open(root, preset="acdc")
    assert len(cohort.items) == 150 and cohort.items["patient"].nunique() == 75
    assert cohort.items["view"].value_counts().to_dict() == {"ED": 75, "ES": 75}
    table = units(cohort, cohort.tasks["diagnosis"])
    assert len(table) == 75 and table["label"].value_counts().to_list() == [15] * 5
    masks = {files[0].split("::")[1] for files in cohort.items["masks"]}
    assert masks == {"label"}


def test_kneemri_is_told_how_to_be_converted(tmp_path):
    (tmp_path / "vol01").mkdir()
    (tmp_path / "vol01" / "329637-8.pck").write_bytes(b"\x80\x03")
    (tmp_path / "metadata.csv").write_text("examId,seriesNo,aclDiagnosis\n329637,8,1\n390116,9,0\n400,1,2\n")
    for preset in ("kneemri", None):
        with pytest.raises(DataError, match=r"329637-8\.pck is not read: it is a pickle.*numpy\.save"):
            Cohort.open(tmp_path, preset=preset)
    for name in ("vol01/329637-8", "vol08/390116-9", "vol10/400-1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", np.arange(32, dtype=np.uint16).reshape(2, 4, 4))
    cohort = Cohort.open(tmp_path, preset="kneemri")
    assert cohort.items["split"].tolist() == ["test", "train", "valid"]
    assert units(cohort, cohort.tasks["diagnosis"])["label"].tolist() == [1, 0, 2]
