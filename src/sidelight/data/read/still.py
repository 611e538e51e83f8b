"""Still images and animated images (GIF, WebP, PNG, TIFF pages) through Pillow.

Limits: 16-bit RGB is reduced to 8 bit by Pillow; floating-point images are refused, for they name no range. Alpha is
composited on black, the colour of an ultrasound or radiograph's surround.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sidelight.data.read.clip import Array, Clip, grey, spaced_indices, unreadable, untimed
from sidelight.errors import ReadError

PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000")
IMAGE_SUFFIXES: tuple[str, ...] = (
    "apng",
    "bmp",
    "jfif",
    "jpe",
    "jpeg",
    "jpg",
    "pbm",
    "pgm",
    "png",
    "pnm",
    "ppm",
    "tif",
    "tiff",
    "webp",
)
IMAGE_SUFFIXES += ("j2c", "j2k", "jp2", "jpc", "jpf", "jpx")
HEADS: tuple[bytes, ...] = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"GIF8",
    b"\0\0\0\x0cjP  ",
    b"\xffO\xffQ",
)
HEADS += (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
ANIMATED = frozenset({"GIF", "PNG", "WEBP", "TIFF"})
MOST_PIXELS = 170_000_000  # Pillow itself refuses 179 million; its global limit is left alone
MOST_BYTES = 2 << 30
MOST_FRAMES = 100_000


def is_image(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is an image that Pillow reads."""
    return head.startswith(HEADS) or head[8:12] == b"WEBP"


def read_image(
    path: Path,
    name: str,
    *,
    max_frames: int,
    channels: int | None = None,
    target: int | None = None,
    most_pixels: int = MOST_PIXELS,
    most_bytes: int = MOST_BYTES,
    most_frames: int = MOST_FRAMES,
) -> Clip:
    """Decode an image file.

    :param name: what errors call the file.
    :param max_frames: of an animation or a TIFF of many pages at most so many frames are kept, evenly spread.
    :param channels: 1 decodes to grey.
    :param target: side wanted: a larger JPEG is decoded at 1/2, 1/4 or 1/8, never below twice ``target``.
    :raises ReadError: where the file is too large, truncated or not one of ``PILLOW_FORMATS``.
    """
    if path.stat().st_size > most_bytes:
        raise unreadable(name, f"{path.stat().st_size:,} bytes, more than the limit of {most_bytes:,}")
    # From an open file: given a path, Pillow 13 maps plain TIFFs into memory and scrambles those that are rotated.
    with path.open("rb") as file:
        return decode_image(
            file,
            name,
            max_frames=max_frames,
            channels=channels,
            target=target,
            most_pixels=most_pixels,
            most_frames=most_frames,
        )


def decode_image(
    file: IO[bytes],
    name: str,
    *,
    max_frames: int,
    channels: int | None = None,
    target: int | None = None,
    most_pixels: int = MOST_PIXELS,
    most_frames: int = MOST_FRAMES,
) -> Clip:
    """Decode an open image file, or the bytes of one in ``io.BytesIO``; as :func:`read_image`."""
    try:
        with Image.open(file, formats=PILLOW_FORMATS) as image:
            if image.width * image.height > most_pixels:
                pixels = f"{image.width} x {image.height} pixels"
                raise unreadable(name, f"{pixels}, more than the limit of {most_pixels:,}", "Make it smaller first")
            pages = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
            if pages > most_frames:
                raise unreadable(name, f"{pages:,} frames, more than the limit of {most_frames:,}", "Cut it first")
            if pages > 1:
                return _animation(image, name, pages, max_frames, channels)
            size = (image.width, image.height) if _turned(image) else (image.height, image.width)
            if target:
                image.draft("L" if channels == 1 else image.mode, (2 * target, 2 * target))
            return Clip(upright(image, channels)[None], np.zeros(1), np.zeros(1, np.int64), 1, size=size)
    except ReadError:
        raise
    except Exception as error:  # a decoder that is fed broken bytes may raise anything
        unknown = isinstance(error, UnidentifiedImageError)  # its message holds the whole path
        what = "no image header" if unknown else str(error) or type(error).__name__
        raise unreadable(name, f"is truncated or broken ({what})") from error


def _animation(image: Image.Image, name: str, pages: int, max_frames: int, channels: int | None) -> Clip:
    """Frames that really decode, in two passes: one finds them and their times, one keeps the chosen ones."""
    starts, sizes, clock, timed = [], set(), 0.0, False
    for seconds in _durations(image, pages):
        starts.append(clock)
        sizes.add(image.size)
        timed |= seconds is not None
        # Browsers and FFmpeg show a frame whose delay is absent or at most 10 ms for 100 ms.
        clock += seconds if seconds is not None and seconds > 0.01 else 0.1
    if not starts:
        raise unreadable(name, "no frame of it can be decoded")
    if len(sizes) > 1:
        raise unreadable(name, f"its pages differ in size: {sorted(sizes)}", "Save the pages as separate files")
    indices = spaced_indices(len(starts), max_frames)
    frames = []
    for index in indices:
        image.seek(int(index))
        frames.append(upright(image, channels))
    times = np.array(starts)[indices] if timed else untimed(indices)
    return Clip(np.stack(frames), times, indices, len(starts), timed)


def _durations(image: Image.Image, pages: int) -> Iterator[float | None]:
    """Step through the frames until one does not decode; yields seconds that each is shown, None where unsaid."""
    for page in range(pages):
        try:
            image.seek(page)
            image.load()
        except Exception:  # as in read_image: what decoded so far is kept
            return
        duration = image.info.get("duration")
        yield None if duration is None else float(duration) / 1000


def _turned(image: Image.Image) -> bool:
    """Whether EXIF says that rows are columns."""
    with contextlib.suppress(SyntaxError, ValueError, KeyError, TypeError):  # as in upright
        return image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return False


def upright(image: Image.Image, channels: int | None) -> Array:
    """The loaded image upright: ``[H, W]`` or ``[H, W, 3]``, uint8, or uint16 for deeper grey."""
    image.load()
    with contextlib.suppress(SyntaxError, ValueError, KeyError, TypeError):  # broken EXIF says nothing about rotation
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save them as 8 or 16 bit")
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"pixels from {deep.min()} to {deep.max()} do not fit in 16 bits")
        return deep.astype(np.uint16)
    if image.mode in ("1", "L", "LA") or (image.mode == "RGB" and channels == 1 and not image.has_transparency_data):
        frame = (
            _on_black(image.convert("LA"))[..., 0] if image.has_transparency_data else np.asarray(image.convert("L"))
        )
        return np.ascontiguousarray(frame)
    frame = _on_black(image.convert("RGBA")) if image.has_transparency_data else np.asarray(image.convert("RGB"))
    return grey(frame) if channels == 1 else frame


def _on_black(image: Image.Image) -> Array:
    """``[H, W, C + 1]`` with alpha last -> ``[H, W, C]`` composited on black, uint8."""
    values = np.asarray(image).astype(np.uint16)
    return ((values[..., :-1] * values[..., -1:] + 127) // 255).astype(np.uint8)
