"""Still images and animated images (GIF, WebP, PNG, TIFF pages) through Pillow; those that end early are refused.

Limits: 16-bit RGB is reduced to 8 bit by Pillow; floating-point images are refused, for they name no range. Alpha is
composited on black, the colour of an ultrasound or radiograph's surround.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

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
PHOTOMETRIC, BITS = 262, 258  # tags of TIFF


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
                size = f"{image.width} x {image.height} pixels"
                raise unreadable(name, f"{size}, more than the limit of {most_pixels:,}", "Make it smaller first")
            if image.format in ("GIF", "TIFF"):
                (_check_gif_end if image.format == "GIF" else _check_tiff_end)(file, name)
            pages = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
            if pages > most_frames:
                raise unreadable(name, f"{pages:,} frames, more than the limit of {most_frames:,}", "Cut it first")
            if pages > 1:
                return _animation(image, name, pages, max_frames, channels)
            if target:
                image.draft("L" if channels == 1 else image.mode, (2 * target, 2 * target))
            return Clip(upright(image, channels)[None], np.zeros(1), np.zeros(1, np.int64), 1)
    except ReadError:
        raise
    except Exception as error:  # a decoder that is fed broken bytes may raise anything
        unknown = isinstance(error, UnidentifiedImageError)  # its message holds the whole path
        what = "no image header" if unknown else str(error) or type(error).__name__
        raise unreadable(name, f"is truncated or broken ({what})") from error


def _animation(image: Image.Image, name: str, pages: int, max_frames: int, channels: int | None) -> Clip:
    """In two passes: one finds the times of the frames, and that all of them decode, one keeps the chosen ones."""
    starts, sizes, clock, timed = [], set(), 0.0, False
    for seconds in _durations(image, name, pages):
        starts.append(clock)
        sizes.add(image.size)
        timed |= seconds is not None
        # Browsers and FFmpeg show a frame whose delay is absent or at most 10 ms for 100 ms.
        clock += seconds if seconds is not None and seconds > 0.01 else 0.1
    if len(sizes) > 1:
        raise unreadable(name, f"its pages differ in size: {sorted(sizes)}", "Save the pages as separate files")
    indices = spaced_indices(len(starts), max_frames)
    frames = []
    for index in indices:
        image.seek(int(index))
        frames.append(upright(image, channels))
    times = np.array(starts)[indices] if timed else untimed(indices)
    return Clip(np.stack(frames), times, indices, len(starts), timed)


def _durations(image: Image.Image, name: str, pages: int) -> Iterator[float | None]:
    """Step through the frames; yields seconds that each is shown, None where unsaid; :raises ReadError: for a broken one."""
    for page in range(pages):
        try:
            image.seek(page)
            image.load()
        except Exception as error:  # as in read_image
            what = str(error) or type(error).__name__
            raise unreadable(
                name, f"is truncated or broken: frame {page + 1} of {pages} cannot be decoded ({what})"
            ) from error
        duration = image.info.get("duration")
        yield None if duration is None else float(duration) / 1000


def _check_gif_end(file: IO[bytes], name: str) -> None:
    """:raises ReadError: where a GIF ends within a block, for Pillow would give the frames before it.

    Leaves ``file`` where it was.
    """
    place = file.tell()
    file.seek(10)
    flags = file.read(3)[:1]
    try:
        file.seek(3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0, io.SEEK_CUR)
        while (mark := file.read(1)) not in (b"", b";"):
            if mark == b"!":
                file.read(1)
            elif mark == b",":
                packed = file.read(9)[8]
                file.seek(3 << (packed & 7) + 1 if packed & 0x80 else 0, io.SEEK_CUR)
                file.read(1)
            else:
                break  # what follows the last block is no part of the picture
            while length := file.read(1)[0]:
                if len(file.read(length)) < length:
                    raise IndexError
    except IndexError:
        raise unreadable(name, "is truncated or broken (it ends within a frame)") from None
    finally:
        file.seek(place)


def _check_tiff_end(file: IO[bytes], name: str) -> None:
    """:raises ReadError: where a TIFF ends within its chain of pages. Leaves ``file`` where it was."""
    place = file.tell()
    file.seek(0)
    head = file.read(8)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    seen: set[int] = set()
    try:
        at = int.from_bytes(head[4:8], order) if head[2:4] in (b"*\0", b"\0*") else 0  # not BigTIFF
        while at and at not in seen:
            seen.add(at)
            file.seek(at)
            count = file.read(2)
            file.seek(12 * int.from_bytes(count, order), io.SEEK_CUR)
            link = file.read(4)
            if len(count) < 2 or len(link) < 4:
                raise unreadable(
                    name, f"is truncated or broken (it ends within the list of its pages, at page {len(seen)})"
                )
            at = int.from_bytes(link, order)
    finally:
        file.seek(place)


def _from_white(image: Image.Image) -> int:
    """The largest value of a deep TIFF that counts from white; 0 for any other image. Pillow turns those of 8 bits round."""
    tags = getattr(image, "tag_v2", None)
    if tags is None or not image.mode.startswith("I;16") or tags.get(PHOTOMETRIC) != 0:
        return 0
    bits = tags.get(BITS)
    return (1 << int(bits[0] if isinstance(bits, tuple) else bits or 16)) - 1


def upright(image: Image.Image, channels: int | None) -> Array:
    """The loaded image upright: ``[H, W]`` or ``[H, W, 3]``, uint8, or uint16 for deeper grey."""
    image.load()
    white = _from_white(image)
    with contextlib.suppress(SyntaxError, ValueError, KeyError, TypeError):  # broken EXIF says nothing about rotation
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save them as 8 or 16 bit")
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"pixels from {deep.min()} to {deep.max()} do not fit in 16 bits")
        deep = deep.astype(np.uint16)
        return white - np.minimum(deep, np.uint16(white)) if white else deep
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
