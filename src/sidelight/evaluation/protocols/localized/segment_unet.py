"""Segmentation by a U-Net whose contracting side is the encoder, frozen or learning.

LoVT's U-Net protocol (tasks 10, 11, 13 and 14): maps at strides 2 to 32 and the image itself beside the decoder's, the Dice loss
pooled over the batch, Adam; fine-tuned after a warm-up of the decoder alone at 1e-3; no augmentation. ``paper()`` gives those
settings. Of a transformer evenly spaced blocks stand for the levels.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from sidelight.evaluation.protocols.localized.masks import DecoderNet, MaskHead, MaskProtocol, MaskSettings
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid
from sidelight.models.segment import Unet

STRIDES = (2, 4, 8, 16, 32)


class SegmentUnetSettings(MaskSettings):
    """Of the U-Net."""

    rates: tuple[float, ...] = Field((1e-3, 3e-4, 1e-4), min_length=1)


class SegmentUnetNet(DecoderNet):
    """A U-Net decoder on all stages."""

    sees = True

    @classmethod
    def levels_of(cls, encoder: Encoder, own: Any) -> Pyramid:
        """All stages."""
        return Pyramid.of(encoder, STRIDES)

    @classmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "SegmentUnetNet":
        """With random weights from torch's global generator."""
        pyramid = cls.levels_of(encoder, own)
        net = cls(encoder, pyramid, Unet(pyramid.widths, encoder.channels, classes), learns=learns)
        net.loss_name = own.loss
        return net


class SegmentUnetHead(MaskHead):
    """A mask of a U-Net."""

    Net, Settings = SegmentUnetNet, SegmentUnetSettings


class SegmentUnet(MaskProtocol[SegmentUnetSettings]):
    """A U-Net on the encoder."""

    name = "segment_unet"
    says = "a U-Net decoder on the encoder, learnt with a Dice loss"
    group = "segment_unet"
    Settings = SegmentUnetSettings
    Heads = SegmentUnetHead
    PAPER: ClassVar[Mapping[str, Any]] = {
        "batch_size": 8,
        "loss": "dice",
        "weight_decay": 1e-6,
        "warmup": 20,
        "warmup_rate": 1e-3,
        "patience": 20,
    }
