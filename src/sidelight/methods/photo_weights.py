"""Learned weights of the pairs of two photographs: the two levels of Meta-USCL's problem for SM3."""

import copy
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sidelight.losses.sm3 import Style, crossed
from sidelight.methods.learned_weights import levels_of
from sidelight.methods.look_ahead import Tensors
from sidelight.methods.pair_weights import BiLevel, CMWNet


class PhotoFeatures(NamedTuple):
    """What is known of N lesions with both photographs.

    Features float [A, V, D] of the first and [B, V, D] of the second photographs that there are; ``groups`` integers [N] of
    the contrast, or None; ``sizes`` of the parts that the lesions are in, in their order, each with a contrast of its own;
    ``rows`` integers [N], where they stand in both, None for all as they are: lone photographs are in the batch statistics
    alone.
    """

    first: Tensor
    second: Tensor
    groups: Tensor | None = None
    sizes: tuple[int, ...] | None = None
    rows: tuple[Tensor, Tensor] | None = None


class Crossing(nn.Module):
    """Both cross-modal projectors, one and the same where they are shared."""

    def __init__(self, projectors: nn.ModuleList, *, apart: bool) -> None:
        """:param apart: each view has batch statistics of its own."""
        super().__init__()
        self.projectors, self.apart = projectors, apart

    def forward(self, first: Tensor, second: Tensor, rows: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Features of both photographs to [N, 2, V, d], as of :class:`PhotoFeatures`."""
        sides = []
        for slot, features in enumerate((first, second)):
            project = self.projectors[slot % len(self.projectors)]
            views = features.unbind(1)
            shown = [project(one) for one in views] if self.apart else project(torch.cat(views)).chunk(len(views))
            side = torch.stack(list(shown), 1)
            sides.append(side if rows is None else side[rows[slot]])
        return torch.stack(sides, 1)

    def structure(self) -> "Crossing":
        """The same without storage, in training. Batch normalisation that synchronises processes, which the method's own may
        become, has no forward mode; here there is the gathered batch anyway."""
        return copy.deepcopy(self).to("meta").train()


def two_levels(
    crossing: Crossing,
    structure: Crossing,
    net: CMWNet,
    pairs: PhotoFeatures,
    meta: PhotoFeatures,
    optimizer: torch.optim.Optimizer,
    *,
    share: float,
    temperature: float,
    style: Style,
    clip_norm: float | None = None,
    length: float = 0.0,
) -> BiLevel:
    """The next step of the projectors on ``share`` times the weighted contrast of ``pairs``, judged by that of ``meta``.

    The intra-modal terms do not pass through these projectors; ``length`` is that of the whole gradient at the last step, by
    which the step is clipped to ``clip_norm``.
    """
    named = dict(crossing.named_parameters())
    theta: Tensors = {name: p for name, p in named.items() if p.requires_grad}

    def contrast(
        parameters: Tensors, of: PhotoFeatures, reduction: Literal["mean", "none"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in crossing.named_buffers()}
        joint = functional_call(structure, named | parameters | buffers, (of.first, of.second, of.rows))
        sizes = list(of.sizes or [len(joint)])
        groups = [None] * len(sizes) if of.groups is None else torch.split(of.groups, sizes)
        each = [
            crossed(part, temperature=temperature, style=style, groups=own, reduction=reduction)
            for part, own in zip(torch.split(joint, sizes), groups, strict=True)
            if len(part)
        ]
        loss = torch.cat(each) if reduction == "none" else torch.stack(each).sum() / len(sizes)
        return loss, joint[:, 0].mean(1), joint[:, 1].mean(1)

    how: dict[str, Any] = {"share": share, "clip_norm": clip_norm, "length": length}
    return levels_of(theta, contrast, net, pairs, meta, optimizer, sizes=pairs.sizes, **how)
