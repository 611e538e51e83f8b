"""Files that hold several pictures, and how a path names one of them.

``cases.npz::image`` is an array of an npz file, ``train-image.hdf5::ISIC_0015670`` a data set of an HDF5 file,
``patient001_4d.nii.gz::t0`` a time point of a volume (see ``data/read/nifti.py`` for what a volume's members are called).
"""

import re
from functools import cache
from pathlib import Path

from sidelight.data.read.clip import unreadable
from sidelight.data.read.formats import FORMATS, by_suffix

MARK = "::"


def split(path: str) -> tuple[str, str]:
    """``"a.npz::image"`` -> ``("a.npz", "image")``; of any other path ``(path, "")``."""
    found = _marked().fullmatch(path) if MARK in path else None
    return (found[1], found[2]) if found else (path, "")


def members(path: Path, name: str) -> list[str]:
    """What a path may say of the file after ``::``, in the file's own order; nothing of a format that has no members.

    :param name: what errors call the file.
    :raises ReadError: where it cannot be opened.
    :raises MissingExtra: where the package that opens it is not installed.
    """
    one = by_suffix(path.name)
    if path.exists() and not path.is_file():
        raise unreadable(name, "is no file but a folder, a pipe, a socket or a device", "Leave it out")
    return one.members(path, name) if one is not None and one.members is not None else []


@cache
def _marked() -> re.Pattern[str]:
    holders = (suffix for one in FORMATS if one.members for suffix in (*one.suffixes, *one.headers))
    return re.compile(rf"(.*?\.(?i:{'|'.join(map(re.escape, holders))})){MARK}(.+)", re.DOTALL)
