import os

import pytest
import torch
from torch import nn

from sidelight.errors import RunError
from sidelight.models.weights import hash_tensors
from sidelight.train import checkpoint
from sidelight.train.schedule import build_optimizer
from training_toys import Pairs, ToyFeed, ToyMethod, settings


def trained(kind: str, steps: int = 3) -> tuple[ToyMethod, torch.optim.Optimizer]:
    method = ToyMethod().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(method.parameter_groups(), settings(optimizer=kind))
    for _ in range(steps):
        step(method, optimizer)
    return method, optimizer


def step(method: ToyMethod, optimizer: torch.optim.Optimizer) -> None:
    feed = ToyFeed()
    batch: Pairs = feed.raw(0, feed.train_rows[:5], feed.train_rows[:5] * 0, "train")
    method.before_batch(batch, batch, optimizer, lambda tensor: tensor)
    optimizer.zero_grad()
    method.loss(batch, gather=lambda tensor: tensor).backward()
    optimizer.step()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_restored_training_goes_on_as_the_one_that_was_never_stopped(tmp_path, kind):
    method, optimizer = trained(kind)
    checkpoint.save(tmp_path / "a.safetensors", checkpoint.capture(method, optimizer), {"step": 3})
    other, other_optimizer = trained(kind, steps=0)
    tensors, notes = checkpoint.load(tmp_path / "a.safetensors")
    checkpoint.restore(tensors, other, other_optimizer)
    assert notes == {"step": 3}
    assert other.encoder[3].weight.is_contiguous(memory_format=torch.channels_last)
    for pair in ((method, optimizer), (other, other_optimizer)):
        step(*pair)
    left, right = (checkpoint.capture(*pair) for pair in ((method, optimizer), (other, other_optimizer)))
    assert hash_tensors(left) == hash_tensors(right)
    slots = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "sgd": {"momentum_buffer"}}[kind]
    assert {name.rpartition(".")[2] for name in left if name.startswith("optimizer.")} == slots
    assert "method.average" in left


def test_tied_weights_are_saved(tmp_path):
    tied = nn.Parameter(torch.ones(3))
    checkpoint.save(tmp_path / "a.safetensors", {"a": tied, "b": tied}, {})
    assert torch.equal(checkpoint.load(tmp_path / "a.safetensors")[0]["b"], torch.ones(3))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path):
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, {"a": torch.ones(3)}, {"step": 1})
    (tmp_path / "last.safetensors.tmp").symlink_to("/dev/full")
    with pytest.raises(RunError, match="disk is full"):
        checkpoint.save(path, {"a": torch.zeros(300_000)}, {"step": 2})
    tensors, notes = checkpoint.load(path)
    assert torch.equal(tensors["a"], torch.ones(3))
    assert notes == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(RunError, match="not a checkpoint"):
        checkpoint.load(path)


def test_a_checkpoint_of_another_model_is_refused():
    method, optimizer = trained("sgd")
    tensors = checkpoint.capture(method, optimizer)
    del tensors["model.head.weight"]
    with pytest.raises(RunError, match=r"(?s)does not fit the model.*head\.weight"):
        checkpoint.restore(tensors, method)
