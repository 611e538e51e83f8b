"""What a file of several pictures holds, by name: how ``files = "train-image.hdf5::{isic_id}"`` finds its items."""

import zipfile
from pathlib import Path

from sidelight.data.read.array import npz_names
from sidelight.data.read.clip import unreadable
from sidelight.data.read.container import HDF5, ZIPPED
from sidelight.data.read.hdf5 import hdf5_names
from sidelight.data.read.nifti import volume_members


def members(path: Path, name: str) -> list[str]:
    """The members of the file, in its own order.

    :param name: what errors call the file.
    :raises ReadError: where it cannot be opened.
    :raises MissingExtra: where the package that opens it is not installed.
    """
    suffix = path.suffix.lower()[1:]
    if suffix in HDF5:
        return hdf5_names(path, name)
    if suffix not in ZIPPED:
        return volume_members(path, name)
    try:
        with zipfile.ZipFile(path) as archive:
            return npz_names(archive)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable(name, f"cannot be opened ({error})") from None
