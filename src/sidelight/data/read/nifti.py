"""Volumes through nibabel (the extra ``nifti``): NIfTI 1 and 2, Analyze, MGH, and what else it decodes (AFNI, MINC, PAR/REC);
MetaImage (see ``metaimage.py``).

A volume is a stack of slices, an item of its own. Slices lie in the **plane** across which the voxels are largest, for
that is how it was scanned; axes within 10 % of the largest count as equal, and of equal ones axial goes before coronal
before sagittal. An axis of length 1 is the one sliced. Slices run towards the head, the front or the patient's right, and
are shown as a radiologist sees them: head or front up, the patient's right on the left; of a sagittal slice the front
is on the left. An oblique volume is shown in the nearest plane, not resampled.

A path may say more (see ``data/read/container.py``), and ``files`` may list what it says:

- ``scan.nii.gz::coronal``: the slices of another plane;
- ``cine.nii.gz::t3``: of a 4D file, the volume at the time point 3; ``::t{time}`` makes each time point an item;
- ``cine.nii.gz::s5``: the slice 5 at all times: a clip, with the file's clock; ``::s{slice}`` makes each an item;
- ``cine.nii.gz::sagittal/t3``: both.

A 4D file must say which, for a stack of slices and a clip in time are different things.

uint8 is kept as it is. All other values, after the file's own slope and intercept, are brought to uint16, linearly from
the percentile 0.5 to the percentile 99.5 of the finite values in 16 slices spread over the whole file (over 4 time points
of a 4D one), whatever part of it is read; what lies outside is cut off, NaN becomes 0. Where the two percentiles are
equal the least and the greatest value take their place.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sidelight.data.read.clip import (
    Array,
    Clip,
    decoding,
    deep_frames,
    full_range,
    robust_range,
    spaced_indices,
    unreadable,
    untimed_stack,
)
from sidelight.data.read.metaimage import is_metaimage, load_metaimage
from sidelight.data.read.room import Ask
from sidelight.data.read.still import MOST_FRAMES, MOST_PIXELS
from sidelight.errors import MissingExtra

PLANES = ("sagittal", "coronal", "axial")  # across the axes left-right, back-front, foot-head
VOLUME_SUFFIXES = (
    "nii",
    "nii.gz",
    "img",
    "img.gz",
    "mgh",
    "mgz",
    "mnc",
    "mnc.gz",
    "brik",
    "brik.gz",
    "rec",
    "mhd",
    "mha",
)
HEADER_SUFFIXES = ("hdr", "hdr.gz", "head", "par")
MOST_BYTES = 8 << 30
SAMPLE = 16
FAILED = "cannot be decoded as a volume"
MM = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3}
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
Cell = tuple[int, int]


def is_volume(name: str) -> bool:
    """Whether a file is called like a volume, in lower case: nibabel, too, goes by the suffix."""
    return name.endswith(tuple(f".{suffix}" for suffix in VOLUME_SUFFIXES + HEADER_SUFFIXES))


def read_volume(
    path: Path,
    name: str,
    *,
    member: str = "",
    max_frames: int,
    channels: int | None = None,
    most_bytes: int = MOST_BYTES,
    ask: Ask | None = None,
) -> Clip:
    """Read a stack of slices, or one slice through time; only what is kept is decoded where the file allows it.

    :param name: what errors call the file.
    :param member: what of it: ``"coronal"``, ``"t3"``, ``"s5"``, ``"coronal/s5"``.
    :param max_frames: at most so many frames, evenly spread.
    :param channels: 1 gives grey.
    :param ask: by which memory is asked for; without, a quarter of the machine is there.
    :raises ReadError: where nibabel cannot decode the file, it is no volume of real numbers, or a limit is passed.
    :raises MissingExtra: where nibabel is not installed.
    """
    with decoding(path, name, FAILED):
        volume = _load(path, name, member, most_bytes)
        found = re.search(r"(?:^|/)([ts])(\d+)$", member)
        kind, number = (found[1], int(found[2])) if found else ("", 0)
        if not kind and volume.times > 1:
            do = "Say which in `files`: ::t0 is its first volume, ::t{time} makes each an item, ::s{slice} each slice's clip"
            raise unreadable(name, f"is 4D: {volume.times} volumes of {volume.slices} slices", do)
        if number >= (volume.slices if kind == "s" else volume.times):
            raise unreadable(
                name, f"has {volume.times} volumes of {volume.slices} slices, counted from 0", "Name another"
            )
        length = volume.times if kind == "s" else volume.slices
        indices = spaced_indices(length, max_frames)
        (ask or Ask())(volume.memory(len(indices)), name)
        cells = [(int(index), number) if kind == "s" else (number, int(index)) for index in indices]
        stack = untimed_stack(_frames(volume, cells, name), indices, length, channels)
        if kind == "s" and volume.seconds:
            return replace(stack, times=indices * volume.seconds, timed=True)
        return stack


def volume_values(path: Path, name: str, *, member: str = "", most_bytes: int = MOST_BYTES) -> Array:
    """The values of a volume as the file says them, its slices as :func:`read_volume` gives them: ``[T, H, W]``.

    :param member: ``""`` or a plane.
    :raises ReadError: as :func:`read_volume`.
    """
    with decoding(path, name, FAILED):
        volume = _load(path, name, member, most_bytes)
        if volume.times > 1:
            raise unreadable(name, f"is 4D: {volume.times} volumes of {volume.slices} slices")
        kept = dict(volume.read((0, number) for number in range(volume.slices)))
        return np.stack([kept[0, number] for number in range(volume.slices)])


def volume_members(path: Path, name: str) -> list[str]:
    """All that a path can say of the file: ``"t0"``, ``"s0"``, ..., and the same in each plane.

    :raises ReadError: where nibabel cannot open it.
    """
    listed = []
    with decoding(path, name, FAILED):
        for plane in ("", *PLANES):
            volume = _load(path, name, plane, MOST_BYTES)
            ends = [f"t{number}" for number in range(volume.times)] + [f"s{number}" for number in range(volume.slices)]
            listed += [plane, *(f"{plane}/{end}" for end in ends)] if plane else ends
    return listed


def volume_spacing(path: Path, name: str, member: str = "") -> tuple[float, float, float | None]:
    """From one row to the next, from one column to the next and from one slice to the next of :func:`read_volume`, in mm.

    A file that names no unit is in mm. Of one slice through time there is no third.

    :raises ReadError: as :func:`read_volume`.
    """
    with decoding(path, name, FAILED):
        volume = _load(path, name, member, MOST_BYTES)
        header = volume.image.header
        unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
        zooms = [*(float(zoom) for zoom in header.get_zooms()[:3]), 1.0, 1.0][:3]
        of = [zooms[axis] * MM.get(unit, 1.0) for axis in volume.axes]
        low, high = (axis for axis in range(3) if axis != volume.plane)
        through_time = re.search(r"(?:^|/)s\d+$", member) is not None
        return of[high], of[low], None if through_time else of[volume.plane]


def as_stored(path: Path, name: str, slices: Array, member: str = "") -> tuple[Array, Array]:
    """Slices [T, H, W], all of those of :func:`read_volume`, as the file stores voxels, [x, y, z], and its affine [4, 4].

    :raises ReadError: as :func:`read_volume`, and for slices that are not those of the volume.
    """
    with decoding(path, name, FAILED):
        volume = _load(path, name, member, MOST_BYTES)
        return volume.stored(slices, name), np.asarray(volume.image.affine, np.float64)


@dataclass(frozen=True, eq=False)
class _Volume:
    """An opened volume and how it lies: by axis of the patient (x, y, z) the stored axis, and whether it runs backwards."""

    image: Any  # nibabel's
    shape: tuple[int, int, int, int]
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    plane: int

    @property
    def slices(self) -> int:
        return self.shape[self.axes[self.plane]]

    @property
    def times(self) -> int:
        return self.shape[3]

    def memory(self, frames: int) -> int:
        """Bytes that reading so many slices takes: they as numbers and as they are shown; across the fast axes a volume, too."""
        each = math.prod(self.shape[axis] for axis in self.axes if axis != self.axes[self.plane])
        scattered = self.axes[self.plane] != 2 or self.image.ndim < 3
        whole = getattr(self.image.dataobj, "held", 0)
        return each * (frames + SAMPLE) * 16 + (math.prod(self.shape[:3]) * 16 if scattered else 0) + whole

    @cached_property
    def seconds(self) -> float | None:
        """Between two time points; None where the file does not say."""
        header = self.image.header
        unit = header.get_xyzt_units()[1] if hasattr(header, "get_xyzt_units") else ""
        zooms = header.get_zooms()
        step = float(zooms[3]) * SECONDS.get(unit, 0.0) if len(zooms) > 3 else 0.0
        return step if step > 0 and math.isfinite(step) else None

    def read(self, cells: Iterable[Cell]) -> Iterator[tuple[Cell, Array]]:
        """Slices as ``[H, W]`` or ``[H, W, 3]``, in the order in which they are stored."""
        axis, turned = self.axes[self.plane], self.flipped[self.plane]
        held: tuple[int, Array] | None = None
        for time, number, cell in sorted((c[0], self.slices - 1 - c[1] if turned else c[1], c) for c in set(cells)):
            if axis == 2 and self.image.ndim > 2:
                yield cell, self._upright(self._stored((slice(None), slice(None), number), time))
                continue
            if held is None or held[0] != time:  # slices across the fast axes lie scattered over the whole volume
                held = time, self._stored((slice(None),) * 3, time)
            yield cell, self._upright(held[1].take(number, axis))

    def _stored(self, index: tuple[Any, ...], time: int) -> Array:
        proxy, further = self.image.dataobj, max(self.image.ndim - 3, 0)
        stored: Array = np.asanyarray(proxy if self.image.ndim < 3 else proxy[(*index, *(time, 0, 0, 0)[:further])])
        return stored.reshape(self.shape[:3]) if self.image.ndim < 3 else stored

    def stored(self, slices: Array, name: str) -> Array:
        """Upright slices [T, H, W] where the file has them; :meth:`read` turned round."""
        axis, turned = self.axes[self.plane], self.flipped[self.plane]
        low, high = (one for one in range(3) if one != self.plane)
        first, second = (slice(None, None, 1 if self.flipped[one] else -1) for one in (low, high))
        each = slices.swapaxes(1, 2)[:, first, second]  # mirroring twice changes nothing
        if self.axes[low] > self.axes[high]:
            each = each.swapaxes(1, 2)
        whole = np.moveaxis(each[::-1] if turned else each, 0, axis)
        if whole.shape != self.shape[:3]:
            raise unreadable(name, f"has voxels of {list(self.shape[:3])}, and {list(whole.shape)} are to be written")
        return np.ascontiguousarray(whole)

    def _upright(self, stored: Array) -> Array:
        """A stored slice, turned and mirrored as the module says."""
        low, high = (axis for axis in range(3) if axis != self.plane)
        if self.axes[low] > self.axes[high]:
            stored = stored.swapaxes(0, 1)
        # Patient axes run to the right, the front and the head; a picture begins at the right, the front and the head.
        first, second = (slice(None, None, 1 if self.flipped[axis] else -1) for axis in (low, high))
        turned: Array = stored[first, second].swapaxes(0, 1)
        if turned.dtype.names:
            turned = np.stack([turned[colour] for colour in "RGB"], axis=-1)
        return turned


def _load(path: Path, name: str, member: str, most_bytes: int) -> _Volume:
    said = re.fullmatch(rf"({'|'.join(PLANES)})?(?:(?:^|/)[ts]\d+)?", member)
    if said is None:
        raise unreadable(
            name, f"{member!r} is no part of a volume", f"Say {', '.join(PLANES)}, t0 or s0, or coronal/t0"
        )
    image = load_metaimage(path, name) if is_metaimage(path.name.lower()) else _opened(path, name)
    dtype, full = image.get_data_dtype(), [int(length) for length in image.shape]
    wide, high, deep, times = (*full, 1, 1, 1, 1)[:4]
    shape = (wide, high, deep, times)
    if 0 in full or math.prod(shape) != math.prod(full):
        raise unreadable(name, f"has the shape {full}", "Save it with three axes, or four with time last")
    if not (set("RGB") <= set(dtype.names) if dtype.names else dtype.kind in "biuf"):
        raise unreadable(name, f"holds values of type {dtype}, not real numbers", "Save the magnitude")
    size = math.prod(full) * dtype.itemsize
    if size > most_bytes or max(math.prod(shape[:2]), math.prod(shape[1:3])) > MOST_PIXELS or max(full) > MOST_FRAMES:
        raise unreadable(name, f"has the shape {full}: {size:,} bytes, more than the limit of {most_bytes:,}", "Cut it")
    axes, flipped = _orientation(image)
    plane = PLANES.index(said[1]) if said[1] else _plane([full[a] if a < len(full) else 1 for a in axes], image, axes)
    return _Volume(image, shape, axes, flipped, plane)


def _opened(path: Path, name: str) -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingExtra("nibabel", "nifti", f"Reading the volume {name}") from None
    # Kept open, a gzip file is unpacked once from front to back instead of once per slice.
    options = {"keep_file_open": True} if path.suffix.lower() in (".gz", ".mgz") else {}
    image = nibabel.load(path, **options)
    if not isinstance(image, nibabel.spatialimages.SpatialImage) or image.affine is None:
        raise unreadable(name, f"is a {type(image).__name__}, not a volume", "Leave it out by the pattern of `files`")
    if isinstance(image, nibabel.Minc1Image) and len(image.shape) > 3:
        raise unreadable(name, "is a MINC file with time", "Convert it to NIfTI")
    return image


def _orientation(image: Any) -> tuple[Any, Any]:
    """By axis of the patient the stored axis and whether it runs backwards; as stored where the file does not say."""
    import nibabel

    found = nibabel.orientations.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    if found.shape != (3, 2) or np.isnan(found).any():
        return (0, 1, 2), (False, False, False)
    axes = [int(axis) for axis in np.argsort(found[:, 0])]
    return tuple(axes), tuple(bool(found[axis, 1] < 0) for axis in axes)


def _plane(lengths: list[int], image: Any, axes: tuple[int, int, int]) -> int:
    """The patient's axis across which the voxels are largest."""
    if lengths.count(1) == 1:
        return lengths.index(1)
    zooms = [*(float(zoom) for zoom in image.header.get_zooms()[:3]), 0.0, 0.0][:3]
    return max(axis for axis in range(3) if zooms[axes[axis]] >= 0.9 * max(zooms))


def _frames(volume: _Volume, cells: list[Cell], name: str) -> Array:
    """The slices ``cells`` in this order, uint8 or uint16."""
    kept = dict(volume.read(cells))
    if next(iter(kept.values())).dtype == np.uint8:
        return np.stack([kept[cell] for cell in cells])
    every = range(volume.times), range(volume.slices)
    times = spaced_indices(volume.times, math.isqrt(SAMPLE)).tolist()
    slices = spaced_indices(volume.slices, SAMPLE // len(times)).tolist()
    ends = robust_range(part for _, part in volume.read((time, number) for time in times for number in slices))
    ends = ends or full_range(
        part for _, part in volume.read((time, number) for time in every[0] for number in every[1])
    )
    return deep_frames((kept[cell] for cell in cells), ends, name)
