"""What stays the same through a run, and what a checkpoint of it says."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from sidelight.methods.settings import PretrainSettings
from sidelight.train import checkpoint
from sidelight.train.device import pick_device, pick_dtype, place
from sidelight.train.distributed import World, agree_on_weights
from sidelight.train.loader import Timetable
from sidelight.train.run import Run
from sidelight.train.schedule import build_optimizer
from sidelight.views.feed import Feed

if TYPE_CHECKING:
    from sidelight.methods.base import MethodBase

Monitor = Callable[[Any, int], dict[str, float]]
"""``monitor(encoder, epoch)`` -> readings by name, for example a kNN accuracy."""


@dataclass
class State:
    """What a checkpoint says beside its tensors; ``best`` is a score of which higher is better."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    warned: bool = False
    platform: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trainer:
    """The parts of one run, on their device."""

    method: "MethodBase"
    feed: Feed
    settings: PretrainSettings
    run: Run
    world: World
    device: torch.device
    dtype: torch.dtype
    parameters: list[nn.Parameter]
    optimizer: Optimizer
    timetable: Timetable
    total: int
    monitor: Monitor | None

    @property
    def platform(self) -> dict[str, Any]:
        """What bit-for-bit equality depends on, beside settings and data."""
        threads = torch.get_num_threads() if self.device.type == "cpu" else None
        kind = {"torch": torch.__version__, "device": self.device.type, "threads": threads}
        return {**kind, "processes": self.world.size}

    def save_last(self, state: State) -> None:
        """Write the checkpoint that a resumed run starts from."""
        if self.world.leads:
            checkpoint.save(self.run.checkpoint("last"), checkpoint.capture(self.method, self.optimizer), asdict(state))

    def save_best(self, state: State) -> None:
        """Write the model alone."""
        if self.world.leads:
            checkpoint.save(self.run.checkpoint("best"), checkpoint.capture(self.method), asdict(state))

    def load_last(self) -> State:
        """Put the last checkpoint into place and return its state; a new run has a new one."""
        path = self.run.checkpoint("last")
        if not path.is_file():
            return State()
        tensors, notes = checkpoint.load(path)
        checkpoint.restore(tensors, self.method, self.optimizer)
        return State(**notes)

    def load_best(self) -> None:
        """Put the weights of the best epoch into place."""
        checkpoint.restore(checkpoint.load(self.run.checkpoint("best"))[0], self.method)


def prepare(
    method: "MethodBase", feed: Feed, settings: PretrainSettings, run: Run, world: World, monitor: Monitor | None
) -> Trainer:
    """Place the model and build its optimiser and timetable.

    Over several GPUs batch normalisation takes its statistics over all processes; on the CPU each process has its own.

    :raises TrainingError: where the training rows are too few, or none can have a negative.
    """
    method.check_negatives(feed)
    device = pick_device(settings.device, world.local)
    if world.size > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
    place(method, device)
    agree_on_weights(method, world)
    table = Timetable(
        feed, seed=settings.seed, batch_size=settings.batch_size, accumulate=settings.accumulate, world=world
    )
    groups = method.parameter_groups()
    parameters = [parameter for group in groups for parameter in group.parameters if parameter.requires_grad]
    return Trainer(
        method=method,
        feed=feed,
        settings=settings,
        run=run,
        world=world,
        device=device,
        dtype=pick_dtype(settings.precision, device, method),
        parameters=parameters,
        optimizer=build_optimizer(groups, settings),
        timetable=table,
        total=settings.steps or settings.epochs * table.per_epoch,
        monitor=monitor,
    )
