"""HDF5 files (the extra ``hdf5``): a data set is an array of frames, or the bytes of one image file.

Arrays are read by the rule of ``data/read/array.py``. A scalar of bytes, or a row of uint8, is decoded as the JPEG or
PNG that it holds: so lie the crops of ISIC 2024 (SLICE-3D), 401,059 of them under their ids, and
``files = "train-image.hdf5::{isic_id}"`` makes each an item. What a file keeps outside itself (links to other files,
external and virtual storage) is refused.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidelight.data.cells import listed
from sidelight.data.read.array import MOST_BYTES, Shown, check, choose, clip_of
from sidelight.data.read.clip import Array, Clip, decoding, unreadable
from sidelight.data.read.room import Ask
from sidelight.data.read.still import decode_image
from sidelight.errors import MissingExtra

if TYPE_CHECKING:
    import h5py


def read_hdf5(
    path: Path,
    name: str,
    *,
    member: str = "",
    max_frames: int,
    channels: int | None = None,
    target: int | None = None,
    most_bytes: int = MOST_BYTES,
    ask: Ask | None = None,
) -> Clip:
    """Read one data set.

    :param member: its name, with ``/`` between groups; may be left out where there is one data set.
    :param max_frames: at most so many frames, evenly spread.
    :param channels: 1 gives grey.
    :param target: side wanted: much larger frames may be decoded coarsely.
    :param ask: by which memory is asked for; without, a quarter of the machine is there.
    :raises ReadError: for what is no picture, and where the data set is not there or not the only one.
    :raises MissingExtra: where h5py is not installed.
    """
    with _opened(path, name) as file:
        found = _dataset(file, member or choose(_names(file), "", name), name)
        shape, dtype = found.shape, found.dtype
        if shape == () or (len(shape) == 1 and dtype == np.uint8):
            raw = _bytes(found, name, most_bytes, ask or Ask())
            return decode_image(io.BytesIO(raw), name, max_frames=max_frames, channels=channels, target=target, ask=ask)
        check(shape, dtype, name, max_frames=max_frames, most_bytes=most_bytes)
        chunk = math.prod(found.chunks or ()) * dtype.itemsize  # the library unpacks whole chunks
        how = Shown(max_frames, channels, target, ask or Ask())
        return clip_of(found.__getitem__, shape, dtype, how, name, beside=chunk)


def hdf5_values(path: Path, name: str, *, member: str = "", most_bytes: int = MOST_BYTES) -> Array:
    """The values of one data set as they are; a picture's bytes stay bytes. As :func:`read_hdf5`."""
    with _opened(path, name) as file:
        found = _dataset(file, member or choose(_names(file), "", name), name)
        if found.shape == () or (len(found.shape) == 1 and found.dtype == np.uint8):
            return np.frombuffer(_bytes(found, name, most_bytes, Ask()), np.uint8)
        check(found.shape, found.dtype, name, max_frames=1, most_bytes=most_bytes, whole=True)
        return np.asarray(found[()])


def hdf5_members(path: Path, name: str) -> list[str]:
    """The names of all data sets of a file, with ``/`` between groups; :raises ReadError: where it cannot be opened."""
    with _opened(path, name) as file:
        return _names(file)


@contextmanager
def _opened(path: Path, name: str) -> "Iterator[h5py.File]":
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "hdf5", f"Reading the HDF5 file {name}") from None
    with (
        decoding(path, name),
        h5py.File(path, "r", locking=False) as file,
    ):  # locks fail on some read-only network disks
        yield file


def _names(file: "h5py.File") -> list[str]:
    import h5py

    names: list[str] = []

    def look(found: bytes, info: Any) -> None:
        if info.type == h5py.h5o.TYPE_DATASET:
            names.append(found.decode(errors="surrogateescape"))

    file.id.links.visit(lambda found: None)  # raises where links are damaged, on which h5o.visit may turn for ever
    h5py.h5o.visit(file.id, look, info=True)  # hard links only; file.visititems opens every object and takes minutes
    return names


def _dataset(file: "h5py.File", key: str, name: str) -> "h5py.Dataset":
    import h5py

    place: Any = file
    for part in key.strip("/").split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            found = f"the file holds no {key!r}, but {listed(file, 5) or 'nothing'}"
            raise unreadable(name, found, "Name another")
        if not isinstance(link, h5py.HardLink):
            raise unreadable(name, f"{key!r} is a link", "Name the data set itself")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise unreadable(name, f"{key!r} is a group of {len(place)}", "Name one of its data sets")
    if place.is_virtual or place.external or place.shape is None:
        raise unreadable(name, f"{key!r} keeps its values in other files or has none", "Copy them into this one")
    return place


def _bytes(found: "h5py.Dataset", name: str, most_bytes: int, ask: Ask) -> bytes:
    size = found.dtype.itemsize * found.size
    ask(2 * size, name)
    if size > most_bytes:
        raise unreadable(name, f"{size:,} bytes, more than the limit of {most_bytes:,}")
    value = found[()]
    if isinstance(value, np.generic | np.ndarray) and found.dtype.kind in "uVSO":
        value = value.tobytes()
    if not isinstance(value, bytes):
        raise unreadable(name, f"is one value of type {found.dtype}, not a picture", "Name another data set")
    return value
