import pytest
import torch
from torch import nn

from sidelight.models.heads import mlp


def test_layers_alternate_and_end_linear() -> None:
    head = mlp(8, 6, 4)
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert head(torch.zeros(3, 8)).shape == (3, 4)
    assert sum(p.numel() for p in mlp(512, 512, 128).parameters()) == 328_320


def test_one_width_is_no_network() -> None:
    with pytest.raises(ValueError, match="output width"):
        mlp(8)
