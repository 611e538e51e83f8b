"""Networks that solve jigsaw puzzles: the published one of nine branches, and a head for any encoder of patches.

SSLM's network ("rocket", v3 in TensorFlow), with f(x) two 3x3 convolutions, each with batch normalisation and ReLU:

    9 branches, not shared: [conv3 w, BN, ReLU] x 2, maxpool 2, the same, maxpool 2          9 x 64^2 -> 16^2 x 9w
    stem: conv1 4w, BN, ReLU                                                                          16^2 x 4w
    skip: x + 0.25 f(x);  reduce: [conv3, conv3 stride 2] || [avgpool 2, conv1], concatenated          8^2 x 8w
    skip; reduce                                                                                       4^2 x 16w
    mean over places; head: dense 4w, ReLU, dense n

With the published w = 256 and n = 1,000 it has 217,630,440 parameters. It takes whole slices as well, fed to all nine branches.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sidelight.models.heads import mlp

SIDE = 3
PATCHES = SIDE * SIDE
"""Of a puzzle."""

WIDTH = 256


def _conv(before: int, after: int, size: int, stride: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(before, after, size, stride, padding=size // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return [layer, nn.BatchNorm2d(after), nn.ReLU()]


class Skip(nn.Module):
    """x + 0.25 f(x), without a ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(width, width, 3), *_conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[N, W, H, H] -> the same."""
        changed: Tensor = x + 0.25 * self.body(x)
        return changed


class Reduce(nn.Module):
    """Halves the side and doubles the width: two convolutions beside pooling and one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.learnt = nn.Sequential(*_conv(width, width, 3), *_conv(width, width, 3, stride=2))
        self.pooled = nn.Sequential(nn.AvgPool2d(2), *_conv(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, W, H, H] -> [N, 2W, H/2, H/2]."""
        return torch.cat([self.learnt(x), self.pooled(x)], dim=1)


class NineBranches(nn.Module):
    """The published network without its head; vectors of 16 ``width`` numbers.

    :param channels: of the images; the paper repeats grey to 3. Their side is a multiple of ``STRIDE`` pixels.
    """

    STRIDE = 16

    def __init__(self, channels: int = 3, width: int = WIDTH) -> None:
        super().__init__()
        self.num_features = 16 * width
        self.pretrained_cfg = {"input_size": (channels, 256, 256), "mean": (0.5,), "std": (0.5,)}
        self.branches = nn.ModuleList(
            nn.Sequential(
                *_conv(channels, width, 3), *_conv(width, width, 3), nn.MaxPool2d(2),
                *_conv(width, width, 3), *_conv(width, width, 3), nn.MaxPool2d(2),
            )
            for _ in range(PATCHES)
        )  # fmt: skip
        self.stem = nn.Sequential(*_conv(PATCHES * width, 4 * width, 1))
        self.blocks = nn.Sequential(Skip(4 * width), Reduce(4 * width), Skip(8 * width), Reduce(8 * width))

    def maps(self, patches: Tensor) -> Tensor:
        """Nine patches [N, 9, C, P, P], each to its own branch: [N, 16 width, P/16, P/16]."""
        seen = [branch(patches[:, place]) for place, branch in enumerate(self.branches)]
        maps: Tensor = self.blocks(self.stem(torch.cat(seen, dim=1)))
        return maps

    def puzzle(self, patches: Tensor) -> Tensor:
        """Nine patches [N, 9, C, P, P] to vectors [N, 16 width]."""
        return self.maps(patches).mean((2, 3))

    def stem_penalty(self) -> Tensor:
        """Sum of squares of the stem's convolution."""
        penalty: Tensor = self.stem[0].weight.square().sum()  # type: ignore[operator]
        return penalty

    def forward(self, images: Tensor) -> Tensor:
        """Whole slices [N, C, S, S], each fed to all nine branches, to vectors [N, 16 width]."""
        return self.puzzle(images[:, None].expand(-1, PATCHES, -1, -1, -1))

    def forward_intermediates(self, images: Tensor, intermediates_only: bool = False) -> Any:
        """The last map of whole slices, and a list of it, as timm's networks give theirs."""
        maps = self.maps(images[:, None].expand(-1, PATCHES, -1, -1, -1))
        return [maps] if intermediates_only else (maps, [maps])

    def forward_head(self, maps: Tensor, pre_logits: bool = True) -> Tensor:
        """The last map [N, 16 width, H, W] to vectors [N, 16 width]."""
        return maps.mean((2, 3))


class PatchHead(nn.Module):
    """Vectors of nine patches to scores of permutations: each position has weights of its own.

    A shared layer cuts each patch's vector down to ``narrow`` numbers, then an MLP reads the nine in their order.
    """

    def __init__(self, dim: int, permutations: int, narrow: int = 64, hidden: int = 512) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Linear(dim, narrow), nn.LayerNorm(narrow), nn.ReLU())
        self.read = mlp(PATCHES * narrow, hidden, permutations)

    def forward(self, vectors: Tensor) -> Tensor:
        """[N, 9, D] -> logits [N, permutations]."""
        logits: Tensor = self.read(self.narrow(vectors).flatten(1))
        return logits


