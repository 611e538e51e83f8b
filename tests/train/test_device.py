import pytest
import torch
from torch import nn

from sidelight.errors import ConfigError
from sidelight.train.device import autocast, has_fast_bf16, pick_device, pick_dtype, place, reproducible, seed_torch

CPU = torch.device("cpu")


def test_auto_is_a_gpu_where_there_is_one():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(ConfigError, match="auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="CUDA devices here"):
        pick_device("cuda:4096")


def test_precision_auto_follows_the_device(monkeypatch):
    assert pick_dtype("auto", CPU) == (torch.bfloat16 if has_fast_bf16(CPU) else torch.float32)
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert pick_dtype("auto", CPU) == torch.float32
    assert pick_dtype("bf16", CPU) == torch.bfloat16


def test_autocast_changes_the_forward_pass_only_for_bf16():
    net, x = nn.Linear(4, 4), torch.ones(2, 4)
    with autocast(CPU, torch.bfloat16):
        assert net(x).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert net(x).dtype == torch.float32


def test_only_convolutional_nets_get_channels_last():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    place(net, CPU)
    assert net[1].weight.is_contiguous(memory_format=torch.channels_last)
    patch = nn.Sequential(nn.Conv2d(3, 8, 3))
    place(patch, CPU)
    assert patch[0].weight.is_contiguous()


def test_seeds_repeat_and_every_number_counts():
    def draw(*numbers):
        seed_torch(CPU, *numbers)
        return torch.rand(3).tolist()

    assert draw(0, 1, 2) == draw(0, 1, 2)
    assert len({tuple(draw(*numbers)) for numbers in [(0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 1)]}) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_deterministic_kernels_are_asked_for_and_the_flags_put_back():
    before = (torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled())
    with reproducible(torch.device("cuda")):
        assert torch.backends.cudnn.deterministic
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled()) == before


def test_depthwise_convolutions_have_no_fast_bf16_on_a_cpu(monkeypatch):
    monkeypatch.setattr("sidelight.train.device.has_fast_bf16", lambda device: True)
    plain, deep = nn.Conv2d(4, 8, 3), nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert pick_dtype("auto", cpu, plain) == pick_dtype("auto", cuda, deep) == torch.bfloat16
    assert pick_dtype("auto", cpu, deep) == torch.float32 and pick_dtype("bf16", cpu, deep) == torch.bfloat16
