"""What a model of masks or boxes says of itself, and what it finds in new units, in the pixels of their sources."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from scipy.ndimage import label

from sidelight.data.cohort.task import Task
from sidelight.data.pixels.cache import Pixels
from sidelight.data.pixels.placement import Fit, Placement
from sidelight.data.read.spacing import Spacing
from sidelight.errors import RunError
from sidelight.evaluation.outcomes import BOXES
from sidelight.evaluation.protocols.base import Finder, Head
from sidelight.evaluation.protocols.localized.pictures import pictures
from sidelight.evaluation.truth import Predicted
from sidelight.evaluation.units import Units
from sidelight.metrics.detection import best_f1_score

Bools = NDArray[np.bool_]
MM3 = 1000.0
"""In a ml."""


@dataclass(frozen=True)
class Where:
    """What a model finds and how it sees.

    :ivar classes: of each target in order, by name.
    :ivar size: side of the square, in pixels, in which it finds them; ``fit`` how an image fills it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: Literal["mask", "boxes"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    size: Annotated[int, Field(ge=1)]
    fit: Fit

    @classmethod
    def of(cls, head: Head, task: Task, pixels: Pixels) -> "Where | None":
        """Of a head that says where; None of one of classes."""
        return cls(head.finds, task.classes, pixels.size, pixels.fit) if isinstance(head, Finder) else None

    @property
    def noun(self) -> str:
        """``masks`` or ``boxes``."""
        return "masks" if self.kind == "mask" else "boxes"


def threshold_of_boxes(unseen: pd.DataFrame) -> float:
    """From which score a box counts: the one with the highest F1 over the units that their head had not seen, a box being found
    where half of it is met (IoU 0.5).

    :param unseen: rows of scores of one target.
    """
    rows = BOXES.of(unseen)
    return best_f1_score(BOXES.read(rows, None)) if len(rows) else 0.5


@dataclass(frozen=True, eq=False)
class Found:
    """What is found in one unit of T frames, in pixels of its source of H x W.

    :ivar masks: bool [T, K, H, W]; None of boxes alone.
    :ivar boxes: of each frame float64 [n, 4], x1, y1, x2, y2, with ``scores`` float64 [n] and ``labels`` int64 [n], those that
        count; empty of masks alone. ``surest`` float64 [K] the highest score of any box, 0 where there is none.
    """

    shape: tuple[int, int, int]
    masks: Bools | None = None
    boxes: Sequence[NDArray[np.float64]] = ()
    scores: Sequence[NDArray[np.float64]] = ()
    labels: Sequence[NDArray[np.int64]] = ()
    surest: NDArray[np.float64] | None = None


def found_in(head: Finder, units: Units, thresholds: Sequence[float], border: int = 0) -> Iterator[Found]:
    """What is found in each unit, in their order.

    :param thresholds: of each target; ``border``: pixels that are cut off every side before an image is read.
    :raises RunError: where a number is not finite: nothing follows from it.
    """
    each = head.predicted(units)
    frames = np.bincount(pictures(units)[1], minlength=len(units.items))
    for own, count in zip(units.items, frames.tolist(), strict=True):
        placement = units.pixels.placement(own[0])
        yield _found([next(each) for _ in range(count)], placement, np.asarray(thresholds), border)


def _found(each: list[Predicted], placement: Placement, thresholds: NDArray[np.float64], border: int) -> Found:
    for one in each:
        if any(part is not None and not np.isfinite(part).all() for part in (one.masks, one.boxes, one.scores)):
            raise RunError(
                "The model gives a unit a probability or a box that is not finite",
                expected="numbers: nothing is predicted",
                do="Make the model again with evaluate",
            )
    height, width = (side + 2 * border for side in placement.source)
    found = Found((len(each), height, width))
    if each[0].masks is not None:
        masks = np.zeros((len(each), len(thresholds), height, width), bool)
        inside = masks[..., border : height - border, border : width - border]
        for frame, one in zip(inside, each, strict=True):
            assert one.masks is not None
            frame[:] = placement.masks_out(one.masks) >= thresholds[:, None, None]
        found = replace(found, masks=masks)
        thresholds = np.zeros(len(thresholds))  # they are of pixels; the head gives the boxes that count
    return found if each[0].boxes is None else _boxed(found, each, placement, thresholds, border)


def _boxed(
    found: Found, each: list[Predicted], placement: Placement, thresholds: NDArray[np.float64], border: int
) -> Found:
    """``found`` with the boxes of its frames that reach the thresholds."""
    boxes, scores, labels, surest = [], [], [], np.zeros(len(thresholds))
    _, height, width = found.shape
    limit = np.array([width, height, width, height]) - border
    for one in each:
        assert one.boxes is not None and one.scores is not None and one.labels is not None
        np.maximum.at(surest, one.labels, one.scores)
        corners = (placement.boxes_out(one.boxes) + border).clip(border, limit)
        counts = (one.scores >= thresholds[one.labels]) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
        boxes.append(corners[counts])
        scores.append(one.scores[counts])
        labels.append(one.labels[counts])
    return replace(found, boxes=boxes, scores=scores, labels=labels, surest=surest)


def measures(found: Found, names: Sequence[str], spacing: Spacing | None) -> Mapping[str, float | int]:
    """Of each target what a table says of a unit.

    Of masks ``pixels``; ``count``, the connected parts, of a series through its frames (pixels that touch at a corner belong
    together); ``mm2`` of one image whose pixels have a known size, ``ml`` of slices whose distance is known too. Of boxes
    ``count`` and ``score``, the highest of any box, also of one that does not count.

    :param names: of the targets; "" for one without a name.
    """
    row: dict[str, float | int] = {}
    frames = found.shape[0]
    for k, name in enumerate(names):
        of = f":{name}" if name else ""
        if found.masks is None:
            assert found.surest is not None
            row[f"count{of}"] = int(sum((own == k).sum() for own in found.labels))
            row[f"score{of}"] = float(found.surest[k])
            continue
        own = found.masks[:, k]
        pixels = int(own.sum())
        row[f"pixels{of}"] = pixels
        if spacing is not None and frames == 1:
            row[f"mm2{of}"] = pixels * spacing.row * spacing.column
        if spacing is not None and spacing.between is not None and frames > 1:
            row[f"ml{of}"] = pixels * spacing.row * spacing.column * spacing.between / MM3
        row[f"count{of}"] = int(label(own, structure=np.ones((3, 3, 3)))[1])
    return row
