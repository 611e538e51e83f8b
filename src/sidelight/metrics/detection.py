"""Average precision and FROC of rows of boxes (:mod:`sidelight.metrics.boxes`), for many resamples at once. Pure numpy.

Detections that match nothing only add false positives to those which follow. So sums are taken at the scores of matches alone,
as products of a sparse matrix (matches x units) with the weights (units x resamples): a thousand resamples of a thousand images
take seconds. Detections of equal score count together, so that no order of units can change a value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse import csr_array

from sidelight.metrics.arrays import as_rows, ratio, shaped
from sidelight.metrics.bands import Values
from sidelight.metrics.boxes import COCO, COCO_BITS, HITS, RSNA, RSNA_BITS, SCORE, WIDTH
from sidelight.metrics.metric import Array, Floats, Metric

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which precision is read."""
RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per image at which sensitivity is read."""
CELLS = 4_000_000


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of N units by falling score: ``unit`` int [D], ``numbers`` float [D, 4]; ``true`` [N] counts true boxes."""

    true: Floats
    unit: Array
    numbers: Floats

    @classmethod
    def of(cls, rows: Array) -> "Detections":
        """Those of rows [N, 1 + 4 D]."""
        table = np.asarray(rows, np.float64)
        each = table[:, 1:].reshape(len(table), -1, WIDTH)
        unit, place = np.nonzero(~np.isnan(each[:, :, SCORE]))
        numbers = each[unit, place]
        order = np.argsort(-numbers[:, SCORE], kind="stable")
        return cls(table[:, 0], unit[order], numbers[order])

    def sums(self, good: Array, bad: Array, weights: Floats) -> tuple[Floats, Floats]:
        """``good`` and ``bad`` [D] summed over all detections that score at least as high as one with good > 0, [K, R] each.

        :param weights: [R, N]; K is how many different scores such detections have.
        """
        scores = self.numbers[:, SCORE]
        steps = -np.unique(-scores[good > 0])
        level = np.searchsorted(-steps, -scores)  # how many steps lie above, so the step that first counts it
        shape, kept = (len(steps), len(self.true)), level < len(steps)
        level, unit = level[kept], self.unit[kept]
        turned = np.ascontiguousarray(weights.T)
        one, other = (np.cumsum(csr_array((part[kept], (level, unit)), shape) @ turned, 0) for part in (good, bad))
        return one, other


def mean_precision(
    labels: Array | None, rows: Array, weights: Floats | None = None, *, column: int, thresholds: int, first: int = 0
) -> object:
    """Average precision at 101 recalls, the mean over overlaps; NaN where there is no true box.

    The precision at a recall is the highest that is reached there or beyond it (COCO's interpolation).

    :param labels: not read. ``rows`` [N, 1 + 4 D], ``weights`` [N] or [R, N].
    :param column: which bits of a detection are read, and of them ``thresholds``, from the number ``first`` on.
    """
    found, table = Detections.of(rows), as_rows(weights, len(rows))
    bits = found.numbers[:, column].astype(np.int64)
    parts = []
    for some in _chunks(table, len(found.unit)):
        total = some @ found.true
        each = [_average_precision(found, bits >> at & 1, some, total) for at in range(first, first + thresholds)]
        parts.append(np.mean(each, axis=0))
    return shaped(np.concatenate(parts), weights)


def _average_precision(found: Detections, hit: Array, weights: Floats, total: Floats) -> Floats:
    right, wrong = found.sums(hit.astype(np.float64), 1.0 - hit, weights)
    if not len(right):
        return np.where(total > 0, 0.0, np.nan)
    precision = ratio(right, right + wrong, 0.0)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = np.searchsorted(RECALLS, ratio(right, np.broadcast_to(total, right.shape), 0.0), side="right")
    steps = np.diff(reached, axis=0, prepend=0)
    return np.where(total > 0, (envelope * steps).sum(axis=0) / len(RECALLS), np.nan)


