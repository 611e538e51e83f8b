"""Decoders: a linear one by hand, and the shapes of LoVT's U-Net."""

import pytest
import torch
from torch import nn

from sidelight.models.segment import LinearMaps, Unet


def test_linear_maps_are_a_convolution_enlarged():
    net = LinearMaps((2,), 1)
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor([2.0, -1.0])[None, :, None, None])
        net.heads[0].bias.fill_(0.5)
    maps = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]])
    assert net([maps], None, 1).shape == (1, 1, 1, 1)
    assert net([maps.expand(1, 2, 2, 2)], None, 2)[0, 0, 0].tolist() == [2.5, 2.5]
    net.standardise([torch.tensor([1.0, 0.0])], [torch.tensor([2.0, 1.0])])
    assert net([maps.expand(1, 2, 2, 2)], None, 2)[0, 0, 0].tolist() == pytest.approx([0.5, -1.5])


def test_several_maps_add_up():
    net = LinearMaps((1, 3), 2)
    maps = [torch.rand(2, 1, 8, 8), torch.rand(2, 3, 4, 4)]
    whole = net(maps, None, 16)
    alone = net([maps[0], torch.zeros(2, 3, 4, 4)], None, 16)
    assert whole.shape == (2, 2, 16, 16) and not torch.allclose(whole, alone)
    wide = nn.functional.interpolate(net.heads[1](maps[1]), (16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(whole - alone, wide, atol=1e-6)


def test_the_unet_of_a_resnet50_is_the_published_one():
    with torch.device("meta"):
        net = Unet((64, 256, 512, 1024, 2048), 3, 1)
    assert [up.out_channels for up in net.ups] == [1024, 512, 256, 128, 64]
    assert [step[0].in_channels for step in net.steps] == [2048, 1024, 512, 192, 67]
    assert (net.bridge[0].in_channels, net.bridge[3].out_channels) == (2048, 2048) and net.head.in_channels == 64
    with torch.device("meta"):
        maps = [
            torch.empty(1, width, side, side)
            for width, side in ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7))
        ]
        assert net(maps, torch.empty(1, 3, 224, 224), 224).shape == (1, 1, 224, 224)
