"""The nested contrast of SLIMP: lesions find their data, and patients, seen through their lesions, find theirs.

Both levels are the symmetric InfoNCE of CLIP; nested is that the second one reads pooled representations of the first.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from sidelight.losses.contrast import info_nce

Targets = Literal["plain", "multi_positive", "distinct"]


def clip_loss(
    left: Tensor,
    right: Tensor,
    *,
    temperature: float | Tensor,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """The mean of InfoNCE from left to right and from right to left (Radford et al., CLIP, ICML 2021, figure 3).

    :param left: float [N, D]; ``right`` float [N, D]: row i of both is one pair.
    :param weights: [N] of the pairs; ``groups`` integers [N]: pairs of one group do not repel each other.
    :param mask: bool [N, N], symmetric: which pairs may repel each other.
    :return: scalar >= 0; with ``reduction="none"`` that of each pair, [N].

    >>> round(clip_loss(torch.eye(2), torch.eye(2), temperature=1.0).item(), 5)  # log(1 + exp(-1))
    0.31326
    """
    given: dict[str, Any] = {"weights": weights, "groups": groups, "mask": mask, "reduction": reduction}
    there = info_nce(left, right, temperature=temperature, **given)
    back = info_nce(right, left, temperature=temperature, **given)
    return (there + back) / 2


def level_loss(
    left: Tensor,
    metadata: Tensor,
    *,
    temperature: float | Tensor,
    same: Tensor,
    targets: Targets,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    r"""One level: each of N photographs (or patients, seen through their lesions) finds its metadata, and back.

    Where m of N have equal metadata they cannot be told apart by them, and the loss stays above (m/N) log m. It does not
    push the m apart for that: their metadata are one vector t, so that what the m anchors t say,

        sum_i w_i (-S_ti + log sum_j exp S_tj) = -sum_j w_j S_tj + W log sum_j exp S_tj,    W = sum_i w_i,

    is what m anchors say of which each has all m as targets, by their weights. So ``multi_positive``, by which equal ones
    are each other's positives, differs from ``plain`` in one thing: they stay in each other's sums whatever ``groups``
    leave out. ``distinct`` keeps the first of each kind, so that kinds count alike, however often they come.

    :param left: float [N, D]; ``metadata`` float [N, D], a function of what is known.
    :param same: integers [N], equal where what is known is.
    :param weights: as of :func:`clip_loss`, as are ``groups`` and ``reduction``.
    :return: scalar >= 0; exactly 0 where ``distinct`` leaves nobody to differ from. Or [N], [K] of K kinds.
    """
    if targets == "distinct":
        first = first_of_each(same)
        left, metadata = left[first], metadata[first]
        weights, groups = (None if one is None else one[first] for one in (weights, groups))
        if len(left) == 1 or (groups is not None and bool((groups == groups[0]).all())):
            each = (left + metadata).sum(1) * 0
            return each if reduction == "none" else each.sum()
    given: dict[str, Any] = {"groups": groups}
    if targets == "multi_positive" and groups is not None:
        given = {"mask": (groups[:, None] != groups) | (same[:, None] == same)}
    return clip_loss(left, metadata, temperature=temperature, weights=weights, reduction=reduction, **given)


def first_of_each(same: Tensor) -> Tensor:
    """Bool [N]: of the rows whose ``same`` [N] is equal, the first."""
    return ~torch.tril(same[:, None] == same, diagonal=-1).any(dim=1)


def nested(lesions: Tensor, patients: Tensor, share: float) -> Tensor:
    """L = lambda L_lesions + (1 - lambda) L_patient, with ``share`` = lambda in [0, 1]."""
    return share * lesions + (1 - share) * patients
