"""The least of linear segmentation, for learning tests and benchmarks that know the truth: a 1x1 convolution on given maps,
fitted on all images at once with the pooled Dice loss. What users run is the protocol ``segment_linear``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sidelight.losses.dice import dice_loss


@dataclass(frozen=True, eq=False)
class LinearSegmentation:
    """Logits are ``weight . map + bias``: float32 [D] and [1], of maps that were standardised by ``mean`` and ``scale`` [D]."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def __call__(self, maps: Tensor, size: int) -> Tensor:
        """Logits [N, size, size] of maps [N, D, h, w]."""
        level = (maps - self.mean[:, None, None]) / self.scale[:, None, None]
        logits = torch.einsum("ndhw,d->nhw", level, self.weight) + self.bias
        return F.interpolate(logits[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


def fit_segmentation(
    maps: Tensor, masks: NDArray[Any], *, steps: int = 200, lr: float = 0.03, decay: float = 1e-3
) -> LinearSegmentation:
    """The convolution that meets ``masks`` [N, S, S] best from ``maps`` [N, D, h, w]; a function of its arguments alone."""
    mean, scale = maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-6)
    wanted = torch.from_numpy(np.asarray(masks, np.float32))
    share = wanted.mean().clamp(1e-4, 0.5)
    weight, bias = torch.zeros(maps.shape[1], requires_grad=True), torch.logit(share)[None].clone().requires_grad_()
    optimizer = torch.optim.AdamW([weight, bias], lr=lr, weight_decay=decay)
    for _ in range(steps):
        logits = LinearSegmentation(weight, bias, mean, scale)(maps, wanted.shape[-1])
        optimizer.zero_grad()
        dice_loss(logits, wanted).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return LinearSegmentation(weight.detach(), bias.detach(), mean, scale)
