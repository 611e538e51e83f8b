"""Files that hold several pictures, and how a path names one of them.

``cases.npz::image`` is an array of an npz file, ``train-image.hdf5::ISIC_0015670`` a data set of an HDF5 file,
``patient001_4d.nii.gz::t0`` a time point of a volume (see ``data/read/nifti.py`` for what a volume's members are called).
"""

import re
from functools import cache

MARK = "::"
ZIPPED = ("npz",)
HDF5 = ("h5", "hdf5")
VOLUMES: tuple[str, ...] = ("nii", "nii.gz", "img", "img.gz", "hdr", "hdr.gz", "mgh", "mgz", "mnc", "mnc.gz")
VOLUMES += ("head", "brik", "brik.gz", "par", "rec")


def split(path: str) -> tuple[str, str]:
    """``"a.npz::image"`` -> ``("a.npz", "image")``; of any other path ``(path, "")``."""
    found = _marked().fullmatch(path) if MARK in path else None
    return (found[1], found[2]) if found else (path, "")


def is_volume(name: str) -> bool:
    """Whether a file is called like a volume that nibabel reads: it, too, goes by the suffix."""
    return name.lower().endswith(tuple(f".{suffix}" for suffix in VOLUMES))


@cache
def _marked() -> re.Pattern[str]:
    suffixes = "|".join(map(re.escape, (*ZIPPED, *HDF5, *VOLUMES)))
    return re.compile(rf"(.*?\.(?i:{suffixes})){MARK}(.+)", re.DOTALL)
