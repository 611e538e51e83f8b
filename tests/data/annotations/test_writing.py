"""Masks that are written and read back by the readers beside them, in pixels of their sources."""

import io

import numpy as np
import pytest
from PIL import Image

from sidelight.data.annotations import annotations_of
from sidelight.data.annotations.mask_files import read_values
from sidelight.data.annotations.writing import mask_files, safe
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ReadError


def drawn(frames, classes, height, width):
    """Random masks that overlap."""
    return np.random.default_rng(0).random((frames, classes, height, width)) > 0.5


def kept(folder, *given):
    """The files on the disk; their paths."""
    paths = []
    for path, content in mask_files(*given, "1"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        paths.append(path)
    return paths


def test_a_png_for_each_class_and_frame(tmp_path):
    masks = drawn(1, 2, 5, 7)
    assert kept(tmp_path, "png", tmp_path, (), masks, ("left lung", "a/b"), "x") == ["x_left lung.png", "x_a_b.png"]
    assert np.array_equal(read_values(tmp_path / "x_a_b.png", "x")[0] > 0, masks[0, 1])
    assert set(np.asarray(Image.open(tmp_path / "x_left lung.png")).ravel()) == {0, 255}
    assert kept(tmp_path, "png", tmp_path, (), drawn(2, 1, 5, 7), ("one",), "y") == ["y/0000.png", "y/0001.png"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("../..", "_._"), ("a:b*?", "a_b__"), (".x.", "_x_"), ("lésion 1", "lésion 1"), ("", "_"), ("..", "__")],
)
def test_names_that_any_file_system_takes(text, name):
    assert "/" not in safe(text) and ".." not in safe(text) and safe(text) not in ("", ".")
    assert safe(text) == name or text.startswith("..")


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "IPL"])
def test_a_volume_keeps_its_voxels_and_its_affine(tmp_path, codes):
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(1).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    start = nibabel.orientations.axcodes2ornt("RAS")
    turn = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(codes))
    image = nibabel.Nifti1Image(values, np.diag([1.0, 1.25, 5.0, 1.0])).as_reoriented(turn)
    image.to_filename(tmp_path / "scan.nii.gz")
    (tmp_path / "cohort.toml").write_text('files = "{patient}.nii.gz"\nlevels = ["patient"]\n')
    cohort = Cohort.open(tmp_path)
    upright = cohort.read(0, max_frames=99).frames
    assert upright.shape == (3, 5, 4)
    (tmp_path / "out").mkdir()
    (name,) = kept(tmp_path / "out", "nifti", tmp_path, ("scan.nii.gz",), (upright > 100)[:, None], ("one",), "m")
    made = nibabel.load(tmp_path / "out" / name)
    np.testing.assert_array_equal(np.asarray(made.dataobj), np.asarray(image.dataobj) > 100)
    np.testing.assert_array_equal(made.affine, image.affine)
    np.testing.assert_array_equal(read_values(tmp_path / "out" / name, name), upright > 100)


def test_dicom_slices_lie_as_nifti_where_their_positions_say(tmp_path):
    pytest.importorskip("pydicom")
    nibabel = pytest.importorskip("nibabel")
    from dicom_writing import SHAPE, series

    paths = series(tmp_path, "a", slices=3, PixelSpacing=[2, 0.5])
    masks = drawn(3, 1, *SHAPE)
    (name,) = kept(tmp_path, "nifti", tmp_path, [str(one.relative_to(tmp_path)) for one in paths], masks, ("one",), "m")
    made = nibabel.load(tmp_path / name)
    # one column right is 0.5 mm to the patient's left, one row down 2 mm to the back, one slice on 3 mm to the head
    np.testing.assert_array_equal(made.affine, np.diag([-0.5, -2, 3, 1]))
    np.testing.assert_array_equal(np.asarray(made.dataobj)[5, 7, 2], masks[2, 0, 7, 5])


def test_a_photograph_has_a_nifti_that_is_read_upright(tmp_path):
    pytest.importorskip("nibabel")
    masks = drawn(1, 1, 5, 7)
    (name,) = kept(tmp_path, "nifti", tmp_path, ("a.png",), masks, ("one",), "m")
    np.testing.assert_array_equal(read_values(tmp_path / name, name), masks[:, 0])


@pytest.mark.parametrize("kind", ["series", "radiograph", "empty"])
def test_a_segmentation_object_refers_to_its_files_and_is_read_back(tmp_path, kind):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom", reason="needs the extra seg")
    from pydicom.uid import generate_uid

    from dicom_writing import SHAPE, ramp, series, write

    ids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientID": "a"}
    if kind in ("series", "empty"):
        series(tmp_path / "img", "a")
    else:
        write(tmp_path / "img" / "a" / "1.dcm", ramp(*SHAPE, np.uint16), modality="DX", PixelSpacing=[1, 1], **ids)
    text = 'files = "img/{case}/*.dcm"\nlevels = ["patient"]\n[roles]\npatient = "column:case"\n'
    (tmp_path / "cohort.toml").write_text(text)
    cohort = Cohort.open(tmp_path)
    files = cohort.items["files"].iloc[0]
    masks = drawn(cohort.read(0, max_frames=9).length, 2, *SHAPE) & (kind != "empty")
    kept(tmp_path / "seg", "dicom-seg", tmp_path, files, masks, ("liver", "spleen"), "m")
    made = pydicom.dcmread(tmp_path / "seg" / "m.dcm")
    said = [pydicom.dcmread(tmp_path / one, stop_before_pixels=True) for one in files]
    assert made.StudyInstanceUID == said[0].StudyInstanceUID and made.PatientID == "a"
    (again,) = (one for _, one in mask_files("dicom-seg", tmp_path, files, masks, ("liver", "spleen"), "m", "1"))
    assert pydicom.dcmread(io.BytesIO(again)).SOPInstanceUID == made.SOPInstanceUID
    if kind == "empty":
        return
    (tmp_path / "cohort.toml").write_text(text + '[task.organs]\nmask = "seg/*.dcm"\n')
    found = annotations_of(Cohort.open(tmp_path), "organs")
    assert found.classes == ("liver", "spleen")
    np.testing.assert_array_equal(found.masks(found.positions[0]), masks)


def test_masks_that_do_not_fit_their_dicom_file_and_loops_are_refused(tmp_path):
    pytest.importorskip("highdicom", reason="needs the extra seg")
    from dicom_writing import SHAPE, series, write

    paths = series(tmp_path, "a", slices=1)
    write(tmp_path / "cine.dcm", np.zeros((3, *SHAPE), np.uint8), modality="US", NumberOfFrames=3)
    with pytest.raises(ReadError, match=r"cine.dcm: has 3 frames without functional groups.*png"):
        kept(tmp_path, "dicom-seg", tmp_path, ["cine.dcm"], drawn(3, 1, *SHAPE), ("one",), "m")
    with pytest.raises(ReadError, match=r"a/1.dcm: masks of .*1 frames of 16 x 12 pixels"):
        kept(tmp_path, "dicom-seg", tmp_path, [str(paths[0].relative_to(tmp_path))], drawn(1, 1, 4, 4), ("one",), "m")
