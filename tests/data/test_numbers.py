"""The one reader of numbers: cells, notations, and what draft and training make of a table."""

import numpy as np
import pandas as pd
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import fit
from sidelight.data.guess import guess, render
from sidelight.data.numbers import plain_notation, read
from sidelight.errors import DataError


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["38.5 °C", "37 °C", "", "k.A."], [38.5, 37, np.nan, np.nan]),
        (["12 mm", "13"], [12, 13]),
        (["45%", "−3 %", "1e3"], [45, -3, 1000]),
        (["12 mm", "1 cm"], [np.nan, np.nan]),  # two units are none
        (["2024-01-01", "10-20", "5/10", "4 x 5", "1.2.2020", "inf"], [np.nan] * 6),
    ],
)
def test_cells(cells, numbers):
    found = read(pd.Series(cells, dtype=str))
    np.testing.assert_array_equal(found.values, numbers)
    assert list(found.odd) == [
        cell for cell, number in zip(cells, numbers, strict=True) if cell not in ("", "k.A.") and np.isnan(number)
    ]


def test_limits_are_no_values():
    found = read(pd.Series(["<20", "≥ 90", "30"]))
    assert found.limits.tolist()[:2] == [20, 90] and found.values.tolist()[2] == 30 and not found.odd


@pytest.mark.parametrize(
    ("columns", "known", "plain"),
    [
        ({"a": ["20,5", "<21,5", "k.A."]}, {}, {"a": ["20.5", "<21.5", "k.A."]}),
        ({"a": ["1,200", "2,201"], "b": ["20,5", "1"]}, {}, {"a": ["1.200", "2.201"], "b": ["20.5", "1"]}),
        ({"a": ["1,000", "975"], "b": ["20.5", "1"]}, {}, {"a": ["1000", "975"], "b": ["20.5", "1"]}),
        ({"a": ["1,000", "975"]}, {"decimal": "."}, {"a": ["1000", "975"]}),
        ({"a": ["1.000", "975"]}, {"decimal": ","}, {"a": ["1000", "975"]}),
        ({"a": ["1'234.5", "1 234.5", "1,234,567.5"]}, {}, {"a": ["1234.5", "1234.5", "1234567.5"]}),
        ({"a": ["12,5 mm", "38,5 °C"]}, {}, {"a": ["12.5 mm", "38.5 °C"]}),
        ({"a": ["1,234", "2,5"]}, {"separator": ";"}, {"a": ["1.234", "2.5"]}),
        ({"a": ["1,2,3", "2,3,4"], "b": ["1.1.2020", "2.3.2021"]}, {}, {}),  # lists and dates are no numbers
        ({"a": ["1.234", "2.345"]}, {}, {}),
    ],
)
def test_one_notation(columns, known, plain):
    table, doubts = plain_notation(pd.DataFrame(columns), **{"decimal": None, "separator": ",", **known})
    assert table.to_dict("list") == (plain or columns) and not doubts


@pytest.mark.parametrize(
    "columns",
    [{"a": ["1,000", "975"]}, {"a": ["1.000", "975"]}, {"a": ["1,234", "2,345"]}, {"a": ["20,5", "20.5"]},
     {"a": ["1.234", "975"], "b": ["20,5", "1"]}],
)  # fmt: skip
def test_two_readings_are_told(columns):
    table, doubts = plain_notation(pd.DataFrame(columns), None, ",")
    assert list(doubts) == ["a"] and table["a"].tolist() == columns["a"]


def folder(root, rows, header="image;dx;crp;size;bmi"):
    (root / "images").mkdir()
    for k in range(len(rows)):
        (root / f"images/{k:02d}.png").write_bytes(b"x")
    text = "\n".join([header, *(f"{k:02d};{'ab'[k % 2]};{row}" for k, row in enumerate(rows))])
    (root / "meta.csv").write_text(text)


def test_the_draft_and_training_read_the_same_numbers(tmp_path):
    folder(
        tmp_path,
        [
            f"{'<20' if k == 3 else f'{20 + k},5'};{k % 3},5 mm;{'k.A.' if k == 4 else f'2{k % 10},{k % 5}'}"
            for k in range(14)
        ],
    )
    draft = guess(tmp_path)
    text = render(draft)
    assert [(one.name, one.kind) for one, _ in draft.metadata] == [(name, "numeric") for name in ("crp", "size", "bmi")]
    assert 'censored = "limit"' in text and "crp: <20" in text
    (tmp_path / "cohort.toml").write_text(text)
    cohort = Cohort.open(tmp_path)
    assert [one.kind for one in fit(cohort, "item", np.arange(14)).columns] == ["numeric"] * 3
    assert cohort.items["crp"].tolist()[2:4] == ["22.5", "20"] and cohort.items["size"].tolist()[:2] == ["0.5", "1.5"]
    assert any("1 value beyond a limit, for example '<20': the limit is taken" in one for one in cohort.notices)
    (tmp_path / "cohort.toml").write_text(text.replace('censored = "limit"', ""))
    with pytest.raises(DataError, match=r"'crp' of numbers holds values beyond a limit: '<20' \(1\).*censored"):
        Cohort.open(tmp_path)


def test_numbers_and_words_in_one_column_are_not_lost(tmp_path):
    folder(tmp_path, [f"{'viel' if k == 3 else k}.5;1;1" for k in range(14)])
    draft = guess(tmp_path)
    assert draft.metadata == () and any("crp holds numbers but for 'viel.5' (1)" in one for one in draft.todo)
    keys = {
        "files": "images/{image}.*",
        "tables": [{"file": "meta.csv", "on": ["image"]}],
        "metadata": {"item": ["crp"]},
    }
    (tmp_path / "cohort.toml").touch()
    with pytest.raises(DataError, match=r"'crp' holds 13 different numbers, and cells that are none: 'viel.5' \(1\)"):
        Cohort.open(tmp_path, **keys)
    for rule in ({"unknown": ["viel.5"]}, {"categorical": ["crp"]}):
        cohort = Cohort.open(tmp_path, **{**keys, "metadata": {"item": ["crp"], **rule}})
        assert fit(cohort, "item", np.arange(14)).columns[0].kind == ("numeric" if "unknown" in rule else "categorical")


def test_two_readings_stop_where_the_column_is_asked_for(tmp_path):
    folder(tmp_path, ["1,000;1;1"] + ["975;2;2"] * 13)
    keys = {"files": "images/{image}.*", "tables": [{"file": "meta.csv", "on": ["image"]}]}
    (tmp_path / "cohort.toml").touch()
    assert len(Cohort.open(tmp_path, **keys).items) == 14
    for more in (
        {"metadata": {"item": ["crp"]}},
        {"where": {"crp": "> 5"}},
        {"derive": {"x": {"from": "crp", "at_least": 1}}},
    ):
        with pytest.raises(DataError, match=r"meta.csv writes numbers as '1,000' in column 'crp'.*decimal = "):
            Cohort.open(tmp_path, **keys, **more)
    keys["tables"][0]["decimal"] = "."
    assert Cohort.open(tmp_path, **keys, where={"crp": "> 999"}).items["crp"].tolist() == ["1000"]
    draft = guess(tmp_path)
    assert any("writes numbers as '1,000'" in one for one in draft.todo)
    assert "crp" not in [one.name for one, _ in draft.metadata]
