import pytest

from sidelight.config import Settings, build, parse_flags
from sidelight.errors import ConfigError


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("a=16,32", [16, 32]), ("a=0.5, 1", [0.5, 1]), ("a=sex,site", ["sex", "site"]), ("a=[1,2]", [1, 2]), ("a=word", "word"),
        ("a=-1,2", [-1, 2]), ("a=C:/x,y.csv", "C:/x,y.csv"), ("a=one two, three", "one two, three"), ("a=true,x", [True, "x"]),
        ('a={"b": 1, "c": [true, null]}', {"b": 1, "c": [True, None]}), ("a={b = 1}", {"b": 1}), ("a={b}", "{b}"),
    ],
)  # fmt: skip
def test_values_as_users_write_them(flag, value):
    assert parse_flags([flag]) == {"a": value}


def test_groups_and_a_flag_without_a_value():
    assert parse_flags(["a.b=1", "a.c=x"]) == {"a": {"b": 1, "c": "x"}}
    with pytest.raises(ConfigError, match="has no value"):
        parse_flags(["a"])


class Inner(Settings):
    rates: tuple[float, ...] = (0.1,)


class Outer(Settings):
    labels: list[int] = []
    names: list[str] = []
    inner: Inner = Inner()


def test_one_word_or_number_is_a_list_of_it_where_a_list_is_expected():
    found = build(Outer, parse_flags(["labels=16", "names=sex", "inner.rates=0.5"]))
    assert (found.labels, found.names, found.inner.rates) == ([16], ["sex"], (0.5,))
    with pytest.raises(ConfigError, match="labels"):
        build(Outer, {"labels": "x"})
    with pytest.raises(ConfigError, match="names"):
        build(Outer, {"names": "one two"})
    with pytest.raises(ConfigError, match="names"):
        build(Outer, {"names": {"a": 1}})


def test_a_word_in_place_of_a_group_is_told_how_a_group_is_written():
    with pytest.raises(ConfigError, match=r"NAME.SETTING=VALUE or NAME=\{SETTING = VALUE\}"):
        build(Outer, {"inner": "rates"})
