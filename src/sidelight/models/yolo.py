"""YOLOv3's detector as LoVT's evaluation puts it on an encoder's maps at strides 8, 16 and 32; losses in ``losses/yolo.py``."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import batched_nms

from sidelight.losses.yolo import ANCHORS, yolo_loss, yolo_targets

STRIDES = (8, 16, 32)
ANCHOR_SIZE = 224
LEAST_OBJECTNESS, MOST_OVERLAP = 0.2, 0.4


class Yolo(nn.Module):
    """Six convolutions and an output at each scale, from the coarsest on; what a scale made of its map stands beside the next
    map.

    :param widths: channels of the maps at strides 8, 16 and 32; ``size`` side of the image, by which anchors are scaled.
    :param width: of the narrower convolutions at the coarsest scale, halved at each finer one; 512 as published.
    """

    anchors: Tensor

    def __init__(self, widths: Sequence[int], classes: int, size: int, *, width: int = 512) -> None:
        super().__init__()
        self.classes, self.size = classes, size
        self.register_buffer("anchors", torch.tensor(ANCHORS) * size / ANCHOR_SIZE)
        self.trunks, self.tails, self.narrows = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for scale, into in enumerate(reversed(widths)):
            own = width >> scale
            if scale:
                self.narrows.append(_unit(2 * own, own, 1))
                into = into + own
            sizes = zip(
                (into, own, 2 * own, own, 2 * own), (own, 2 * own, own, 2 * own, own), (1, 3, 1, 3, 1), strict=True
            )
            self.trunks.append(nn.Sequential(*(_unit(*one) for one in sizes)))
            self.tails.append(nn.Sequential(_unit(own, 2 * own, 3), nn.Conv2d(2 * own, 3 * (5 + classes), 1)))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [N, C, h, w], finest first, to float [N, 3, h, w, 5 + C] of each scale, coarsest first."""
        found, before = [], None
        for scale, own in enumerate(reversed(maps)):
            if before is not None:
                wider = interpolate(self.narrows[scale - 1](before), own.shape[-2:], mode="nearest")
                own = torch.cat([wider, own], dim=1)
            before = self.trunks[scale](own)
            out = self.tails[scale](before)
            found.append(out.unflatten(1, (3, -1)).permute(0, 1, 3, 4, 2).contiguous())
        return found

    def loss(
        self, outputs: Sequence[Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor], *, published: bool
    ) -> Tensor:
        """The sum over scales, in float32.

        :param boxes: of each image float [n, 4], x1, y1, x2, y2 in pixels of the image; ``labels`` int [n].
        """
        total = outputs[0].new_zeros((), dtype=torch.float32)
        for scale, out in enumerate(outputs):
            step = self._steps(out)
            scaled = [one.to(out.device).float() / step.repeat(2) for one in boxes]
            anchors = self.anchors[scale] / step
            grid = (int(out.shape[2]), int(out.shape[3]))
            kinds = [one.to(out.device) for one in labels]
            targets = yolo_targets(scaled, kinds, anchors, grid, classes=self.classes, published=published)
            total = total + yolo_loss(out.float(), targets)
        return total

    def _steps(self, out: Tensor) -> Tensor:
        """Width and height of a cell in pixels."""
        return self.anchors.new_tensor([self.size / out.shape[3], self.size / out.shape[2]])

    @torch.no_grad()
    def boxes(self, outputs: Sequence[Tensor], *, published: bool) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each image boxes float [n, 4] in pixels, scores [n] (objectness) and classes int [n], by falling score.

        Objectness of at least 0.2 is kept; of two boxes of one class whose overlap reaches 0.4 the less sure goes. Overlaps are
        of boxes a pixel wider and higher, if ``published``.
        """
        parts = []
        for scale, out in enumerate(outputs):
            out = out.float()
            step, (high, wide) = self._steps(out), out.shape[2:4]
            grid = torch.stack(torch.meshgrid(torch.arange(wide), torch.arange(high), indexing="xy"), dim=-1).to(out)
            centre = (out[..., :2].sigmoid() + grid) * step
            half = out[..., 2:4].exp() * self.anchors[scale][:, None, None] / 2
            sure = out[..., 4:].sigmoid()
            parts.append(torch.cat([centre - half, centre + half, sure], dim=-1).flatten(1, 3))
        return [self._suppressed(one, published) for one in torch.cat(parts, dim=1)]

    def _suppressed(self, found: Tensor, published: bool) -> tuple[Tensor, Tensor, Tensor]:
        found = found[found[:, 4] >= LEAST_OBJECTNESS]
        kinds = found[:, 5:].argmax(dim=1)
        wider = found[:, :4] + found.new_tensor([0, 0, 1, 1]) * float(published)
        # torchvision drops what lies above a threshold, and the published rule what reaches it
        kept = batched_nms(wider, found[:, 4], kinds, float(np.nextafter(np.float32(MOST_OVERLAP), np.float32(0))))
        return found[kept, :4], found[kept, 4], kinds[kept]


def _unit(into: int, out: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, side, padding=side // 2, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1)
    )
