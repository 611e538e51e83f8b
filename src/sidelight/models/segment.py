"""Decoders of masks: feature maps of a pyramid to logits of K classes at the side of the masks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

LEAST_WIDTH = 16


class LinearMaps(nn.Module):
    """A 1x1 convolution on each map, its logits enlarged bilinearly and added up.

    On the last map alone this is LoVT's linear protocol (section 6 of its evaluation). Maps are standardised by their channels
    first, if :meth:`standardise` was told how.

    :param widths: channels of each map; ``classes`` K.
    """

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1, bias=not at) for at, width in enumerate(widths))
        for at, width in enumerate(widths):
            self.register_buffer(f"mean{at}", torch.zeros(width))
            self.register_buffer(f"scale{at}", torch.ones(width))

    def standardise(self, means: Sequence[Tensor], scales: Sequence[Tensor]) -> None:
        """From now on channels are standardised: of each map their means and standard deviations [C]."""
        for at, (mean, scale) in enumerate(zip(means, scales, strict=True)):
            self.get_buffer(f"mean{at}").copy_(mean)
            self.get_buffer(f"scale{at}").copy_(scale.clamp_min(1e-6))

    def forward(self, maps: Sequence[Tensor], images: Tensor | None, side: int) -> Tensor:
        """Logits [N, K, side, side] of maps [N, C_k, h_k, w_k]; ``images`` are not read."""
        logits = []
        for at, (head, one) in enumerate(zip(self.heads, maps, strict=True)):
            mean, scale = (self.get_buffer(f"{name}{at}")[:, None, None] for name in ("mean", "scale"))
            logits.append(_enlarged(head((one - mean) / scale), side))
        return torch.stack(logits).sum(dim=0)


class Unet(nn.Module):
    """LoVT's U-Net decoder: a bridge on the coarsest map, then at each finer level a transposed convolution, the level's map
    beside it, and two convolutions; last the image itself.

    Published for a ResNet-50 (maps of 64 to 2048 channels at strides 2 to 32): a bridge of 2048, then 1024, 512, 256, 128 and 64
    channels. Of another network each step halves the channels of its coarsest map, down to 16.

    :param widths: channels of the maps, finest first; ``channels`` of the image, ``classes`` K.
    """

    def __init__(self, widths: Sequence[int], channels: int, classes: int) -> None:
        super().__init__()
        beside = [*widths[-2::-1], channels]
        outs = [max(LEAST_WIDTH, widths[-1] >> step) for step in range(1, len(beside) + 1)]
        self.bridge = _two(widths[-1], widths[-1])
        self.ups, self.steps = nn.ModuleList(), nn.ModuleList()
        for into, out, skip in zip([widths[-1], *outs], outs, beside, strict=False):
            self.ups.append(nn.ConvTranspose2d(into, out, 2, stride=2))
            self.steps.append(_two(out + skip, out))
        self.head = nn.Conv2d(outs[-1], classes, 1)

    def forward(self, maps: Sequence[Tensor], images: Tensor, side: int) -> Tensor:
        """Logits [N, K, side, side] of maps [N, C_k, h_k, w_k], finest first, and images [N, C, S, S]."""
        found = self.bridge(maps[-1])
        for up, step, beside in zip(self.ups, self.steps, [*maps[-2::-1], images], strict=True):
            found = step(torch.cat([_enlarged(up(found), beside.shape[-1]), beside], dim=1))
        return _enlarged(self.head(found), side)


def _two(into: int, out: int) -> nn.Sequential:
    """Twice a 3x3 convolution, batch normalisation and ReLU."""
    parts: list[nn.Module] = []
    for width in (into, out):
        parts += [nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def _enlarged(maps: Tensor, side: int) -> Tensor:
    if maps.shape[-1] == side:
        return maps
    return interpolate(maps, (side, side), mode="bilinear", align_corners=False)
