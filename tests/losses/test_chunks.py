"""The chunked losses are the plain ones: in value, in every kind of derivative, and in less memory."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import sidelight
from sidelight.losses import chunks, info_nce, nt_xent


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


SETTINGS = {
    "plain": {},
    "weights": {"weights": torch.tensor([0.2, 0.0, 1.0, 3.0, 0.5])},
    "groups": {"groups": torch.tensor([0, 0, 1, 1, 2])},
    "mask": {"mask": torch.tensor([0, 1, 1, 0, 1] * 5).view(5, 5).bool()},
    "distribution": {"targets": torch.tensor([1.0, 0, 0, 2, 0] * 5).view(5, 5)},
}
CASES = [(nt_xent, name) for name in ("plain", "weights", "groups")] + [(info_nce, name) for name in SETTINGS]


@pytest.mark.parametrize(("loss", "name"), CASES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_same_values_and_gradients_as_plain(loss, name, reduction, chunk):
    inputs = [noise(5, 4), noise(5, 4), torch.tensor(0.2, dtype=torch.float64)]
    settings = dict(SETTINGS[name])
    if "weights" in settings:
        inputs.append(settings.pop("weights").double())
    pull = noise(5) if reduction == "none" else torch.ones((), dtype=torch.float64)

    def run(chunk):
        left, right, temperature, *weights = leaves = [x.clone().requires_grad_() for x in inputs]
        options = settings | ({"weights": weights[0]} if weights else {})
        value = loss(left, right, temperature=temperature, reduction=reduction, chunk=chunk, **options)
        return [value.detach(), *torch.autograd.grad(value, leaves, pull)]

    for ours, plain in zip(run(chunk), run(None), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("loss", "name"), CASES)
@pytest.mark.parametrize("chunk", [None, 3])
def test_gradcheck_and_double_backward(loss, name, chunk):
    inputs = [noise(5, 2), noise(5, 2), torch.tensor(0.4, dtype=torch.float64), torch.rand(5, dtype=torch.float64)]
    inputs = [x.requires_grad_() for x in inputs]
    settings = {key: value for key, value in SETTINGS[name].items() if key != "weights"}

    def value(left, right, temperature, weights):
        return loss(left, right, temperature=temperature, weights=weights, chunk=chunk, **settings)

    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs, fast_mode=True)


@pytest.mark.parametrize(("loss", "name"), CASES)
def test_forward_mode(loss, name):
    left, right, along = noise(5, 3), noise(5, 3), noise(5, 3)

    def pushed(chunk, left=left):
        each = partial(loss, right=right) if loss is nt_xent else partial(loss, keys=right)
        each = partial(each, temperature=0.3, reduction="none", chunk=chunk, **SETTINGS[name])
        return torch.func.jvp(each, (left,), (along,))[1]

    step = 1e-6
    numeric = loss(left + step * along, right, temperature=0.3, reduction="none", **SETTINGS[name])
    numeric = numeric - loss(left - step * along, right, temperature=0.3, reduction="none", **SETTINGS[name])
    torch.testing.assert_close(pushed(2), numeric / (2 * step), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(pushed(2), pushed(None))
    # Reverse mode over it, with inputs that require a gradient.
    leaf = left.clone().requires_grad_()
    chunked, plain = (torch.autograd.grad(pushed(chunk, leaf).sum(), leaf)[0] for chunk in (2, None))
    torch.testing.assert_close(chunked, plain)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap loops over scatter_
def test_other_transforms():
    left, right, along = noise(4, 3), noise(4, 3), noise(4, 3)

    def value(x, chunk=2):
        return nt_xent(x, right, temperature=0.3, chunk=chunk)

    leaf = left.clone().requires_grad_()
    expected = torch.autograd.grad(value(leaf), leaf)[0]
    torch.testing.assert_close(torch.func.grad(value)(left), expected)
    torch.testing.assert_close(torch.func.jacfwd(value)(left), expected)
    product = torch.func.jvp(torch.func.grad(value), (left,), (along,))[1]
    gradient = torch.autograd.grad(value(leaf), leaf, create_graph=True)[0]
    torch.testing.assert_close(product, torch.autograd.grad(gradient, leaf, along)[0])
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(value(forward_ad.make_dual(leaf, along))).tangent
    torch.testing.assert_close(tangent, (expected * along).sum())
    torch.testing.assert_close(torch.autograd.grad(tangent, leaf)[0], product)
    batch = noise(3, 4, 3)
    each = torch.stack([value(x) for x in batch])
    torch.testing.assert_close(torch.vmap(value)(batch), each)


@pytest.mark.parametrize("temperature", [0.01, 0.0249, 0.0251, 5.0])
def test_views_that_agree_and_oppose_in_float32(temperature):
    corners = torch.eye(3).repeat(3, 1)
    left, right = torch.cat([corners, -corners]), torch.cat([corners, corners])

    def run(dtype, chunk):
        leaf = left.to(dtype).requires_grad_()
        value = nt_xent(leaf, right.to(dtype), temperature=temperature, reduction="none", chunk=chunk)
        return value.detach().double(), torch.autograd.grad(value.sum(), leaf)[0].double()

    for ours, exact in zip(run(torch.float32, 4), run(torch.float64, None), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=2e-5)


def test_auto_is_plain_below_512_pairs():
    assert chunks.rows_at_a_time("auto", 511) is None
    assert chunks.rows_at_a_time("auto", 512) == chunks.ROWS
    left, right = torch.randn(512, 4), torch.randn(512, 4)
    torch.testing.assert_close(nt_xent(left, right, temperature=0.2), nt_xent(left, right, temperature=0.2, chunk=None))


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_memory_of_4096_pairs():
    program = """
import pathlib, torch
from sidelight.losses import nt_xent
torch.set_num_threads(1)
status = pathlib.Path("/proc/self/status")  # the peak of getrusage is inherited from the parent process
peak = lambda: int(status.read_text().partition("VmHWM:")[2].split()[0])
step = lambda n: nt_xent(torch.randn(n, 128, requires_grad=True), torch.randn(n, 128), temperature=0.1).backward()
step(512)
before = peak()
step(4096)
print(peak() - before)
"""
    here = str(Path(sidelight.__file__).parents[1])
    # Freed blocks go back at once: what the loss needs, without glibc's fragmentation, which differs from run to run.
    environment = os.environ | {"PYTHONPATH": here, "MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert 20_000 < int(done.stdout) < 120_000  # kB; one 8,192 x 8,192 matrix alone is 268,000
