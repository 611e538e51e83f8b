"""Segmentation objects written by highdicom: slices in any order, some without a mask, several segments."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom", reason="needs the extra seg")

from pydicom.sr.codedict import codes  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402

from dicom_writing import SHAPE, series, write  # noqa: E402
from sidelight.data.annotations import annotations_of  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402


def segmentation(path, sources, masks, labels):
    """``masks`` [slices of the object, H, W, segments] of the files ``sources``."""
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(labels, 1)
    ]
    made = highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(one) for one in sources],
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)


@pytest.fixture
def folder(tmp_path):
    paths = series(tmp_path / "ct", "a")
    series(tmp_path / "ct", "b", slices=2)
    masks = np.zeros((2, *SHAPE, 2), np.uint8)
    masks[0, 2:5, 3:9, 0] = 1
    masks[1, 1:3, 1:3, 1] = 1
    segmentation(tmp_path / "seg" / "x.dcm", [paths[1], paths[3]], masks, ["liver", "spleen"])
    return tmp_path


TOML = """
files  = "ct/{case}/*.dcm"
levels = ["patient"]
[roles]
patient = "column:case"
[task.organs]
mask = "seg/%s.dcm"
"""


def test_matched_by_what_they_refer_to(folder):
    (folder / "cohort.toml").write_text(TOML % "*")
    cohort = Cohort.open(folder)
    assert len(cohort.items) == 2
    found = annotations_of(cohort, "organs")
    assert found.classes == ("liver", "spleen")
    assert [cohort.items["case"].iloc[at] for at in found.positions] == ["a"]
    planes = found.masks(found.positions[0])
    assert planes.sum((2, 3)).tolist() == [[0, 0], [18, 0], [0, 0], [0, 4]]  # by position, not by name
    assert planes[1, 0, 2:5, 3:9].all() and planes[3, 1, 1:3, 1:3].all()
    assert found.masks(found.positions[0], [3])[0].sum((1, 2)).tolist() == [0, 4]


def test_matched_by_name_and_one_segment(folder):
    (folder / "seg" / "x.dcm").rename(folder / "seg" / "a.dcm")
    (folder / "cohort.toml").write_text(TOML % "{case}" + 'classes = {2 = "Spleen"}\nignore = ["liver"]\n')
    cohort = Cohort.open(folder)
    found = annotations_of(cohort, "organs")
    assert found.classes == ("Spleen",) and found.masks(found.positions[0]).sum((1, 2, 3)).tolist() == [0, 0, 0, 4]


def test_of_another_series(folder):
    (folder / "seg" / "x.dcm").rename(folder / "seg" / "b.dcm")
    (folder / "cohort.toml").write_text(TOML % "{case}")
    found = annotations_of(Cohort.open(folder), "organs")
    with pytest.raises(Exception, match="refers to none of its item's files"):
        found.masks(found.positions[0])


def test_an_image_is_no_segmentation(folder):
    write(folder / "seg" / "a.dcm", np.zeros(SHAPE, np.uint8), modality="DX")
    (folder / "cohort.toml").write_text(TOML % "{case}")
    cohort = Cohort.open(folder)
    assert "the first: seg/a.dcm: is a DICOM image" in cohort.broken["organs"]
