"""Small networks that stand on an encoder."""

from itertools import pairwise

from torch import nn


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
