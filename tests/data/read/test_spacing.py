"""How large a pixel is, where files say so."""

import numpy as np
import pytest

from sidelight.data.read.spacing import Spacing, spacing_of


def test_a_volume_says_rows_columns_and_slices(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.zeros((4, 5, 3), np.uint8), np.diag([0.5, 2.0, 5.0, 1.0]))
    image.to_filename(tmp_path / "a.nii")  # axial: rows run to the back, columns to the left
    assert spacing_of(tmp_path, ("a.nii",)) == Spacing(2.0, 0.5, 5.0)
    assert spacing_of(tmp_path, ("a.nii::sagittal",)) == Spacing(5.0, 2.0, 0.5)
    assert spacing_of(tmp_path, ("a.nii::s1",)) == Spacing(2.0, 0.5)
    image.header.set_xyzt_units("micron")
    image.to_filename(tmp_path / "b.nii")
    found = spacing_of(tmp_path, ("b.nii",))
    assert (found.row, found.column, found.between) == pytest.approx((2e-3, 5e-4, 5e-3))


def test_dicom_slices_are_as_far_apart_as_their_positions(tmp_path):
    pytest.importorskip("pydicom")
    from dicom_writing import series, write

    paths = series(tmp_path, "a", PixelSpacing=[2, 0.5])
    files = [str(one.relative_to(tmp_path)) for one in paths]
    assert spacing_of(tmp_path, files) == Spacing(2.0, 0.5, 3.0)
    assert spacing_of(tmp_path, files[:1]) == Spacing(2.0, 0.5)
    write(tmp_path / "x.dcm", np.zeros((4, 4), np.uint8), modality="DX", ImagerPixelSpacing=[1, 1])
    assert spacing_of(tmp_path, ("x.dcm",)) is None


def test_what_says_nothing_or_is_not_there_has_no_size(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert [spacing_of(tmp_path, files) for files in (("a.png",), ("gone.dcm",), ("gone.nii",), ())] == [None] * 4
