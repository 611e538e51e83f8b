"""Several yes-or-no labels at once: cross-entropy that passes over labels that are not known, and weights of rare ones."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def label_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the labels that are known: a scalar, 0 where none is.

    ``sum_nl w_l(y_nl) (log(1 + e^z_nl) - y_nl z_nl) / sum_nl w_l(y_nl)`` over the known (n, l).

    :param logits: z, float ``[N, L]``.
    :param labels: y, int ``[N, L]``: 0, 1, or negative where unknown.
    :param weights: w, float ``[L, 2]``: of the absence and the presence of each label; none counts all alike.
    """
    known = labels >= 0
    truth = labels.clamp(min=0)
    each = functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    weight = known.to(logits.dtype)
    if weights is not None:
        weight = weight * torch.where(truth == 1, weights[:, 1], weights[:, 0])
    return (weight * each).sum() / weight.sum().clamp(min=torch.finfo(logits.dtype).tiny)


def inverse_frequency(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weight of each class, float64 ``[C]``: how many times more units the largest class has; 1 for a class without any.

    :param labels: int ``[N]`` in ``range(classes)``, negative where unknown.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    return np.where(counts, counts.max() / np.maximum(counts, 1), 1.0)
