"""Ctrl-C and SIGTERM: the step in hand is finished, a checkpoint is written, then training stops."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sidelight.errors import SidelightError


class Interrupted(SidelightError):
    """Training was asked to stop and did, after a checkpoint; the same command resumes it.

    ``exit_code`` is what a shell expects of the signal: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, folder: Path, step: int, number: int) -> None:
        self.folder, self.step, self.exit_code = folder, step, 128 + number
        super().__init__(
            f"Stopped by {signal.Signals(number).name} after step {step}; the checkpoint in {folder} is whole",
            do="Run the same command again to go on from there",
        )


@dataclass
class Request:
    """The number of the signal that asked to stop; 0 while none did."""

    number: int = 0


@contextmanager
def stop_requests() -> Iterator[Request]:
    """Collect SIGINT and SIGTERM instead of dying of them.

    After the first one the old handlers are back, so that a second Ctrl-C stops at once. Outside the main thread,
    where Python takes no signals, nothing is collected.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        restore()

    for number in old:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()


def ignore_in_worker(worker: int) -> None:
    """Loader workers leave both signals to the process that trains; they end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
