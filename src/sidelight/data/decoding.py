"""Items -> frames at the working size: several at a time, in the order that was asked for."""

import contextlib
import inspect
import os
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from sidelight.data.read.clip import Array
from sidelight.data.shards import Row
from sidelight.data.working import is_grey, working
from sidelight.errors import ReadError


class Source(Protocol):
    """What the cache needs of a cohort; ``read`` may also take ``read_files``'s hints ``channels`` and ``target``."""

    @property
    def root(self) -> Path:
        """Folder that the files lie in."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def items(self) -> pd.DataFrame:
        """With the columns ``item``, ``group`` and ``files`` (paths relative to ``root``; none for a phantom)."""

    @property
    def spec(self) -> dict[str, Any]:
        """Its cohort file, of which ``where`` and ``public`` matter here."""

    @property
    def phantom(self) -> Any:
        """None where there are files."""

    @property
    def channels(self) -> int | None:
        """1 or 3 where the cohort says so."""

    @property
    def hash(self) -> str:
        """Of all that the items are."""

    @property
    def read(self) -> Any:
        """``read(position, *, max_frames) -> Clip``."""


Decoded = tuple[int, tuple[Row, Array] | str]


def look(cohort: Source, sample: list[int], max_frames: int, size: int) -> tuple[float, float]:
    """Share of grey items in the sample, and mean bytes of an item at the working size in one channel."""

    def one(position: int) -> tuple[bool, int] | None:
        try:
            frames = cohort.read(position, max_frames=max_frames, **_hints(cohort, target=size)).frames
        except ReadError:
            return None
        return is_grey(frames), len(frames) * frames.itemsize * size * size

    with ThreadPoolExecutor(_threads()) as pool:
        seen = [found for found in pool.map(one, sample) if found]
    return (float(np.mean([s[0] for s in seen])), float(np.mean([s[1] for s in seen]))) if seen else (1.0, 0.0)


def _hints(cohort: Source, **hints: int) -> dict[str, int]:
    """Those of the hints that the cohort's ``read`` understands."""
    known = inspect.signature(cohort.read).parameters
    return {name: value for name, value in hints.items() if name in known}


def _threads() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def decoded(
    cohort: Source, positions: Sequence[int], size: int, channels: int, max_frames: int
) -> Generator[Decoded, None, None]:
    """In the order of ``positions``: what the index says of the item and its pixels, or why it cannot be read."""
    hints = _hints(cohort, channels=channels, target=size)

    def one(position: int) -> tuple[Row, Array] | str:
        try:
            clip = cohort.read(position, max_frames=max_frames, **hints)
        except ReadError as error:
            return str(error)
        row = {"length": clip.length, "timed": clip.timed, "times": clip.times, "numbers": clip.indices}
        return row, working(clip.frames, size, channels)

    threads = _threads()
    pool = ThreadPoolExecutor(threads)
    ahead: deque[tuple[int, Future[tuple[Row, Array] | str]]] = deque()
    try:
        for position in positions:
            ahead.append((position, pool.submit(one, position)))
            if len(ahead) > 2 * threads:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def watched(items: Generator[Decoded, None, None], total: int, progress: bool) -> Generator[Decoded, None, None]:
    """The same items, with a bar on stderr once two seconds have passed."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(items))
        bar = None
        for done, one in enumerate(items, 1):
            if bar is None and progress and time.monotonic() - began > 2:
                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task = bar.add_task("decoding", total=total)
            if bar is not None:
                bar.update(task, completed=done)
            yield one
