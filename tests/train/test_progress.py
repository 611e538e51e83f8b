import io
import sys

import pytest

from sidelight.train import progress
from sidelight.train.progress import Reporter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_speed_and_waiting_are_smoothed():
    reporter = Reporter(10, quiet=True)
    reporter.step(64, 0.5, 0.1, 1.0, 0.1)
    assert (reporter.images_per_second, reporter.wait_share) == pytest.approx((128, 0.2))
    reporter.step(64, 1.0, 1.0, 1.0, 0.1)
    assert (reporter.images_per_second, reporter.wait_share) == pytest.approx((0.9 * 128 + 6.4, 0.28))


def test_a_terminal_gets_a_bar_with_everything_on_it(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with Reporter(10, 3) as reporter:
        reporter.step(64, 0.5, 0.1, 1.2345, 0.01)
        reporter._bar.refresh()
    for part in ("4/10", "1.2345", "1.00e-02", "128 images/s", "20% waiting for data"):
        assert part in screen.getvalue()


def test_without_a_terminal_there_is_a_line_per_epoch_at_most_every_ten_seconds(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with Reporter(1000, 100) as reporter:
        for step in range(20):  # 4 seconds each, epochs of 2 steps
            now[0] += 4
            reporter.step(64, 0.5, 0.1, 1.25, 0.1, ends_epoch=step % 2 == 1)
        said = capsys.readouterr().err.splitlines()
        assert said[0] == "step 104 of 1000, loss 1.2500, 128 images/s, 0:59:44 left"
        assert [line.split()[1] for line in said] == ["104", "108", "112", "116", "120"]
        now[0] += 299
        reporter.step(64, 0.5, 0.1, 1.25, 0.1)
        assert capsys.readouterr().err == ""
        now[0] += 2
        reporter.step(64, 0.5, 0.1, 1.25, 0.1)  # a long epoch is heard of, too
        assert capsys.readouterr().err.startswith("step 122 of 1000")


def test_quiet_leaves_only_notices(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with Reporter(10, quiet=True) as reporter:
        now[0] += 1000
        reporter.step(64, 0.5, 0.1, 1.0, 0.1)
        reporter.notice("something [to] know")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "something [to] know\n")


def test_a_process_that_does_not_lead_is_silent(capsys):
    Reporter(10, leads=False).notice("something")
    assert capsys.readouterr().err == ""
