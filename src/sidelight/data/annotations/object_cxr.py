"""Object-CXR's cells: ``0 x0 y0 x1 y1`` is a rectangle, ``1 x0 y0 x1 y1`` an ellipse in it, ``2 x y x y x y ...`` a polygon.

Shapes are parted by semicolons; a blank cell says that there is none. All are in pixels, columns before rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidelight.data.annotations.boxes import Four, filled_box
from sidelight.data.annotations.drawn import Bools, Boxed, OfOneImage, Shape
from sidelight.data.annotations.polygons import filled, polygon
from sidelight.errors import DataError

RECTANGLE, ELLIPSE, POLYGON = "0", "1", "2"


def shapes(text: str) -> list[tuple[str, tuple[float, ...]]]:
    """Kind and numbers of each shape of a cell; :raises DataError: for what is none."""
    found = []
    for part in (part for part in text.split(";") if part.strip()):
        kind, *words = part.split()
        try:
            numbers = tuple(float(word) for word in words)
        except ValueError:
            numbers = ()
        fits = len(numbers) == 4 if kind in (RECTANGLE, ELLIPSE) else kind == POLYGON and len(numbers) >= 6
        if not fits or len(numbers) % 2 or not np.isfinite(numbers).all():
            raise DataError(
                "a shape that Object-CXR does not know", expected="0 or 1 and x0 y0 x1 y1, or 2 and corners"
            )
        found.append((kind, numbers))
    return found


@dataclass(frozen=True)
class ObjectCxr(OfOneImage):
    """The shapes of one cell."""

    text: str
    label: int

    def plane(self, height: int, width: int) -> Bools:
        """Where any of them is, bool [height, width]."""
        covered = np.zeros((height, width), bool)
        for kind, numbers in shapes(self.text):
            if kind == POLYGON:
                covered |= filled([polygon(numbers)], height, width)
            elif kind == ELLIPSE:
                covered |= _ellipse(_four(numbers), height, width)
            else:
                covered |= filled_box(_four(numbers), height, width)
        return covered

    def boxes(self, shape: Shape) -> list[Boxed]:
        """As :meth:`Drawn.boxes`: what encloses each shape."""
        return [Boxed(self.label, _around(numbers)) for _, numbers in shapes(self.text)]


def _four(numbers: tuple[float, ...]) -> Four:
    a, b, c, d = numbers
    return a, b, c, d


def _around(numbers: tuple[float, ...]) -> Four:
    across, down = numbers[::2], numbers[1::2]
    return min(across), min(down), max(across), max(down)


def _ellipse(box: Four, height: int, width: int) -> NDArray[np.bool_]:
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    across, down = max(box[2] - box[0], 1e-9) / 2, max(box[3] - box[1], 1e-9) / 2
    distance = ((columns - box[0]) / across - 1) ** 2 + ((rows - box[1]) / down - 1) ** 2
    return np.asarray(distance < 1)
