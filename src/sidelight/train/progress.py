"""What a person sees while it trains: a bar on a terminal, else a line now and then; notices everywhere."""

import sys
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sidelight.data.cells import shown

_SMOOTHING = 0.9
_EPOCH_LINES, _STEP_LINES = 10.0, 300.0
"""Least seconds between two lines: at the end of an epoch, and inside a long one."""


class Reporter:
    """Speed and waiting time of the steps, smoothed, and the bar or lines that show them, on the standard error stream."""

    def __init__(self, total: int, done: int = 0, *, quiet: bool | None = None, leads: bool = True) -> None:
        """``quiet`` leaves only notices; None, the default, is a bar on a terminal, and lines where there is none.

        One that does not lead is silent.
        """
        self.images_per_second, self.wait_share = 0.0, 0.0
        self._console = Console(stderr=True, quiet=not leads)
        self._quiet = bool(quiet)
        self._lines = quiet is None and not sys.stderr.isatty()
        self._total, self._begun, self._done = total, done, done
        self._start = self._said = monotonic()
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  lr {task.fields[lr]:.2e}"),
            TextColumn("{task.fields[speed]:.0f} images/s, {task.fields[wait]:.0%} waiting for data"),
            TimeRemainingColumn(),
            console=self._console,
            disable=bool(quiet) or self._lines or not leads,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, completed=done, loss=float("nan"), lr=0.0, speed=0.0, wait=0.0)
        self._fresh = True

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(
        self, images: int, seconds: float, waited: float, loss: float, lr: float, *, ends_epoch: bool = False
    ) -> None:
        """Count one step over ``images`` images that took ``seconds``, of which ``waited`` for data."""
        speed, share = images / max(seconds, 1e-9), min(waited / max(seconds, 1e-9), 1.0)
        keep = 0.0 if self._fresh else _SMOOTHING
        self._fresh = False
        self.images_per_second = keep * self.images_per_second + (1 - keep) * speed
        self.wait_share = keep * self.wait_share + (1 - keep) * share
        self._bar.update(self._task, advance=1, loss=loss, lr=lr, speed=self.images_per_second, wait=self.wait_share)

        self._done += 1
        if self._lines and monotonic() - self._said >= (_EPOCH_LINES if ends_epoch else _STEP_LINES):
            self._line(loss)

    def _line(self, loss: float) -> None:
        self._said = monotonic()
        left = (self._said - self._start) / (self._done - self._begun) * (self._total - self._done)
        said = f"step {self._done} of {self._total}, loss {loss:.4f}, {self.images_per_second:.0f} images/s"
        self._console.print(f"{said}, {timedelta(seconds=round(left))} left", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Say one thing that nobody needs to act on; nothing where only notices are wanted."""
        if not self._quiet:
            self._console.print(shown(text), markup=False, highlight=False, soft_wrap=True)

    def notice(self, text: str) -> None:
        """Say one thing, above the bar if there is one."""
        self._console.print(shown(text), style="yellow", markup=False, highlight=False, soft_wrap=True)
