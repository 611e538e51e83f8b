"""Losses of maps of logits against masks, by the names that settings give them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sidelight.errors import ConfigError
from sidelight.losses.dice import dice_loss

MapLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Logits, masks of 0 and 1, and which pixels are known, each [N, K, ...], to a scalar."""


def bce_loss(logits: Tensor, masks: Tensor, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, the mean over the known pixels of all classes; 0 where none is known.

    :param logits: float, any shape; ``masks`` of the same shape, 0 and 1; ``known`` as of :func:`dice_loss`.
    """
    _same(logits, masks)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype), reduction="none")
    return _mean(each, known)


def focal_loss(
    logits: Tensor, masks: Tensor, known: Tensor | None = None, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss (Lin et al. 2017): cross-entropy times (1 - p of the truth)^gamma, positives times alpha, others 1 - alpha.

    :return: the mean over the known pixels of all classes.
    """
    from torchvision.ops import sigmoid_focal_loss  # half a second, which no other loss needs

    _same(logits, masks)
    each: Tensor = sigmoid_focal_loss(logits, masks.to(logits.dtype), alpha=alpha, gamma=gamma)
    return _mean(each, known)


def dice_and_bce(logits: Tensor, masks: Tensor, known: Tensor | None = None) -> Tensor:
    """Dice of each class plus binary cross-entropy: also images without a positive pixel give a gradient."""
    return dice_loss(logits, masks, known, over="class") + bce_loss(logits, masks, known)


MAP_LOSSES: dict[str, MapLoss] = {
    "dice": dice_loss,
    "dice_by_class": partial(dice_loss, over="class"),
    "dice_by_image": partial(dice_loss, over="image"),
    "bce": bce_loss,
    "focal": focal_loss,
    "dice_and_bce": dice_and_bce,
}


def _same(logits: Tensor, masks: Tensor) -> None:
    if logits.shape != masks.shape:
        raise ConfigError(f"logits are {tuple(logits.shape)} and masks {tuple(masks.shape)}", expected="one shape")


def _mean(each: Tensor, known: Tensor | None) -> Tensor:
    if known is None:
        return each.mean()
    counted = known.expand(each.shape)
    return torch.where(counted, each, 0 * each).sum() / counted.sum().clamp_min(1)
