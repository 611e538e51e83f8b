"""Arrays saved by numpy (``.npy``, ``.npz``), and the rule by which any array is read as frames.

The shape says what an array is: ``[H, W]`` a grey picture, ``[T, H, W]`` a stack or clip; a last axis of 3 is colour
(``[H, W, 3]``, ``[T, H, W, 3]``) and one of 1 is dropped. uint8 and uint16 are kept as they are. All other integers,
floats and booleans are brought to uint16, linearly from the least to the greatest finite value of the whole array (NaN
becomes 0), whichever frames are kept. Only the kept frames of an ``.npy`` file are read where its type needs no range.

Limits: channels first (``[3, H, W]``) reads as three grey frames; files of one stack that are not uint8 or uint16 are
scaled each by itself. Pickled objects are refused, for opening them runs code.
"""

import math
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from sidelight.data.read.clip import (
    Array,
    Clip,
    decoding,
    deep_frames,
    full_range,
    spaced_indices,
    unreadable,
    untimed_stack,
)
from sidelight.data.read.still import MOST_FRAMES, MOST_PIXELS
from sidelight.errors import ReadError, nearest

MOST_BYTES = 4 << 30
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
Shape = tuple[int, ...]


def read_npy(
    path: Path, name: str, *, max_frames: int, channels: int | None = None, most_bytes: int = MOST_BYTES
) -> Clip:
    """Read an ``.npy`` file through a memory map.

    :param name: what errors call the file.
    :param max_frames: at most so many frames, evenly spread.
    :param channels: 1 gives grey.
    :raises ReadError: for pickled objects, shapes that are no picture, files cut short and what passes a limit.
    """
    mapped = open_npy(path, name, max_frames=max_frames, most_bytes=most_bytes)
    return clip_of(mapped.__getitem__, mapped.shape, mapped.dtype, max_frames=max_frames, channels=channels, name=name)


def open_npy(path: Path, name: str, *, max_frames: int = MOST_FRAMES, most_bytes: int = MOST_BYTES) -> Array:
    """The array of an ``.npy`` file as it is, through a memory map; as :func:`read_npy`."""
    with decoding(path, name), path.open("rb") as file:
        shape, fortran, dtype = _header(file, name)
        check(shape, dtype, name, max_frames=max_frames, most_bytes=most_bytes)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def read_npz(
    path: Path,
    name: str,
    *,
    member: str = "",
    max_frames: int,
    channels: int | None = None,
    most_bytes: int = MOST_BYTES,
) -> Clip:
    """Read one array of an ``.npz`` file; what it unpacks to is known, and checked, before it is unpacked.

    :param member: the array's name; may be left out where there is one array.
    :raises ReadError: as :func:`read_npy`, and where the array is not there or not the only one.
    """
    array = open_npz(path, name, member=member, most_bytes=most_bytes)
    return clip_of(array.__getitem__, array.shape, array.dtype, max_frames=max_frames, channels=channels, name=name)


def open_npz(path: Path, name: str, *, member: str = "", most_bytes: int = MOST_BYTES) -> Array:
    """One array of an ``.npz`` file as it is; as :func:`read_npz`."""
    with decoding(path, name), zipfile.ZipFile(path) as archive:
        key = choose(_names(archive), member, name)
        with archive.open(f"{key}.npy") as file:
            shape, fortran, dtype = _header(file, name)
            check(shape, dtype, name, max_frames=1, most_bytes=most_bytes, whole=True)
            size = math.prod(shape) * dtype.itemsize
            raw = file.read(size)
        if len(raw) < size:
            raise unreadable(name, f"{len(raw):,} bytes of {size:,}: it is cut short")
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def npz_members(path: Path, name: str) -> list[str]:
    """The names of the arrays of an ``.npz`` file; :raises ReadError: where it cannot be opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _names(archive)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable(name, f"cannot be opened ({error})") from None


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]


def choose(names: list[str], member: str, name: str) -> str:
    """The array that is meant: ``member``, or the only one; :raises ReadError: where that is not to be had."""
    if member in names:
        return member
    if member:
        raise unreadable(name, f"the file holds no {member!r}", nearest(member, names[:1000]) if names else "")
    if len(names) == 1:
        return names[0]
    some = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    do = f'Name one in `files`, as in "{Path(name).name}::{names[0]}"' if names else "Leave it out"
    raise unreadable(name, f"holds {len(names)} arrays ({some})" if names else "holds no array", do)


def check(
    shape: Shape, dtype: np.dtype[Any], name: str, *, max_frames: int, most_bytes: int = MOST_BYTES, whole: bool = False
) -> None:
    """Whether such an array can be read as frames.

    :param whole: all of it is read at once, not only what is kept.
    :raises ReadError: says what it is instead.
    """
    if dtype.hasobject:
        do = "Save it as numbers: np.save(file, np.asarray(array, np.uint8))"
        raise unreadable(name, "holds Python objects (a pickle), which run code when opened", do)
    if dtype.kind not in "biuf":
        raise unreadable(name, f"holds values of type {dtype}, not real numbers", "Save it as numbers, or leave it out")
    frames, size, _ = layout(shape, name)
    if size[0] * size[1] > MOST_PIXELS:
        pixels = f"{size[1]} x {size[0]} pixels"
        raise unreadable(name, f"{pixels}, more than the limit of {MOST_PIXELS:,}", "Make it smaller first")
    if (frames or 1) > MOST_FRAMES:
        raise unreadable(name, f"{frames:,} frames, more than the limit of {MOST_FRAMES:,}", "Cut it first")
    count = math.prod(shape) * dtype.itemsize
    if not whole and dtype in (np.uint8, np.uint16):
        count = count // (frames or 1) * min(frames or 1, max_frames)
    if count > most_bytes:
        raise unreadable(
            name, f"{count:,} bytes to read, more than the limit of {most_bytes:,}", "Cut it or save it as uint8"
        )


def layout(shape: Shape, name: str) -> tuple[int | None, tuple[int, int], bool]:
    """Number of frames (None of a still), height and width, and whether it is colour; :raises ReadError: for others."""
    colour = len(shape) > 2 and shape[-1] == 3
    plain = shape[:-1] if len(shape) > 2 and shape[-1] in (1, 3) else shape
    if len(plain) not in (2, 3) or 0 in shape:
        raise ReadError(
            f"{name}: is an array of shape {list(shape)}",
            expected="[H, W], [T, H, W], [H, W, 3] or [T, H, W, 3]",
            do="Save it in one of these shapes, or leave it out",
        )
    return (plain[0] if len(plain) == 3 else None), (plain[-2], plain[-1]), colour


def clip_of(
    at: Callable[[Any], Any], shape: Shape, dtype: np.dtype[Any], *, max_frames: int, channels: int | None, name: str
) -> Clip:
    """The frames of an array that passed :func:`check`.

    :param at: ``array[index]``; asked for one frame after the other.
    """
    frames, size, colour = layout(shape, name)
    indices = spaced_indices(frames or 1, max_frames)

    def parts(which: Iterable[int]) -> Iterable[Array]:
        flat = (*size, 3) if colour else size
        return (np.asarray(at(... if frames is None else int(index))).reshape(flat) for index in which)

    if dtype in (np.uint8, np.uint16):
        kept = np.stack([part.astype(dtype.newbyteorder("=")) for part in parts(indices)])
    else:
        kept = deep_frames(parts(indices), full_range(parts(range(frames or 1))), name)
    stack = untimed_stack(kept, indices, frames or 1, channels)
    return stack if frames is not None else Clip(stack.frames, np.zeros(1), indices, 1)


def _header(file: IO[bytes], name: str) -> tuple[Shape, bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and type; leaves ``file`` where the values begin."""
    read = HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        raise unreadable(name, "is an array of records", "Save its pixels as a plain array")
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype
