"""Small networks that stand on an encoder."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sidelight.models.towers import VERSION, Description, Width, read_tower, rebuilding

JOINT = "joint_head"


class _Described(Description):
    dim: Width
    width: Width


class _Projected(Description):
    width: Width
    out: Width


def mlp(*widths: int) -> nn.Sequential:
    """Linear-ReLU-...-Linear through ``widths``; without batch normalisation.

    :param widths: at least two; input width first, output width last.
    :raises ValueError: for fewer than two widths.

    >>> mlp(8, 4, 2)(torch.zeros(3, 8)).shape
    torch.Size([3, 2])
    """
    if len(widths) < 2:
        raise ValueError(f"mlp needs an input and an output width, got {widths}")
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Projection(nn.Module):
    """SM3's projector: Linear-BN-ReLU-Linear-BN-ReLU-Linear-BN, without biases, the last normalisation without scale.

    Stage 1 keeps those into the space that both photographs share as towers, kind "projection".
    """

    def __init__(self, width: int, out: int) -> None:
        """:param width: of the features; ``out`` of the projection."""
        super().__init__()
        self.width, self.out = width, out
        inner = [(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()) for _ in range(2)]
        last = (nn.Linear(width, out, bias=False), nn.BatchNorm1d(out, affine=False))
        self.layers = nn.Sequential(*[layer for block in (*inner, last) for layer in block])

    def forward(self, features: Tensor) -> Tensor:
        """Float [N, width] to [N, out], not yet of length 1."""
        projected: Tensor = self.layers(features)
        return projected

    def describe(self) -> dict[str, Any]:
        """What rebuilding needs beside the tensors, as JSON."""
        return {"version": VERSION, "kind": "projection", "width": self.width, "out": self.out}


class JointHead(nn.Module):
    """A two-layer head that is saved as a tower, so that features [N, D] find their way into the joint space."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim, self.width = dim, width
        self.layers = mlp(dim, dim, width)

    def forward(self, features: Tensor) -> Tensor:
        """[N, dim] to [N, width], not normalised."""
        projected: Tensor = self.layers(features)
        return projected

    def describe(self) -> dict[str, Any]:
        """What rebuilding needs beside the tensors, as JSON."""
        return {"version": VERSION, "kind": JOINT, "dim": self.dim, "width": self.width}


def load_joint_head(path: str | Path, role: str) -> JointHead:
    """The head ``role`` of a run, in eval mode; :raises EncoderError: where there is none."""
    header, tensors = read_tower(path, role, kind=JOINT, form=_Described)
    with rebuilding(path, role):
        head = JointHead(header["dim"], header["width"])
        head.load_state_dict(tensors)
        return head.eval()


def load_projection(path: str | Path, role: str) -> Projection:
    """SM3's projector ``role`` of a run, in eval mode; :raises EncoderError: where there is none."""
    header, tensors = read_tower(path, role, kind="projection", form=_Projected)
    with rebuilding(path, role):
        net = Projection(header["width"], header["out"])
        net.load_state_dict(tensors)
        return net.eval()


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
