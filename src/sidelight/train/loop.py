"""The training loop, a plain one.

What happens at a step is a function of the settings, the data and the step's number: pairs are planned by (seed,
epoch), torch's own numbers start anew from (seed, step, rank), the learning rate is computed, not remembered. So a
run that is killed and resumed from its last checkpoint ends with the same weights, bit for bit, on the same versions,
device kind and thread count, with any number of loader workers. Timing is measured and logged, and enters nothing.
"""

import json
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from sidelight.files import write_text
from sidelight.methods.settings import PretrainSettings
from sidelight.models.towers import save_tower
from sidelight.models.weights import hash_tensors
from sidelight.train import guards, validation
from sidelight.train.device import reproducible
from sidelight.train.distributed import joined
from sidelight.train.loader import stream
from sidelight.train.progress import Reporter
from sidelight.train.run import Run, append_log, begin, cut_log
from sidelight.train.schedule import warmup_steps
from sidelight.train.signals import Interrupted, stop_requests
from sidelight.train.step import StepResult, take_step
from sidelight.train.trainer import Monitor, State, Trainer, prepare
from sidelight.views.feed import Feed

if TYPE_CHECKING:
    from sidelight.methods.base import MethodBase

STEP_LINES = 2000
"""About so many step lines are logged per run, evenly spaced; shorter runs log every step."""


def fit(
    method: "MethodBase",
    feed: Feed,
    settings: PretrainSettings,
    folder: str | Path,
    *,
    header: Mapping[str, object],
    monitor: Monitor | None = None,
    quiet: bool | None = None,
) -> Run:
    """Train ``method`` on ``feed`` into ``folder``; go on where an earlier call stopped, or say that it is finished.

    ``batch_size`` counts pairs over all processes. Started by ``torchrun``, each process calls this with the same
    arguments.

    :param header: what identifies the run (method, resolved settings, hashes of data and split); kept in config.json.
    :param monitor: read every ``monitor_every`` epochs and at the end, in the process that leads.
    :param quiet: notices alone; by default a bar, or a line now and then where the standard error stream is no terminal.
    :returns: the finished run; unless it was so before, ``method`` holds the weights that its towers were written from.
    :raises RunError: when the folder holds a run of other settings, or the disk is full.
    :raises TrainingError: at a loss or gradient that is not finite; ``bad_batch.json`` says where.
    :raises Interrupted: after Ctrl-C or SIGTERM, when the checkpoint is written.
    """
    with joined(settings.device) as world:
        run = begin(Path(folder), header, write=world.leads, former=method.FORMER)
        if run.finished:
            Reporter(0, leads=world.leads).notice(f"The run {run.folder} is finished; nothing is left to do")
            return run
        trainer = prepare(method, feed, settings, run, world, monitor)
        state = trainer.load_last()
        with Reporter(trainer.total, state.step, quiet=quiet, leads=world.leads) as reporter:
            _announce(trainer, state, reporter)
            with reproducible(trainer.device):
                _train(trainer, state, reporter)
            if world.leads:
                _finish(trainer, state)
    return run


def _train(trainer: Trainer, state: State, reporter: Reporter) -> None:
    """Take the steps that ``state`` still lacks."""
    settings, table, method = trainer.settings, trainer.timetable, trainer.method
    losses: deque[float] = deque(maxlen=20)
    work = stream(table, state.step, trainer.total, workers=settings.workers, device=trainer.device)
    with stop_requests() as request, closing(work):
        method.train()
        began = perf_counter()
        for item in work:
            epoch, place = divmod(item.step, table.per_epoch)
            check = partial(_check, trainer, item.step, losses)
            result = take_step(trainer, item, stop=bool(request.number), check=check)
            state.step += 1

            seconds = perf_counter() - began
            state.seconds += seconds
            is_last = state.step == trainer.total
            ends_epoch = is_last or place + 1 == table.per_epoch
            images = 2 * table.contrast * table.per_step
            reporter.step(images, seconds, item.waited, result.loss, result.lr, ends_epoch=ends_epoch)
            _log_step(trainer, epoch, result, state, reporter)
            began = perf_counter()

            asked = result.stop or (request.number and trainer.world.size == 1)  # several processes stop together
            stop = asked and not is_last
            if ends_epoch and trainer.world.leads:
                _end_epoch(trainer, epoch, state, reporter)
            if ends_epoch or stop or (settings.checkpoint_every and state.step % settings.checkpoint_every == 0):
                trainer.save_last(state)
            if stop:
                raise Interrupted(trainer.run.folder, state.step, request.number or signal.SIGTERM)
            state.seconds += perf_counter() - began
            began = perf_counter()


