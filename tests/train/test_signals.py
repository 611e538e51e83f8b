import os
import signal
import threading
from pathlib import Path

import pytest

from sidelight.errors import SidelightError
from sidelight.train.signals import Interrupted, stop_requests


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_collected_and_both_handlers_are_back_at_once(number, code):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests() as request:
        assert request.number == 0
        os.kill(os.getpid(), number)
        assert request.number == number
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert Interrupted(Path("run"), 7, request.number).exit_code == code


def test_handlers_are_back_when_nothing_happened():
    before = signal.getsignal(signal.SIGINT)
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_another_thread_collects_nothing_and_does_not_fail():
    seen = []

    def work():
        with stop_requests() as request:
            seen.append(request.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


def test_the_error_says_what_to_do():
    error = Interrupted(Path("run"), 7, signal.SIGINT)
    assert isinstance(error, SidelightError)
    assert "SIGINT after step 7" in str(error)
    assert "same command again" in str(error)
