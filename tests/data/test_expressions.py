"""Expressions of a cohort file match as Python's do, and none hangs."""

import contextlib
import os
import time

import pytest

from sidelight.data import expressions
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.expressions import BadExpression, Expression
from sidelight.errors import ConfigError, DataError


def test_they_match_as_pythons_do():
    assert Expression.of(r"(?P<a>[A-Z]+)(?P=a)").fullmatch("XX")["a"] == "X"
    assert Expression.of("Malignant|^.(?!.*Malignant)").search("no Malignant")[0] == "Malignant"
    assert Expression.of("(b)(c)?").groups == 2
    with pytest.raises(BadExpression):
        Expression.of("(")


@pytest.mark.parametrize("text", ["(.*a){18}b", "(a|aa)+$", "^(a+)+$", "(a|b|ab)*c"])
def test_those_that_would_hang_stop(monkeypatch, text):
    monkeypatch.setattr(expressions, "SECONDS", 0.05)
    began = time.monotonic()
    with contextlib.suppress(ConfigError):  # some are seen to fit nowhere at once
        assert Expression.of(text).search("a" * 100 + "!") is None
    assert time.monotonic() - began < 2


def test_a_derived_column_has_the_same_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(expressions, "SECONDS", 0.05)
    (tmp_path / ("a" * 80 + ".png")).touch()
    (tmp_path / "cohort.toml").touch()
    with pytest.raises(ConfigError, match=r"The expression '\(a\|aa\)\+b' takes more than"):
        Cohort.open(tmp_path, files="{n}.png", derive={"x": {"from": "n", "pattern": "(a|aa)+b"}})


def test_a_pipe_is_refused_and_does_not_wait(tmp_path):
    (tmp_path / "cohort.toml").touch()
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.dcm")
    os.mkfifo(tmp_path / "noname")
    cohort = Cohort.open(tmp_path, files="{n}.png")
    with pytest.raises(DataError, match=r"a.png: is no file but a folder, a pipe"):
        cohort.read(0, max_frames=1)
    with pytest.raises(DataError):
        Cohort.open(tmp_path, files="*", levels=["p"], roles={"p": "dicom:PatientID"})
