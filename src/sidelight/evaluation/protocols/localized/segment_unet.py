"""Segmentation by a U-Net whose contracting side is the encoder, frozen or learning.

LoVT's U-Net protocol (tasks 10, 11, 13 and 14): maps at strides 2 to 32 and the image itself beside the decoder's, the Dice loss
pooled over the batch, Adam; fine-tuned after a warm-up of the decoder alone at 1e-3; no augmentation. ``paper()`` gives those
settings. Of a transformer evenly spaced blocks stand for the levels.
"""

from typing import Any

from pydantic import Field

from sidelight.evaluation.protocols.localized.masks import DecoderNet, MaskHead, MaskProtocol, MaskSettings
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid
from sidelight.models.segment import Unet


class SegmentUnetSettings(MaskSettings):
    """Of the U-Net."""

    rates: tuple[float, ...] = Field((1e-3, 3e-4, 1e-4), min_length=1)


class SegmentUnetNet(DecoderNet):
    """A U-Net decoder on all stages."""

    strides = (2, 4, 8, 16, 32)
    sees = True

    @classmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "SegmentUnetNet":
        """With random weights from torch's global generator."""
        pyramid = Pyramid.of(encoder, cls.strides)
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
    PAPER = {"batch_size": 8, "loss": "dice", "weight_decay": 1e-6, "warmup": 20, "warmup_rate": 1e-3, "patience": 20}
