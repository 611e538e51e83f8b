"""HEIC and HEIF photographs, as phones take them, through pillow-heif (the extra ``heic``): the primary image of a file.

Rotation and mirroring are applied; 10 and 12 bits are reduced to 8.
"""

from pathlib import Path

import numpy as np

from sidelight.data.read.clip import Clip, unreadable
from sidelight.data.read.room import Ask
from sidelight.data.read.still import HEAVY, MOST_BYTES, MOST_PIXELS, upright
from sidelight.errors import MissingExtra, ReadError

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heic(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is HEIC; AVIF shares its box, but not its codec."""
    return head[4:8] == b"ftyp" and head[8:12] in BRANDS and b"avif" not in head[8 : int.from_bytes(head[:4])]


def read_heic(
    path: Path, name: str, *, channels: int | None = None, most_pixels: int = MOST_PIXELS, ask: Ask | None = None
) -> Clip:
    """Decode a HEIC file to one frame.

    :param name: what errors call the file.
    :param channels: 1 gives grey.
    :raises ReadError: where the file is broken or too large.
    :raises MissingExtra: where pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        raise MissingExtra("pillow-heif", "heic", f"Reading the HEIC file {name}") from None
    if path.stat().st_size > MOST_BYTES:
        raise unreadable(name, f"{path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,}")
    try:
        image = pillow_heif.open_heif(path)
        if image.size[0] * image.size[1] > most_pixels:
            size = f"{image.size[0]} x {image.size[1]} pixels"
            raise unreadable(name, f"{size}, more than the limit of {most_pixels:,}", "Make it smaller first")
        (ask or Ask())(image.size[0] * image.size[1] * HEAVY, name)
        frame = upright(image.to_pillow(), channels)
    except ReadError:
        raise
    except Exception as error:  # a decoder that is fed broken bytes may raise anything
        raise unreadable(name, f"is truncated or broken ({type(error).__name__})") from error
    return Clip(frame[None], np.zeros(1), np.zeros(1, np.int64), 1)
