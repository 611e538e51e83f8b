"""What a metric is: a pure function, and what tables, intervals and pages need to know of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Function = Callable[[Array, Array, Floats | None], Any]
Where = Literal["task", "labels", "two classes", "class", "calibration", "threshold", "mask", "boxes"]
"""Of what results give a metric:

- ``task``: every task; of a multi-label task each label, their mean, and all labels as one;
- ``labels``: the same of multi-label tasks alone;
- ``two classes``: tasks of two classes, at all labels;
- ``class``: each of three or more classes against the rest, at all labels;
- ``calibration``: probabilities at all labels, before and after calibration;
- ``threshold``: classes called at the threshold that other units chose;
- ``mask``, ``boxes``: tasks whose truth is a mask or boxes; see ``localized``.
"""


@dataclass(frozen=True)
class Metric:
    """One metric; called as its function is.

    :ivar name: in the column ``metric`` of a result; ``label``: what readers see, by default the name.
    :ivar function: ``(labels [N], scores [N, ...], weights) -> value``: a float for ``weights`` [N] or None, [R] for [R, N].
        A metric of rows without a class, for example pixels that a mask has found, does not read ``labels``.
    :ivar low, high: the range of its values; limits of an interval lie in it.
    :ivar high_of_many: the upper end for three or more classes, where that is another.
    :ivar ranks: it depends on the order of the scores only, so two encoders may score on different scales.
    :ivar higher_is_better: false of errors.
    :ivar by_class: it asks what happens within each class, so how many units a class has is given, not sampled.
    :ivar pooled: every unit counts alike, so its trials are all groups and not those of the rarest class.
    :ivar no_interval: why there is no interval; "" where there is one.
    :ivar where: of what results give it; () is only where it is asked for.
    :ivar compared: encoders are compared by it.
    :ivar per_label: cards, pages and the terminal give it of each label of a multi-label task.
    :ivar localized: a row is what a unit contributes to a mask or to boxes, read whole; an odd label says that the unit holds
        something, and only such units limit what can be known.
    :ivar mass: of rows [N, ...] how much each weighs in the value, [N], where that is not the same: one large lesion speaks
        louder in a pooled Dice than many small ones. None: all alike.
    :ivar reach: the column of a row that holds the largest value there can be, for a metric without a range of its own.
    :ivar column: the column that it reads, where only some protocols fill it; None: every row has what it reads.
    """

    name: str
    function: Function
    label: str = ""
    low: float = 0.0
    high: float = 1.0
    ranks: bool = False
    higher_is_better: bool = True
    by_class: bool = False
    pooled: bool = False
    no_interval: str = ""
    where: tuple[Where, ...] = ()
    compared: bool = False
    per_label: bool = False
    high_of_many: float | None = None
    localized: bool = False
    mass: Callable[[Array], Floats] | None = None
    reach: int | None = None
    column: int | None = None

    def __call__(self, labels: Array, scores: Array, weights: Floats | None = None) -> Any:
        """A float, or [R] for weights [R, N]."""
        return self.function(labels, scores, weights)

    def of(self, classes: int) -> "Metric":
        """Itself, with the range that it has for so many classes."""
        return self if self.high_of_many is None or classes < 3 else replace(self, high=self.high_of_many)

    def among(self, rows: Array) -> "Metric":
        """Itself, with the range that it has among rows [..., C]."""
        if self.reach is None:
            return self
        known = rows[..., self.reach][~np.isnan(rows[..., self.reach])]
        highest = float(known.max()) if len(known) else self.low
        return replace(self, high=highest if highest > self.low else self.low + 1)

    def measured(self, rows: Array) -> bool:
        """Whether any of the rows [..., C] has what it reads."""
        return self.column is None or not bool(np.isnan(rows[..., self.column]).all())

    def over(self, sizes: tuple[int, ...]) -> "Metric":
        """Its mean over targets, each with so many classes; see :class:`Macro`."""
        high = sum(self.of(size).high for size in sizes) / len(sizes)
        return replace(self, function=Macro(self.function, sizes, self.localized), high=high)

    def parts(self, labels: Array) -> list[Array]:
        """Rows, bool [N] each, that are ranked among themselves: those of each target."""
        macro = self.function
        return macro.parts(labels) if isinstance(macro, Macro) else [np.ones(len(labels), bool)]


@dataclass(frozen=True)
class Macro:
    """The mean of ``function`` over targets; called as it is, with one row per unit and target.

    So a resample of groups is the same for every target, and whatever takes a metric takes this one.

    :ivar sizes: how many classes each target has. Labels count on from target to target: of targets with 2 and 3 classes the
        second's are 2, 3 and 4. Scores are ``[N, C]`` for the most classes C; columns that a target has not are not read.
        A target of size 1 has no classes: whatever stands in its rows is read whole.
    :ivar whole: rows of all targets are read whole.

    >>> from sidelight.metrics.classification import auroc
    >>> labels = np.array([0, 1, 2, 3])
    >>> Macro(auroc, (2, 2))(labels, np.array([0.1, 0.9, 0.8, 0.3]))
    0.5
    """

    function: Function
    sizes: tuple[int, ...]
    whole: bool = False

    def __call__(self, labels: Array, scores: Array, weights: Floats | None = None) -> object:
        """A float, or [R] for weights [R, N]."""
        labels, scores = np.asarray(labels), np.asarray(scores)
        each = []
        for start, size, own in zip(self.starts, self.sizes, self.parts(labels), strict=True):
            shown = scores[own] if scores.ndim == 1 or size == 1 or self.whole else scores[own][:, :size]
            each.append(self.function(labels[own] - start, shown, None if weights is None else weights[..., own]))
        mean = np.mean(each, axis=0)
        return mean if np.ndim(mean) else float(mean)

    @property
    def starts(self) -> list[int]:
        """The first class of each target."""
        return [0, *accumulate(self.sizes)][:-1]

    def parts(self, labels: Array) -> list[Array]:
        """Which rows, bool [N], belong to each target."""
        return [
            (labels >= start) & (labels < start + size) for start, size in zip(self.starts, self.sizes, strict=True)
        ]
