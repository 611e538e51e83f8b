"""What a step asks of a method, how often and when."""

from pathlib import Path

import pytest
import torch

from sidelight.methods.base import ParameterGroup
from sidelight.train.timing import time_steps
from training_toys import ToyFeed, ToyMethod, lines, settings, train


class Teacher(ToyMethod):
    """A teacher that follows the student once per step, a list of what was asked, and gradients that can be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = torch.nn.Linear(8, 8).requires_grad_(False)
        self.teacher.load_state_dict(self.head.state_dict())
        self.asked: list[tuple] = []
        self.frozen_steps = 0

    def on_epoch(self, epoch):
        self.asked.append(("epoch", epoch))

    def before_step(self, step, total):
        self.asked.append(("before", step, total))
        return {"seen": 1.0}

    def before_batch(self, batch, extra, optimizer, gather):
        self.asked.append(("batch",))
        return {}

    def after_backward(self, step, total):
        assert self.head.weight.grad is not None
        if step < self.frozen_steps:
            self.head.weight.grad = self.head.bias.grad = None

    def after_step(self, step, total):
        self.asked.append(("after", step))
        with torch.no_grad():
            for mine, theirs in zip(self.teacher.parameters(), self.head.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)
        return {"distance": (self.teacher.weight - self.head.weight).detach().norm().item()}


def test_hooks_come_once_per_step_and_once_per_micro_batch(tmp_path: Path) -> None:
    method = Teacher()
    run = train(tmp_path / "run", method, accumulate=2, steps=3, epochs=1)
    step = lambda number: [("before", number, 3), ("batch",), ("batch",), ("after", number)]  # noqa: E731
    assert method.asked == [("epoch", 0), *step(0), *step(1), ("epoch", 1), *step(2)]
    logged = lines(run, "step")
    assert all(line["seen"] == 1 and line["distance"] >= 0 for line in logged)
    assert logged[-1]["distance"] == pytest.approx(float((method.teacher.weight - method.head.weight).norm()), rel=1e-5)


def test_gradients_may_be_dropped_before_the_step(tmp_path: Path) -> None:
    method, first = Teacher(), Teacher()
    method.frozen_steps = 2
    train(tmp_path / "run", method, steps=2)
    assert torch.equal(method.head.weight, first.head.weight)
    assert not torch.equal(method.encoder[0].weight, first.encoder[0].weight)


def test_a_method_s_groups_reach_the_optimiser(tmp_path: Path) -> None:
    class Slow(ToyMethod):
        def parameter_groups(self):
            return [ParameterGroup(list(self.head.parameters())), ParameterGroup(list(self.encoder.parameters()), 0.0)]

    method, first = Slow(), Slow()
    train(tmp_path / "run", method, steps=2)
    assert torch.equal(method.encoder[0].weight, first.encoder[0].weight)
    assert not torch.equal(method.head.weight, first.head.weight)


def test_timed_steps_are_steps() -> None:
    method = Teacher()
    time_steps(method, ToyFeed(), settings(), steps=3)
    assert [entry[1] for entry in method.asked if entry[0] == "after"] == [0, 1, 2, 3, 4]
