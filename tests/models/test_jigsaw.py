"""The published network, counted and shaped without memory (B9 of the specification)."""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from sidelight.models.image import create_encoder
from sidelight.models.jigsaw import NineBranches, PatchHead, dense_head, kernels_on


def count(net) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_published_network_has_its_parameters_and_shapes() -> None:
    with torch.device("meta"):
        net, head = NineBranches(3), dense_head(4096, 1000)
        assert [count(part) for part in (net.branches, net.stem, *net.blocks, head)] == [
            16_015_104, 2_362_368, 18_880_512, 19_932_160, 75_509_760, 79_710_208, 5_220_328,
        ]  # fmt: skip
        assert count(net) + count(head) == 217_630_440
        running = sum(buffer.numel() for name, buffer in net.named_buffers() if "running" in name)
        assert count(net) + count(head) + running == 217_681_640  # the Keras total
        patches = torch.empty(2, 9, 3, 64, 64)
        assert net.branches[0](patches[:, 0]).shape == (2, 256, 16, 16)
        assert net.maps(patches).shape == (2, 4096, 4, 4)
        assert head(net.puzzle(patches)).shape == (2, 1000)
        assert net.forward_intermediates(torch.empty(1, 3, 256, 256))[0].shape == (1, 4096, 16, 16)


def test_branches_are_not_shared() -> None:
    net = create_encoder("nine_branches_tiny", channels=1, image_size=48).network.eval()
    patches = torch.rand(1, 9, 1, 16, 16)
    assert not torch.allclose(net.puzzle(patches), net.puzzle(patches.flip(1)), atol=1e-5)


def test_it_is_an_encoder_like_any_other(tmp_path) -> None:
    from sidelight.models.image import load_encoder
    from sidelight.models.towers import save_tower

    encoder = create_encoder("nine_branches_tiny", channels=3, image_size=64)
    assert encoder.mean.flatten().tolist() == [0.5] * 3 and encoder.std.flatten().tolist() == [0.5] * 3  # x / 127.5 - 1
    save_tower(encoder, tmp_path)
    images = torch.rand(2, 3, 64, 64)
    again = load_encoder(tmp_path / "image.safetensors")
    torch.testing.assert_close(again.embed(images), encoder.embed(images))
    assert encoder.embed(images).shape == (2, 64) and encoder.feature_maps(images)[-1].shape == (2, 64, 4, 4)


def test_the_head_knows_positions() -> None:
    torch.manual_seed(0)
    head, vectors = PatchHead(16, 24), torch.rand(3, 9, 16)
    assert head(vectors).shape == (3, 24)
    assert not torch.allclose(head(vectors), head(vectors.flip(1)), atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "side", "unmet", "made"),
    [
        (nn.Conv2d(2, 5, 3, padding=1), 1, 8 / 9, 1),  # the middle alone
        (nn.Conv2d(2, 5, 3, padding=1), 2, 0, 2),
        (nn.Conv2d(2, 5, 3, stride=2, padding=1), 2, 5 / 9, 1),  # at pixel 0: -1 is padding, 0 and 1 are not
        (nn.Conv2d(2, 5, 3, stride=2, padding=1), 3, 0, 2),
        (nn.Conv2d(2, 5, 5, padding=2), 2, 16 / 25, 2),  # from pixels 0 and 1: steps of -1, 0 and 1
        (nn.Conv2d(2, 5, 3, padding=2, dilation=2), 2, 8 / 9, 2),
        (nn.Conv2d(2, 5, 3, padding=2, dilation=2), 3, 0, 3),
        (nn.Conv2d(2, 5, 1), 1, 0, 1),
        (nn.Conv2d(2, 5, 3), 3, 0, 1),
        (nn.Conv2d(2, 5, 3, padding="same"), 1, 8 / 9, 1),
        (Conv2dSame(2, 5, 3, stride=2), 2, 5 / 9, 1),  # pads to the right
    ],
)
def test_weights_that_meet_padding_alone_are_counted(layer, side, unmet, made) -> None:
    """By hand; and they are those whose gradient is 0."""
    found = kernels_on(layer, 2, side)
    assert found.unmet == pytest.approx(unmet) and found.side == made
    layer(torch.rand(1, 2, side, side) + 1).sum().backward()
    assert float((layer.weight.grad == 0).float().mean()) == pytest.approx(unmet)


def test_counting_leaves_the_network_as_it_was() -> None:
    net = create_encoder("test_resnet", channels=1, image_size=48).network.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    assert kernels_on(net, 1, 33).unmet == 0 and kernels_on(net, 1, 32).unmet > 0.4
    assert torch.equal(state, torch.get_rng_state()) and net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
