"""Two processes are one process, for a net without batch statistics."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sidelight
from sidelight.train import checkpoint
from sidelight.train.distributed import World, gather, joined, mean_over_processes
from training_toys import ToyFeed, ToyMethod, as_two_processes, train

VALUES = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
WEIGHTS = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(4, 3)


def objective(values: torch.Tensor) -> torch.Tensor:
    return (values.sin() * WEIGHTS).sum() * values.square().mean()


def differentiate(rank, folder):
    """Write what gather gives, forward and in every direction of differentiation, for this process's half of VALUES."""
    with joined("cpu") as world:
        own = VALUES[2 * rank : 2 * rank + 2]
        half = own.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(gather(half)), half, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), half)
        _, tangent = torch.func.jvp(lambda x: objective(gather(x)), (own,), (own.cos(),))
        parameter = torch.nn.Parameter(torch.zeros(3))
        parameter.grad = torch.full((3,), float(rank))
        means = mean_over_processes([parameter], [10.0 * rank, torch.tensor(1.0)], world)
        result = {
            "forward": gather(own),
            "integers": gather(torch.tensor([rank])),
            "gradient": gradient.detach(),
            "second": second,
            "tangent": tangent,
            "mean": parameter.grad,
            "numbers": means,
        }
        save_file({name: value.contiguous() for name, value in result.items()}, folder / f"{rank}.safetensors")


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    as_two_processes(folder, differentiate)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_gather_is_in_rank_order_for_floats_and_integers(halves):
    for half in halves:
        assert torch.equal(half["forward"], VALUES)
        assert half["integers"].tolist() == [0, 1]


def test_gradients_are_summed_over_the_processes(halves):
    whole = VALUES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(whole), whole)
    assert torch.allclose(torch.cat([half["gradient"] for half in halves]), 2 * gradient)


def test_forward_mode_and_double_backward_pass_through(halves):
    whole = VALUES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(whole), whole, create_graph=True)
    (second,) = torch.autograd.grad((2 * gradient).square().sum(), whole)
    assert torch.allclose(torch.cat([half["second"] for half in halves]), second)
    tangent = (gradient * VALUES.cos()).sum()
    assert all(torch.allclose(half["tangent"], tangent) for half in halves)


def test_gradients_and_numbers_are_averaged_in_one_message(halves):
    for half in halves:
        assert half["mean"].tolist() == [0.5] * 3
        assert half["numbers"].tolist() == [5.0, 1.0]


def run_of_two(rank, folder):
    train(folder / "two", ToyMethod(norm=False, seed=rank), ToyFeed(), **CHANGES)


CHANGES = {"batch_size": 6, "epochs": 3, "clip_norm": 1.0, "optimizer": "sgd"}


def test_a_run_of_two_processes_is_the_run_of_one(tmp_path):
    one = train(tmp_path / "one", ToyMethod(norm=False), **CHANGES)
    as_two_processes(tmp_path, run_of_two)
    files = [tmp_path / name / "checkpoints" / "last.safetensors" for name in ("one", "two")]
    (alone, _), (together, notes) = map(checkpoint.load, files)
    assert notes["platform"]["processes"] == 2
    assert alone.keys() == together.keys()
    start = checkpoint.capture(ToyMethod(norm=False))
    for name, tensor in alone.items():
        assert torch.allclose(tensor, together[name], atol=1e-6), name
        assert name not in start or not torch.allclose(tensor, start[name], atol=1e-4), name
    steps = [
        [(line["step"], line["loss"]) for line in json_lines(tmp_path / name) if line["kind"] == "step"]
        for name in ("one", "two")
    ]
    assert np.allclose(*steps, atol=1e-5)
    assert one.finished


METHODS = {"simclr": {"optimizer": "sgd", "lr": 0.1}, "meta_uscl": {"weights": "meta"}}
SMALL = {
    "encoder": "vit_tiny_patch16_224", "image_size": 32, "steps": 3, "batch_size": 8, "precision": "float32",
    "pairs_per_clip": 1, "max_frames": 4, "device": "cpu",
}  # fmt: skip


def pretrain_each(_rank, folder):
    data = "phantom:ultrasound?patients=16&clips=1&frames=4&size=40"
    for method, changes in METHODS.items():
        sidelight.pretrain(method, data, folder / method, cache=str(folder.parent / "cache"), **SMALL, **changes)


def test_each_method_in_two_processes_is_the_method_in_one(tmp_path):
    pretrain_each(0, tmp_path / "one")
    (tmp_path / "two").mkdir()
    as_two_processes(tmp_path / "two", pretrain_each)
    for method in METHODS:
        alone, together = (load_file(tmp_path / name / method / "towers/image.safetensors") for name in ("one", "two"))
        assert all(torch.allclose(alone[name], together[name], atol=1e-5) for name in alone), method
        losses = [line["loss"] for line in json_lines(tmp_path / "two" / method) if line["kind"] == "step"]
        assert losses[-1] != losses[0]


def json_lines(folder):
    from sidelight.train.run import read_log

    return read_log(folder / "metrics.jsonl")


def test_alone_nothing_is_sent():
    tensor = torch.ones(2)
    with joined("cpu") as world:
        assert world == World()
        assert gather(tensor) is tensor
        assert mean_over_processes([], [1.0, torch.tensor(2.0)], world).tolist() == [1.0, 2.0]
