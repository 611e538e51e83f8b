"""A table of scores as arrays: one block per (encoder, task, protocol, labels), units aligned over seeds and encoders."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.errors import SplitError
from sidelight.evaluation.outcomes import CLASSES, Outcome, probability_columns
from sidelight.metrics.classification import AUROC
from sidelight.metrics.metric import Macro, Metric

__all__ = ["KEYS", "Block", "Targets", "at_all_labels", "blocks", "probability_columns"]
KEYS = ["encoder", "task", "protocol", "labels"]
Targets = Mapping[str, Sequence[str]]
"""What a task predicts, each with its class names."""


@dataclass(frozen=True)
class Block:
    """Scores of one (encoder, task, protocol, labels), aligned by unit; of several targets one after the other.

    :ivar scores: float ``[S, N, C]`` for S draws, or what else a metric reads of a unit; ``groups`` [N]; ``units`` [N].
    :ivar labels: int [N]; classes count on from target to target, as :class:`sidelight.metrics.metric.Macro` reads them.
    :ivar folds: [N] in which each unit is tested, the same for every draw; -1 on a test side.
    :ivar draws: S pairs of a seed and the number of a draw of its labelled units.
    :ivar targets: names of the targets and ``sizes``, how many classes each has; 1 where rows have no class.
    :ivar localized: rows are of masks or boxes; of the two classes of a target the second holds something.
    """

    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    units: np.ndarray
    all_labels: bool
    targets: tuple[str, ...] = ("",)
    sizes: tuple[int, ...] = ()
    folds: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    draws: tuple[tuple[int, int], ...] = ()
    localized: bool = False

    @property
    def seeds(self) -> int:
        """How many seeds there are; each may have several draws of labelled units. Without ``draws`` each row is one."""
        return len({seed for seed, _ in self.draws}) if self.draws else len(self.scores)

    @property
    def several(self) -> bool:
        """Whether the task is a multi-label one: its rows have names, and the task's own number is their mean."""
        return self.targets != ("",)

    def of(self, metric: Metric) -> Metric:
        """The metric of the task: itself for one target, in its range, else its mean over the targets."""
        return metric.over(self.sizes) if self.several else metric.of(max(self.sizes, default=2))

    def take(self, own: np.ndarray) -> "Block":
        """The rows ``own``, bool [N]."""
        return replace(
            self, scores=self.scores[:, own], labels=self.labels[own], groups=self.groups[own], units=self.units[own],
            folds=self.folds[own] if len(self.folds) else self.folds,
        )  # fmt: skip

    def only(self, places: Sequence[int]) -> "Block":
        """The draws at these places."""
        return replace(self, scores=self.scores[list(places)], draws=tuple(self.draws[at] for at in places))

    def parts(self) -> Iterator[tuple[str, "Block"]]:
        """Each target of a multi-label task alone; nothing where there is only the task itself."""
        if not self.several:
            return
        whole = Macro(AUROC, self.sizes)
        for name, size, start, own in zip(
            self.targets, self.sizes, whole.starts, whole.parts(self.labels), strict=True
        ):
            part = self.take(own)
            scores = part.scores if size == 1 or self.localized else part.scores[:, :, :size]
            labels = part.labels - start
            yield name, replace(part, scores=scores, labels=labels, targets=("",), sizes=(size,))

    def against(self, of: int) -> "Block":
        """One class of a single target against its other classes."""
        own = self.scores[:, :, of]
        return replace(
            self, labels=(self.labels == of).astype(np.int64), scores=np.stack([1 - own, own], 2), sizes=(2,)
        )

    def pooled(self) -> "Block":
        """Targets of two classes as if they were one: what micro averages are made of."""
        return replace(self, labels=self.labels % 2, targets=("",), sizes=(2,))


def blocks(
    scores: pd.DataFrame, step: str = "selected", kind: Outcome = CLASSES
) -> Iterator[tuple[tuple[Any, ...], Block]]:
    """Every block of a scores table, in the order of its keys.

    :param kind: of which rows; those of all blocks have as many columns, so that encoders can be compared.
    """
    scores = kind.of(scores)
    if scores.empty:
        return
    width = kind.width(scores) if kind.width else None
    order = list(scores["target"].unique())  # of all encoders: the targets of two that are compared stand in one order
    for key, part in scores[scores["step"] == step].groupby(KEYS, sort=True):
        targets = tuple(sorted(part["target"].unique(), key=order.index))
        each = [_aligned(part[part["target"] == name], kind, width) for name in targets]
        sizes = tuple(block.sizes[0] for block in each)
        yield key, each[0] if targets == ("",) else _joined(each, targets, sizes)


def at_all_labels(scores: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], str, Block]]:
    """Every target of every block at all labels."""
    for key, block in blocks(scores):
        if block.all_labels:
            for target, part in block.parts() if block.several else [("", block)]:
                yield key, target, part


def _aligned(part: pd.DataFrame, kind: Outcome, width: int | None) -> Block:
    """One target, units in the order of their names in every draw; :raises SplitError: where draws judged others."""
    rows = kind.read(part, width)
    draws = part["draw"].fillna(0).astype(int) if "draw" in part else 0
    keys = part[["seed", "unit", "group", "label", "all_labels", "fold"]].assign(draw=draws, place=np.arange(len(part)))
    per_draw = [one.sort_values("unit") for _, one in keys.groupby(["seed", "draw"])]
    first = per_draw[0]
    if not first["unit"].is_unique or any(one["unit"].tolist() != first["unit"].tolist() for one in per_draw[1:]):
        raise SplitError("Seeds judged different units", expected="the same units, each once, of every seed")
    stacked = np.stack([rows[one["place"].to_numpy()] for one in per_draw])
    return Block(
        stacked,
        first["label"].to_numpy(dtype=np.int64),
        first["group"].to_numpy(),
        first["unit"].to_numpy(),
        bool(first["all_labels"].iloc[0]),
        sizes=(2 if kind.localized else stacked.shape[2],),
        folds=first["fold"].to_numpy(dtype=np.int64),
        draws=tuple((int(one["seed"].iloc[0]), int(one["draw"].iloc[0])) for one in per_draw),
        localized=kind.localized,
    )


def _joined(each: list[Block], targets: tuple[str, ...], sizes: tuple[int, ...]) -> Block:
    """Targets one after the other; scores of classes that a target has not are NaN."""
    starts, widest = Macro(AUROC, sizes).starts, max(one.scores.shape[2] for one in each)
    padded = [
        np.pad(one.scores, ((0, 0), (0, 0), (0, widest - one.scores.shape[2])), constant_values=np.nan) for one in each
    ]
    return Block(
        np.concatenate(padded, axis=1),
        np.concatenate([one.labels + start for one, start in zip(each, starts, strict=True)]),
        np.concatenate([one.groups for one in each]),
        np.concatenate([one.units for one in each]),
        each[0].all_labels,
        targets,
        sizes,
        np.concatenate([one.folds for one in each]),
        each[0].draws,
        each[0].localized,
    )
