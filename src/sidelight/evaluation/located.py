"""The masks or boxes of a cohort's task -> what is true of each unit, at the working size of the pixels.

A unit is one image, or of masks a series: slices of a volume, frames of a clip. A series has a mask of each frame that is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.annotations.annotations import Annotations, annotations_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import SIGNS, Target, Task
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.pixels.placement import Placement
from sidelight.data.read.spacing import Spacing, spacing_of
from sidelight.errors import DataError, ReadError
from sidelight.evaluation.truth import UNKNOWN, Truth

COLUMN = "located"
"""Of a table of units: what is true of each, :class:`Located`."""


@dataclass(frozen=True, eq=False)
class Located:
    """Of one unit, in pixels of the working size: masks uint8 [K, S, S], of a series [T, K, S, S], or boxes float32 [n, 4] and
    their classes int64 [n].

    :ivar sentences: of boxes the sentence of each, "" where none is known.
    :ivar inner: of boxes: y0, x0, y1, x1 of the image in its square.
    :ivar spacing: of masks: height and width of such a pixel in mm, where it is known of every unit.
    """

    masks: NDArray[np.uint8] | None = None
    boxes: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    inner: tuple[int, int, int, int] | None = None
    sentences: tuple[str, ...] = ()
    spacing: tuple[float, float] | None = None

    def holds(self, classes: int) -> tuple[int, ...]:
        """Whether each class is there, 1 or 0."""
        if self.masks is not None:
            there = (self.masks == 1).any(axis=(-2, -1)).reshape(-1, classes).any(axis=0)
            return tuple(int(one) for one in there)
        return tuple(int(bool(np.any(self.labels == place))) for place in range(classes))


def targets_of(task: Task) -> tuple[dict[str, tuple[str, ...]], tuple[Target, ...]]:
    """What is predicted: each class is there or not; one alone has no name."""
    assert task.localized
    several = len(task.classes) > 1
    heads = tuple(
        Target(name if several else task.name, SIGNS, SIGNS[1], kind=task.localized, phrases=task.phrases_of(name))
        for name in task.classes
    )
    return dict.fromkeys(task.classes if several else ("",), SIGNS), heads


def with_truth(cohort: Cohort, pixels: Pixels, task: Task, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The units of a task of masks or boxes with the column ``COLUMN``; without those whose masks cannot be read, which are
    counted.

    :param table: of :func:`sidelight.evaluation.labelled.unit_table`.
    :raises DataError: for boxes in units of several frames, and where no unit is left.
    """
    series = sum(pixels.frames_of(rows[0]) > 1 for rows in table["rows"])
    if series and task.localized == "boxes":
        raise DataError(
            f"{series} of {len(table)} units of {task.name} have several frames",
            expected="one image each: nothing says in which frame a box is",
            do="Let `files` name the slices or frames one by one",
        )
    annotations, found, faults = annotations_of(cohort, task), list[Located | None](), list[str]()
    for rows in table["rows"]:
        try:
            found.append(_located(cohort, annotations, pixels, rows[0]))
        except ReadError as error:
            found.append(None)
            faults.append(str(error))
    kept = np.array([one is not None for one in found])
    if not kept.any():
        raise DataError(f"No mask or box of {task.name} can be read; the first: {faults[0]}")
    first = f"the first: {faults[0]}" if cohort.spec.public and faults else "`sidelight check` names them"
    notes = [f"{len(faults)} units of {task.name} are left out; {first}"] if faults else []
    measured = sum(one is not None and one.spacing is not None for one in found)
    if 0 < measured < kept.sum():  # millimetres and pixels have no mean
        found = [None if one is None else replace(one, spacing=None) for one in found]
        notes.append(
            f"{task.name}: the size of a pixel is known of {measured} of {kept.sum()} units, so distances are in pixels of the "
            "working size"
        )
    elif measured:
        notes.append(f"{task.name}: distances are in mm")
    table = table.assign(**{COLUMN: pd.Series(found, table.index, dtype=object)})
    return table[kept].reset_index(drop=True), notes


def with_presence(table: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Units whose ``label`` says which of K classes they hold: 1 or 0, of several a tuple."""
    held = [one.holds(classes) for one in table[COLUMN]]
    return table.assign(label=pd.Series([own if classes > 1 else own[0] for own in held], table.index))


def truth_of(table: pd.DataFrame) -> Truth | None:
    """Of the units of a table, in its order; None where it is not of masks or boxes."""
    if COLUMN not in table:
        return None
    own: Sequence[Located] = table[COLUMN].tolist()
    if own and own[0].masks is not None:
        sizes = [one.spacing for one in own if one.spacing is not None]
        return Truth(masks=[one.masks for one in own if one.masks is not None], spacing=sizes or None)
    return Truth(
        boxes=[one.boxes for one in own if one.boxes is not None],
        labels=[one.labels for one in own if one.labels is not None],
        inner=[one.inner for one in own if one.inner is not None],
        sentences=[one.sentences for one in own],
    )


def _located(cohort: Cohort, annotations: Annotations, pixels: Pixels, row: int) -> Located:
    placement = annotations.placement(pixels, row)
    if annotations.task.localized == "mask":
        each = unknown_beside(annotations.masks_in(pixels, row).astype(np.uint8), placement)
        size, (down, across) = _spacing(cohort, int(pixels.index["position"].iloc[row])), placement.scale
        spacing = None if size is None else (size.row / down, size.column / across)
        return Located(masks=each if len(each) > 1 else each[0], spacing=spacing)
    found = annotations.boxes_in(pixels, row)
    (down, right), (height, width) = placement.offset, placement.inner
    corners = found.corners.clip(0, pixels.size)
    there = (corners[:, 2:] > corners[:, :2]).all(axis=1)  # what lies outside of the image is none
    inner = (down, right, down + height, right + width)
    said = tuple(found.sentences[at] for at in np.flatnonzero(there))
    return Located(boxes=corners[there].astype(np.float32), labels=found.label[there], inner=inner, sentences=said)


def _spacing(cohort: Cohort, position: int) -> Spacing | None:
    return None if cohort.phantom is not None else spacing_of(cohort.root, cohort.items["files"].iloc[position])


def unknown_beside(masks: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Masks [..., S, S] that say nothing where the square holds no image: beside one that keeps the ratio of its sides."""
    (down, right), (height, width) = placement.offset, placement.inner
    out = np.full_like(masks, UNKNOWN)
    inside = (..., slice(down, down + height), slice(right, right + width))
    out[inside] = masks[inside]
    return out
