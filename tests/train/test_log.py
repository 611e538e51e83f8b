import math

import pytest

from sidelight.train import log


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in range(5):
        log.append(path, "step", step, {"loss": step / 2})
    return path


def test_lines_come_back_with_kind_and_step(path):
    assert log.read(path)[3] == {"kind": "step", "step": 3, "loss": 1.5}


def test_a_line_cut_short_is_left_out_and_lines_after_it_start_afresh(path):
    with path.open("a") as file:
        file.write('{"kind": "st')
    assert len(log.read(path)) == 5
    log.cut(path, 4)
    log.append(path, "step", 5, {})
    assert [line["step"] for line in log.read(path)] == [0, 1, 2, 3, 4, 5]


def test_cut_drops_what_came_later_and_everything_at_the_start(path):
    log.cut(path, 2)
    assert [line["step"] for line in log.read(path)] == [0, 1, 2]
    log.cut(path, 0)
    assert log.read(path) == []


def test_no_file_is_no_lines(tmp_path):
    assert log.read(tmp_path / "none.jsonl") == []


def test_numbers_that_json_cannot_say_become_null(path):
    log.append(path, "step", 5, {"loss": math.nan, "norm": math.inf, "fine": 1.0})
    assert log.read(path)[-1] == {"kind": "step", "step": 5, "loss": None, "norm": None, "fine": 1.0}
