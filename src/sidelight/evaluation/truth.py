"""Where things are in the images of units: masks and boxes, beside what a head reads of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 255
"""In a mask: nobody said what this pixel is."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotations of N units at the working size S of the pixels.

    :ivar masks: for each unit uint8 [K, S, S] of K classes, of a series [T, K, S, S]: 0, 1 or :data:`UNKNOWN`; None where no
        masks are asked for.
    :ivar boxes: for each unit float32 [n, 4], x1, y1, x2, y2 in pixels of the working size; None where none are asked for.
    :ivar labels: for each unit int64 [n], which of the K targets each box is of.
    :ivar sentences: for each unit the sentence of each box, "" where none is known; None beside masks.
    :ivar inner: for each unit y0, x0, y1, x1 of its image in the square; None: it fills it.
    :ivar spacing: for each unit float [2], height and width in mm of a pixel of the working size; None where it is not known.
    """

    masks: Sequence[NDArray[np.uint8]] | None = None
    boxes: Sequence[NDArray[np.float32]] | None = None
    labels: Sequence[NDArray[np.int64]] | None = None
    spacing: Sequence[tuple[float, float]] | None = None
    inner: Sequence[tuple[int, int, int, int]] | None = None
    sentences: Sequence[tuple[str, ...]] | None = None

    def by_frame(self, frames: Sequence[int]) -> "Truth":
        """Of each frame of units that have so many: a unit of one frame stays as it is.

        :raises ValueError: for boxes of a series, of which nobody says in which frame they are.
        """
        if self.boxes is not None and max(frames, default=1) > 1:
            raise ValueError("boxes of a series")
        masks = self.masks
        if masks is not None:
            masks = [one for own, count in zip(masks, frames, strict=True) for one in (own if count > 1 else [own])]
        size = self.spacing
        if size is not None:
            size = [own for own, count in zip(size, frames, strict=True) for _ in range(count)]
        return Truth(masks, self.boxes, self.labels, size)

    def take(self, places: NDArray[np.int64]) -> "Truth":
        """Of the units at these places."""
        return self._each(lambda own: [own[place] for place in places])

    def joined(self, other: "Truth") -> "Truth":
        """Of these units and then those of ``other``; what either lacks both lack."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__}
        return Truth(**{name: None if None in (a, b) else [*a, *b] for name, (a, b) in pairs.items()})

    def filled(self, classes: int, side: int) -> "Truth":
        """Boxes as masks of their area, of ``classes`` targets at the working size ``side``: a pixel belongs where its centre
        does, what lies beside an image is unknown. Masks stay as they are.
        """
        if self.masks is not None:
            return self
        centres, masks = np.arange(side) + 0.5, []
        for at, (boxes, labels) in enumerate(zip(self.boxes or (), self.labels or (), strict=True)):
            own = np.zeros((classes, side, side), np.uint8)
            for (x0, y0, x1, y1), label in zip(boxes, labels, strict=True):
                down, across = (centres >= y0) & (centres < y1), (centres >= x0) & (centres < x1)
                own[label][np.ix_(down, across)] = 1
            if self.inner is not None:
                top, left, bottom, right = self.inner[at]
                beside = np.ones((side, side), bool)
                beside[top:bottom, left:right] = False
                own[:, beside] = UNKNOWN
            masks.append(own)
        return Truth(masks, spacing=self.spacing)

    def _each(self, change: Callable[[Sequence[Any]], list[Any]]) -> "Truth":
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Truth(**{name: None if part is None else change(part) for name, part in own.items()})


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a head finds in one picture, at the working size S of the pixels.

    :ivar masks: probabilities float32 [K, S, S]; None of a head that finds boxes alone.
    :ivar boxes: float64 [n, 4], x1, y1, x2, y2; ``scores`` float64 [n]; ``labels`` int64 [n], which of the K targets each is of.
    """

    masks: NDArray[np.float32] | None = None
    boxes: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
