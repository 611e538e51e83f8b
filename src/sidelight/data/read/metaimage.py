"""MetaImage: ``.mha``, and ``.mhd`` with its pixels in a file beside it; given on as a volume of nibabel.

Read here and not by SimpleITK, which ends the whole process on some broken headers: a few bytes changed in a good one are enough.
A header may name one plain file in its own folder, and nothing else: lists, patterns and paths are refused.
"""

import math
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sidelight.data.read.clip import Array, unreadable
from sidelight.errors import MissingExtra, ReadError

MOST_HEADER = 1 << 16
TYPES = {"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
         "MET_ULONG": "u4", "MET_LONG": "i4", "MET_ULONG_LONG": "u8", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4",
         "MET_DOUBLE": "f8"}  # fmt: skip
READ = ("ObjectType", "NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "ElementDataFile", "HeaderSize",
        "CompressedData", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "ElementSpacing", "ElementSize",
        "TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin")  # fmt: skip
"""Keys that say how pixels are read; of any other key the last counts."""
Fields = dict[str, str]


def is_metaimage(name: str) -> bool:
    """Whether a file is called like one, in lower case."""
    return name.endswith((".mhd", ".mha"))


def pixels_beside(path: Path) -> Path | None:
    """The file of the pixels that a header names; None where they are in the same file, or where it names no plain file.

    :raises OSError: where the header cannot be opened.
    """
    found = _header(path)[0].get("ElementDataFile", "")
    plain = found and found != "LOCAL" and not re.search(r"[/\\%\0]|^LIST\b|^\.\.?$", found)
    return path.with_name(found) if plain else None


def load_metaimage(path: Path, name: str) -> Any:
    """A volume of nibabel, in mm towards the right, the front and the head; its pixels are read when they are first asked for.

    :raises ReadError: says what of the header is wrong or missing.
    :raises MissingExtra: where nibabel is not installed.
    """
    try:
        import nibabel
    except ImportError:
        raise MissingExtra("nibabel", "nifti", f"Reading the volume {name}") from None
    fields, start = _header(path)
    if fields.get("ObjectType", "Image") != "Image" or "ElementDataFile" not in fields:
        raise unreadable(name, "its header is not that of a MetaImage")
    beside = pixels_beside(path)
    if beside is None and fields["ElementDataFile"] != "LOCAL":
        raise unreadable(name, "its ElementDataFile is not the name of one file beside it", "Save it as one .mha file")
    if beside is not None and not beside.is_file():
        raise unreadable(name, f"its pixels, {beside.name!r}, do not lie beside it", "Copy that file, too")
    sizes = _numbers(fields, "DimSize", name)
    if not 2 <= len(sizes) <= 4 or any(size < 1 or size != int(size) for size in sizes):
        raise unreadable(name, f"has DimSize = {fields.get('DimSize')!r}", "Save it with two to four axes")
    shape = tuple(int(size) for size in sizes)
    packed = _yes(fields, "CompressedData")
    dtype = _dtype(fields, name)
    skipped = int(_numbers(fields, "HeaderSize", name, [0])[0])
    if skipped < 0 and not packed and beside is not None:  # -1: the pixels are the end of the file
        skipped = beside.stat().st_size - math.prod(shape) * dtype.itemsize
    pixels = _Pixels(beside or path, start if beside is None else max(skipped, 0), shape, dtype, packed, name)
    if not packed:
        pixels.check()
    affine = _affine(fields, len(shape), name)
    # Without a type nibabel reads a voxel to find it.
    image: Any = nibabel.Nifti1Image(pixels, affine, dtype=dtype)  # type: ignore[no-untyped-call]
    image.header.set_zooms([*image.header.get_zooms()[:3], *_spacing(fields, len(shape), name)[3:]][: len(shape)])
    image.header.set_xyzt_units("mm", "sec")
    return image


