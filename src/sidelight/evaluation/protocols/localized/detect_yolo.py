"""Detection by LoVT's YOLOv3 head on the encoder's maps at strides 8, 16 and 32, frozen or learning.

ECCV 2022, arXiv 2112.02889, tasks 1 to 6, 15 and 16: every true box at all three scales, Adam with weight decay 1e-6, a
learning rate chosen on validation, fine-tuning after 100 steps of the head alone at 1e-3, no augmentation. ``paper()`` gives
those settings, with the quirks of the published loss (:mod:`sidelight.losses.yolo`) and overlaps of boxes a pixel wider and
higher.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from sidelight.evaluation.protocols.localized.boxes import BoxHead, BoxNet, BoxProtocol, BoxSettings, Found
from sidelight.evaluation.protocols.localized.net import Batch
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid
from sidelight.models.yolo import STRIDES, Yolo


class DetectYoloSettings(BoxSettings):
    """Of the YOLOv3 head."""

    published: bool = Field(False, description="the loss as published, see losses/yolo.py")
    width: int = Field(512, ge=8, description="narrow convolutions at stride 32; 512 as published")


class DetectYoloNet(BoxNet):
    """YOLOv3's head on three maps."""

    decoder: Yolo

    @classmethod
    def levels_of(cls, encoder: Encoder, own: Any) -> Pyramid:
        """Strides 8, 16 and 32."""
        return Pyramid.of(encoder, STRIDES)

    @classmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "DetectYoloNet":
        """With random weights from torch's global generator."""
        pyramid = cls.levels_of(encoder, own)
        head = Yolo(pyramid.widths, classes, encoder.image_size, width=own.width)
        net = cls(encoder, pyramid, head, learns=learns)
        net.published = own.published
        return net

    published: bool = False

    def loss(self, batch: Batch) -> Tensor:
        """The sum over scales."""
        return self.decoder.loss(self.decoder(self.levels(batch)), *self.told(batch), published=self.published)

    def boxes(self, batch: Batch) -> list[Found]:
        """Objectness of at least 0.2, after suppression."""
        return self.decoder.boxes(self.decoder(self.levels(batch)), published=self.published)


class DetectYoloHead(BoxHead):
    """Boxes of YOLOv3."""

    Net, Settings = DetectYoloNet, DetectYoloSettings


class DetectYolo(BoxProtocol[DetectYoloSettings]):
    """YOLOv3's head on the encoder."""

    name = "detect_yolo"
    says = "a YOLOv3 head on feature maps"
    group = "detect_yolo"
    Settings = DetectYoloSettings
    Heads = DetectYoloHead
    PAPER: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64, "rates": (1e-3, 3e-4), "weight_decay": 1e-6, "warmup": 100, "warmup_rate": 1e-3, "patience": 10,
        "published": True, "overlap": "plus_one",
    }  # fmt: skip
