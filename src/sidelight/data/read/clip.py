"""What every reader returns, and what the readers share."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidelight.errors import MissingExtra, ReadError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Clip:
    """Decoded frames of one item.

    :param frames: ``[T, H, W]`` (grey) or ``[T, H, W, 3]`` (RGB), uint8 or uint16, native byte order.
    :param times: float64 ``[T]``, seconds since the first frame of the source, never falling; a still has ``[0.]``.
    :param indices: int64 ``[T]``, frame numbers in the source, rising.
    :param length: number of frames that the source really holds, at least ``T``.
    :param timed: whether the source says when its frames were taken; else ``times`` is the frame number / 25.
    :param size: rows and columns of the source where it was decoded coarsely; None: those of ``frames``.
    """

    frames: Array
    times: Array
    indices: Array
    length: int
    timed: bool = True
    size: tuple[int, int] | None = None

    @property
    def source_size(self) -> tuple[int, int]:
        """Rows and columns of the source."""
        return self.size or (self.frames.shape[1], self.frames.shape[2])


def spaced_indices(length: int, count: int) -> Array:
    """At most ``count`` of the numbers ``0 .. length - 1``, evenly spread, first and last included.

    A single one is the middle: ultrasound clips often fade in and out.

    :returns: int64 ``[min(length, count)]``, rising.
    """
    if length < 1 or count < 1:
        raise ValueError(f"length = {length} and count = {count} must be at least 1")
    if count == 1:
        return np.array([length // 2], np.int64)
    return np.round(np.linspace(0, length - 1, min(length, count))).astype(np.int64)


def untimed(indices: Array) -> Array:
    """Times of frames without a clock: ``indices`` / 25, float64."""
    return indices / 25.0


def grey(frames: Array) -> Array:
    """Luma (BT.601, rounded as Pillow's ``convert("L")``) of RGB frames: ``[..., 3]`` -> ``[...]``, same dtype."""
    red, green, blue = (frames[..., c].astype(np.uint32) for c in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(frames.dtype)


def unreadable(name: str, found: str, do: str = "Replace the file or leave it out") -> ReadError:
    """The error of one file: its relative ``name``, what was ``found``, what to ``do``."""
    return ReadError(f"{name}: {found}", do=do)


def smaller(frame: Array, target: int) -> Array:
    """A frame averaged by a whole factor, as :func:`smaller_by`, never below twice ``target``."""
    return smaller_by(frame, max(1, min(frame.shape[:2]) // (2 * target)))


def smaller_by(frame: Array, factor: int) -> Array:
    """A frame ``[H, W]`` or ``[H, W, 3]`` averaged over squares of ``factor``; the same dtype, uint8 or uint16."""
    if factor < 2:
        return frame
    height, width = (side // factor for side in frame.shape[:2])
    cut = frame[: height * factor, : width * factor].reshape(height, factor, width, factor, *frame.shape[2:])
    total = cut.sum(axis=(1, 3), dtype=np.uint32 if factor < 256 else np.uint64)
    return np.asarray((total + factor * factor // 2) // (factor * factor)).astype(frame.dtype)


@contextmanager
def decoding(path: Path, name: str, failed: str = "is truncated or broken") -> Iterator[None]:
    """Whatever a decoder raises when it is fed broken bytes becomes the error of one file, without its folder."""
    try:
        yield
    except (ReadError, MissingExtra):
        raise
    except MemoryError as error:
        raise unreadable(name, "needs more memory than there is", "Make it smaller or keep fewer frames") from error
    except Exception as error:
        what = " ".join(str(error).replace(f"{path.parent}/", "").split())[:300] or type(error).__name__
        raise unreadable(name, f"{failed} ({what})") from error


def untimed_stack(frames: Array, indices: Array, length: int, channels: int | None) -> Clip:
    """Frames of a source of ``length`` that has no clock.

    :param channels: 1 turns colour into grey.
    """
    frames = grey(frames) if frames.ndim == 4 and channels == 1 else frames
    return Clip(frames, untimed(indices), indices, length, timed=False)


DEEPEST = 65535


PERCENTILES = (0.5, 99.5)


def full_range(parts: Iterable[Array]) -> tuple[float, float] | None:
    """Least and greatest finite value over all ``parts``; None where there is no finite value."""
    low, high = np.inf, -np.inf
    for part in parts:
        finite = part[np.isfinite(part)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else None


def robust_range(parts: Iterable[Array]) -> tuple[float, float] | None:
    """The percentiles 0.5 and 99.5 of the finite values of all ``parts`` together.

    None where there is no finite value, or so little beside one value that the two are equal.
    """
    finite = [part[np.isfinite(part)] for part in parts]
    if not any(values.size for values in finite):
        return None
    low, high = (float(value) for value in np.percentile(np.concatenate(finite), PERCENTILES))
    return (low, high) if low < high else None


def to_uint16(values: Array, low: float, high: float) -> Array:
    """``low`` .. ``high`` linearly onto 0 .. 65535, rounded, what lies outside cut off; NaN becomes 0; same shape."""
    halves = values.astype(np.float64) / 2  # of the widest range that floats have, only half has a difference
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (halves - low / 2) / (high / 2 - low / 2)
    share = np.nan_to_num(share, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(share, 0, 1) * DEEPEST).astype(np.uint16)


def deep_frames(
    parts: Iterable[Array], ends: tuple[float, float] | None, name: str, target: int | None = None
) -> Array:
    """``parts`` as one uint16 stack by :func:`to_uint16`, made :func:`smaller` where there is a ``target``.

    :raises ReadError: where there is no range.
    """
    if ends is None:
        raise unreadable(name, "holds no finite value")
    deep = (to_uint16(part, *ends) for part in parts)
    return np.stack([part if target is None else smaller(part, target) for part in deep])