def best_f1_score(rows: Array) -> float:
    """The score from which detections have the highest F1 = 2 TP / (detections + true boxes) at an overlap of 0.5 (COCO's rule).

    Equal scores count together; of several the highest score. 0.5 where no detection is a match.

    :param rows: [N, 1 + 4 D].

    Scores 0.9 and 0.7 match, 0.8 does not, and a third true box is missed: F1 is 2/4, 2/5 and 4/6.

    >>> best_f1_score(np.array([[3, 0.9, 0, 1, 1, 0.8, 0, 0, -1, 0.7, 0, 1, 1]]))
    0.7
    """
    found = Detections.of(rows)
    scores, hit = found.numbers[:, SCORE], found.numbers[:, COCO_BITS].astype(np.int64) & 1
    if not hit.any():
        return 0.5
    last = np.append(scores[1:] != scores[:-1], True)
    f1 = (2 * np.cumsum(hit) / (np.arange(1, len(scores) + 1) + found.true.sum()))[last]
    return float(scores[last][int(f1.argmax())])


def sensitivity(
    labels: Array | None, rows: Array, weights: Floats | None = None, *, rates: tuple[float, ...]
) -> object:
    """Share of the true boxes that are hit by the centre of a detection, the mean over false positives per image.

    At each rate the lowest score is taken whose detections, all together, are no more false positives than that.
    """
    found, table = Detections.of(rows), as_rows(weights, len(rows))
    hits, parts = found.numbers[:, HITS], []
    for some in _chunks(table, len(found.unit)):
        right, wrong = found.sums(np.maximum(hits, 0), (hits < 0).astype(np.float64), some)
        false, total = wrong / some.sum(axis=1), some @ found.true
        reached = np.concatenate([np.zeros((1, len(some))), right])
        each = [reached[(false <= rate).sum(axis=0), np.arange(len(some))] for rate in rates]
        parts.append(ratio(np.mean(each, axis=0), total, np.nan))
    return shaped(np.concatenate(parts), weights)


def precisions(scores: Array, index: Array, recalls: Floats) -> Values:
    """The precision at IoU 0.50 at the highest score that reaches each of M recalls, the mean over seeds; 0 where none does.

    Not the highest precision there or beyond, as average precision takes it: of few images that is too high, and bands
    around it hold the truth too seldom.

    :param scores: rows [S, N, 1 + 4 D]; ``index`` the group of each unit [N].
    :return: a function of group weights [R, G], as :mod:`sidelight.metrics.bands` reads it: [R, M].
    """
    each = [Detections.of(seed) for seed in scores]

    def values(weights: Floats) -> Floats:
        parts = [
            np.mean([_precisions(found, some, recalls) for found in each], axis=0)
            for some in _chunks(weights[:, index], max(len(found.unit) for found in each))
        ]
        return np.concatenate(parts)

    return values


def _precisions(found: Detections, weights: Floats, recalls: Floats) -> Floats:
    hit = found.numbers[:, COCO_BITS].astype(np.int64) & 1
    right, wrong = found.sums(hit.astype(np.float64), 1.0 - hit, weights)
    total = weights @ found.true
    precision = np.concatenate([ratio(right, right + wrong, 0.0), np.zeros((1, len(weights)))])
    reached = ratio(right, np.broadcast_to(total, right.shape), 0.0)
    wanted = np.maximum(recalls - 1e-12, 1e-12)  # recall 0 is the first hit of a unit that counts
    at = (reached[:, :, None] < wanted).sum(axis=0)
    return np.where(total[:, None] > 0, np.take_along_axis(precision.T, at, axis=1), np.nan)


