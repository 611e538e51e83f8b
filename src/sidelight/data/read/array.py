"""Arrays saved by numpy (``.npy``, ``.npz``), and the rule by which any array is read as frames.

The shape says what an array is: ``[H, W]`` a grey picture, ``[T, H, W]`` a stack or clip; a last axis of 3 is colour
(``[H, W, 3]``, ``[T, H, W, 3]``), one of 4 is colour and transparency, and one of 1 is dropped. Networks have colour first:
``[3, H, W]`` and ``[T, 3, H, W]`` are colour, too; three grey frames are ``[3, H, W, 1]``, or ``[3, H, W]`` where grey is asked
for (``channels = 1``). Transparency is put on black.
uint8 and uint16 are kept as they are. All other integers, floats and booleans are brought to uint16, linearly from the
least to the greatest finite value of the whole array (NaN becomes 0), whichever frames are kept. Only the kept frames of
an ``.npy`` file are read where its type needs no range.

Limits: files of one stack that are not uint8 or uint16 are scaled each by itself. Pickled objects are refused, for opening
them runs code.
"""

import math
import re
import threading
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from sidelight.data.cells import listed
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
_LOCK = threading.Lock()
_HELD: dict[tuple[str, int, int, str], Array] = {}
LEAST_HEIGHT = 8
"""Arrays of frames that are higher than this and at most four pixels wide are colours of an unknown kind."""


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
    mapped = open_npy(path, name, max_frames=max_frames, most_bytes=most_bytes)
    how = Shown(max_frames, channels, target, ask or Ask())
    return clip_of(mapped.__getitem__, mapped.shape, mapped.dtype, how, name)


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
    target: int | None = None,
    most_bytes: int = MOST_BYTES,
    ask: Ask | None = None,
) -> Clip:
    """Read one array of an ``.npz`` file; what it unpacks to is known, and checked, before it is unpacked.

    :param member: the array's name; may be left out where there is one array. ``train_images/7`` is the eighth picture of
        an array of pictures, which is unpacked once and held while others of it are read.
    :raises ReadError: as :func:`read_npy`, and where the array is not there or not the only one.
    """
    how = Shown(max_frames, channels, target, ask or Ask())
    many = re.fullmatch(r"(.+)/(\d+)", member)
    if many:
        pictures = _held(path, name, many[1], most_bytes)
        if int(many[2]) >= len(pictures):
            raise unreadable(name, f"{many[1]!r} holds {len(pictures)} pictures, counted from 0", "Name another")
        one = pictures[int(many[2])]
        check(one.shape, one.dtype, name, max_frames=max_frames, most_bytes=most_bytes)
        return clip_of(one.__getitem__, one.shape, one.dtype, how, name)
    array = open_npz(path, name, member=member, most_bytes=most_bytes, ask=how.ask)
    return clip_of(array.__getitem__, array.shape, array.dtype, how, name, beside=array.nbytes)


def open_npz(path: Path, name: str, *, member: str = "", most_bytes: int = MOST_BYTES, ask: Ask | None = None) -> Array:
    """One array of an ``.npz`` file as it is; as :func:`read_npz`."""

    def checked(shape: Shape, dtype: np.dtype[Any]) -> None:
        check(shape, dtype, name, max_frames=1, most_bytes=most_bytes, whole=True)
        (ask or Ask())(math.prod(shape) * dtype.itemsize, name)

    with decoding(path, name), zipfile.ZipFile(path) as archive:
        return _unpacked(archive, choose(_names(archive), member, name), name, checked)


def _unpacked(archive: zipfile.ZipFile, key: str, name: str, checked: Callable[[Shape, np.dtype[Any]], None]) -> Array:
    with archive.open(f"{key}.npy") as file:
        shape, fortran, dtype = _header(file, name)
        checked(shape, dtype)
        size = math.prod(shape) * dtype.itemsize
        raw = file.read(size)
    if len(raw) < size:
        raise unreadable(name, f"{len(raw):,} bytes of {size:,}: it is cut short")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _held(path: Path, name: str, key: str, most_bytes: int) -> Array:
    """An array of pictures, the one that was asked for last; threads wait for the first that unpacks it."""
    stat = path.stat()
    wanted = (str(path), stat.st_size, stat.st_mtime_ns, key)
    with _LOCK:
        if wanted not in _HELD:
            _HELD.clear()
            with decoding(path, name), zipfile.ZipFile(path) as archive:
                _HELD[wanted] = _unpacked(archive, choose(_names(archive), key, name), name, _small(name, most_bytes))
        return _HELD[wanted]


def _small(name: str, most_bytes: int) -> Callable[[Shape, np.dtype[Any]], None]:
    def checked(shape: Shape, dtype: np.dtype[Any]) -> None:
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or dtype.kind not in "biuf" or len(shape) < 3 or size > most_bytes:
            raise unreadable(
                name,
                f"holds an array of shape {list(shape)} and type {dtype}, {size:,} bytes",
                "Save smaller pictures as uint8",
            )

    return checked


def array_shape(path: Path, name: str, key: str) -> Shape:
    """The shape of one array of an ``.npz`` file, without unpacking it."""
    with decoding(path, name), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        return _header(file, name)[0]


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
    do = f'Name one in `files`, as in "{Path(name).name}::{names[0]}"' if names else "Leave it out"
    raise unreadable(name, f"holds {len(names)} arrays ({listed(names, 5)})" if names else "holds no array", do)


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
    found = layout(shape, dtype, name)
    frames = found.frames
    if found.height * found.width > MOST_PIXELS:
        pixels = f"{found.width} x {found.height} pixels"
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


@dataclass(frozen=True)
class Layout:
    """What the axes of an array are.

    :ivar frames: None of a still.
    :ivar colours: values of a pixel: 1, 3, or 4 with transparency.
    :ivar first: whether they come before height and width.
    """

    frames: int | None
    height: int
    width: int
    colours: int = 1
    first: bool = False

    @property
    def values(self) -> int:
        """Of a frame."""
        return self.height * self.width * self.colours


def layout(shape: Shape, dtype: np.dtype[Any], name: str, channels: int | None = None) -> Layout:
    """What an array of this shape is.

    :param channels: 1 where it is said to be grey: ``[3, H, W]`` is then three frames.
    :raises ReadError: for one that is no picture or clip.
    """
    size = len(shape)
    last = shape[-1] if size in (3, 4) else 0
    first = shape[-3] if size in (3, 4) else 0
    plain = 0 not in shape
    alpha = dtype in (np.uint8, np.uint16)
    frames = shape[0] if size == 4 else None
    if size == 2 and plain:
        return Layout(None, shape[0], shape[1])
    if last in (1, 3) and plain:
        return Layout(frames, shape[-3], shape[-2], last)
    if last == 4 and alpha and plain:
        return Layout(frames, shape[-3], shape[-2], last)
    if (first == 3 or (first == 4 and alpha)) and plain and not (size == 3 and channels == 1):
        return Layout(frames, shape[-2], shape[-1], first, first=True)
    if size == 3 and plain and (last > 4 or shape[1] < LEAST_HEIGHT):
        return Layout(shape[0], shape[1], shape[2])
    raise ReadError(
        f"{name}: is an array of shape {list(shape)} and type {dtype}",
        expected="[H, W], [T, H, W], [H, W, 3], [T, H, W, 3] or colour first, [3, H, W], [T, 3, H, W]; four values a pixel "
        "(transparency) as uint8 or uint16",
        do="Save it in one of these shapes, or leave it out",
    )


@dataclass(frozen=True, eq=False)
class Shown:
    """How the frames of an array are wanted; see :func:`read_npy`."""

    max_frames: int
    channels: int | None
    target: int | None
    ask: Ask

    def held(self, shape: Shape, dtype: np.dtype[Any], name: str) -> int:
        """Bytes that reading them takes: a frame with what converts it, and those that are kept, twice as they are stacked."""
        found = layout(shape, dtype, name, self.channels)
        pixels, kept = found.values, min(found.frames or 1, self.max_frames)
        side = self.side(shape, dtype, name)
        left = pixels * kept if side is None else kept * (4 * side) ** 2 * found.colours
        return pixels * (dtype.itemsize + (2 if dtype in (np.uint8, np.uint16) else 24)) + 2 * left * _deep(dtype)

    def side(self, shape: Shape, dtype: np.dtype[Any], name: str) -> int | None:
        """The ``target``, where the frames are so large that each is made smaller at once."""
        found = layout(shape, dtype, name, self.channels)
        whole = min(found.frames or 1, self.max_frames) * found.values * _deep(dtype)
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
    found = layout(shape, dtype, name, how.channels)
    frames = found.frames
    indices = spaced_indices(frames or 1, how.max_frames)
    how.ask(how.held(shape, dtype, name) + beside, name)
    side = how.side(shape, dtype, name)

    def parts(which: Iterable[int]) -> Iterable[Array]:
        return (_frame(np.asarray(at(... if frames is None else int(index))), found) for index in which)

    if dtype in (np.uint8, np.uint16):
        plain = (_opaque(part.astype(dtype.newbyteorder("="), copy=False)) for part in parts(indices))
        kept = np.stack([part if side is None else smaller(part, side) for part in plain])
    else:
        kept = deep_frames(parts(indices), full_range(parts(range(frames or 1))), name, side)
    stack = untimed_stack(kept, indices, frames or 1, how.channels)
    source = None if side is None else (found.height, found.width)
    if frames is None:
        return Clip(stack.frames, np.zeros(1), indices, 1, size=source)
    return replace(stack, size=source)


def _frame(values: Array, found: Layout) -> Array:
    """One frame as ``[H, W]`` or ``[H, W, C]``."""
    values = np.moveaxis(values, 0, -1) if found.first else values
    return values.reshape((found.height, found.width, found.colours)[: 2 if found.colours == 1 else 3])


def _opaque(frame: Array) -> Array:
    """Without transparency: ``[H, W, 4]`` on black, the others as they are."""
    if frame.ndim < 3 or frame.shape[-1] != 4:
        return frame
    top = np.iinfo(frame.dtype).max
    values: Array = (frame[..., :3].astype(np.uint64) * frame[..., 3:] + top // 2) // top
    return values.astype(frame.dtype)


def _header(file: IO[bytes], name: str) -> tuple[Shape, bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and type; leaves ``file`` where the values begin."""
    read = HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        raise unreadable(name, "is an array of records", "Save its pixels as a plain array")
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype
