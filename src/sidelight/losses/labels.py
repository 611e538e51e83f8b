"""Several labels at once, of two classes or more: cross-entropy that passes over labels that are not known, rare ones weighted.

A network has one logit per class; where several labels all have two classes, one per label: that of the second.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sidelight.errors import ConfigError
from sidelight.losses.checks import full_precision


def outputs(sizes: Sequence[int]) -> int:
    """How many logits targets of so many classes need."""
    return len(sizes) if _signs(sizes) else sum(sizes)


def _signs(sizes: Sequence[int]) -> bool:
    """Whether each of several targets is a yes or no."""
    return len(sizes) > 1 and set(sizes) == {2}


def class_probabilities(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Class probabilities ``[N, classes of all targets]`` of logits ``[N, outputs(sizes)]``, target after target."""
    if _signs(sizes):
        return torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=2).flatten(1)
    return torch.cat([part.softmax(dim=1) for part in torch.split(logits, list(sizes), dim=1)], dim=1)


def target_loss(logits: Tensor, labels: Tensor, sizes: Sequence[int], weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of logits ``[N, outputs(sizes)]`` and labels int ``[N, targets]``, negative where unknown.

    :param weights: float ``[targets, most classes]``, of the classes of each target; none counts all alike.
    """
    if _signs(sizes):
        return label_loss(logits, labels, weights)
    return label_cross_entropy(torch.split(logits, list(sizes), dim=1), labels, classes=weights)


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


def label_cross_entropy(
    logits: Sequence[Tensor],
    targets: Tensor,
    *,
    weights: Sequence[float] | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    r"""Mean over labels of the cross-entropy, SM3's second loss: L2 = (1/L) sum_l w_l CE(logits_l, y_l).

    :param logits: L tensors float [N, K_l].
    :param targets: int64 [N, L]; negative is unknown and does not count in its label's mean. A label that nobody in the
        batch has counts as 0.
    :param weights: w_l, 1 where not given.
    :param classes: float [L, most classes], of the classes inside each label's mean; none counts all alike.
    :raises ConfigError: for numbers of labels that differ.

    >>> round(label_cross_entropy([torch.zeros(2, 4)], torch.zeros(2, 1, dtype=torch.long)).item(), 4)  # log 4
    1.3863
    """
    if len(logits) != targets.shape[1]:
        raise ConfigError(
            f"{len(logits)} heads and targets of {targets.shape[1]} labels", expected="one head per label"
        )
    parts = []
    for place, given in enumerate(logits):
        with full_precision(given):
            scores = given if given.dtype == torch.float64 else given.float()
            known = targets[:, place] >= 0
            wanted = targets[:, place].clamp(min=0)
            each = functional.cross_entropy(scores, wanted, reduction="none")
            weight = known.to(scores.dtype) if classes is None else known * classes[place][wanted].to(scores.dtype)
            total = (weight * each).sum() / weight.sum().clamp(min=torch.finfo(scores.dtype).tiny)
            parts.append(total * (1.0 if weights is None else weights[place]))
    return torch.stack(parts).mean()
