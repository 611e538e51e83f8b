"""Mask files: the values as they stand in them, without the stretching that pictures get.

A **binary** mask is what is not 0, where one value stands beside 0; where more do (as in a JPEG, or after smoothing) what is at
least half of the greatest value of the type. A mask **by value** has a class per value, 0 is background, and a value that is
neither a class nor ignored is an error. Of a palette image the values are the places in the palette.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from sidelight.data.annotations.drawn import Bools, Drawn, Ints, Misdrawn, Shape
from sidelight.data.read.array import open_npy, open_npz
from sidelight.data.read.clip import Array, decoding, unreadable
from sidelight.data.read.container import split
from sidelight.data.read.formats import by_content
from sidelight.data.read.hdf5 import hdf5_values
from sidelight.data.read.nifti import PLANES, volume_values
from sidelight.data.read.still import ANIMATED, MOST_BYTES, MOST_FRAMES, MOST_PIXELS, PILLOW_FORMATS

MOST_VALUES = 6
LARGEST = 2**31


def read_values(path: Path, name: str, *, plane: str = "") -> Array:
    """The values of a mask file, whole numbers or booleans: [T, H, W].

    :param path: may name a member, as ``case.npz::label``.
    :param name: what errors call it.
    :param plane: of a volume whose own name says none, the plane in which its item is cut.
    :raises ReadError: for what is no mask, or passes a limit; before it is unpacked.
    """
    file, member = split(str(path))
    path = Path(file)
    try:
        with path.open("rb") as opened:
            head = opened.read(132)
    except OSError as error:
        raise unreadable(name, f"cannot be opened ({error.strerror})", "Check that it exists and may be read") from None
    known = by_content(head, path.name)
    kind = "" if known is None else known.kind
    if kind == "volume":
        values = volume_values(path, name, member=member or plane)
    elif kind == "array":
        values = open_npy(path, name)
    elif kind == "container" and head.startswith(b"PK"):
        values = open_npz(path, name, member=member)
    elif kind == "container":
        values = hdf5_values(path, name, member=member)
        if values.ndim == 1:
            return _pages(io.BytesIO(values.tobytes()), name)
    elif known is not None and kind in ("still", "clip") and known.name in ("images", "GIF"):
        if path.stat().st_size > MOST_BYTES:
            raise unreadable(name, f"{path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,}")
        with path.open("rb") as opened:
            return _pages(opened, name)
    else:
        raise unreadable(name, f"is {known.name if known else 'of no known format'}, not a mask", "Save it as PNG")
    return _whole(values, name)


def _pages(file: IO[bytes], name: str) -> Array:
    """The pages of a picture, [T, H, W]."""
    with decoding(Path(name), name), _opened(file, name) as image:
        pages = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
        if image.width * image.height * pages > MOST_PIXELS or pages > MOST_FRAMES:
            size = f"{pages} x {image.width} x {image.height} pixels"
            raise unreadable(name, f"{size}, more than the limit of {MOST_PIXELS:,}", "Make it smaller first")
        frames = []
        for page in range(pages):
            image.seek(page)
            frames.append(_page(image, name))
        return np.stack(frames)


def _opened(file: IO[bytes], name: str) -> Image.Image:
    try:
        return Image.open(file, formats=PILLOW_FORMATS)
    except Image.DecompressionBombError:
        do = "Make it smaller first"
        raise unreadable(name, f"has more pixels than the limit of {MOST_PIXELS:,}", do) from None


def _page(image: Image.Image, name: str) -> Array:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA"):
        image = image.getchannel(0)
    if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        colours = np.asarray(image.convert("RGB"))
        if (colours != colours[..., :1]).any():
            raise Misdrawn("values", f"{name}: is a colour picture", do="Save one grey value per class, or one file")
        return np.ascontiguousarray(colours[..., 0])
    if image.mode == "F":
        return np.asarray(_whole(np.asarray(image)[None], name)[0])
    return np.asarray(image)


def _whole(values: Array, name: str) -> Array:
    """An array as [T, H, W] of whole numbers."""
    plain = values[..., 0] if values.ndim > 2 and values.shape[-1] == 1 else values
    if plain.ndim not in (2, 3) or 0 in plain.shape:
        raise Misdrawn(
            "values",
            f"{name}: is an array of shape {list(values.shape)}",
            expected="[H, W], or [T, H, W] of a series",
            do="Save one value per class",
        )
    values = plain if plain.ndim == 3 else plain[None]
    if values.dtype.kind == "f":
        whole = np.empty(values.shape, np.int32)
        for place, page in enumerate(values):  # one at a time: a volume of floats is large
            if not (np.abs(page) < LARGEST).all() or (np.rint(page) != page).any():
                raise Misdrawn(
                    "values", f"{name}: holds numbers that are not whole", do="Save a mask, not probabilities"
                )
            whole[place] = page
        values = whole
    small = values.dtype != bool and values.size and values.min() >= 0 and values.max() < 256
    return values.astype(np.uint8) if small else values


def foreground(values: Array, name: str) -> Bools:
    """Of a binary mask what belongs to it; :raises Misdrawn: where its values name several things."""
    found = distinct(values)
    if len(found) <= 2 and (len(found) < 2 or 0 in found):
        return np.asarray(values != 0)
    bits = values.dtype.itemsize * 8
    if values.dtype.kind == "u" and max(found) >= 1 << (bits - 1):
        return np.asarray(values >= 1 << (bits - 1))
    shown = ", ".join(map(str, found[:MOST_VALUES])) + ", ..." * (len(found) > MOST_VALUES)
    raise Misdrawn(
        "values", f"{name}: holds the values {shown}", expected="0 and one other", do='Name them: classes = {1 = "..."}'
    )


def distinct(values: Array) -> list[int]:
    """The values that occur, rising."""
    found: set[int] = set()
    for page in values.reshape(-1, values.shape[-1]) if values.ndim < 3 else values:
        pages = np.flatnonzero(np.bincount(page.ravel(), minlength=1)) if page.dtype == np.uint8 else np.unique(page)
        found.update(int(one) for one in pages)
    return sorted(found)


@dataclass(frozen=True)
class MaskFile(Drawn):
    """A mask file of an item, or one of each of its frames.

    :ivar paths: one for the whole item, or one per frame, None where a frame has none.
    :ivar labels: the class of each value; of a binary mask its class.
    :ivar ignored: values that are background.
    """

    root: Path
    paths: tuple[str | None, ...]
    labels: Mapping[int, int] | int
    ignored: frozenset[int] = frozenset()
    plane: str = ""

    def planes(self, shape: Shape, frames: Ints) -> Iterator[tuple[int, Bools]]:
        """As :meth:`Drawn.planes`."""
        if len(self.paths) == 1:
            yield from self._classes(self._fitting(self.paths[0] or "", shape, shape.length)[frames])
            return
        whole: dict[int, Bools] = {}
        for place, frame in enumerate(frames.tolist()):
            path = self.paths[frame]
            for label, plane in self._classes(self._fitting(path, shape, 1)) if path else ():
                found = whole.setdefault(label, np.zeros((len(frames), shape.height, shape.width), bool))
                found[place] |= plane[0]
        yield from whole.items()

    def read_from(self) -> tuple[str, ...]:
        """As :meth:`Drawn.read_from`."""
        return tuple(path for path in self.paths if path)

    def _fitting(self, path: str, shape: Shape, length: int) -> Array:
        """The values of one file, [T, H, W]; :raises Misdrawn: for another size than the item's."""
        values = read_values(self.root / path, path, plane=self.plane)
        if values.shape[1:] != shape[1:]:
            given = f"{path}: is {values.shape[2]} x {values.shape[1]} pixels"
            raise Misdrawn("size", given, expected=f"{shape.width} x {shape.height}, the size of its image")
        if len(values) != length:
            raise Misdrawn("slices", f"{path}: has {len(values)} slices", expected=f"{length}, as its item has")
        return values

    def _classes(self, values: Array) -> Iterator[tuple[int, Bools]]:
        name = next(path for path in self.paths if path)
        if isinstance(self.labels, int):
            yield self.labels, foreground(values, name)
            return
        unknown = [one for one in distinct(values) if one and one not in self.labels and one not in self.ignored]
        if unknown:
            shown = ", ".join(map(str, unknown[:MOST_VALUES]))
            do = "Name it in `classes`, or in `ignore` if it is background"
            raise Misdrawn("values", f"{name}: holds {shown}, which is no class", do=do)
        for value, label in self.labels.items():
            yield label, values == value


def plane_of(path: str) -> str:
    """The plane that an item's path names behind ``::``; "" where it names none."""
    said = split(path)[1].partition("/")[0]
    return said if said in PLANES else ""
