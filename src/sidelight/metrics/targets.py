"""Several targets at once (the labels of a multi-label task): any metric as its mean over them."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from sidelight.metrics.classification import Array, Floats, Metric


@dataclass(frozen=True)
class Macro:
    """The mean of ``func`` over targets; called as every metric is, with one row per unit and target.

    So a resample of groups is the same for every target, and whatever takes a metric takes this one.

    :ivar sizes: how many classes each target has. Labels count on from target to target: of targets with 2 and 3 classes the
        second's are 2, 3 and 4. Scores are ``[N, C]`` for the most classes C; columns that a target has not are not read.

    >>> from sidelight.metrics.classification import auroc
    >>> labels = np.array([0, 1, 2, 3])
    >>> Macro(auroc, (2, 2))(labels, np.array([0.1, 0.9, 0.8, 0.3]))
    0.5
    """

    func: Metric
    sizes: tuple[int, ...]

    def __call__(self, labels: Array, scores: Array, weights: Floats | None = None) -> object:
        """A float, or [R] for weights [R, N]."""
        labels, scores = np.asarray(labels), np.asarray(scores)
        each = []
        for start, size, own in zip(self.starts, self.sizes, self.parts(labels), strict=True):
            shown = scores[own] if scores.ndim == 1 else scores[own][:, :size]
            each.append(self.func(labels[own] - start, shown, None if weights is None else weights[..., own]))
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


def plain(metric: Metric) -> Any:
    """The function behind ``functools.partial`` and :class:`Macro`."""
    while hasattr(metric, "func"):
        metric = metric.func
    return metric
