"""The Dice loss of a batch of masks."""

from typing import Literal

import torch
from torch import Tensor

from sidelight.errors import ConfigError

Over = Literal["batch", "class", "image"]


def dice_loss(logits: Tensor, masks: Tensor, known: Tensor | None = None, *, over: Over = "batch") -> Tensor:
    r"""One minus the Dice coefficient of probabilities, 1 - 2 sum(p m) / sum(p + m).

    Source: Milletari et al., V-Net (2016); pooled over the batch as in LoVT's evaluation (smooth 0, eps 1e-7).

    :param logits: float [N, K, ...] for K classes (of ``over="batch"`` any shape); ``masks`` of the same shape, 0 and 1.
    :param known: bool of the same shape or broadcast to it; other pixels count nowhere. None: all are known.
    :param over: what one coefficient is of. ``batch``: all images and classes together, as published, so that small
        classes hardly count. ``class``: all images of a class; the mean over classes. ``image``: each image and class;
        the mean over them. What has no positive pixel is left out of a mean.
    :return: a scalar in [0, 1]; 0 where no pixel of the batch is positive.

    >>> round(dice_loss(torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.eye(2)).item(), 4)
    0.2033
    """
    if logits.shape != masks.shape:
        raise ConfigError(f"logits are {tuple(logits.shape)} and masks {tuple(masks.shape)}", expected="one shape")
    wanted, found = masks.to(logits.dtype), logits.sigmoid()
    if known is not None:
        wanted, found = wanted * known, found * known
    axes = {"batch": 0, "class": 2, "image": 2}[over]
    if logits.ndim < axes:
        raise ConfigError(f"logits of shape {tuple(logits.shape)} with over = {over!r}", expected="[N, K, ...]")
    wanted, found = wanted.reshape(*wanted.shape[:axes], -1), found.reshape(*found.shape[:axes], -1)
    summed = (0, 2) if over == "class" else (-1,)
    overlap, total = (found * wanted).sum(summed), (found + wanted).sum(summed)
    present = wanted.sum(summed) > 0
    each = 1 - 2 * overlap / total.clamp_min(1e-7)
    return torch.where(present, each, 0 * each).sum() / present.sum().clamp_min(1)
