"""torchvision's detectors with an encoder of ours as their backbone: RetinaNet, FCOS, Mask R-CNN."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from sidelight.models.pyramid import Pyramid

Detector = Literal["retinanet", "fcos"]
HIDDEN = 1024
STRIDES = {"retinanet": (8, 16, 32), "fcos": (8, 16, 32), "mask_rcnn": (4, 8, 16, 32)}


class Backbone(nn.Module):
    """A feature pyramid network on maps that are handed over before each call, so that stored maps can take the encoder's place.

    :ivar given: the maps of the images that come next.
    """

    def __init__(self, pyramid: Pyramid, width: int, extra: ExtraFPNBlock) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork(list(pyramid.widths), width, extra)
        self.out_channels = width
        self.given: Sequence[Tensor] = ()

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Levels by name; ``images`` are not read."""
        found: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(at), one) for at, one in enumerate(self.given)))
        return found


def detector(
    kind: Detector, pyramid: Pyramid, classes: int, size: int, channels: int, *, width: int = 256
) -> nn.Module:
    """RetinaNet (Lin et al. 2017) or FCOS (Tian et al. 2019) as torchvision has them, on strides 8 to 128.

    Boxes and labels are those of torchvision's targets, labels from 0 on; anchors are 4 cells of their level and larger.

    :param size: side of the images, which are not resized again; ``channels`` of them; ``width`` of the pyramid network.
    """
    backbone = Backbone(pyramid, width, LastLevelP6P7(width, width))
    strides = (8, 16, 32, 64, 128)
    shown: dict[str, Any] = _as_they_are(size, channels)
    if kind == "fcos":
        anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * 5)
        fcos: nn.Module = FCOS(backbone, classes, anchor_generator=anchors, **shown)
        return fcos
    sizes = tuple(tuple(int(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in strides)
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    retinanet: nn.Module = RetinaNet(backbone, classes, anchor_generator=anchors, **shown)
    return retinanet


def mask_rcnn(
    pyramid: Pyramid,
    classes: int,
    size: int,
    channels: int,
    *,
    width: int = 256,
    proposals: int = 1000,
    sampled: int = 512,
) -> nn.Module:
    """Mask R-CNN (He et al. 2017) with a feature pyramid on strides 4 to 64, as torchvision has it; class 0 is background.

    As in Meta-USCL's segmentation: RoIAlign of 7 for boxes and 14 for masks, hidden layers of 1024 for boxes.

    :param width: of the pyramid network and of the hidden layers for masks; 256 as published.
    :param proposals: of an image that are looked at, twice as many in training, where ``sampled`` of them are in the loss.
    """
    backbone = Backbone(pyramid, width, LastLevelMaxPool())
    sizes = tuple((8 * stride,) for stride in (4, 8, 16, 32, 64))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    shown = _as_they_are(size, channels)
    net: nn.Module = MaskRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        rpn_post_nms_top_n_test=proposals,
        rpn_post_nms_top_n_train=2 * proposals,
        box_batch_size_per_image=sampled,
        box_predictor=FastRCNNPredictor(HIDDEN, classes + 1),
        mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(width, width, classes + 1),
        **shown,
    )
    return net


def _as_they_are(size: int, channels: int) -> dict[str, Any]:
    """Images come at their size, are not padded, so that anchors lie where the cells of maps are, and are normalised already."""
    normal = {"image_mean": [0.0] * channels, "image_std": [1.0] * channels}
    return {"min_size": size, "max_size": size, "size_divisible": 1, **normal}


def told(boxes: Sequence[Tensor], labels: Sequence[Tensor], device: torch.device) -> list[dict[str, Tensor]]:
    """Targets as torchvision takes them; boxes without a side are left out, as they are no box there."""
    found = []
    for own, kinds in zip(boxes, labels, strict=True):
        kept = (own[:, 2] > own[:, 0]) & (own[:, 3] > own[:, 1])
        found.append({"boxes": own[kept].float().to(device), "labels": kinds[kept].long().to(device)})
    return found
