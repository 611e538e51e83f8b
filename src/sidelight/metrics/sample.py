"""The sample that intervals are about: the groups of a test set, how often each counts, and a metric under such weights."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sidelight.metrics.metric import Array, Floats, Metric

CELLS = 2_000_000  # weights [resamples, units] held at once; with the metric's own arrays below 200 MB


@dataclass(frozen=True)
class Sample:
    """Units of one test set: labels [N], group index [N] in 0 .. G-1, and units by group and class [G, C].

    :ivar classes: [C], sorted; ``mass`` [G] how much each group weighs, where units do not weigh alike.
    """

    labels: Array
    index: Array
    counts: Floats
    classes: Array
    mass: Floats | None = None

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.counts)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which classes each group holds [G, C]."""
        return self.counts > 0

    @property
    def least(self) -> int:
        """Groups of the class that fewest groups hold."""
        return int(self.present.sum(axis=0).min())

    def limiting(self, metric: Metric) -> NDArray[np.bool_]:
        """Which classes [C] limit what can be known: all, or of masks and boxes the odd ones, which hold something."""
        holding = self.classes % 2 == 1 if metric.localized else np.ones(len(self.classes), bool)
        return holding if holding.any() else ~holding

    @property
    def worth(self) -> float:
        """How many groups of one mass these are worth (Kish): (sum m)^2 / sum(m^2)."""
        mass = np.ones(self.groups) if self.mass is None else self.mass
        return float(mass.sum() ** 2 / (mass**2).sum())

    def weighed(self, metric: Metric, scores: Array) -> "Sample":
        """The same, its groups weighed as ``metric`` weighs the rows ``scores`` [S, N, ...]."""
        if metric.mass is None:
            return self
        each = np.mean([metric.mass(seed) for seed in scores], axis=0)
        mass = np.bincount(self.index, each, self.groups).astype(np.float64)
        return replace(self, mass=mass) if mass.any() else self

    @property
    def strata(self) -> Array:
        """Groups [G] numbered by the set of classes that they hold."""
        return np.unique(self.present, axis=0, return_inverse=True)[1].reshape(-1)


def sample_of(labels: ArrayLike | None, groups: ArrayLike) -> Sample:
    """Of labels [N] and groups [N], each of any sortable type; without labels all units are of class 0."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    labels = np.zeros(len(index), np.int64) if labels is None else np.asarray(labels)
    classes, kind = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (index, kind), 1)
    return Sample(labels, index, counts, classes)


def seeded(scores: ArrayLike, units: int) -> Array:
    """Scores with a leading axis of seeds: [S, N] or [S, N, C]."""
    scores = np.asarray(scores)
    seeded = scores.ndim == 3 or (scores.ndim == 2 and scores.shape[0] != units)
    scores = scores if seeded else scores[None]
    if scores.shape[1] != units:
        wanted = "expected [N], [N, C], [S, N] or [S, N, C]"
        raise ValueError(f"Scores of shape {scores.shape} do not fit {units} labels; {wanted}")
    return scores


def chunks(weights: Floats, units: int) -> Iterator[Floats]:
    """``weights`` [R, G], so many rows at once that those of all units fit in memory."""
    step = max(1, CELLS // max(units, 1))
    return (weights[start : start + step] for start in range(0, len(weights), step))


def values_of(metric: Metric, sample: Sample, scores: Array, weights: Floats) -> Floats:
    """Mean over seeds of the metric under group weights [R, G]: [R]."""
    return np.concatenate(
        [
            np.mean([metric(sample.labels, seed, part[:, sample.index]) for seed in scores], axis=0)
            for part in chunks(weights, len(sample.index))
        ]
    )


def resampled(
    sample: Sample, count: int, rng: np.random.Generator, *, metric: Metric | None = None
) -> tuple[Floats, int]:
    """How often each group is drawn [R, G], and how many draws were done again.

    A resample that lacks a class which limits ``metric`` is drawn again: any class where there is no metric, none of one that
    counts all units alike.
    """
    present = sample.present if metric is None else sample.present[:, sample.limiting(metric) & (not metric.pooled)]
    weights, redrawn = np.empty((0, sample.groups)), 0
    while len(weights) < count:
        rows = count - len(weights)
        # counted by hand: three times as fast as a multinomial draw
        chosen = rng.integers(sample.groups, size=(rows, sample.groups)) + sample.groups * np.arange(rows)[:, None]
        drawn = np.bincount(chosen.ravel(), minlength=rows * sample.groups).reshape(rows, -1).astype(np.float64)
        kept = (drawn @ present > 0).all(axis=1)
        redrawn += int((~kept).sum())
        weights = np.concatenate([weights, drawn[kept]])
    return weights, redrawn
