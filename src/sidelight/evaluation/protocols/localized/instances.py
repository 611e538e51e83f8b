"""Instances by torchvision's Mask R-CNN with the encoder as backbone (He et al. 2017), as Meta-USCL segments breast tumours.

A feature pyramid network reads the maps at strides 4 to 32 and adds 64; RoIAlign of 7 for boxes and 14 for masks. An instance
is a connected part of a mask. A unit's mask is judged by its surest instance of each target, as published, or by all that reach
a score; its boxes by COCO's average precision beside. The profile ``paper``: SGD at 0.005 with momentum 0.9 and weight decay
5e-4, batches of 2, mirrored half of the time, the whole encoder learning. Deviations: images keep the encoder's size
(published: 800 pixels), no frozen first stage, no warm-up of the rate, and steps end by validation, since the published split
has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import find_objects, label
from torch import Tensor
from torch.nn.functional import interpolate

from sidelight.evaluation.outcomes import box_outcomes, mask_outcomes
from sidelight.evaluation.protocols.base import Head
from sidelight.evaluation.protocols.localized.boxes import Found
from sidelight.evaluation.protocols.localized.detect import TorchvisionNet
from sidelight.evaluation.protocols.localized.masks import MaskHead, MaskNet, MaskProtocol, MaskSettings, mask_rows
from sidelight.evaluation.protocols.localized.net import Batch
from sidelight.evaluation.protocols.localized.pictures import Rows, joined, pictures, summed
from sidelight.evaluation.truth import Predicted
from sidelight.evaluation.units import Units
from sidelight.metrics.boxes import box_row
from sidelight.models.detect import STRIDES, mask_rcnn
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid


class InstanceSettings(MaskSettings):
    """Of Mask R-CNN; its own losses take the place of ``loss``."""

    rates: tuple[float, ...] = Field((3e-4, 1e-4), min_length=1)
    width: int = Field(
        256, ge=32, multiple_of=32, description="channels of the feature pyramid network and of the layers for masks"
    )
    proposals: int = Field(1000, ge=8, description="parts of an image that are looked at, twice as many in training")
    sampled: int = Field(512, ge=8, description="of these so many are in the loss")
    shown: Literal["surest", "all"] = Field(
        "surest",
        description="whose mask a unit is judged by: its surest instance's, or all of those that reach `least`",
    )
    least: float = Field(0.5, ge=0, le=1, description="score from which an instance is shown, where all are")


def instances(masks: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
    """The connected parts (eight neighbours) of masks uint8 [K, W, W]: bool [n, W, W], boxes [n, 4] and targets [n]."""
    parts, boxes, kinds = [np.empty((0, *masks.shape[1:]), bool)], list[list[int]](), list[int]()
    for kind, mask in enumerate(masks):
        numbered, count = label(mask == 1, structure=np.ones((3, 3)))
        for number, (rows, columns) in enumerate(find_objects(numbered), 1):
            parts.append((numbered == number)[None])
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            kinds.append(kind)
        assert len(kinds) >= count
    return np.concatenate(parts), np.array(boxes, np.float32).reshape(-1, 4), np.array(kinds, np.int64)


class InstanceNet(TorchvisionNet, MaskNet):
    """Mask R-CNN."""

    @classmethod
    def levels_of(cls, encoder: Encoder, own: Any) -> Pyramid:
        """Strides 4 to 32."""
        return Pyramid.of(encoder, STRIDES["mask_rcnn"])

    @classmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "InstanceNet":
        """With random weights from torch's global generator."""
        pyramid = cls.levels_of(encoder, own)
        sizes = {"width": own.width, "proposals": own.proposals, "sampled": own.sampled}
        found = mask_rcnn(pyramid, classes, encoder.image_size, encoder.channels, **sizes)
        net = cls(encoder, pyramid, found, learns=learns)
        net.classes, net.own = classes, own
        return net

    classes: int = 1
    own: InstanceSettings

    def loss(self, batch: Batch) -> Tensor:
        """Of proposals, classes, boxes and masks."""
        size, device, targets = self.encoder.image_size, self.encoder.mean.device, []
        for masks in batch.truth.masks or []:
            parts, boxes, kinds = instances(masks)
            shown = torch.from_numpy(parts).byte()
            if len(parts) and size != batch.side:
                shown = interpolate(shown[None].float(), (size, size), mode="nearest")[0].byte()
            scaled = torch.from_numpy(boxes) * size / batch.side
            targets.append({"boxes": scaled, "labels": torch.from_numpy(kinds) + 1, "masks": shown})
        on_device = [{name: value.to(device) for name, value in one.items()} for one in targets]
        loss: Tensor = self.detector(batch, on_device)
        return loss

    def detected(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Of each image its instances by falling score, as torchvision gives them: boxes, scores, labels from 1 on and masks."""
        found: list[dict[str, Tensor]] = self.detector(batch)
        return found

    def boxes(self, batch: Batch) -> list[Found]:
        """Of all instances."""
        return [(one["boxes"], one["scores"], one["labels"] - 1) for one in self.detected(batch)]

    def logits(self, batch: Batch) -> Tensor:
        """[N, K, W, W]: of each target the highest probability among the instances that are shown, as logits."""
        return torch.logit(self.masks(self.detected(batch), batch.side), eps=1e-6)

    def masks(self, detected: list[dict[str, Tensor]], side: int) -> Tensor:
        """Probabilities [N, K, side, side] of instances that were detected."""
        found = torch.stack([self._shown(one) for one in detected])
        if found.shape[-1] == side:
            return found
        return interpolate(found, (side, side), mode="bilinear", align_corners=False)

    def _shown(self, found: dict[str, Tensor]) -> Tensor:
        size = self.encoder.image_size
        masks = found["masks"].new_zeros(self.classes, size, size)
        for kind in range(self.classes):
            own = found["labels"] == kind + 1
            scores, each = found["scores"][own], found["masks"][own, 0]
            chosen = scores >= self.own.least if self.own.shown == "all" else torch.arange(len(scores)) < 1
            if chosen.any():
                masks[kind] = each[chosen.to(each.device)].amax(dim=0)
        return masks


class InstanceHead(MaskHead):
    """Masks and boxes of Mask R-CNN."""

    Net, Settings = InstanceNet, InstanceSettings
    boxed = True

    def predicted(self, units: Units) -> Iterator[Predicted]:
        """Probabilities of each picture, and the boxes of the instances whose score reaches ``least``."""
        assert isinstance(self.net, InstanceNet)
        for batch in self.batches(units):
            detected = self.net.detected(batch)
            scale = batch.side / self.net.encoder.image_size
            for heat, one in zip(self.net.masks(detected, batch.side).float().cpu().numpy(), detected, strict=True):
                boxes, scores, kinds = (one[name].cpu().numpy() for name in ("boxes", "scores", "labels"))
                counts = scores >= self.own.least
                sure, of = scores[counts].astype(np.float64), kinds[counts].astype(np.int64) - 1
                yield Predicted(heat, boxes[counts].astype(np.float64) * scale, sure, of)

    def both(self, units: Units) -> tuple[Rows, list[list[NDArray[np.float64]]]]:
        """What units contribute to each target as masks, and as boxes."""
        assert isinstance(self.net, InstanceNet)
        masks, boxes, each = list[Rows](), [], range(self.classes)
        for batch in self.batches(units):
            detected = self.net.detected(batch)
            heat = self.net.masks(detected, batch.side).float().cpu().numpy()
            masks.append(mask_rows(heat, self.own.threshold, batch.truth, self.own.tolerance))
            scale = batch.side / self.net.encoder.image_size
            for true, one in zip(batch.truth.masks or [], detected, strict=True):
                _, there, of = instances(true)
                numbers = [one[name].cpu().double().numpy() for name in ("boxes", "scores", "labels")]
                mine, sure, kinds = numbers[0] * scale, numbers[1], numbers[2] - 1
                boxes.append([box_row(mine[kinds == k], sure[kinds == k], there[of == k]) for k in each])
        _, owner = pictures(units)
        return summed(masks, owner), joined(boxes, owner)


class Instances(MaskProtocol[InstanceSettings]):
    """Mask R-CNN on the encoder."""

    name = "instances"
    says = "Mask R-CNN with a feature pyramid on the encoder"
    group = "instances"
    Settings = InstanceSettings
    Heads = InstanceHead
    PAPER: ClassVar[Mapping[str, Any]] = {
        "train": "all", "optimizer": "sgd", "rates": (5e-3,), "weight_decay": 5e-4, "batch_size": 2, "warmup": 0,
        "patience": None, "flip": True,
    }  # fmt: skip

    def outcomes(
        self, head: Head, table: pd.DataFrame, units: Units, targets: Mapping[str, Sequence[str]]
    ) -> Iterator[pd.DataFrame]:
        """Rows of masks, and rows of boxes of the same instances."""
        assert isinstance(head, InstanceHead)
        rows, boxes = head.both(units)
        yield from mask_outcomes(table, rows.numbers, rows.known, targets, rows.drawn)
        yield from box_outcomes(table, boxes, targets)
