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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sidelight.data.read.clip import (
    Array,
    Clip,
    decoding,
    deep_frames,
    full_range,
    smaller,
    spaced_indices,
    unreadable,
    untimed_stack,
)
from sidelight.data.read.room import HELD, Ask
from sidelight.data.read.still import MOST_FRAMES, MOST_PIXELS
from sidelight.errors import ReadError, nearest

MOST_BYTES = 4 << 30
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
Shape = tuple[int, ...]


def read_npy(
    path: Path,
    name: str,
    *,
    max_frames: int,
    channels: int | None = None,
    target: int | None = None,
    most_bytes: int = MOST_BYTES,
    ask: Ask | None = None,
) -> Clip:
    """Read an ``.npy`` file through a memory map.

    :param name: what errors call the file.
    :param max_frames: at most so many frames, evenly spread.
    :param channels: 1 gives grey.
    :param target: side wanted: frames that would take much memory are averaged by a whole factor, never below twice ``target``.
    :param ask: by which memory is asked for; without, a quarter of the machine is there.
    :raises ReadError: for pickled objects, shapes that are no picture, files cut short and what passes a limit.
    """
    with decoding(path, name), path.open("rb") as file:
        shape, fortran, dtype = _header(file, name)
        check(shape, dtype, name, max_frames=max_frames, most_bytes=most_bytes)
        mapped = np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    how = Shown(max_frames, channels, target, ask or Ask())
    return clip_of(mapped.__getitem__, shape, dtype, how, name)


def read_npz(
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
    """Read one array of an ``.npz`` file; what it unpacks to is known, and checked, before it is unpacked.

    :param member: the array's name; may be left out where there is one array.
    :raises ReadError: as :func:`read_npy`, and where the array is not there or not the only one.
    """
    with decoding(path, name), zipfile.ZipFile(path) as archive:
        key = choose(_names(archive), member, name)
        with archive.open(f"{key}.npy") as file:
            shape, fortran, dtype = _header(file, name)
            check(shape, dtype, name, max_frames=max_frames, most_bytes=most_bytes, whole=True)
            size = math.prod(shape) * dtype.itemsize
            how = Shown(max_frames, channels, target, ask or Ask())
            how.ask(how.held(shape, dtype, name) + size, name)
            raw = file.read(size)
        if len(raw) < size:
            raise unreadable(name, f"{len(raw):,} bytes of {size:,}: it is cut short")
        array = np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
    return clip_of(array.__getitem__, shape, dtype, how, name, beside=size)


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


@dataclass(frozen=True, eq=False)
class Shown:
    """How the frames of an array are wanted; see :func:`read_npy`."""

    max_frames: int
    channels: int | None
    target: int | None
    ask: Ask

    def held(self, shape: Shape, dtype: np.dtype[Any], name: str) -> int:
        """Bytes that reading them takes: a frame with what converts it, and those that are kept, twice as they are stacked."""
        frames, size, colour = layout(shape, name)
        pixels, kept = math.prod(size) * (3 if colour else 1), min(frames or 1, self.max_frames)
        side = self.side(shape, dtype, name)
        left = pixels * kept if side is None else kept * (4 * side) ** 2 * (3 if colour else 1)
        return pixels * (dtype.itemsize + (2 if dtype in (np.uint8, np.uint16) else 24)) + 2 * left * _deep(dtype)

    def side(self, shape: Shape, dtype: np.dtype[Any], name: str) -> int | None:
        """The ``target``, where the frames are so large that each is made smaller at once."""
        frames, size, colour = layout(shape, name)
        whole = min(frames or 1, self.max_frames) * math.prod(size) * (3 if colour else 1) * _deep(dtype)
        return self.target if whole > HELD else None


def _deep(dtype: np.dtype[Any]) -> int:
    return 1 if dtype == np.uint8 else 2


def clip_of(
    at: Callable[[Any], Any], shape: Shape, dtype: np.dtype[Any], how: Shown, name: str, *, beside: int = 0
) -> Clip:
    """The frames of an array that passed :func:`check`.

    :param at: ``array[index]``; asked for one frame after the other.
    :param beside: bytes that are held already.
    """
    frames, size, colour = layout(shape, name)
    indices = spaced_indices(frames or 1, how.max_frames)
    how.ask(how.held(shape, dtype, name) + beside, name)
    side = how.side(shape, dtype, name)

    def parts(which: Iterable[int]) -> Iterable[Array]:
        flat = (*size, 3) if colour else size
        return (np.asarray(at(... if frames is None else int(index))).reshape(flat) for index in which)

    if dtype in (np.uint8, np.uint16):
        plain = (part.astype(dtype.newbyteorder("="), copy=False) for part in parts(indices))
        kept = np.stack([part if side is None else smaller(part, side) for part in plain])
    else:
        kept = deep_frames(parts(indices), full_range(parts(range(frames or 1))), name, side)
    stack = untimed_stack(kept, indices, frames or 1, how.channels)
    return stack if frames is not None else Clip(stack.frames, np.zeros(1), indices, 1)


def _header(file: IO[bytes], name: str) -> tuple[Shape, bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and type; leaves ``file`` where the values begin."""
    read = HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        raise unreadable(name, "is an array of records", "Save its pixels as a plain array")
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype
