"""Where an image lies in its square at the working size, and how masks and boxes get there and back.

``squash`` fills the square, each side scaled by itself. ``pad`` scales the longer side to the square's and centres the other on
black. Coordinates count edges of pixels: (0, 0) is the corner of the first pixel, (width, height) that of the last.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit = Literal["squash", "pad"]
Array = NDArray[Any]
TIE = 1e-4  # what rounding takes from exactly half


@dataclass(frozen=True)
class Placement:
    """One image in its square.

    :ivar source: its rows and columns, after what is cut off its border.
    :ivar inner: rows and columns that it takes in the square.
    :ivar offset: the row and the column of the square at which it begins.
    :ivar size: side of the square in pixels.
    """

    source: tuple[int, int]
    inner: tuple[int, int]
    offset: tuple[int, int]
    size: int

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the square per pixel of the source: down and across."""
        return self.inner[0] / self.source[0], self.inner[1] / self.source[1]

    def boxes_in(self, boxes: Array) -> NDArray[np.float64]:
        """Corners ``x0, y0, x1, y1`` [..., 4] in pixels of the source -> in pixels of the square."""
        return np.asarray(boxes, np.float64) * self._factors() + self._shifts()

    def boxes_out(self, boxes: Array) -> NDArray[np.float64]:
        """Corners [..., 4] in pixels of the square -> in pixels of the source; :meth:`boxes_in` turned round."""
        return (np.asarray(boxes, np.float64) - self._shifts()) / self._factors()

    def masks_in(self, masks: Array) -> NDArray[np.bool_]:
        """Masks bool [..., H, W] of the source -> [..., size, size]: a pixel belongs where half of its area does."""
        down, right = self.offset
        out = np.zeros((*masks.shape[:-2], self.size, self.size), bool)
        out[..., down : down + self.inner[0], right : right + self.inner[1]] = resized(masks, self.inner)
        return out

    def masks_out(self, masks: Array) -> Array:
        """Masks [..., size, size] of the square -> [..., H, W] of the source.

        Booleans stay booleans, by area; numbers, such as probabilities, are interpolated: float32.
        """
        down, right = self.offset
        return resized(masks[..., down : down + self.inner[0], right : right + self.inner[1]], self.source)

    def _factors(self) -> Array:
        down, across = self.scale
        return np.array([across, down, across, down])

    def _shifts(self) -> Array:
        down, right = self.offset
        return np.array([right, down, right, down], np.float64)


def placed(height: int, width: int, size: int, fit: Fit = "squash") -> Placement:
    """The placement of an image of ``height`` x ``width`` pixels in a square of ``size``."""
    if fit == "squash":
        return Placement((height, width), (size, size), (0, 0), size)
    longer = max(height, width)
    inner = max(1, round(height * size / longer)), max(1, round(width * size / longer))
    return Placement((height, width), inner, ((size - inner[0]) // 2, (size - inner[1]) // 2), size)


def resized(masks: Array, shape: tuple[int, int]) -> Array:
    """Masks at another size: booleans by area, at least half; numbers by bilinear interpolation."""
    if masks.shape[-2:] == shape:
        return masks
    if masks.dtype == bool:
        return np.asarray(_averaged(_averaged(masks, shape[0], -2), shape[1], -1) >= 0.5 - TIE)
    flat = masks.reshape(-1, *masks.shape[-2:])
    pages = [Image.fromarray(page.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR) for page in flat]
    out = np.stack([np.asarray(page) for page in pages]) if pages else np.zeros((0, *shape), np.float32)
    return out.reshape(*masks.shape[:-2], *shape)


def _averaged(values: Array, target: int, axis: int) -> Array:
    """Averages over ``target`` equal parts of an axis, float32; of parts smaller than pixels, what lies in their middle."""
    source = values.shape[axis]
    if target >= source:
        middles = (np.arange(target) + 0.5) * source / target
        return np.asarray(values.take(middles.astype(np.int64), axis))
    edges = np.linspace(0, source, target + 1)
    below = np.minimum(edges.astype(np.int64), source - 1)
    upto = np.cumsum(values, axis, np.float32)
    before = upto.take(below, axis) - values.take(below, axis)  # what ends where the pixel of an edge begins
    within = (
        np.expand_dims((edges - below).astype(np.float32), axis=-1)
        if axis == -2
        else (edges - below).astype(np.float32)
    )
    sums = np.diff(before + within * values.take(below, axis), axis=axis)
    return np.asarray(sums * np.float32(target / source))
