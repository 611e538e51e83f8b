"""Masks of one item -> files that :mod:`sidelight.data.annotations` reads back: PNG, NIfTI, DICOM segmentation objects."""

import gzip
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sidelight.data.annotations.dicom_seg import segmentation
from sidelight.data.annotations.drawn import Bools
from sidelight.data.read.container import split
from sidelight.data.read.nifti import as_stored, is_volume
from sidelight.data.read.spacing import affine_of
from sidelight.errors import MissingExtra

WRITTEN = ("png", "nifti", "dicom-seg")


def mask_files(
    form: str, root: Path, files: Sequence[str], masks: Bools, classes: Sequence[str], name: str, version: str
) -> Iterator[tuple[str, bytes]]:
    """The files of one item: their paths, which begin with ``name``, and what they hold.

    PNG and NIfTI have a file for each class, for masks of several classes may overlap: ``NAME.png`` of one class, else
    ``NAME_CLASS.png``; of a series ``NAME/0000.png``, ``NAME/0001.png``, ... Values are 0 and 255 (PNG), 0 and 1 (NIfTI). A
    segmentation object has all classes: ``NAME.dcm``.

    :param form: of :data:`WRITTEN`.
    :param files: of the item in order, relative to ``root``; none of a phantom.
    :param masks: bool [T, classes, H, W] of all frames, in pixels of the source.
    :raises ReadError: for sources that the masks do not fit.
    """
    if form == "dicom-seg":
        yield f"{name}.dcm", segmentation(root, files, masks, classes, version)
        return
    for place, one in enumerate(classes):
        stem, own = f"{name}_{safe(one)}" if len(classes) > 1 else name, masks[:, place]
        if form == "nifti":
            yield f"{stem}.nii.gz", _nifti(root, files, own)
        elif len(own) == 1:
            yield f"{stem}.png", _png(own[0])
        else:
            yield from ((f"{stem}/{number:04d}.png", _png(plane)) for number, plane in enumerate(own))


def safe(text: str) -> str:
    """A text as a part of a path that any file system takes: letters, digits, blanks, ``-``, ``_`` and single dots within."""
    return re.sub(r"[^\w\- .]|\.(?=\.)|^\.|\.$", "_", text).strip() or "_"


def _png(plane: Bools) -> bytes:
    file = io.BytesIO()
    Image.fromarray(plane.astype(np.uint8) * 255).save(file, format="PNG")
    return file.getvalue()


def _nifti(root: Path, files: Sequence[str], planes: Bools) -> bytes:
    """Planes [T, H, W] where the source has them, with its affine; of what is no volume as :func:`affine_of` says."""
    try:
        from nibabel import Nifti1Image
    except ImportError:
        raise MissingExtra("nibabel", "nifti", "Writing NIfTI") from None
    values = planes.astype(np.uint8)
    path, member = split(str(root / files[0])) if files else ("", "")
    if is_volume(Path(path).name.lower()):
        stored, affine = as_stored(Path(path), files[0], values, member)
    else:
        stored, affine = values.transpose(2, 1, 0), affine_of(root, files)
    image = Nifti1Image(stored, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    return gzip.compress(image.to_bytes(), mtime=0)
