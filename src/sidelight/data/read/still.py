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
from PIL import ExifTags, Image, UnidentifiedImageError

from sidelight.data.read.clip import Array, Clip, grey, smaller_by, spaced_indices, unreadable, untimed
from sidelight.data.read.room import HELD, Ask
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
LIGHT, HEAVY, DEEP = 5, 16, 6
"""Bytes that a pixel takes: of a picture that is read in strips, of one that is converted whole, and of a frame that is kept."""
STRIP = 4 << 20
"""Pixels of a strip."""


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
    ask: Ask | None = None,
) -> Clip:
    """Decode an image file.

    :param name: what errors call the file.
    :param max_frames: of an animation or a TIFF of many pages at most so many frames are kept, evenly spread.
    :param channels: 1 decodes to grey.
    :param target: side wanted: a larger JPEG is decoded at 1/2, 1/4 or 1/8, and what would take much memory is averaged by a
        whole factor, never below twice ``target``.
    :param ask: by which memory is asked for; without, a quarter of the machine is there.
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
            ask=ask,
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
    ask: Ask | None = None,
) -> Clip:
    """Decode an open image file, or the bytes of one in ``io.BytesIO``; as :func:`read_image`."""
    try:
        with Image.open(file, formats=PILLOW_FORMATS) as image:
            if image.width * image.height > most_pixels:
                pixels = f"{image.width} x {image.height} pixels"
                raise unreadable(name, f"{pixels}, more than the limit of {most_pixels:,}", "Make it smaller first")
            if image.format in ("GIF", "TIFF"):
                (_check_gif_end if image.format == "GIF" else _check_tiff_end)(file, name)
            pages = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
            if pages > most_frames:
                raise unreadable(name, f"{pages:,} frames, more than the limit of {most_frames:,}", "Cut it first")
            if pages > 1:
                return _animation(image, name, pages, max_frames, channels, target, ask or Ask())
            size = (image.width, image.height) if _orientation(image) >= 5 else (image.height, image.width)
            if target:
                image.draft("L" if channels == 1 else image.mode, (2 * target, 2 * target))
            frame = _frame(image, name, channels, target, ask or Ask())
            return Clip(frame[None], np.zeros(1), np.zeros(1, np.int64), 1, size=size)
    except ReadError:
        raise
    except MemoryError as error:
        raise unreadable(name, "needs more memory than there is", "Make it smaller first") from error
    except Exception as error:  # a decoder that is fed broken bytes may raise anything
        unknown = isinstance(error, UnidentifiedImageError)  # its message holds the whole path
        what = "no image header" if unknown else str(error) or type(error).__name__
        raise unreadable(name, f"is truncated or broken ({what})") from error


def _frame(image: Image.Image, name: str, channels: int | None, target: int | None, ask: Ask, more: int = 0) -> Array:
    """The picture upright; a large one for a small ``target`` in strips, so that it is there only once.

    :param more: bytes of frames that are held beside it.
    """
    pixels = image.width * image.height
    large = bool(target) and (pixels * HEAVY > HELD or more > HELD)
    ask(pixels * (LIGHT if large else HEAVY) + more, name)
    if not large or not target:
        return upright(image, channels, name)
    image.load()
    white = _from_white(image)
    factor = max(1, min(image.size) // (2 * target))
    step = max(1, STRIP // (image.width * factor)) * factor
    strips = []
    for top in range(0, image.height // factor * factor, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        strips.append(smaller_by(_plain(strip, channels, white, name), factor))
    return np.ascontiguousarray(_turned(np.concatenate(strips), _orientation(image)))


def _animation(
    image: Image.Image, name: str, pages: int, max_frames: int, channels: int | None, target: int | None, ask: Ask
) -> Clip:
    """In two passes: one finds the times of the frames, and that all of them decode, one keeps the chosen ones."""
    starts, sizes, clock, timed = [], set(), 0.0, False
    ask(image.width * image.height * HEAVY, name)
    for seconds in _durations(image, name, pages):
        starts.append(clock)
        sizes.add(image.size)
        timed |= seconds is not None
        # Browsers and FFmpeg show a frame whose delay is absent or at most 10 ms for 100 ms.
        clock += seconds if seconds is not None and seconds > 0.01 else 0.1
    if len(sizes) > 1:
        raise unreadable(name, f"its pages differ in size: {sorted(sizes)}", "Save the pages as separate files")
    indices, (width, height) = spaced_indices(len(starts), max_frames), image.size
    held, frames = len(indices) * image.width * image.height * DEEP, list[Array]()
    if target and held > HELD:  # each is made smaller at once
        ends = [min(side, 4 * target * side // min(image.size)) for side in image.size]
        held = max(HELD + 1, len(indices) * ends[0] * ends[1] * DEEP)
    for index in indices:
        image.seek(int(index))
        frames.append(_frame(image, name, channels, target, ask, more=held))
    times = np.array(starts)[indices] if timed else untimed(indices)
    source = (width, height) if _orientation(image) >= 5 else (height, width)
    return Clip(np.stack(frames), times, indices, len(starts), timed, size=source)


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


def upright(image: Image.Image, channels: int | None, name: str = "the image") -> Array:
    """The loaded image upright: ``[H, W]`` or ``[H, W, 3]``, uint8, or uint16 for deeper grey.

    :raises ReadError: where its values are no whole numbers of at most 16 bits.
    """
    image.load()
    return np.ascontiguousarray(_turned(_plain(image, channels, _from_white(image), name), _orientation(image)))


def _orientation(image: Image.Image) -> int:
    """From 1 to 8, as EXIF counts; broken EXIF says nothing about rotation."""
    with contextlib.suppress(SyntaxError, ValueError, KeyError, TypeError, AttributeError):
        said = image.getexif().get(ExifTags.Base.Orientation, 1)
        return said if said in range(1, 9) else 1
    return 1


def _turned(frame: Array, orientation: int) -> Array:
    """``[H, W, ...]`` upright: 5 to 8 swap the axes, and then two bits say which of them run backwards."""
    frame = frame.swapaxes(0, 1) if orientation >= 5 else frame
    down = orientation in (3, 4, 7, 8)
    across = orientation in (2, 3, 6, 7)
    return frame[:: -1 if down else 1, :: -1 if across else 1]


def _plain(image: Image.Image, channels: int | None, white: int, name: str) -> Array:
    """A loaded picture as it is stored, as :func:`upright` returns it; ``white`` as of :func:`_from_white`."""
    if image.mode == "F":
        raise unreadable(name, "its floating-point pixels have no fixed range", "Save them as 8 or 16 bit")
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            found = f"its pixels from {deep.min()} to {deep.max()} do not fit in 16 bits"
            raise unreadable(name, found, "Save them as 8 or 16 bit")
        deep = deep.astype(np.uint16)
        return white - np.minimum(deep, np.uint16(white)) if white else deep
    if image.mode in ("1", "L", "LA") or (image.mode == "RGB" and channels == 1 and not image.has_transparency_data):
        if not image.has_transparency_data:
            return np.asarray(image.convert("L"))
        return np.ascontiguousarray(np.asarray(image.convert("LA").convert("La"))[..., 0])  # by alpha: on black
    if not image.has_transparency_data:
        frame = np.asarray(image.convert("RGB"))
    else:
        frame = np.ascontiguousarray(np.asarray(image.convert("RGBA").convert("RGBa"))[..., :3])
    return grey(frame) if channels == 1 else frame
