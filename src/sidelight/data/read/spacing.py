"""How large a pixel of an item is and how far its slices are apart, in mm, where its files say so: DICOM, and volumes.

Of DICOM PixelSpacing counts, not the size at the detector (ImagerPixelSpacing), which a magnified patient does not have. Slices
are as far apart as their positions, whatever their thickness.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidelight.data.read.clip import Array
from sidelight.data.read.container import split
from sidelight.data.read.dicom import is_dicom
from sidelight.data.read.dicom_frames import read_header
from sidelight.data.read.nifti import is_volume, volume_spacing
from sidelight.errors import MissingExtra, ReadError

TAGS = (
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
)  # fmt: skip


@dataclass(frozen=True)
class Spacing:
    """In mm: from one row to the next, from one column to the next, and ``between`` slices; None where nobody says it."""

    row: float
    column: float
    between: float | None = None


def spacing_of(root: Path, files: Sequence[str]) -> Spacing | None:
    """Of an item, given as its files in order; None where nothing says it."""
    try:
        path, member = split(str(root / files[0])) if files else ("", "")
        if files and is_volume(Path(path).name.lower()):
            return _usable(*volume_spacing(Path(path), files[0], member))
        if not files or not is_dicom_file(Path(path)):
            return None
        headers = [read_header(root / one, one, TAGS)[0] for one in files]
        return _of_dicom(headers)
    except (OSError, ReadError, MissingExtra, TypeError, ValueError, AttributeError):
        return None  # what cannot be read says no size


def is_dicom_file(path: Path) -> bool:
    """Whether a file is read as DICOM, by what it begins with; :raises OSError: where it cannot be opened."""
    with path.open("rb") as file:
        return is_dicom(file.read(132), path.suffix.lower())


def _usable(row: float, column: float, between: float | None) -> Spacing | None:
    """None where a size is none."""
    if not all(np.isfinite(one) and one > 0 for one in (row, column)):
        return None
    return Spacing(row, column, between if between is not None and np.isfinite(between) and between > 0 else None)


def _of_dicom(headers: Sequence[Any]) -> Spacing | None:
    shared = (headers[0].get("SharedFunctionalGroupsSequence") or [{}])[0]
    measured = (shared.get("PixelMeasuresSequence") or [headers[0]])[0]
    size = measured.get("PixelSpacing")
    if size is None:
        return None
    between = measured.get("SpacingBetweenSlices") if len(headers) == 1 else distance(headers)
    return _usable(float(size[0]), float(size[1]), None if between is None else float(between))


def distance(headers: Sequence[Any]) -> float | None:
    """The median distance of neighbours along the normal of the first slice in mm; None without positions, and of one slice."""
    found = positions(headers)
    if found is None or len(headers) < 2:
        return None
    normal, places = found
    return float(np.median(np.abs(np.diff(places @ normal))))


def positions(headers: Sequence[Any]) -> tuple[Array, Array] | None:
    """The normal float64 [3] of slices and their positions float64 [N, 3] in mm; None where a header lacks them."""
    if any(one.get("ImagePositionPatient") is None or one.get("ImageOrientationPatient") is None for one in headers):
        return None
    along = np.asarray([float(one) for one in headers[0].ImageOrientationPatient]).reshape(2, 3)
    places = np.array([[float(one) for one in header.ImagePositionPatient] for header in headers])
    return np.cross(along[0], along[1]), places


def affine_of(root: Path, files: Sequence[str]) -> Array:
    """Where the voxels [column, row, slice] of an item lie in the patient, as NIfTI has it (mm, to the right, the front and the
    head), float64 [4, 4].

    Of DICOM slices by their positions; of whatever has none, columns run to the left and rows to the back, as a radiologist sees
    an axial slice, in mm where a pixel has a size, else in pixels.
    """
    size = spacing_of(root, files) or Spacing(1.0, 1.0)
    affine = np.diag([-size.column, -size.row, size.between or 1.0, 1.0])
    try:
        headers = [read_header(root / one, one, TAGS)[0] for one in files if is_dicom_file(root / one)]
        found = positions(headers) if headers else None
        if found is None:
            return affine
        normal, places = found
        along = np.asarray([float(one) for one in headers[0].ImageOrientationPatient]).reshape(2, 3)
        step = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else normal
    except (OSError, ReadError, TypeError, ValueError):
        return affine
    affine[:3] = np.stack([along[0] * size.column, along[1] * size.row, step, places[0]], axis=1)
    affine[:2] *= -1  # DICOM's axes run to the left and the back
    return affine
