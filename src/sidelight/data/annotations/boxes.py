"""Boxes as tables and files write them -> corners ``x0, y0, x1, y1`` in pixels of the source image.

Corners are edges of pixels: a box of the whole image is 0, 0, width, height.
"""

import math
import re

import numpy as np
from numpy.typing import NDArray

from sidelight.data.cohort.spec import BoxFormat
from sidelight.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Four = tuple[float, float, float, float]


def numbers_of(cells: tuple[str, ...]) -> Four | None:
    """The four numbers of a box, from four cells or from one; None where all are blank.

    :raises DataError: where they are fewer, or no finite numbers.
    """
    words = re.split(r"[\s,;]+", cells[0].strip("[]() \t")) if len(cells) == 1 else [one.strip() for one in cells]
    if not any(words) or all(word.lower() in ("", "nan") for word in words):
        return None
    try:
        first, second, third, fourth = (float(word) for word in words)
    except ValueError:
        raise DataError(f"a box of {len(words)} cells that are not four numbers", expected="four numbers") from None
    if not all(map(math.isfinite, (first, second, third, fourth))):
        raise DataError("a box with a number that is not finite", expected="four numbers")
    return first, second, third, fourth


def corners(numbers: Four, form: BoxFormat, height: int, width: int) -> Four:
    """The box as ``x0, y0, x1, y1`` in pixels of a ``height`` x ``width`` image."""
    a, b, c, d = numbers
    if form.startswith("xywh"):
        c, d = a + c, b + d
    elif form.startswith("cxcywh"):
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (a * width, b * height, c * width, d * height) if form.endswith("_relative") else (a, b, c, d)


def filled_box(box: Four, height: int, width: int) -> Bools:
    """The pixels whose centres lie in a box, bool [height, width]."""
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    down, across = (rows >= box[1]) & (rows < box[3]), (columns >= box[0]) & (columns < box[2])
    return down[:, None] & across[None, :]
