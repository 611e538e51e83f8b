"""Corners of polygons -> a mask: a pixel belongs to it where its centre lies inside.

The centre of the pixel in column 0 and row 0 is (0.5, 0.5), so that a square from (0, 0) to (2, 2) covers four pixels. Where a
polygon crosses itself, what is enclosed twice is outside (even-odd). pycocotools moves edges by up to half a pixel.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidelight.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
MOST_CORNERS = 100_000
OUTSIDE = 2.0
"""Pixels that a corner may lie outside the image: hands and rounding do that."""


def polygon(numbers: Sequence[float]) -> Floats:
    """``x, y, x, y, ...`` -> corners, float64 [K, 2]; :raises DataError: for fewer than three, or what is no number."""
    if len(numbers) < 6 or len(numbers) % 2 or len(numbers) > 2 * MOST_CORNERS:
        raise DataError(f"a polygon of {len(numbers)} numbers", expected="x and y of at least three corners")
    try:
        corners = np.array(numbers, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise DataError("a polygon holds something else than numbers") from None
    if not np.isfinite(corners).all():
        raise DataError("a polygon has a corner that is no finite number")
    return corners


def polygons_of(text: str) -> list[Floats]:
    """``"x y x y ...; x y ..."``: the polygons of one cell, parted by semicolons, numbers by blanks or commas."""
    parts = [part for part in text.split(";") if part.strip()]
    return [polygon([_number(word) for word in re.split(r"[\s,]+", part.strip())]) for part in parts]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise DataError("a polygon holds something else than numbers", do="Check `mask_format`") from None


def filled(polygons: Sequence[Floats], height: int, width: int) -> Bools:
    """What any of the polygons covers, bool [height, width].

    :raises DataError: where a corner lies outside the image.
    """
    covered = np.zeros((height, width), bool)
    for corners in polygons:
        low, high = corners.min(axis=0), corners.max(axis=0)
        if min(low) < -OUTSIDE or high[0] > width + OUTSIDE or high[1] > height + OUTSIDE:
            raise DataError(
                f"a polygon from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g})",
                expected=f"corners inside its {width} x {height} image",
            )
        covered |= _inside(corners, height, width)
    return covered


def _inside(corners: Floats, height: int, width: int) -> Bools:
    """Each edge turns over the pixels to the right of where it crosses a row's middle; odd ones are inside."""
    turns = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(0, math.ceil(y0 - 0.5)), min(height, math.ceil(y1 - 0.5)))  # of centres in [y0, y1)
        crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        np.add.at(turns, (rows, columns), 1)
    inside: Bools = np.cumsum(turns, axis=1)[:, :width] % 2 == 1
    return inside
