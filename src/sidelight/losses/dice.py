"""The Dice loss of a batch of masks."""

import torch
from torch import Tensor

from sidelight.errors import ConfigError


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    r"""One minus the Dice coefficient of probabilities, pooled over the whole batch: 1 - 2 sum(p m) / sum(p + m).

    Source: Milletari et al., V-Net (2016), in the batch-pooled form of LoVT's evaluation (smooth 0, eps 1e-7).

    :param logits: float, any shape; ``masks`` of the same shape, 0 and 1.
    :return: a scalar in [0, 1]; 0 where no pixel of the batch is positive.

    >>> round(dice_loss(torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.eye(2)).item(), 4)
    0.2033
    """
    if logits.shape != masks.shape:
        raise ConfigError(f"logits are {tuple(logits.shape)} and masks {tuple(masks.shape)}", expected="one shape")
    wanted = masks.to(logits.dtype)
    found = logits.sigmoid()
    overlap, total = (found * wanted).sum(), (found + wanted).sum()
    loss = 1 - 2 * overlap / total.clamp_min(1e-7)
    return torch.where(wanted.any(), loss, 0 * loss)