def _check(trainer: Trainer, step: int, losses: deque[float], result: StepResult) -> None:
    """Stop before a step that would ruin the weights."""
    if guards.is_finite(result.loss, result.norm):
        losses.append(result.loss)
        return
    raise guards.bad_batch(
        trainer.run.folder / "bad_batch.json",
        {"step": step, "epoch": step // trainer.timetable.per_epoch, "lr": result.lr},
        loss=result.loss,
        norm=result.norm,
        items=trainer.timetable.names(step),
        losses=losses,
        write=trainer.world.leads,
    )


def _end_epoch(trainer: Trainer, epoch: int, state: State, reporter: Reporter) -> None:
    """Measure, warn of a collapse, keep the best, log; the work of the process that leads."""
    settings, method = trainer.settings, trainer.method
    reading = validation.read(
        method,
        trainer.feed,
        seed=settings.seed,
        batch_size=settings.batch_size,
        device=trainer.device,
        dtype=trainer.dtype,
    )
    readings: dict[str, float] = {}
    if trainer.monitor and ((epoch + 1) % settings.monitor_every == 0 or state.step == trainer.total):
        readings = trainer.monitor(method.encoder, epoch)
    method.train()
    warning = guards.collapse(reading.std, reading.effective_rank, reading.count, reading.dim)
    if warning and not state.warned:
        reporter.notice(warning)
        state.warned = True
    score = reading.score(method.CRITERION)
    is_best = state.best is None or score > state.best
    if is_best:
        state.best, state.best_epoch = score, epoch
        trainer.save_best(state)
    values = {
        "epoch": epoch,
        **reading.quantities,
        **readings,
        "best": is_best,
        "collapsed": warning is not None,
        "seconds": round(state.seconds, 3),
    }
    append_log(trainer.run.folder / "metrics.jsonl", "epoch", state.step, values)


def _finish(trainer: Trainer, state: State) -> None:
    """Write the towers, from the last or the best weights as ``keep`` says, and then done.json."""
    method, folder = trainer.method, trainer.run.folder
    if trainer.settings.keep == "best":
        trainer.load_best()
    towers = method.towers()
    if towers:
        for role, tower in towers.items():
            save_tower(tower, folder / "towers", role=role)
    summary = {
        "steps": state.step,
        "seconds": round(state.seconds, 3),
        "keep": trainer.settings.keep,
        "best_epoch": state.best_epoch,
        "weights": hash_tensors(method.state_dict()),
        "platform": state.platform,
    }
    write_text(folder / "done.json", json.dumps(summary, indent=1))


def _announce(trainer: Trainer, state: State, reporter: Reporter) -> None:
    """Say and log how this run, or this part of it, is run."""
    table, platform = trainer.timetable, trainer.platform
    if state.step and platform != state.platform:
        reporter.notice(f"Begun on {state.platform}, resumed on {platform}: the end may differ in the last bits")
    state.platform = platform
    settings, rise = trainer.settings, warmup_steps(trainer.settings, trainer.total)
    visits = trainer.total / table.per_epoch * trainer.feed.draws
    reporter.say(
        f"{trainer.total:,} steps, {visits:.3g} visits of each unit; rate {settings.lr:g}"
        + (f", reached after {rise:,} steps" if rise else "")
    )
    if table.per_step > 1:
        contrast = f"; the contrast runs inside each: {table.contrast} pairs" if trainer.method.contrasts else ""
        reporter.notice(f"A step adds up {table.per_step} batches{contrast}")
    if not trainer.world.leads:
        return
    path = trainer.run.folder / "metrics.jsonl"
    cut_log(path, state.step)
    values = {
        "steps": trainer.total,
        "steps_per_epoch": table.per_epoch,
        "warmup_steps": rise,
        "visits": round(visits, 2),
        **({"contrast_pairs": table.contrast} if trainer.method.contrasts else {}),
        "accumulate": table.per_step,
        "precision": str(trainer.dtype).removeprefix("torch."),
        "trained_parameters": sum(parameter.numel() for parameter in trainer.parameters),
        **platform,
        **trainer.method.facts(),
    }
    append_log(path, "resume" if state.step else "start", state.step, values)


def _log_step(trainer: Trainer, epoch: int, result: StepResult, state: State, reporter: Reporter) -> None:
    every = -(-trainer.total // STEP_LINES)
    if not trainer.world.leads or (state.step % every and state.step != trainer.total):
        return
    values = {
        "epoch": epoch,
        "loss": result.loss,
        "lr": result.lr,
        "gradient_norm": result.norm,
        **result.notes,
        "images_per_second": round(reporter.images_per_second, 1),
        "data_wait": round(reporter.wait_share, 4),
    }
    append_log(trainer.run.folder / "metrics.jsonl", "step", state.step, values)
