"""Small networks that stand on an encoder."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sidelight.models.towers import VERSION, read_tower

PROJECTION = "projection"


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
        return {"version": VERSION, "kind": PROJECTION, "dim": self.dim, "width": self.width}


def load_projection(path: str | Path, role: str) -> Projection:
    """The head ``role`` of a run, in eval mode; :raises EncoderError: where there is none."""
    header, tensors = read_tower(path, role, kind=PROJECTION)
    head = Projection(header["dim"], header["width"])
    head.load_state_dict(tensors)
    return head.eval()
