"""A method and a feed small enough to train in milliseconds, with every kind of state that a real one has."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidelight.losses.contrast import nt_xent
from sidelight.methods.base import MethodBase
from sidelight.methods.settings import PretrainSettings
from sidelight.train.loop import fit
from sidelight.train.run import Run

SIDE = 8


@dataclass(frozen=True)
class Pairs:
    left: Tensor
    right: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.left)


@dataclass
class ToyFeed:
    """Noisy views of one fixed picture per row; rows 0-19 train, 20-25 validate, 26-29 are extra."""

    train_rows: np.ndarray = field(default_factory=lambda: np.arange(20))
    valid_rows: np.ndarray = field(default_factory=lambda: np.arange(20, 26))
    extra_rows: np.ndarray = field(default_factory=lambda: np.arange(26, 30))
    draws: int = 1
    poisoned: int | None = None
    drop_last: bool = True

    def raw(self, epoch: int, rows: np.ndarray, draws: np.ndarray, role: str) -> Pairs:
        views = []
        for view in (0, 1):
            pictures = [
                np.random.default_rng([row]).random((1, SIDE, SIDE))
                + 0.2 * np.random.default_rng([epoch, row, draw, view]).random((1, SIDE, SIDE))
                for row, draw in zip(rows, draws, strict=True)
            ]
            views.append(torch.as_tensor(np.stack(pictures), dtype=torch.float32))
        if self.poisoned is not None:
            views[0][torch.as_tensor(rows == self.poisoned)] = float("nan")
        return Pairs(*views, torch.as_tensor(rows))

    def finish(self, raw: Pairs, device: torch.device) -> Pairs:
        return Pairs(raw.left.to(device), raw.right.to(device), raw.group.to(device))

    def count_groups(self, rows: np.ndarray) -> int:
        return len(rows)

    def names(self, rows: np.ndarray) -> list[str]:
        return [f"item{row}" for row in rows]


class ToyMethod(MethodBase):
    """Contrast of a two-layer convolutional net; its loss also depends on state that only ``state_tensors`` keeps."""

    contrasts = True
    least_groups = 1

    def __init__(self, *, norm: bool = True, dropout: float = 0.0, seed: int = 0) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(seed)
        self.settings = settings()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(8, 8)
        self.average = torch.zeros(())
        self.epochs: list[int] = []
        self.on_loss: Callable[[int], None] = lambda call: None
        self.calls = 0

    def loss(self, batch: Pairs, *, gather: Callable[[Tensor], Tensor]) -> Tensor:
        self.on_loss(self.calls)
        self.calls += 1
        left, right = (gather(self.head(self.encoder(view))) for view in (batch.left, batch.right))
        return nt_xent(left, right, temperature=0.5, groups=gather(batch.group)) * (1 + 0.1 * self.average)

    def valid_loss(self, batch: Pairs) -> Tensor:
        return nt_xent(self.head(self.encoder(batch.left)), self.head(self.encoder(batch.right)), temperature=0.5)

    def before_batch(self, batch: Pairs, extra: Pairs | None, optimizer: Any, gather: Callable) -> dict[str, float]:
        if extra is None:
            return {}
        self.average = 0.9 * self.average + 0.1 * gather(extra.left.mean()[None]).mean()
        return {"average": self.average.item()}

    def on_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def towers(self) -> dict[str, nn.Module]:
        return {}

    def state_tensors(self) -> dict[str, Tensor]:
        return {"average": self.average}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.average = tensors["average"]


def settings(**changes: Any) -> PretrainSettings:
    """Three epochs of four steps."""
    values = {"epochs": 3, "batch_size": 5, "lr": 0.01, "warmup": 0.05, "device": "cpu", "precision": "float32"}
    return PretrainSettings(**{**values, **changes})


def train(folder: Path, method: ToyMethod | None = None, feed: ToyFeed | None = None, **changes: Any) -> Run:
    """Fit the toy with ``settings(**changes)`` into ``folder``."""
    asked = settings(**changes)
    header = {"method": "toy", "settings": asked.model_dump()}
    return fit(method or ToyMethod(), feed or ToyFeed(), asked, folder, header=header, quiet=True)


def lines(run: Run, kind: str) -> list[dict[str, Any]]:
    """Lines of one kind without their timing."""
    table = run.metrics()
    timing = ["images_per_second", "data_wait", "seconds"]
    kept = table[table["kind"] == kind].dropna(axis=1, how="all").drop(columns=timing, errors="ignore")
    return kept.to_dict("records")


def be_a_child() -> None:
    """One thread, and loader workers that are forks, as they are by default outside of a forkserver's child."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)


def train_and_die(folder: Path, call: int, method: dict[str, Any], changes: dict[str, Any]) -> None:
    """Train until the loss is asked for the ``call``-th time, then get SIGKILL."""
    be_a_child()
    toy = ToyMethod(**method)

    def kill(number: int) -> None:
        if number == call:
            os.kill(os.getpid(), signal.SIGKILL)

    toy.on_loss = kill
    train(folder, toy, **changes)


def train_and_die_writing(folder: Path, write: int, changes: dict[str, Any]) -> None:
    """Train until the ``write``-th checkpoint lies beside its place, whole but not yet moved, then get SIGKILL."""
    be_a_child()
    replace, seen = os.replace, []

    def replace_or_die(source: Path, target: Path) -> None:
        seen.append(target)
        if sum(Path(path).name == "last.safetensors" for path in seen) == write:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die
    train(folder, **changes)


def join(rank: int, port: int, folder: Path, work: Callable[[int, Path], None]) -> None:
    """Be process ``rank`` of two, as torchrun would start it, and do ``work(rank, folder)``."""
    be_a_child()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    work(rank, folder)


def spawn(target: Callable[..., None], *arguments: Any) -> multiprocessing.Process:
    """Start ``target`` in a clean process that has torch already: after CUDA a fork could not train."""
    context = multiprocessing.get_context("forkserver")
    lazily = "torch._dynamo"  # which the first optimiser of a process imports
    context.set_forkserver_preload(["sidelight.train.loop", "sidelight.losses.contrast", lazily])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def as_two_processes(folder: Path, work: Callable[[int, Path], None]) -> None:
    """Run ``work`` in two joined processes and wait; what they write into ``folder`` is theirs to judge."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [spawn(join, rank, port, folder, work) for rank in range(2)]
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
            raise TimeoutError("a process of the pair did not end")