def at_rate(rows: Array, rate: float = 1.0) -> tuple[Floats, Floats]:
    """Of each unit the true boxes that are hit, and the detections that hit none, both [N], at the lowest score whose
    detections, all together, are no more than ``rate`` false positives per image."""
    found = Detections.of(rows)
    hits, scores, count = found.numbers[:, HITS], found.numbers[:, SCORE], len(rows)
    _, false = found.sums(np.maximum(hits, 0), (hits < 0).astype(np.float64), np.ones((1, count)))
    allowed = int((false[:, 0] / count <= rate).sum())
    steps = -np.unique(-scores[hits > 0])
    kept = scores >= (steps[allowed - 1] if allowed else np.inf)
    unit, each = found.unit[kept], (np.maximum(hits[kept], 0), hits[kept] < 0)
    right, wrong = (np.bincount(unit, own.astype(np.float64), count).astype(np.float64) for own in each)
    return right, wrong


def published_froc(labels: Array | None, rows: Array, weights: Floats | None = None) -> object:
    """The mean sensitivity over :data:`RATES` as the code of Object-CXR and of LoVT has it.

    By falling score, a detection after which the false positives per image reach the next rate records the sensitivity, one rate
    each; rates that are never reached repeat the last that was recorded, or the final one where none was. Without true boxes: 1.
    """
    found, table = Detections.of(rows), as_rows(weights, len(rows))
    hits, parts = found.numbers[:, HITS], []
    for some in _chunks(table, len(found.unit) * len(RATES)):
        each = some[:, found.unit]
        false = np.cumsum(each * (hits < 0), axis=1) / some.sum(axis=1)[:, None]
        right, total = np.cumsum(each * np.maximum(hits, 0), axis=1), some @ found.true
        parts.append([_recorded(*one) for one in zip(false, right, total, each > 0, strict=True)])
    return shaped(np.concatenate(parts), weights)


def _recorded(false: Floats, right: Floats, total: float, drawn: Array) -> float:
    if total == 0:
        return 1.0
    false, right, recorded, after = false[drawn], right[drawn], list[float](), 0
    for rate in RATES:
        at = max(after, int(np.searchsorted(false, rate)))
        if at >= len(false):
            break
        recorded.append(float(right[at] / total))
        after = at + 1
    if not recorded:
        return float(right[-1] / total) if len(right) else 0.0
    return float(np.mean(recorded + recorded[-1:] * (len(RATES) - len(recorded))))


def _chunks(table: Floats, columns: int) -> Iterator[Floats]:
    step = max(1, CELLS // max(columns, 1))
    return (table[start : start + step] for start in range(0, len(table), step))


def _true(rows: Array) -> Floats:
    mass: Floats = rows[:, 0]
    return mass


MAP = Metric(
    "map", partial(mean_precision, column=RSNA_BITS, thresholds=len(RSNA)), "mAP (IoU 0.40 to 0.75)", where=("boxes",),
    localized=True, compared=True, per_label=True, mass=_true,
)  # fmt: skip
COCO_AP = Metric(
    "coco ap", partial(mean_precision, column=COCO_BITS, thresholds=len(COCO)), "AP (IoU 0.50 to 0.95)", where=("boxes",),
    localized=True, compared=True, mass=_true,
)  # fmt: skip
AP50 = Metric(
    "ap50", partial(mean_precision, column=COCO_BITS, thresholds=1), "AP (IoU 0.50)", where=("boxes",), localized=True,
    mass=_true,
)  # fmt: skip
FROC = Metric(
    "froc",
    partial(sensitivity, rates=RATES),
    "FROC (mean sensitivity)",
    where=("boxes",),
    localized=True,
    compared=True,
    mass=_true,
)
SENSITIVITIES = tuple(
    Metric(
        f"sensitivity at {rate:g} false positives", partial(sensitivity, rates=(rate,)),
        f"sensitivity at {rate:g} false positives per image", where=("boxes",), localized=True, mass=_true,
    )
    for rate in RATES
)  # fmt: skip
PUBLISHED_FROC = Metric(
    "froc, published", published_froc, "FROC, as published", localized=True,
    no_interval="no interval: a published recipe, in which the last recorded sensitivity stands for those never reached",
)  # fmt: skip
