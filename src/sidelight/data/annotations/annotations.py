"""The noun: what is drawn on the items of a cohort for one task, read when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sidelight.data.annotations.drawn import Bools, Drawings, Drawn, Misdrawn, Shape, together
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Task
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.pixels.placement import Placement
from sidelight.errors import ConfigError, ReadError

MOST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one image.

    :ivar corners: float64 [N, 4], ``x0, y0, x1, y1`` in pixels; (0, 0) is the corner of the image.
    :ivar label: int64 [N], places among the task's classes.
    :ivar sentences: of each box the sentence that it belongs to, "" where none is known.
    """

    corners: NDArray[np.float64]
    label: NDArray[np.int64]
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Annotations:
    """What :func:`annotations_of` returns. Items are positions in ``cohort.items``, or rows of a pixel cache.

    :ivar task: with ``kind`` "mask" or "boxes" and the classes in order.
    """

    cohort: Cohort
    task: Task
    drawings: Drawings

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of planes and labels."""
        return self.task.classes

    @property
    def positions(self) -> list[int]:
        """The items of which it is known what is drawn, perhaps nothing, in the order of the cohort."""
        return [place for place, item in enumerate(self.cohort.items["item"]) if item in self.drawings.of]

    def shape(self, position: int) -> Shape:
        """Frames, rows and columns of an item without its border; decodes one frame.

        :raises ReadError: where the item cannot be read.
        """
        clip = self.cohort.read(position, max_frames=1)
        return Shape(clip.length, *clip.source_size)

    def masks(self, position: int, frames: Sequence[int] | None = None, *, shape: Shape | None = None) -> Bools:
        """Where the classes are in an item, bool [T, classes, H, W]; a still has T = 1.

        :param frames: numbers of its frames; all without.
        :param shape: of the item, where it is known already; see :meth:`shape`.
        :raises ReadError: for an item that is not known, and :class:`Misdrawn` where a mask does not fit it.
        """
        shape = shape or self.shape(position)
        chosen = np.arange(shape.length) if frames is None else np.asarray(frames, np.int64)
        border = self._border()
        whole = Shape(shape.length, shape.height + 2 * border, shape.width + 2 * border)
        bytes_needed = len(chosen) * len(self.classes) * whole.height * whole.width
        if bytes_needed > MOST_BYTES:
            raise Misdrawn(
                "broken",
                f"masks of {bytes_needed:,} bytes, more than the limit of {MOST_BYTES:,}",
                do="Ask for fewer frames",
            )
        planes = together(self._parts(position), len(self.classes), whole, chosen)
        return planes[..., border : whole.height - border, border : whole.width - border]

    def boxes(self, position: int, *, shape: Shape | None = None) -> Boxes:
        """The boxes of an item as they are written, those beyond its edges too.

        :raises ReadError: for an item that is not known.
        """
        shape, border = shape or self.shape(position), self._border()
        whole = Shape(shape.length, shape.height + 2 * border, shape.width + 2 * border)
        found = [one for part in self._parts(position) for one in part.boxes(whole)]
        corners = np.array([one.corners for one in found], np.float64).reshape(-1, 4) - border
        return Boxes(corners, np.array([one.label for one in found], np.int64), tuple(one.sentence for one in found))

    def placement(self, pixels: Pixels, row: int) -> Placement:
        """Where the item in ``row`` of the cache lies in its square."""
        return pixels.placement(row, self.shape_of(pixels, row)[1:])

    def masks_in(self, pixels: Pixels, row: int, at: Sequence[int] | None = None) -> Bools:
        """The masks of cached frames at the working size, bool [t, classes, S, S], as ``pixels.read(row, at)`` shows them.

        :param at: places among the cached frames; all without.
        :raises ReadError: as :meth:`masks`.
        """
        numbers = pixels.numbers(row)
        frames = (numbers if at is None else numbers[np.asarray(at, np.int64)]).tolist()
        position, shape = int(pixels.index["position"].iloc[row]), self.shape_of(pixels, row)
        return self.placement(pixels, row).masks_in(self.masks(position, frames, shape=shape))

    def boxes_in(self, pixels: Pixels, row: int) -> Boxes:
        """The boxes of a cached item in pixels at the working size."""
        position, shape = int(pixels.index["position"].iloc[row]), self.shape_of(pixels, row)
        found = self.boxes(position, shape=shape)
        return replace(found, corners=self.placement(pixels, row).boxes_in(found.corners))

    def shape_of(self, pixels: Pixels, row: int) -> Shape:
        """As :meth:`shape` of a cached item, from the index where it says so."""
        index = pixels.index
        length, height, width = (int(index[name].iloc[row]) for name in ("length", "height", "width"))
        if not height:  # a cache from before sizes were written down
            return self.shape(int(index["position"].iloc[row]))
        return Shape(length, height, width)

    def _border(self) -> int:
        crop = self.cohort.spec.images.crop
        return crop if isinstance(crop, int) else 0

    def _item(self, position: int) -> str:
        return str(self.cohort.items["item"].iloc[position])

    def _parts(self, position: int) -> tuple[Drawn, ...]:
        item = self._item(position)
        if item not in self.drawings.of:
            raise ReadError(f"{item}: the task {self.task.name!r} does not know what is drawn on it")
        return self.drawings.of[item]


def annotations_of(cohort: Cohort, task: str | Task) -> Annotations:
    """The masks or boxes of a task.

    :raises ConfigError: for a task of classes, or one that the cohort has not.
    """
    chosen = cohort.task(task) if isinstance(task, str) else task
    if chosen.drawings is None:
        raise ConfigError(f"The task {chosen.name!r} asks for classes, not for masks or boxes")
    return Annotations(cohort, chosen, chosen.drawings)
