"""Which pairs each step sees, and how they reach it: planned ahead, the same for any number of workers."""

from collections.abc import Generator, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sidelight.errors import ConfigError, TrainingError
from sidelight.train.distributed import World
from sidelight.train.signals import ignore_in_worker
from sidelight.views.feed import Feed, Integers

Batches = list[tuple[Integers, Integers]]

_SHUFFLE, _EXTRA = 1, 2  # keep the two streams of numbers apart


class Piece(NamedTuple):
    """One micro-batch of a step as it leaves the host: raw pairs, and raw extra pairs or None."""

    pairs: Any
    extra: Any


class Work(NamedTuple):
    """Everything that one step needs, and how long the loop waited for it."""

    step: int
    pieces: list[Piece]
    waited: float


def plan(
    seed: int,
    epoch: int,
    rows: Integers,
    draws: int,
    batch_size: int,
    world: int = 1,
    rank: int = 0,
    *,
    drop_last: bool = True,
) -> Batches:
    """The batches of an epoch, each ``(rows [B], draws [B])``, a pure function of its arguments.

    Every draw goes once through all rows in an order of its own, so that a batch holds few clips twice. There are
    :func:`count_batches` of them. ``batch_size`` counts all processes; process ``rank`` gets its slice, so that the slices
    in rank order are the batch of one process (but for what of a last incomplete one does not divide evenly).
    """
    numbers = np.random.default_rng([seed, epoch, _SHUFFLE])
    order = np.concatenate([numbers.permutation(len(rows)) for _ in range(draws)])
    draw = np.repeat(np.arange(draws), len(rows))
    starts = range(0, batch_size * count_batches(len(order), batch_size, world, drop_last=drop_last), batch_size)
    batches = [(rows[order[start : start + batch_size]], draw[start : start + batch_size]) for start in starts]
    return [(_share(row, world, rank), _share(draw, world, rank)) for row, draw in batches]


def count_batches(pairs: int, batch_size: int, world: int = 1, *, drop_last: bool = True) -> int:
    """Batches of an epoch of ``pairs``: with ``drop_last`` the last incomplete one is left out, unless it is the only one.

    Without, it counts where it holds two pairs for each of ``world`` processes: batch statistics need as many.
    """
    whole, rest = divmod(pairs, batch_size)
    return max(whole + (not drop_last and rest >= 2 * world), 1)


def _share(values: Integers, world: int, rank: int) -> Integers:
    size = len(values) // world
    return values[rank * size : (rank + 1) * size]


class Timetable(Dataset[list[Piece]]):
    """The work of every step of a run, by its number: a pure function, so that workers and restarts change nothing."""

    def __init__(
        self, feed: Feed, *, seed: int, batch_size: int, accumulate: int = 1, world: World | None = None
    ) -> None:
        """``accumulate`` micro-batches of ``batch_size`` pairs (over all processes) make one step.

        :raises TrainingError: when there are fewer than two training pairs for each process.
        :raises ConfigError: when the processes cannot share a batch evenly.
        """
        self.feed, self.seed, self.batch_size = feed, seed, batch_size
        self.world = world or World()
        pairs = len(feed.train_rows) * feed.draws
        if pairs < 2 * self.world.size:
            raise TrainingError(
                f"There are {pairs} training pairs for {self.world.size} process(es)",
                expected="at least two for each",
                do="Add clips, raise pairs_per_clip, or lower valid_fraction",
            )
        if batch_size % self.world.size:
            raise ConfigError(
                f"batch_size = {batch_size} on {self.world.size} processes", expected="a multiple of them"
            )
        batches = count_batches(pairs, batch_size, self.world.size, drop_last=feed.drop_last)
        self.per_step = min(accumulate, batches)
        self.per_epoch = batches // self.per_step if feed.drop_last else -(-batches // self.per_step)
        self._planned: tuple[int, Batches] | None = None

    @property
    def contrast(self) -> int:
        """Pairs over which the contrast of one micro-batch runs, all processes together."""
        pairs = min(self.batch_size, len(self.feed.train_rows) * self.feed.draws)
        return pairs - pairs % self.world.size

    def __getitem__(self, step: int) -> list[Piece]:
        """The micro-batches of ``step`` on the host, this process's share; an epoch's last step may have fewer."""
        epoch = step // self.per_epoch
        return [
            Piece(self.feed.raw(epoch, rows, draws, "train"), self._extra(epoch, step, part))
            for part, (rows, draws) in enumerate(self.batches(step))
        ]

    def batches(self, step: int) -> Batches:
        """Rows and draws of the micro-batches of ``step``, this process's share."""
        epoch, place = divmod(step, self.per_epoch)
        if self._planned is None or self._planned[0] != epoch:
            feed, world = self.feed, self.world
            shape = (feed.train_rows, feed.draws, self.batch_size, world.size, world.rank)
            self._planned = (epoch, plan(self.seed, epoch, *shape, drop_last=feed.drop_last))
        return self._planned[1][place * self.per_step : (place + 1) * self.per_step]

    def names(self, step: int) -> list[str]:
        """Item hashes of all pairs of ``step``, over all processes."""
        feed, (epoch, place) = self.feed, divmod(step, self.per_epoch)
        whole = plan(self.seed, epoch, feed.train_rows, feed.draws, self.batch_size, drop_last=feed.drop_last)
        start = place * self.per_step
        return [name for rows, _ in whole[start : start + len(self.batches(step))] for name in feed.names(rows)]

    def _extra(self, epoch: int, step: int, part: int) -> Any:
        rows = self.feed.extra_rows
        if not len(rows):
            return None
        numbers = np.random.default_rng([self.seed, step, part, _EXTRA])
        chosen = numbers.permutation(rows)[: self.batch_size]
        draws = numbers.integers(0, 2**31, len(chosen))  # small sets come round often: a new view each time
        size, rank = self.world.size, self.world.rank
        return self.feed.raw(epoch, _share(chosen, size, rank), _share(draws, size, rank), "extra")


def stream(timetable: Timetable, start: int, stop: int, *, workers: int, device: torch.device) -> Generator[Work]:
    """The work of the steps ``start`` to ``stop - 1`` in order, read by ``workers`` processes, or by this one if 0.

    The workers live as long as the run and read ahead across epochs; each uses one thread.
    """
    steps = range(start, stop)
    pieces: Iterator[list[Piece]] = map(timetable.__getitem__, steps)
    if workers and steps:
        pieces = iter(
            DataLoader(
                timetable,
                batch_size=None,
                sampler=steps,
                num_workers=workers,
                collate_fn=_as_is,
                prefetch_factor=4,
                pin_memory=device.type == "cuda",
                worker_init_fn=ignore_in_worker,
                generator=torch.Generator(),  # leaves torch's own numbers alone
            )
        )
    for step in steps:
        began = perf_counter()
        yield Work(step, next(pieces), perf_counter() - began)


def _as_is(pieces: list[Piece]) -> list[Piece]:
    return pieces
