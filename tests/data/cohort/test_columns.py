import pandas as pd
import pytest

from sidelight.data.cohort.columns import derive, find_column, select, unit_keys, when
from sidelight.data.cohort.spec import DeriveSpec
from sidelight.errors import ConfigError, DataError

ITEMS = pd.DataFrame(
    {
        "item": ["a", "b", "c"],
        "frames": ["9", "10", ""],
        "site": ["left", "right", "left"],
        "t.kind": ["x", "", "y"],
        "flag": ["TRUE", "False", "true"],
    },
    dtype=str,
)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({}, "abc"),
        ({"site": "left"}, "ac"),
        ({"site": ["left", "right"]}, "abc"),
        ({"frames": ">= 10"}, "b"),
        ({"frames": "<10"}, "a"),
        ({"frames": "!= 10"}, "ac"),
        ({"frames": 9}, "a"),
        ({"frames": [9, 10.0]}, "ab"),
        ({"kind": "!= x"}, "bc"),
        ({"flag": True}, "ac"),
        ({"site": "left", "frames": "> 1"}, "a"),
    ],
)
def test_where(where, kept):
    assert "".join(ITEMS["item"][select(ITEMS, where, "where")]) == kept


def test_where_that_cannot_be_answered():
    with pytest.raises(DataError, match="Did you mean 'frames'"):
        select(ITEMS, {"frame": 1}, "where")
    with pytest.raises(DataError, match="meets the value 'left'"):
        select(ITEMS, {"site": "> 3"}, "where")
    with pytest.raises(ConfigError, match="compares with 'many'"):
        select(ITEMS, {"frames": "> many"}, "where")


def test_columns_by_name_or_by_table():
    assert find_column(ITEMS, "kind", "here") == "t.kind"
    both = ITEMS.assign(**{"u.kind": "z"})
    with pytest.raises(DataError, match=r"here names the column 'kind'.*(t|u)\.kind"):
        find_column(both, "kind", "here")
    assert find_column(ITEMS.assign(group="g", **{"t.group": "h"}), "group", "here") == "t.group"


def test_derive_takes_the_first_group_or_the_whole_match():
    def made(pattern):
        return derive(ITEMS, "new", DeriveSpec.model_validate({"from": "site", "pattern": pattern}))["new"].tolist()

    assert made("^(.)e") == ["l", "", "l"]
    assert made("ri?g") == ["", "rig", ""]
    assert made("(x)?ht") == ["", "", ""]
    with pytest.raises(ConfigError, match="bad expression"):
        made("(")


def test_derive_says_whether_a_number_lies_within_bounds():
    items = pd.DataFrame({"crp": ["4.9", "5", "", "7.1e-05", "-3.0", "inf"]}, dtype=str)

    def made(**bounds):
        return derive(items, "new", DeriveSpec.model_validate({"from": "crp", **bounds}))["new"].tolist()

    assert made(at_least=5) == ["0", "1", "", "0", "0", "1"]
    assert made(at_most=4.9) == ["1", "0", "", "1", "1", "0"]
    assert made(at_least=0, at_most=5, values={"1": "low"}) == ["low", "low", "", "low", "0", "0"]
    items = items.assign(crp=["1", "< 5", "", "", "", ""])
    with pytest.raises(DataError, match=r"\[derive\] new meets the value '< 5' in column 'crp'"):
        made(at_least=5)


def test_derive_names_the_columns_that_say_yes():
    items = pd.DataFrame({"MEL": ["1.0", "0.0", "", "true"], "NV": ["0.0", "0.0", "", "yes"]}, dtype=str)

    def made(**rule):
        return derive(items, "new", DeriveSpec.model_validate({"from": ["MEL", "NV"], **rule}))["new"].tolist()

    assert made() == ["MEL", "", "", "MEL+NV"]
    assert made(values={"MEL+NV": "both"}) == ["MEL", "", "", "both"]


def test_keys_of_units_count_inside_their_parents():
    items = pd.DataFrame({"item": list("abc"), "p": ["1", "2", "1/2"], "l": ["2/3", "1", "3"]}, dtype=str)
    assert unit_keys(items, ["p", "l"], "l").tolist() == ["1/2%2F3", "2/1", "1%2F2/3"]
    assert unit_keys(items, ["p", "l"], "p").tolist() == ["1", "2", "1/2"]
    assert unit_keys(items, ["p", "l"], "item").tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "days", [["2020-01-31", "", "2019-12-31"], ["31.01.2020", "", "31.12.2019"], ["2020", "", "9"]]
)
def test_dates_sort(days):
    assert when(pd.Series(days)).argsort().tolist() == [1, 2, 0]


def test_what_is_no_date():
    with pytest.raises(DataError, match="'soon'"):
        when(pd.Series(["2020-01-01", "soon"]))
