"""What the protocols of boxes share: truth at the encoder's size, the rows of units, and heads that give boxes."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from sidelight.evaluation.drawn import framed, packed_boxes
from sidelight.evaluation.outcomes import box_outcomes
from sidelight.evaluation.protocols.base import Head
from sidelight.evaluation.protocols.localized.base import LocalizedHead, LocalizedProtocol
from sidelight.evaluation.protocols.localized.net import Batch, Localizer
from sidelight.evaluation.protocols.localized.training import LocalizedSettings
from sidelight.evaluation.truth import Predicted, Truth
from sidelight.evaluation.units import Units
from sidelight.metrics.boxes import box_row, stacked
from sidelight.metrics.detection import FROC, MAP

Found = tuple[Tensor, Tensor, Tensor]
"""Of one image boxes float [n, 4], scores [n] and targets int [n]."""


class BoxSettings(LocalizedSettings):
    """How boxes are judged."""

    monitor: Literal["map", "froc"] = Field(
        "map", description="what validation chooses step and learning rate by: mAP at 0.40 to 0.75, or FROC"
    )

    overlap: Literal["plain", "plus_one"] = Field(
        "plain",
        description="of boxes in mAP at 0.40 to 0.75; plus_one: a pixel wider and higher, as LoVT published (COCO's AP never)",
    )


class BoxNet(Localizer):
    """A detector on maps."""

    @abstractmethod
    def boxes(self, batch: Batch) -> list[Found]:
        """Of each image, in pixels of the encoder's size."""

    def told(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """True boxes float [n, 4] in pixels of the encoder's size and their targets int [n], of each image."""
        scale = self.encoder.image_size / batch.side
        boxes = [
            torch.from_numpy(np.asarray(own, np.float32).reshape(-1, 4)) * scale for own in batch.truth.boxes or []
        ]
        return boxes, [torch.from_numpy(np.asarray(own, np.int64)) for own in batch.truth.labels or []]


class BoxHead(LocalizedHead):
    """Gives boxes with scores."""

    finds = "boxes"

    def presence(self, batch: Batch) -> NDArray[np.float64]:
        """Of the surest box; 0 where there is none."""
        assert isinstance(self.net, BoxNet)
        each = self.net.boxes(batch)
        found = np.zeros((len(each), self.classes))
        for at, (_, scores, kinds) in enumerate(each):
            np.maximum.at(found[at], kinds.cpu().numpy(), scores.cpu().numpy())
        return found

    def found(self, units: Units) -> Iterator[tuple[list[tuple[NDArray[np.float64], ...]], Truth]]:
        """Boxes in pixels of the working size, scores and targets of each unit, batch by batch, and what is true of them."""
        assert isinstance(self.net, BoxNet)
        for batch in self.batches(units):
            scale = batch.side / self.net.encoder.image_size
            yield (
                [
                    (boxes.cpu().double().numpy() * scale, scores.cpu().double().numpy(), kinds.cpu().numpy())
                    for boxes, scores, kinds in self.net.boxes(batch)
                ],
                batch.truth,
            )

    def predicted(self, units: Units) -> Iterator[Predicted]:
        """Boxes of each picture."""
        for found, _ in self.found(units):
            yield from (Predicted(None, boxes, scores, kinds.astype(np.int64)) for boxes, scores, kinds in found)

    def rows(self, units: Units) -> tuple[list[list[NDArray[np.float64]]], list[list[bytes]]]:
        """What each of N units contributes to each of K targets, and what was found, packed [N][K]."""
        rows, drawn = [], []
        for found, truth in self.found(units):
            for at, (boxes, scores, kinds) in enumerate(found):
                assert truth.boxes is not None and truth.labels is not None
                drawn.append(
                    [framed(0, packed_boxes(boxes[kinds == k], scores[kinds == k])) for k in range(self.classes)]
                )
                rows.append(
                    [
                        box_row(
                            boxes[kinds == k],
                            scores[kinds == k],
                            truth.boxes[at][np.asarray(truth.labels[at]) == k],
                            plus_one=self.own.overlap == "plus_one",
                        )
                        for k in range(self.classes)
                    ]
                )
        return rows, drawn

    def judged(self, units: Units) -> float:
        """The metric of the setting ``monitor``, the mean over the targets that the units hold."""
        rows, _ = self.rows(units)
        metric = {"map": MAP, "froc": FROC}[self.own.monitor]
        each = [stacked([own[k] for own in rows]) for k in range(self.classes)]
        values = [float(metric(np.zeros(len(table)), table)) for table in each if table[:, 0].any()]
        return float(np.mean(values)) if values else 0.0


B = TypeVar("B", bound=BoxSettings)


class BoxProtocol(LocalizedProtocol[B]):
    """A protocol of boxes."""

    targets = ("boxes",)

    def outcomes(
        self, head: Head, table: pd.DataFrame, units: Units, targets: Mapping[str, Sequence[str]]
    ) -> Iterator[pd.DataFrame]:
        """Rows of boxes: how many are true, and every detection with its matches and hits."""
        assert isinstance(head, BoxHead)
        rows, drawn = head.rows(units)
        yield from box_outcomes(table, rows, targets, drawn)
