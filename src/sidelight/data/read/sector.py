"""The part of an ultrasound image that is ultrasound: text, logos, scales and bands outside it are cut off.

Where a DICOM file names its regions the rest is cut off first. What is left is looked at: within a few pixels speckle takes
many values, text and bands two. Of the connected parts with speckle (of a clip: or with motion) those
that move most, or of a still the largest, are the sector; the frames are cropped to it, and what lies outside its convex
hull is made black. Marks inside the sector stay, and so may bold text right beside it in a still: this is no
de-identification.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from sidelight.data.read.clip import Array

if TYPE_CHECKING:
    from pydicom import Dataset

SIDE = 256  # the sector is looked for at about this size
WINDOW = 9
TONES = 0.15  # of a window's range: what lies so far from both its ends is neither letter nor ground
DENSE = 0.4  # of a window that such tones fill: speckle
DIFFERS = 10  # of 255: what moved
SPREAD = 2  # of 255: the least such distance
TOGETHER = 0.2  # of the largest part: dark tissue may divide a sector
LEAST = 0.02  # of the image: what may be a sector

Box = tuple[int, int, int, int]
"""top, left, bottom, right; the last two exclusive"""


def crop_sector(frames: Array, box: Box | None = None) -> Array | None:
    """``[T, H, W]`` or ``[T, H, W, 3]`` -> the same frames, smaller; None where no sector is found.

    :param box: the sector where the file says it.
    """
    if box is not None:
        frames = frames[:, box[0] : box[2], box[1] : box[3]]
    step = max(1, max(frames.shape[1:3]) // SIDE)
    part = _sector(_small(frames, step))
    if part is None:
        return None if box is None else np.ascontiguousarray(frames)
    mask = np.repeat(np.repeat(part, step, axis=0), step, axis=1)
    mask = np.pad(mask, [(0, max(0, n - m)) for n, m in zip(frames.shape[1:3], mask.shape, strict=True)], "edge")
    mask = mask[: frames.shape[1], : frames.shape[2]]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    shaped = mask[inside] if frames.ndim == 3 else mask[inside][..., None]
    return np.ascontiguousarray(frames[(slice(None), *inside)] * shaped.astype(frames.dtype))


def region_box(header: "Dataset") -> Box | None:
    """The box around a DICOM file's two-dimensional regions of tissue and flow; None where it names none."""
    try:
        boxes = [
            (
                max(0, int(region.RegionLocationMinY0)),
                max(0, int(region.RegionLocationMinX0)),
                min(int(header.Rows), int(region.RegionLocationMaxY1) + 1),
                min(int(header.Columns), int(region.RegionLocationMaxX1) + 1),
            )
            for region in header.get("SequenceOfUltrasoundRegions") or ()
            if int(region.RegionSpatialFormat) == 1 and int(region.RegionDataType) in (1, 2)
        ]
    except (AttributeError, TypeError, ValueError):
        return None
    least = LEAST * int(header.Rows) * int(header.Columns)
    boxes = [box for box in boxes if box[2] > box[0] and (box[2] - box[0]) * (box[3] - box[1]) > least]
    return _around(boxes) if boxes else None


def _around(boxes: Sequence[Box]) -> Box:
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def _small(frames: Array, step: int) -> Array:
    """Every ``step``-th pixel, the brightest channel, 0 to 255: int16 ``[T, h, w]``."""
    small = frames[:, ::step, ::step]
    small = small.max(axis=-1) if small.ndim == 4 else small
    return (small // 257 if small.dtype == np.uint16 else small).astype(np.int16)


def _sector(small: Array) -> Array | None:
    """Where the sector is, bool ``[h, w]``, convex."""
    from scipy import ndimage  # loads for longer than most files are read

    brightest = small.max(axis=0)
    low, high = ndimage.minimum_filter(brightest, WINDOW), ndimage.maximum_filter(brightest, WINDOW)
    apart = np.maximum(SPREAD, (high - low) * TONES)
    between = (brightest - low >= apart) & (high - brightest >= apart)
    speckle = ndimage.uniform_filter(between.astype(np.float32), WINDOW) > DENSE
    moved = ndimage.binary_opening(np.pad(brightest - small.min(axis=0) > DIFFERS, 4, "edge"))[4:-4, 4:-4]
    solid = np.pad(speckle | moved, 4, "edge")
    solid = ndimage.binary_opening(ndimage.binary_closing(solid, iterations=2), iterations=3)[4:-4, 4:-4]
    labels, parts = ndimage.label(solid)
    if not parts:
        return None
    alive = moved & solid if moved.mean() > LEAST else solid  # a still, or a clip of one
    scores = ndimage.sum_labels(alive, labels, np.arange(1, parts + 1))
    part = np.isin(labels, 1 + np.flatnonzero(scores >= TOGETHER * scores.max()))
    if part.mean() < LEAST:
        return None
    return _hull(ndimage.binary_dilation(part))


def _hull(part: Array) -> Array:
    """The convex hull of a mask: dark tissue at the edge of a sector is part of it."""
    from scipy.spatial import ConvexHull

    points = np.argwhere(part)
    corners = points[ConvexHull(points).vertices]
    canvas = Image.new("1", part.shape[::-1])
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for y, x in corners], fill=1, outline=1)
    return np.asarray(canvas, bool)
