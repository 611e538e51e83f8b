"""Lesions of a patient to one vector: mean, attention or maximum, whatever their number and order."""

from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "attention", "max"]


class Pool(nn.Module):
    """[N, D] members of G owners to [G, D]; ``attention`` learns one score per member (Ilse et al., ICML 2018)."""

    def __init__(self, dim: int, kind: Pooling = "mean") -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Sequential(nn.Linear(dim, 64), nn.Tanh(), nn.Linear(64, 1)) if kind == "attention" else None

    def forward(self, members: Tensor, owner: Tensor, owners: int) -> Tensor:
        """The pooled members.

        :param members: float [N, D].
        :param owner: int64 [N] in ``range(owners)``; every owner has a member.
        :return: float [owners, D]; independent of the order of members.
        """
        shape = (owners, members.shape[1])
        place = owner[:, None].expand_as(members)
        if self.kind == "max":
            return members.new_zeros(shape).scatter_reduce(0, place, members, "amax", include_self=False)
        if self.score is None:
            return members.new_zeros(shape).scatter_reduce(0, place, members, "mean", include_self=False)
        score = self.score(members).squeeze(-1)
        top = score.new_zeros(owners).scatter_reduce(0, owner, score, "amax", include_self=False)
        weight = torch.exp(score - top.detach()[owner])
        total = weight.new_zeros(owners).index_add(0, owner, weight)
        return members.new_zeros(shape).index_add(0, owner, members * (weight / total[owner])[:, None])
