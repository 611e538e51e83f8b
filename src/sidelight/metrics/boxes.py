"""Boxes that were found against true ones: overlap, matches, hits, and the row that one unit contributes. Pure numpy.

A row is (number of true boxes, then for every detection its score and three whole numbers): the thresholds of the RSNA challenge
at which it is a match, one bit each; the same for COCO's; and the true boxes that its centre is the first to hit, -1 where it
hits none. Matches within a unit do not depend on other units, so rows can be resampled by patient.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidelight.metrics.metric import Array, Floats

RSNA = tuple(round(0.40 + 0.05 * step, 2) for step in range(8))
"""Overlaps of the RSNA pneumonia challenge, 0.40 to 0.75: a match lies strictly above."""
COCO = tuple(round(0.50 + 0.05 * step, 2) for step in range(10))
"""Overlaps of COCO, 0.50 to 0.95: a match reaches it."""
SCORE, RSNA_BITS, COCO_BITS, HITS = range(4)
WIDTH = 4
"""Numbers of one detection in a row."""


def box_iou(one: Array, other: Array, *, plus_one: bool = False) -> Floats:
    """Intersection over union [n, m] of boxes float [n, 4] and [m, 4], x1, y1, x2, y2.

    :param plus_one: corners are pixels that belong to the box, so that each is a pixel wider and higher, as in LoVT's evaluation.

    >>> box_iou(np.array([[0, 0, 9, 9]]), np.array([[5, 0, 14, 9]]), plus_one=True).item()
    0.3333333333333333
    """
    a, b = np.asarray(one, np.float64).reshape(-1, 1, 4), np.asarray(other, np.float64).reshape(1, -1, 4)
    extra = 1.0 if plus_one else 0.0
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + extra, 0, None)
    areas = [(box[..., 2:] - box[..., :2] + extra).prod(axis=-1) for box in (a, b)]
    common = sides.prod(axis=-1)
    union = areas[0] + areas[1] - common
    iou: Floats = np.divide(common, union, out=np.zeros(common.shape), where=union > 0)
    return iou


def matches(overlap: Floats, scores: Floats, thresholds: Sequence[float], *, strict: bool) -> NDArray[np.bool_]:
    """Which detections match a true box at each threshold, bool [n, T].

    By falling score each takes the true box that it overlaps most of those that are still free.

    :param overlap: float [n, m] of n detections and m true boxes.
    :param strict: the overlap must lie above a threshold; else it may be equal.
    """
    limits, count = np.asarray(thresholds), overlap.shape[1]
    found = np.zeros((len(overlap), len(limits)), bool)
    free = np.ones((len(limits), count), bool)
    if count == 0:
        return found
    every = np.arange(len(limits))
    for at in np.argsort(-scores, kind="stable"):
        reached = overlap[at] > limits[:, None] if strict else overlap[at] >= limits[:, None]
        best = np.where(free & reached, overlap[at], -1.0).argmax(axis=1)
        hit: Array = np.asarray(free & reached)[every, best]
        free[every[hit], best[hit]] = False
        found[at] = hit
    return found


def centre_hits(boxes: Floats, scores: Floats, truth: Floats) -> NDArray[np.int64]:
    """How many true boxes the centre of each detection is the first to lie in, by falling score; -1 where it lies in none.

    So a second detection within a box that was hit before is neither a hit nor a false positive (Object-CXR's rule).
    """
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    inside: Array = np.all((truth[None, :, :2] <= centres) & (centres <= truth[None, :, 2:]), axis=2)
    order = np.argsort(-scores, kind="stable")
    before = np.cumsum(inside[order], axis=0) - inside[order]
    hits = np.empty(len(boxes), np.int64)
    hits[order] = (inside[order] & (before == 0)).sum(axis=1)
    return np.where(inside.any(axis=1), hits, -1)


def box_row(boxes: Array, scores: Array, truth: Array, *, plus_one: bool = False) -> Floats:
    """What one unit contributes to one class, float64 [1 + 4 n], detections by falling score.

    :param boxes: float [n, 4], what was found, x1, y1, x2, y2; ``scores`` float [n]; ``truth`` float [m, 4].
    :param plus_one: as of :func:`box_iou`, for the overlaps of the RSNA challenge only.
    """
    found, true = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(truth, np.float64).reshape(-1, 4)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    found, sure = found[order], np.asarray(scores, np.float64)[order]
    rsna = matches(box_iou(found, true, plus_one=plus_one), sure, RSNA, strict=True)
    coco = matches(box_iou(found, true), sure, COCO, strict=False)
    bits = [each @ (1 << np.arange(each.shape[1])) for each in (rsna, coco)]
    each = np.stack([sure, *bits, centre_hits(found, sure, true)], axis=1)
    return np.concatenate([[float(len(true))], each.ravel()])


def stacked(rows: Sequence[Array], width: int | None = None) -> Floats:
    """Rows of any number of detections as one table [N, 1 + 4 D], NaN where a unit has fewer than D.

    :param width: its columns, where other units have more detections.
    """
    longest = width or max((len(row) for row in rows), default=1)
    table = np.full((len(rows), longest), np.nan)
    for place, row in zip(table, rows, strict=True):
        place[: len(row)] = row
    return table
