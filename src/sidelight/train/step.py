"""One step of training, from raw pairs to moved weights: the same for the loop and for what times it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from sidelight.train.device import autocast, seed_torch
from sidelight.train.distributed import gather, mean_over_processes
from sidelight.train.loader import Work
from sidelight.train.schedule import learning_rate, set_learning_rate
from sidelight.train.trainer import Trainer


class StepResult(NamedTuple):
    """Numbers of one step, the same in all processes.

    :ivar loss: mean over micro-batches; ``norm``: length of the gradient before it is clipped; ``lr``: the schedule's.
    :ivar stop: whether any process wishes to stop; ``notes``: what the method says of the step.
    """

    loss: float
    norm: float
    lr: float
    stop: bool
    notes: dict[str, float]


def take_step(
    trainer: Trainer, work: Work, *, stop: bool = False, check: Callable[[StepResult], None] = lambda result: None
) -> StepResult:
    """Take one optimiser step: gradients averaged over micro-batches and processes and clipped, then the weights move.

    What the method is asked, in this order: ``on_epoch`` at the first step of an epoch, ``before_step``; for each
    micro-batch ``before_batch`` and ``loss``; ``after_backward``; after the optimiser ``after_step``.

    :param stop: this process's wish to stop, told to the others.
    :param check: called before the weights move; what it raises keeps them as they are.
    """
    method, settings, device, step = trainer.method, trainer.settings, trainer.device, work.step
    epoch, place = divmod(step, trainer.timetable.per_epoch)
    seed_torch(device, settings.seed, step, trainer.world.rank)
    if place == 0:
        method.on_epoch(epoch)
    lr = learning_rate(settings, step, total=trainer.total, per_epoch=trainer.timetable.per_epoch)
    set_learning_rate(trainer.optimizer, lr)
    trainer.optimizer.zero_grad(set_to_none=True)
    notes = dict(method.before_step(step, trainer.total))
    total = _backward(trainer, work, notes)
    means = mean_over_processes(trainer.parameters, [total, float(stop)], trainer.world)
    method.after_backward(step, trainer.total)
    norm = nn.utils.get_total_norm([p.grad for p in trainer.parameters if p.grad is not None])
    if settings.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(trainer.parameters, settings.clip_norm, norm)
    mean_loss, wishes, length = torch.stack([*means, norm.to(means)]).tolist()
    result = StepResult(mean_loss, length, lr, wishes > 0, notes)
    check(result)
    trainer.optimizer.step()
    notes |= method.after_step(step, trainer.total)
    return result._replace(notes={name: float(value) for name, value in notes.items()})


def _backward(trainer: Trainer, work: Work, notes: dict[str, float]) -> torch.Tensor:
    """Add up the gradients of the step's micro-batches; returns their mean loss, and adds to ``notes``."""
    method, device = trainer.method, trainer.device
    total = torch.zeros((), device=device)
    for piece in work.pieces:
        batch = trainer.feed.finish(piece.pairs, device)
        extra = None if piece.extra is None else trainer.feed.finish(piece.extra, device)
        notes |= method.before_batch(batch, extra, trainer.optimizer, gather)
        with autocast(device, trainer.dtype):
            loss = method.loss(batch, gather=gather) / len(work.pieces)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total
