"""Learned weights of the pairs of a photograph and a lesion's data: the two levels of Meta-USCL's problem for SLIMP."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sidelight.losses.nested import Targets, first_of_each, level_loss
from sidelight.methods.learned_weights import levels_of
from sidelight.methods.look_ahead import Tensors
from sidelight.methods.pair_weights import BiLevel, CMWNet


class PairFeatures(NamedTuple):
    """Features of N pairs, float [N, dim] of photographs and [N, d] of lesion data.

    :ivar same: integers [N], equal where the data are; ``groups`` integers [N], of the contrast, or None.
    """

    images: Tensor
    metadata: Tensor
    same: Tensor
    groups: Tensor | None = None

    def counting(self, targets: Targets) -> "PairFeatures":
        """The pairs that the contrast takes as anchors: all, or the first of each kind."""
        if targets != "distinct":
            return self
        first = first_of_each(self.same)
        return PairFeatures(*(None if part is None else part[first] for part in self))  # type: ignore[arg-type]


class Heads(nn.Module):
    """Both projections of the lesion level, which the look-ahead moves."""

    def __init__(self, image: nn.Module, lesion: nn.Module) -> None:
        super().__init__()
        self.image, self.lesion = image, lesion

    def forward(self, images: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor]:
        """Features of photographs and of lesion data to the shared space."""
        return self.image(images), self.lesion(metadata)


def two_levels(
    heads: Heads,
    net: CMWNet,
    pairs: PairFeatures,
    meta: PairFeatures,
    optimizer: torch.optim.Optimizer,
    *,
    share: float,
    temperature: Tensor,
    targets: Targets,
    clip_norm: float | None = None,
    length: float = 0.0,
) -> BiLevel:
    """The next step of ``heads`` on lambda (``share``) times the weighted contrast of ``pairs``, judged by that of ``meta``.

    The contrast is the method's own, :func:`sidelight.losses.nested.level_loss` with ``targets``. The patient level does not
    pass through these heads, so nothing of their step is left out; ``length`` is that of the whole gradient at the last step,
    by which the step is clipped to ``clip_norm``.
    """
    theta: Tensors = {name: p for name, p in heads.named_parameters() if p.requires_grad}
    pairs, meta = (some.counting(targets) for some in (pairs, meta))
    given: dict[str, Any] = {"temperature": temperature, "targets": targets}

    def contrast(
        parameters: Tensors, of: PairFeatures, reduction: Literal["mean", "none"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        left, right = functional_call(heads, parameters, (of.images, of.metadata))
        loss = level_loss(left, right, same=of.same, groups=of.groups, reduction=reduction, **given)
        return loss, left, right

    how: dict[str, Any] = {"share": share, "clip_norm": clip_norm, "length": length}
    return levels_of(theta, contrast, net, pairs, meta, optimizer, **how)
