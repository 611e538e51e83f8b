"""What a training step costs on this machine: a few real ones, timed, without files."""

import contextlib
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import torch

from sidelight.methods.settings import PretrainSettings
from sidelight.train.device import reproducible
from sidelight.train.distributed import World
from sidelight.train.loader import stream
from sidelight.train.run import Run
from sidelight.train.step import take_step
from sidelight.train.trainer import prepare
from sidelight.views.feed import Feed

if TYPE_CHECKING:
    from sidelight.methods.base import MethodBase

WARM_UP, STEPS = 2, 10
LEAST, LONGEST = 3, 60.0
"""Slow steps: after so many seconds, so many timed steps will do."""


class Timing(NamedTuple):
    """``seconds`` of a step (median of ``timed``), ``steps`` of the whole run, peak memory in bytes, and where."""

    seconds: float
    timed: int
    steps: int
    memory: int
    device: str


def time_steps(method: "MethodBase", feed: Feed, settings: PretrainSettings, *, steps: int = STEPS) -> Timing:
    """Take ``WARM_UP`` + ``steps`` training steps with a method that is thrown away afterwards.

    Memory is that of the device; on the CPU the peak of the whole process, libraries and all, since the call began
    (where the system does not say that: since the process began).
    :raises TrainingError: when there are too few pairs.
    """
    trainer = prepare(method, feed, settings, Run(Path()), World(), None)
    whole = trainer.total
    _forget_peak(trainer.device)
    seconds = []
    count = WARM_UP + steps
    trainer = replace(trainer, total=max(whole, count))
    work = stream(trainer.timetable, 0, count, workers=settings.workers, device=trainer.device)
    with closing(work), reproducible(trainer.device):
        method.train()
        began = perf_counter()
        for item in work:
            take_step(trainer, item)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize(trainer.device)
            now = perf_counter()
            seconds.append(now - began)
            began = now
            if len(seconds) >= WARM_UP + LEAST and sum(seconds) > LONGEST:
                break
    name = torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else "cpu"
    return Timing(median(seconds[WARM_UP:]), len(seconds) - WARM_UP, whole, _peak(trainer.device), name)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # Linux alone can forget
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) << 10
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