class Kernels(NamedTuple):
    """What the convolutions of a network meet of an image.

    :ivar side: of the smallest map that a kernel wider than one pixel makes.
    :ivar unmet: share of the weights of all kernels that meet nothing but padding, so that they have no gradient.
    """

    side: int
    unmet: float


def kernels_on(network: nn.Module, channels: int, side: int) -> Kernels:
    """The kernels of ``network`` on an image of ``side`` pixels; computes shapes alone, on the meta device.

    Weight t of a kernel with stride s, padding p and dilation d meets the pixels o s - p + t d of the map before it. A 3x3 kernel
    on a map of one pixel so has one weight of nine that meets anything, on 2x2 pixels all.

    :raises RuntimeError, AssertionError: what the network raises where it takes no images of this side.
    """
    sides, met, every = [side], 0, 0

    def look(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal met, every
        assert isinstance(layer, nn.Conv2d)
        rows, columns = (_met(layer, axis, int(given[0].shape[axis - 2]), int(made.shape[axis - 2])) for axis in (0, 1))
        size = layer.kernel_size
        each = layer.weight.numel() // (size[0] * size[1])
        met, every = met + each * rows * columns, every + layer.weight.numel()
        if max(size) > 1:
            sides.append(min(made.shape[-2:]))

    hooks = [part.register_forward_hook(look) for part in network.modules() if isinstance(part, nn.Conv2d)]
    try:
        state = {name: tensor.to("meta") for name, tensor in network.state_dict(keep_vars=True).items()}
        functional_call(network, state, torch.empty(2, channels, side, side, device="meta"))  # statistics need two
    finally:
        for hook in hooks:
            hook.remove()
    return Kernels(min(sides), 1 - met / every if every else 0.0)


def _met(layer: nn.Conv2d, axis: int, before: int, after: int) -> int:
    """How many weights along an axis meet one of ``before`` pixels while ``after`` are made."""
    size, stride, step = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    reach = (after - 1) * stride + step * (size - 1) + 1
    own = layer.padding if isinstance(layer.padding, str) else layer.padding[axis]
    # as much as the output needs where the layer pads by itself ("same"), else its own
    start = -own if isinstance(own, int) and own and reach <= before + 2 * own else -(max(reach - before, 0) // 2)
    places = torch.arange(after) * stride + start
    pixels = places[:, None] + torch.arange(size) * step
    return int(((pixels >= 0) & (pixels < before)).any(dim=0).sum())


def dense_head(dim: int, permutations: int) -> nn.Sequential:
    """The published head on the mean of the last map: Dense(dim / 4), ReLU, Dense(permutations)."""
    return mlp(dim, dim // 4, permutations)
