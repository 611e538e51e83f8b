"""Video through PyAV (the extra ``video``), frame-exact: frames are decoded in order and counted, for headers lie."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sidelight.data.read.clip import Array, Clip, spaced_indices, unreadable, untimed
from sidelight.data.read.heic import is_heic
from sidelight.data.read.still import is_image
from sidelight.errors import MissingExtra

if TYPE_CHECKING:
    from av import VideoFrame

VIDEO_SUFFIXES = ("mp4", "m4v", "mov", "avi", "mpeg", "mpg", "mpe", "m2v", "mkv", "webm", "wmv", "asf", "flv")
HEADS = (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x1aE\xdf\xa3", b"0&\xb2u", b"FLV")
MOST_FRAMES = 100_000
MOST_PIXELS = 40_000_000
HELD_BYTES = 256 << 20  # a clip that decodes to more is decoded a second time instead of held
# Playlists name further files and addresses; only real containers on the disk are opened.
SAFE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi,mpeg,mpegvideo,mpegts,m4v,matroska,webm,asf,flv,gif",
}


def is_video(head: bytes, name: str) -> bool:
    """Whether a file that begins with ``head`` and is called ``name``, in lower case, is a video."""
    if head.startswith(HEADS) or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return True
    if head[4:8] == b"ftyp":
        return not is_heic(head) and b"avif" not in head[8:32]
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return True
    return name.endswith(tuple(f".{suffix}" for suffix in VIDEO_SUFFIXES)) and not is_image(head)


def read_video(
    path: Path,
    name: str,
    *,
    max_frames: int,
    channels: int | None = None,
    target: int | None = None,
    most_frames: int = MOST_FRAMES,
    most_pixels: int = MOST_PIXELS,
    held_bytes: int = HELD_BYTES,
) -> Clip:
    """Decode at most ``max_frames`` frames, evenly spread over those that decode, upright by the file's rotation.

    A video that ends early yields what decoded. Times come from the presentation stamps, so a variable rate is right.

    :param name: what errors call the file.
    :param channels: 1 decodes to grey.
    :param target: side wanted: larger frames are averaged by a whole factor, never below twice ``target``.
    :raises ReadError: where there is no video stream, no frame decodes or a limit is passed.
    :raises MissingExtra: where PyAV is not installed.
    """
    frames: list[VideoFrame] = []
    stamps: list[float] = []
    held, sizes = 0, set()
    for frame in _decode(path, name, most_pixels):
        if len(stamps) == most_frames:
            raise unreadable(name, f"more than {most_frames:,} frames", "Cut it into clips first")
        stamps.append(np.nan if frame.time is None else frame.time)
        sizes.add((frame.width, frame.height))
        held += 3 * frame.width * frame.height
        if held > held_bytes:
            frames.clear()
        else:
            frames.append(frame)
    if not stamps:
        raise unreadable(name, "no frame of the video can be decoded")
    if len(sizes) > 1:
        raise unreadable(name, f"its frames differ in size: {sorted(sizes)}", "Re-encode it at one size")
    indices = spaced_indices(len(stamps), max_frames)
    wanted = set(indices.tolist())
    source = frames if len(frames) == len(stamps) else _decode(path, name, most_pixels)
    kept = [_pixels(frame, channels, target) for number, frame in enumerate(source) if number in wanted]
    times, timed = _seconds(np.array(stamps))
    return Clip(np.stack(kept), times[indices], indices, len(stamps), timed)


def _decode(path: Path, name: str, most_pixels: int) -> Iterator["VideoFrame"]:
    """All frames of the first video stream that decode, in order of presentation."""
    try:
        import av
    except ImportError:
        raise MissingExtra("av", "video", f"Reading the video {name}") from None
    try:
        container = av.open(str(path), options=SAFE)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unreadable(name, f"is not a video that can be opened ({type(error).__name__})") from None
    with container:
        if not container.streams.video:
            raise unreadable(name, "holds no video stream or is cut off")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise unreadable(name, "is coded in a way that is not known, or cut off", "Re-encode it, or leave it out")
        stream.codec_context.thread_count = 1  # the caller decodes many files at once
        size = f"{stream.width} x {stream.height} pixels"
        if stream.width * stream.height > most_pixels:
            raise unreadable(
                name, f"frames of {size}, more than the limit of {most_pixels:,}", "Make them smaller first"
            )
        with contextlib.suppress(av.FFmpegError):  # a file that ends early ends the loop, not the reading
            for packet in container.demux(stream):
                with contextlib.suppress(av.FFmpegError):  # nor does one broken packet
                    yield from packet.decode()
            return
        with contextlib.suppress(av.FFmpegError):
            yield from stream.codec_context.decode(None)


def _pixels(frame: "VideoFrame", channels: int | None, target: int | None) -> Array:
    """``[H, W]`` where grey is asked for or native, else ``[H, W, 3]``; uint16 where the file has more than 8 bits."""
    is_grey = channels == 1 or frame.format.name.startswith("gray")
    deep = any(component.bits > 8 for component in frame.format.components)
    kind = ("gray16le" if deep else "gray") if is_grey else ("rgb48le" if deep else "rgb24")
    factor = max(1, min(frame.width, frame.height) // (2 * target)) if target else 1
    width, height = frame.width // factor, frame.height // factor
    pixels: Array = frame.to_ndarray(format=kind, width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _seconds(stamps: Array) -> tuple[Array, bool]:
    """Seconds from 0 that never fall, and whether the file had any; a missing stamp lies between its neighbours."""
    known = np.flatnonzero(~np.isnan(stamps))
    if len(known) < min(2, len(stamps)):
        return untimed(np.arange(len(stamps))), False
    filled = np.interp(np.arange(len(stamps)), known, stamps[known])
    return np.maximum.accumulate(filled - filled[0]), True
