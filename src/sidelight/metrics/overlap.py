"""How well masks are met: areas and surfaces of a unit's mask of one class as a row, and metrics of such rows. Pure numpy.

A row is (pixels in both, pixels found, true pixels, HD95, surface Dice, diagonal): see :func:`mask_row`. Whatever resamples rows
can do so with these metrics, so that their intervals and differences are by patient.
"""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sidelight.metrics.arrays import as_rows, ratio, shaped
from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.surfaces import surface_measures

COLUMNS = ("intersection", "found", "true", "hd95", "surface_dice", "diagonal")
"""What a row of a mask holds."""
BOTH, FOUND, TRUE, HAUSDORFF, SURFACE, DIAGONAL = range(6)


def areas(found: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> NDArray[np.int64]:
    """Of each image the pixels that are found and true, found, and true, int64 [N, 3].

    :param found: bool [N, ...]; ``truth`` and ``known`` bool of the same shape; pixels that are not known count nowhere.
    :raises ValueError: for other shapes.
    """
    seen, there = np.asarray(found, bool), np.asarray(truth, bool)
    if seen.shape != there.shape:
        raise ValueError(f"found is {seen.shape} and truth {there.shape}")
    if known is not None:
        seen, there = seen & np.asarray(known, bool), there & np.asarray(known, bool)
    seen, there = seen.reshape(len(seen), -1), there.reshape(len(there), -1)
    return np.stack([(seen & there).sum(1), seen.sum(1), there.sum(1)], 1).astype(np.int64)


def mask_row(
    found: Array,
    truth: Array,
    known: Array | None = None,
    *,
    spacing: tuple[float, float] | None = None,
    tolerance: float = 2.0,
) -> Floats:
    """What one unit contributes to one class, float64 [6], in the order of :data:`COLUMNS`.

    :param found: bool [H, W]; ``truth`` the same; pixels where ``known`` is false count as background in both.
    :param spacing: height and width of a pixel in mm; None: distances are in pixels.
    :param tolerance: distance, in the same unit, within which a surface counts as met.
    """
    if known is not None:
        found, truth = found & known, truth & known
    measured = surface_measures(found, truth, spacing or (1.0, 1.0), tolerance)
    return np.array([*areas(found[None], truth[None])[0], *measured], np.float64)


def pooled_dice(labels: Array | None, rows: ArrayLike, weights: Floats | None = None) -> object:
    """2 both / (found + true) of the sums over units; 0 where nothing is there and nothing found.

    So one large lesion counts as much as many small ones, and an image without any only by what was wrongly found in it.

    :param labels: not read. ``rows`` [N, 3 or more], ``weights`` [N] or [R, N].

    >>> pooled_dice(None, [[1, 2, 1], [0, 0, 1]])
    0.5
    """
    table = np.asarray(rows, np.float64)[:, :3]
    both, found, true = np.moveaxis(as_rows(weights, len(table)) @ table, -1, 0)
    return shaped(ratio(2 * both, found + true, 0.0), weights)


def mean_dice(labels: Array | None, rows: ArrayLike, weights: Floats | None = None) -> object:
    """The mean Dice of the units that hold the class; NaN where none does."""
    table = np.asarray(rows, np.float64)
    each = ratio(2 * table[:, BOTH], table[:, FOUND] + table[:, TRUE], np.nan)
    return _mean(np.where(table[:, TRUE] > 0, each, np.nan), weights)


def mean_iou(labels: Array | None, rows: ArrayLike, weights: Floats | None = None) -> object:
    """The mean of both / (found or true) over the units that hold the class; NaN where none does."""
    table = np.asarray(rows, np.float64)
    each = ratio(table[:, BOTH], table[:, FOUND] + table[:, TRUE] - table[:, BOTH], np.nan)
    return _mean(np.where(table[:, TRUE] > 0, each, np.nan), weights)


def mean_column(labels: Array | None, rows: ArrayLike, weights: Floats | None = None, *, column: int) -> object:
    """The mean of one column over the units where it is a number; NaN where it never is."""
    return _mean(np.asarray(rows, np.float64)[:, column], weights)


def _mean(each: Floats, weights: Floats | None) -> object:
    known = ~np.isnan(each)
    table = as_rows(weights, len(each))[:, known]
    return shaped(ratio(table @ each[known], table.sum(axis=1), np.nan), weights)


def _pixels(rows: Array) -> Floats:
    mass: Floats = rows[:, FOUND] + rows[:, TRUE]
    return mass


POOLED_DICE = Metric(
    "dice", pooled_dice, "Dice, pooled", where=("mask",), localized=True, compared=True, per_label=True, mass=_pixels
)
MEAN_DICE = Metric(
    "dice by image", mean_dice, "Dice by image", where=("mask",), localized=True, compared=True, per_label=True
)
MEAN_IOU = Metric("iou by image", mean_iou, "IoU by image", where=("mask",), localized=True)
HD95 = Metric(
    "hd95", partial(mean_column, column=HAUSDORFF), "HD95", high=np.inf, higher_is_better=False, where=("mask",),
    localized=True, reach=DIAGONAL,
)  # fmt: skip
SURFACE_DICE = Metric(
    "surface dice", partial(mean_column, column=SURFACE), "surface Dice", where=("mask",), localized=True
)