@dataclass(frozen=True, eq=False)
class _Pixels:
    """What nibabel asks of pixels on disk; they begin at the byte ``start`` of their file."""

    path: Path
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: bool
    name: str
    is_proxy = True

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def held(self) -> int:
        """Bytes in memory as soon as one is read."""
        return 2 * self.size if self.packed else 0

    def check(self) -> None:
        """:raises ReadError: where there are fewer bytes than the header says."""
        there = self.path.stat().st_size - self.start
        if there < self.size:
            raise unreadable(self.name, f"{max(there, 0):,} bytes of pixels, and its header says {self.size:,}")

    @cached_property
    def _values(self) -> Array:
        if not self.packed:
            return np.memmap(self.path, self.dtype, "r", self.start, self.shape, "F")
        with self.path.open("rb") as file:
            file.seek(self.start)
            unpack, raw = zlib.decompressobj(), b""
            raw = unpack.decompress(file.read(), self.size)
        if len(raw) < self.size:
            raise unreadable(self.name, f"unpacks to {len(raw):,} bytes, and its header says {self.size:,}")
        return np.frombuffer(raw, self.dtype).reshape(self.shape, order="F")

    def __getitem__(self, index: Any) -> Array:
        return np.asarray(self._values[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self._values if dtype is None else self._values.astype(dtype)


def _header(path: Path) -> tuple[Fields, int]:
    """The fields up to ``ElementDataFile``, which is the last, and the byte after its line; nothing where it is not there.

    A line without ``=`` goes on with the value before it, as DICOM tags of several lines do.
    """
    fields: Fields = {}
    with path.open("rb") as file:
        raw = file.read(MOST_HEADER)
    at = 0
    while at < len(raw):
        end = raw.find(b"\n", at)
        end = len(raw) if end < 0 else end
        name, equals, value = raw[at:end].decode("utf-8", "replace").partition("=")
        at, key = end + 1, name.strip()
        if equals and key in fields and key in READ:  # which of two would hold is anyone's guess
            return {}, 0
        if equals:
            fields[key] = value.strip()
        if key == "ElementDataFile":
            return fields, min(at, len(raw))
    return {}, 0


def _numbers(fields: Fields, key: str, name: str, default: list[float] | None = None) -> list[float]:
    try:
        values = [float(word) for word in fields[key].split()] if key in fields or default is None else default
    except (KeyError, ValueError):
        raise unreadable(name, f"has {key} = {fields.get(key)!r}, not numbers") from None
    if not all(math.isfinite(value) for value in values) or not values:
        raise unreadable(name, f"has {key} = {fields.get(key)!r}, not numbers")
    return values


def _yes(fields: Fields, key: str) -> bool:
    return fields.get(key, "False").lower() in ("true", "t", "1")


def _dtype(fields: Fields, name: str) -> np.dtype[Any]:
    kind = fields.get("ElementType", "").removesuffix("_ARRAY")
    colours = int(_numbers(fields, "ElementNumberOfChannels", name, [1.0])[0])
    if kind not in TYPES or not _yes({"BinaryData": "True", **fields}, "BinaryData"):
        raise unreadable(name, f"holds values of type {kind or 'unknown'}, or as text", "Save it as binary numbers")
    if colours == 3 and kind == "MET_UCHAR":
        return np.dtype([(colour, "u1") for colour in "RGB"])
    if colours != 1:
        raise unreadable(name, f"has {colours} values of type {kind} a voxel", "Save one (grey) or three of MET_UCHAR")
    high = _yes(fields, "BinaryDataByteOrderMSB") or _yes(fields, "ElementByteOrderMSB")
    return np.dtype((">" if high else "<") + TYPES[kind])


def _spacing(fields: Fields, count: int, name: str) -> list[float]:
    values = _numbers(fields, "ElementSpacing" if "ElementSpacing" in fields else "ElementSize", name, [1.0] * count)
    if len(values) != count or min(values) <= 0:
        raise unreadable(name, f"has the spacing {values} for {count} axes")
    return values


def _affine(fields: Fields, count: int, name: str) -> Array:
    """From voxels to mm; the file counts towards the left and the back, and writes its axes one after the other."""
    key = next((key for key in ("TransformMatrix", "Rotation", "Orientation") if key in fields), "TransformMatrix")
    turned = _numbers(fields, key, name, np.eye(count).ravel().tolist())
    origin = _numbers(
        fields, next((key for key in ("Position", "Origin") if key in fields), "Offset"), name, [0.0] * count
    )
    if len(turned) != count**2 or len(origin) != count:
        raise unreadable(name, f"has {len(turned)} numbers of {key} and {len(origin)} of Offset for {count} axes")
    here = min(count, 3)
    affine = np.eye(4)
    affine[:here, :here] = (np.reshape(turned, (count, count)).T * _spacing(fields, count, name))[:here, :here]
    affine[:here, 3] = origin[:here]
    if not np.isfinite(np.linalg.cond(affine)):
        raise ReadError(f"{name}: its {key} turns the volume into a plane", do="Replace the file or leave it out")
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
