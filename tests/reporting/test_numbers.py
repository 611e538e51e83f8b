import math

import pytest

from sidelight.reporting.numbers import (
    bounds,
    decimal,
    duration,
    estimate,
    metric_name,
    p_value,
    plural,
    significant,
    times,
)


def test_decimals_have_a_true_minus_and_no_negative_zero():
    assert [decimal(x) for x in (0.815, -0.2, -0.001, math.nan, math.inf)] == ["0.81", "−0.20", "0.00", "–", "∞"]
    assert decimal(0.15, sign=True) == "+0.15"
    assert decimal(-0.001, sign=True) == "0.00"


def test_a_bound_near_zero_keeps_its_side_readable():
    assert bounds(0.7, 0.92) == "[0.70, 0.92]"
    assert bounds(0.003, 0.27) == "[0.003, 0.270]"
    assert bounds(-0.02, 0.16) == "[−0.02, 0.16]"
    assert estimate(0.8, math.nan, math.nan) == "0.80 (no interval)"


@pytest.mark.parametrize(("p", "text"), [(0.0001, "<0.001"), (0.0123, "0.012"), (0.3, "0.30"), (math.nan, "–")])
def test_p_values(p: float, text: str):
    assert p_value(p) == text


def test_factors_beyond_all_labels_say_so():
    assert times(3.21) == "3.2"
    assert times(14.4) == "14"
    assert times(math.inf, 8.0) == ">8"
    assert times(math.inf, 11.75) == ">11.7", "a limit is never rounded up"
    assert times(math.inf) == "more than all"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123, "0.00123"), (1.5, "1.5"), (12345.0, "12,300"), (3.2e-5, "3.20e-05"), (0, "0"), (-2, "−2")],
)
def test_significant_digits(value: float, text: str):
    assert significant(value) == text


def test_words():
    assert metric_name("balanced_accuracy") == "balanced accuracy"
    assert metric_name("recall:covid") == "recall (covid)"
    assert [plural(unit) for unit in ("clip", "study", "patch", "day", "series")] == [
        "clips",
        "studies",
        "patches",
        "days",
        "series",
    ]
    assert plural("clip", 1) == "clip"
    assert [duration(s) for s in (45, 720, 12240)] == ["45 s", "12 min", "3.4 h"]


def test_factors_below_what_was_measured_say_so():
    assert times(1.0, 8, 1.0) == "≤1.0" and times(1.2, 8, 1.0) == "1.2"
    assert times(0.25, 1, 0.25) == "≤0.25" and times(8 / 256) == "0.031"


def test_a_bound_that_is_nearly_zero_keeps_its_side():
    assert bounds(-0.0002, 0.1) == "[−0.0002, 0.1000]"
