"""Linear segmentation: one 1x1 convolution on the maps of a frozen encoder, enlarged to the mask.

LoVT's linear protocol (ECCV 2022, arXiv 2112.02889; tasks 7 to 9, 12, 17 and 18): the last map, bilinear enlargement of the
logits, the Dice loss pooled over the batch and all classes, Adam with weight decay 1e-6, a grid of learning rates chosen on
validation, no augmentation. The profile ``paper`` gives those settings. By default channels are standardised first, and Dice is
the mean over classes, since pooled over classes small ones are not learnt at all (LoVT's own table has four of eight at 0).
Maps are computed once and stored: no epoch runs the encoder.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field

from sidelight.evaluation.maps import Maps
from sidelight.evaluation.protocols.localized.masks import DecoderNet, MaskHead, MaskProtocol, MaskSettings
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid
from sidelight.models.segment import LinearMaps

LEVELS = {1: None, 2: (16, 32), 3: (8, 16, 32), 4: (4, 8, 16, 32)}


class SegmentLinearSettings(MaskSettings):
    """Of linear segmentation."""

    rates: tuple[float, ...] = Field((3e-2, 1e-2, 3e-3, 1e-3), min_length=1)
    levels: int = Field(1, ge=1, le=4, description="maps that are read: the last, or so many at strides up to 32")
    standardise: bool = Field(
        True, description="channels have mean 0 and deviation 1 over the units that train, where the encoder is frozen"
    )


class SegmentLinearNet(DecoderNet):
    """A 1x1 convolution on maps."""

    decoder: LinearMaps
    standardised: bool = True

    @classmethod
    def levels_of(cls, encoder: Encoder, own: Any) -> Pyramid:
        """The last map, or those at so many strides."""
        return Pyramid.of(encoder, LEVELS[own.levels])

    @classmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "SegmentLinearNet":
        """With random weights from torch's global generator."""
        pyramid = cls.levels_of(encoder, own)
        net = cls(encoder, pyramid, LinearMaps(pyramid.widths, classes), learns=learns)
        net.loss_name, net.standardised = own.loss, own.standardise
        return net

    def prepare(self, maps: Maps | None, rows: Sequence[int]) -> None:
        """Take means and deviations of the channels from the rows that train, at most 512 of them."""
        if maps is None or not self.standardised:
            return
        chosen = rows[:: max(1, -(-len(rows) // 512))]
        sums = [torch.zeros(2, width, dtype=torch.float64) for width in self.pyramid.widths]
        for start in range(0, len(chosen), 32):
            for total, level in zip(sums, maps(chosen[start : start + 32]), strict=True):
                exact = level.double()
                total += torch.stack([exact.mean((2, 3)).sum(0), exact.square().mean((2, 3)).sum(0)])
        means = [total[0] / len(chosen) for total in sums]
        scales = [
            (total[1] / len(chosen) - mean**2).clamp_min(0).sqrt() for total, mean in zip(sums, means, strict=True)
        ]
        self.decoder.standardise([mean.float() for mean in means], [scale.float() for scale in scales])


class SegmentLinearHead(MaskHead):
    """A linear mask."""

    Net, Settings = SegmentLinearNet, SegmentLinearSettings


class SegmentLinear(MaskProtocol[SegmentLinearSettings]):
    """A 1x1 convolution on stored maps."""

    name = "segment_linear"
    says = "a 1x1 convolution on feature maps, learnt with a Dice loss"
    group = "segment_linear"
    Settings = SegmentLinearSettings
    Heads = SegmentLinearHead
    PAPER: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "loss": "dice",
        "standardise": False,
        "weight_decay": 1e-6,
        "patience": 10,
    }
