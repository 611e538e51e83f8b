"""Training that is stopped in the middle, as by Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sidelight.train.signals import Interrupted


@contextmanager
def stopped(kind: type, call: int) -> Iterator[None]:
    """What runs inside must be stopped when the method ``kind`` computes its loss for the ``call``-th time."""
    plain, calls = kind.loss, []

    def loss(self, batch, **more):
        calls.append(1)
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return plain(self, batch, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, "loss", loss)
        with pytest.raises(Interrupted):
            yield
