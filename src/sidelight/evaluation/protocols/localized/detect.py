"""Detection by torchvision's RetinaNet or FCOS with the encoder as their backbone, frozen or learning.

Lin et al. 2017 (arXiv 1708.02002), Tian et al. 2019 (arXiv 1904.01355). A feature pyramid network reads the maps at strides 8,
16 and 32 and adds 64 and 128; images keep the encoder's size. Not from a paper of ours: a maintained detector beside LoVT's.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from sidelight.evaluation.protocols.localized.boxes import BoxHead, BoxNet, BoxProtocol, BoxSettings, Found
from sidelight.evaluation.protocols.localized.net import Batch
from sidelight.models.detect import STRIDES, Backbone, detector, told
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid


class DetectSettings(BoxSettings):
    """Of RetinaNet and FCOS."""

    detector: Literal["retinanet", "fcos"] = Field("retinanet", description="torchvision's heads on the maps")
    rates: tuple[float, ...] = Field((1e-3, 3e-4, 1e-4), min_length=1)
    width: int = Field(256, ge=32, multiple_of=32, description="channels of the feature pyramid network")


class TorchvisionNet(BoxNet):
    """A detector of torchvision's on maps that are handed to its backbone."""

    def shown(self, batch: Batch) -> list[Tensor]:
        """Images of the encoder's size for the detector, which reads their size and the maps alone."""
        levels = [level.float() for level in self.levels(batch)]
        backbone = self.decoder.get_submodule("backbone")
        assert isinstance(backbone, Backbone)
        backbone.given = levels
        side, channels = self.encoder.image_size, self.encoder.channels
        blank = levels[0].new_zeros(1).expand(channels, side, side)
        return [blank] * len(levels[0])

    def detector(self, batch: Batch, targets: list[dict[str, Tensor]] | None = None) -> Any:
        """What torchvision's detector gives, in float32: its losses added up in training, else a dict per image."""
        shown = self.shown(batch)
        with torch.autocast(self.encoder.mean.device.type, enabled=False):
            found = self.decoder(shown, targets)
        return torch.stack(list(found.values())).sum() if targets is not None else found


class DetectNet(TorchvisionNet):
    """RetinaNet or FCOS."""

    @classmethod
    def levels_of(cls, encoder: Encoder, own: Any) -> Pyramid:
        """Strides 8, 16 and 32."""
        return Pyramid.of(encoder, STRIDES[own.detector])

    @classmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "DetectNet":
        """With random weights from torch's global generator."""
        pyramid, size = cls.levels_of(encoder, own), encoder.image_size
        found = detector(own.detector, pyramid, classes, size, encoder.channels, width=own.width)
        return cls(encoder, pyramid, found, learns=learns)

    def loss(self, batch: Batch) -> Tensor:
        """Of classes and boxes, of FCOS of centres, too."""
        loss: Tensor = self.detector(batch, told(*self.told(batch), self.encoder.mean.device))
        return loss

    def boxes(self, batch: Batch) -> list[Found]:
        """As torchvision gives them: scores above 0.05 (FCOS: 0.2), suppressed, at most 300 (FCOS: 100)."""
        return [(one["boxes"], one["scores"], one["labels"]) for one in self.detector(batch)]


class DetectHead(BoxHead):
    """Boxes of RetinaNet or FCOS."""

    Net, Settings = DetectNet, DetectSettings


class Detect(BoxProtocol[DetectSettings]):
    """RetinaNet or FCOS on the encoder."""

    name = "detect"
    says = "a RetinaNet or FCOS detector on feature maps"
    group = "detect"
    Settings = DetectSettings
    Heads = DetectHead
