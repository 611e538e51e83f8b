"""DICOM images (the extra ``dicom``): a still, a cine loop or enhanced file, or the files of one series in order.

Header -> only the frames that are kept -> rescale, window, inversion, padding, palette (``dicom_values.py``). Times
come from FrameTimeVector, FrameTime or a frame rate. Limits: overlays and burnt-in marks stay as they are, video
transfer syntaxes (MPEG) are refused, and the frames of an enhanced file keep its order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sidelight.data.read.clip import Array, Clip, grey, spaced_indices, unreadable, untimed
from sidelight.data.read.dicom_frames import (
    MOST_BYTES,
    MOST_FRAMES,
    MOST_HELD,
    MOST_PIXELS,
    DicomFile,
    count,
    decode,
    open_source,
    whole,
)
from sidelight.data.read.dicom_values import DicomFrame, picture
from sidelight.data.read.room import Ask
from sidelight.data.read.sector import Box, region_box

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = ("dcm", "dicom", "ima")
# Files without preamble begin with a group length, the character set, the image type or the SOP class.
_FIRST = tuple(bytes((2, 0, e, 0)) for e in (0, 1, 2, 16)) + tuple(bytes((8, 0, e, 0)) for e in (0, 1, 5, 8, 18, 22))
_FIRST += tuple(bytes((0, 8, 0, e)) for e in (0, 5, 8, 22))


def is_dicom(head: bytes, suffix: str = "") -> bool:
    """Whether a file that begins with ``head`` (at least 132 bytes of it) is taken for DICOM; suffixes in lower case."""
    return has_preamble(head) or head.startswith(_FIRST) or suffix[1:] in DICOM_SUFFIXES


def has_preamble(head: bytes) -> bool:
    """Whether a file that begins with ``head`` says itself that it is DICOM."""
    return head[128:132] == b"DICM"


def read_dicom(
    paths: Sequence[Path],
    names: Sequence[str],
    *,
    max_frames: int,
    channels: int | None = None,
    most_pixels: int = MOST_PIXELS,
    most_bytes: int = MOST_BYTES,
    most_frames: int = MOST_FRAMES,
    most_held: int = MOST_HELD,
    ask: Ask | None = None,
) -> Clip:
    """Decode one item; of several files each is one frame, in this order, and all share one window.

    :param names: what errors call the files.
    :param max_frames: at most so many frames, evenly spread.
    :param channels: 1 decodes to grey.
    :param ask: by which memory is asked for; without, a quarter of the machine is there.
    :raises ReadError: naming the file, and the transfer syntax where no decoder knows it.
    :raises MissingExtra: where pydicom or the decoder is not installed.
    """
    indices = spaced_indices(len(paths), max_frames)
    ask = ask or Ask()

    def opened(place: int) -> DicomFile:
        return open_source(
            paths[place], names[place], most_pixels=most_pixels, most_bytes=most_bytes, most_frames=most_frames
        )

    if len(paths) == 1:
        source = opened(0)
        ask(_held(source, min(source.frames, max_frames), most_held), source.name)
        length, encoded = count(source)
        indices = spaced_indices(length, max_frames)
        header = source.header
        stored = [
            DicomFrame(values, header, index)
            for index, values in zip(indices.tolist(), decode(source, encoded, indices.tolist()), strict=True)
        ]
        times, timed = _clock(header, length, indices)
    else:
        stored, length = [], len(paths)
        for place in indices:
            source = opened(int(place))
            if source.frames > 1:
                raise unreadable(source.name, f"holds {source.frames} frames, but is one of {length} files of a series")
            ask(_held(source, len(indices), most_held), source.name)
            stored += [DicomFrame(values, source.header, 0) for values in decode(source, count(source)[1], [0])]
            _check_same(stored, source.name, names[indices[0]])
        times, timed = untimed(indices), False
    try:
        frames = picture(stored)
    except Exception as error:  # tables and elements of a broken header may raise anything
        raise unreadable(source.name, f"its values cannot be shown ({' '.join(str(error).split())[:300]})") from error
    frames = grey(frames) if channels == 1 and frames.ndim == 4 else frames
    return Clip(np.ascontiguousarray(frames), times, indices, length, timed)


def header_regions(path: Path, name: str) -> Box | None:
    """The box of the ultrasound regions that the file names, None without; :raises ReadError: as :func:`read_dicom`."""
    return region_box(open_source(path, name).header)


def _held(source: DicomFile, frames: int, most_held: int) -> int:
    """Bytes that decoding takes: the file, and the frames as they are stored, rescaled and shown.

    :raises ReadError: above the limit of values.
    """
    header = source.header
    samples = whole(header, "SamplesPerPixel", source.name) if "SamplesPerPixel" in header else 1
    values = frames * whole(header, "Rows", source.name) * whole(header, "Columns", source.name) * max(samples, 1)
    if values > most_held:
        raise unreadable(
            source.name, f"{frames} frames of it hold {values:,} values, more than the limit of {most_held:,}",
            "Keep fewer frames",
        )  # fmt: skip
    return int(source.path.stat().st_size) + values * 12


def _check_same(stored: Sequence[DicomFrame], name: str, first: str) -> None:
    a, b = stored[0].values, stored[-1].values
    if a.shape != b.shape:
        sizes = f"{b.shape[1]} x {b.shape[0]}, but {first} of the same series is {a.shape[1]} x {a.shape[0]}"
        raise unreadable(name, f"is {sizes}")


def _clock(header: "Dataset", length: int, indices: Array) -> tuple[Array, bool]:
    """Seconds of the kept frames since the first one of the file, and whether the file says so."""
    if length == 1:
        return np.zeros(1), True
    try:
        steps = np.atleast_1d(np.asarray(header.get("FrameTimeVector") or (), np.float64))
        if len(steps) == length and (steps >= 0).all() and steps[1:].any():
            steps[0] = 0
            return steps.cumsum()[indices] / 1000, True
        step = seconds_per_frame(header)
    except (TypeError, ValueError):
        step = None
    return (untimed(indices), False) if step is None else (indices * step, True)


def seconds_per_frame(header: "Dataset") -> float | None:
    """From FrameTime, CineRate or RecommendedDisplayFrameRate; None where none is a number above 0."""
    for keyword, invert in (("FrameTime", False), ("CineRate", True), ("RecommendedDisplayFrameRate", True)):
        try:
            value = float(header.get(keyword) or 0)
        except (TypeError, ValueError):
            continue
        if 0 < value < 1e6:
            return 1 / value if invert else value / 1000
    return None
