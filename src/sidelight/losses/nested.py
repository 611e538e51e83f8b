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
    targets: Tensor | None = None,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """The mean of InfoNCE from left to right and from right to left (Radford et al., CLIP, ICML 2021, figure 3).

    :param left: float [N, D]; ``right`` float [N, D]: row i of both is one pair.
    :param targets: float [N, N] >= 0, symmetric: which pairs count as equal; default the pair itself.
    :param weights: [N] of the pairs; ``groups`` integers [N]: pairs of one group do not repel each other.
    :return: scalar >= 0; with ``reduction="none"`` that of each pair, [N].

    >>> round(clip_loss(torch.eye(2), torch.eye(2), temperature=1.0).item(), 5)  # log(1 + exp(-1))
    0.31326
    """
    given: dict[str, Any] = {"targets": targets, "weights": weights, "groups": groups, "reduction": reduction}
    there = info_nce(left, right, temperature=temperature, **given)
    back = info_nce(right, left, temperature=temperature, **given)
    return (there + back) / 2


def patient_loss(
    phenotypes: Tensor, metadata: Tensor, *, temperature: float | Tensor, same: Tensor, targets: Targets
) -> Tensor:
    """The outer contrast: the phenotype of each of P patients finds the patient's metadata, and back.

    Patients of one age and sex cannot be told apart by them. ``plain`` lets them repel each other all the same, so that
    m equal ones among P cost at least (m/P) log m; ``multi_positive`` makes all equal ones positives of each other (the
    same floor, without the push); ``distinct`` keeps the first of each kind.

    :param phenotypes: float [P, D]; ``metadata`` float [P, D].
    :param same: integers [P], equal where the metadata are.
    :return: scalar >= 0; exactly 0 where ``distinct`` leaves a single patient.
    """
    if targets == "distinct":
        first = ~torch.tril(same[:, None] == same, diagonal=-1).any(dim=1)
        phenotypes, metadata = phenotypes[first], metadata[first]
        if len(phenotypes) == 1:
            return (phenotypes.sum() + metadata.sum()) * 0
    equal = (same[:, None] == same).to(phenotypes.dtype) if targets == "multi_positive" else None
    return clip_loss(phenotypes, metadata, temperature=temperature, targets=equal)


def nested(lesions: Tensor, patients: Tensor, share: float) -> Tensor:
    """L = lambda L_lesions + (1 - lambda) L_patient, with ``share`` = lambda in [0, 1]."""
    return share * lesions + (1 - share) * patients
