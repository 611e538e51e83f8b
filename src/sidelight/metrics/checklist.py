"""Numbers of one class against the rest, their means over several classified labels, and points made of labels.

The points of the seven-point checklist (Argenziano et al., Arch. Dermatol. 1998): two each for an atypical network, a
blue-whitish veil and irregular vessels, one each for irregular pigmentation, irregular streaks, irregular dots and globules,
and regression. Melanoma is suspected from three points on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sidelight.metrics.classification import against_rest
from sidelight.metrics.metric import Floats, Macro

Integers = NDArray[np.int64]
MEASURES = ("auroc", "sensitivity", "specificity", "precision")


class Label(Protocol):
    """What is asked of a classified label."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def classes(self) -> Sequence[str]:
        """In order."""

    @property
    def positive(self) -> str:
        """The headline class; "" is every class."""

    @property
    def points(self) -> int:
        """What that class adds to a score; 0 for a label that is no criterion."""


@dataclass(frozen=True)
class Mean:
    """The mean of a one-against-rest measure over chosen classes of several targets; called as every metric is.

    Labels and scores are as :class:`sidelight.metrics.metric.Macro` takes them. A class that is absent, or alone,
    makes the mean NaN in AUROC, sensitivity and specificity.

    :ivar chosen: pairs (target, class).
    """

    measure: str
    sizes: tuple[int, ...]
    chosen: tuple[tuple[int, int], ...]

    def __call__(self, labels: NDArray[np.int64], scores: Floats, weights: Floats | None = None) -> object:
        """A float, or [R] for weights [R, N]."""
        parts, each = Macro(against_rest, self.sizes).parts(labels), []
        for target, code in self.chosen:
            own, start = parts[target], sum(self.sizes[:target])
            shown = scores[own][:, : self.sizes[target]]
            part = None if weights is None else weights[..., own]
            each.append(against_rest(labels[own] - start, shown, part, of=code, measure=self.measure))
        mean = np.mean(each, axis=0)
        return mean if np.ndim(mean) else float(mean)


def headline_classes(heads: Sequence[Label]) -> list[tuple[int, int]]:
    """Pairs (target, class): of each head its headline class, or all where it has none."""
    return [
        (place, code)
        for place, head in enumerate(heads)
        for code, name in enumerate(head.classes)
        if head.positive in ("", name)
    ]


def averages(heads: Sequence[Label]) -> dict[str, list[tuple[int, int]]]:
    """Which classes each average of SM3's code is over.

    "AVG" is over the headline class of every label, "AVG, criteria" without those that give no points (the diagnosis), "all
    classes" and "all classes, criteria" over every class, and one average of its own over the classes of each label without
    points.
    """
    lead = headline_classes(heads)
    every = [(place, code) for place, head in enumerate(heads) for code in range(len(head.classes))]
    found = {"AVG": lead, "all classes": every}
    if any(head.points for head in heads):
        found["AVG, criteria"] = [pair for pair in lead if heads[pair[0]].points]
        found["all classes, criteria"] = [pair for pair in every if heads[pair[0]].points]
        found |= {head.name: [p for p in every if p[0] == place] for place, head in enumerate(heads) if not head.points}
    return found


def headline_auroc(heads: Sequence[Label], truth: Integers, scores: Floats) -> float:
    """Mean one-against-rest AUROC of the headline classes that can be judged: what steps are chosen by; -inf for none.

    :param truth: int64 [N, L], negative where unknown; ``scores`` [N, classes of all labels].
    """
    ends = np.cumsum([0, *(len(head.classes) for head in heads)])
    values = []
    for place, code in headline_classes(heads):
        known = truth[:, place] >= 0
        part = scores[known, ends[place] : ends[place + 1]]
        values.append(against_rest(truth[known, place], part, of=code, measure="auroc"))
    judged = [value for value in values if not np.isnan(value)]
    return float(np.mean(judged)) if judged else -np.inf


def points(heads: Sequence[Label], called: Integers) -> Integers:
    """Points [N] of units by the class [N, L] of each label, as predicted or as it is; 0 to 10 for the seven-point checklist."""
    gains = [
        head.points * (called[:, place] == head.classes.index(head.positive))
        for place, head in enumerate(heads)
        if head.points
    ]
    found: Integers = np.sum(gains, axis=0).astype(np.int64)
    return found


def suspected(heads: Sequence[Label]) -> int | None:
    """Place of the label that points are a rule for: the only one with a headline class and without points."""
    places = [place for place, head in enumerate(heads) if head.positive and not head.points]
    return places[0] if len(places) == 1 and any(head.points for head in heads) else None
