"""What was drawn on one item: one small class per way of saying it, each gives planes of classes, a box, or both."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidelight.data.annotations.boxes import Four, corners, filled_box
from sidelight.data.annotations.polygons import filled, polygon, polygons_of
from sidelight.data.annotations.rle import mask_of, mask_of_counts
from sidelight.data.cohort.spec import BoxFormat, MaskFormat
from sidelight.data.read.container import split
from sidelight.data.read.formats import beside
from sidelight.errors import DataError, ReadError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Fault = Literal["size", "slices", "values", "broken"]


class Misdrawn(ReadError):
    """A mask or box that does not fit its item; ``fault`` is what `check` counts it under."""

    def __init__(self, fault: Fault, given: str, *, expected: str = "", do: str = "") -> None:
        super().__init__(given, expected=expected, do=do)
        self.fault = fault


class Shape(NamedTuple):
    """Of an item as its files have it, before anything is cut off: frames, rows, columns."""

    length: int
    height: int
    width: int


class Boxed(NamedTuple):
    """One box: its class, its corners in pixels of the item, and the sentence that it belongs to, "" where none is known."""

    label: int
    corners: Four
    sentence: str = ""


class Drawn(ABC):
    """One mask or box of one item."""

    @abstractmethod
    def planes(self, shape: Shape, frames: Ints) -> Iterator[tuple[int, Bools]]:
        """Classes and where they are in the asked frames: (label, bool [t, H, W]).

        :raises Misdrawn: where it does not fit the item.
        """

    def boxes(self, shape: Shape) -> list[Boxed]:
        """Its boxes; none of what only is a mask."""
        return []

    def read_from(self) -> tuple[str, ...]:
        """The mask files that it is read from, relative to the cohort's root."""
        return ()


class OfOneImage(Drawn):
    """A mask that is said of a still."""

    label: int

    @abstractmethod
    def plane(self, height: int, width: int) -> Bools:
        """Where it is, bool [height, width]; :raises DataError: where it cannot be."""

    def planes(self, shape: Shape, frames: Ints) -> Iterator[tuple[int, Bools]]:
        """As :meth:`Drawn.planes`."""
        if shape.length != 1:
            raise Misdrawn("slices", f"one mask for an item of {shape.length} frames", expected="a mask of each frame")
        try:
            plane = self.plane(shape.height, shape.width)
        except DataError as error:
            raise Misdrawn("broken", error.given, expected=error.expected, do=error.do) from None
        yield self.label, plane[None].repeat(len(frames), axis=0)


@dataclass(frozen=True)
class TextMask(OfOneImage):
    """A mask in a table's cell."""

    text: str
    form: MaskFormat
    label: int

    def plane(self, height: int, width: int) -> Bools:
        """Where it is, bool [height, width]."""
        if self.form == "polygon":
            return filled(polygons_of(self.text), height, width)
        return mask_of(self.text, self.form, height, width)


@dataclass(frozen=True)
class Polygons(OfOneImage):
    """Corners, ``x, y, x, y, ...`` of each part, in pixels or in shares of the sides."""

    parts: tuple[tuple[float, ...], ...]
    label: int
    relative: bool = False

    def plane(self, height: int, width: int) -> Bools:
        """Where it is, bool [height, width]."""
        scale = np.array([width, height]) if self.relative else np.ones(2)
        return filled([polygon(part) * scale for part in self.parts], height, width)


@dataclass(frozen=True)
class Counts(OfOneImage):
    """COCO's run lengths of an image of ``size`` (height, width)."""

    counts: str | tuple[int, ...]
    size: tuple[int, int]
    label: int

    def plane(self, height: int, width: int) -> Bools:
        """Where it is, bool [height, width]."""
        if self.size != (height, width):
            raise Misdrawn(
                "size",
                f"run lengths of a {self.size[1]} x {self.size[0]} image",
                expected=f"{width} x {height}, the size of its image",
            )
        if isinstance(self.counts, str):
            return mask_of(self.counts, "rle_coco", height, width)
        return mask_of_counts(self.counts, height, width)


@dataclass(frozen=True)
class Box(OfOneImage):
    """A box; as a mask it is filled."""

    numbers: Four
    form: BoxFormat
    label: int
    sentence: str = ""

    def boxes(self, shape: Shape) -> list[Boxed]:
        """As :meth:`Drawn.boxes`."""
        return [Boxed(self.label, corners(self.numbers, self.form, shape.height, shape.width), self.sentence)]

    def plane(self, height: int, width: int) -> Bools:
        """Where it is, bool [height, width]."""
        return filled_box(corners(self.numbers, self.form, height, width), height, width)


@dataclass(frozen=True, eq=False)
class Truth(Drawn):
    """What a phantom knows of its item ``position``: of each of ``classes`` its mask, or its boxes."""

    phantom: Any
    position: int
    classes: tuple[str, ...]

    def planes(self, shape: Shape, frames: Ints) -> Iterator[tuple[int, Bools]]:
        """As :meth:`Drawn.planes`."""
        for label, name in enumerate(self.classes):
            yield label, self.phantom.mask(self.position, name)[None].repeat(len(frames), axis=0)

    def boxes(self, shape: Shape) -> list[Boxed]:
        """As :meth:`Drawn.boxes`."""
        known = zip(self.phantom.boxes(self.position), self.phantom.findings[self.position], strict=True)
        return [
            Boxed(self.classes.index(kind), (x, y, x + w, y + h), found.sentence)
            for (kind, x, y, w, h), found in known
            if kind in self.classes
        ]


@dataclass(frozen=True)
class Drawings:
    """What is drawn on the items of a cohort for one task.

    :ivar of: by item; an empty tuple says that none of the classes is there, an item that is not named is not known.
    :ivar faulty: why what is said of an item cannot be used; such items are not known.
    :ivar strays: files, rows or images of what belongs to no item.
    :ivar partly: items that have masks of some classes only, and are left out for that.
    :ivar missing: items without any.
    :ivar unnamed: labels in names of files that the task does not name, and how many files have each.
    :ivar notes: the same in sentences that name nobody, for whoever learns from it.
    """

    of: Mapping[str, tuple[Drawn, ...]]
    faulty: Mapping[str, str] = field(default_factory=dict)
    strays: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unnamed: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def drawn_state(drawings: Drawings, root: Path) -> str:
    """16 hex digits of all that is drawn: which items are known, numbers and texts, and the sizes and times of the mask files
    below ``root`` and of the files beside them that hold their pixels.
    """
    total = hashlib.sha256()
    for item in sorted(drawings.of):
        total.update(repr((item, len(drawings.of[item]))).encode(errors="surrogateescape"))
        for part in drawings.of[item]:
            own = {name: value for name, value in vars(part).items() if name not in ("root", "phantom")}
            total.update(repr((item, type(part).__name__, own)).encode(errors="surrogateescape"))
            for name in part.read_from():
                path = root / split(name)[0]
                try:
                    for one in (path, *beside(path)):
                        stat = one.stat()
                        total.update(f"{stat.st_size} {stat.st_mtime_ns};".encode())
                except OSError:
                    total.update(b"gone;")
    return total.hexdigest()[:16]


def together(parts: Sequence[Drawn], classes: int, shape: Shape, frames: Ints) -> Bools:
    """All masks of an item, bool [t, classes, H, W]."""
    canvas = np.zeros((len(frames), classes, shape.height, shape.width), bool)
    for part in parts:
        for label, plane in part.planes(shape, frames):
            canvas[:, label] |= plane
    return canvas
