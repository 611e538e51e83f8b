"""Metadata for a network: three kinds of not known, a fixed vocabulary, and columns that are refused (spec T9)."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import ASKED, KNOWN, MISSING, UNSEEN, Vocabulary, described, fit
from sidelight.data.findings import Record
from sidelight.errors import ConfigError, DataError

ROWS = """patient;lesion;age;site;itch;signs;label
p1;1;40;arm;yes;red|hard;a
p1;2;40;leg;no;;b
p2;1;50;arm;UNK;red;a
p3;1;;Arm;;hard;b
"""
TOML = """
files = "{patient}_{lesion}.png"
tables = [{file = "t.csv", on = ["patient", "lesion"]}]
levels = ["patient", "lesion"]
[metadata]
patient = ["age"]
lesion = ["site", "itch", "signs"]
numeric = ["age"]
checkbox = ["signs"]
asked = ["UNK"]
same = {Arm = "arm"}
[task.diagnosis]
label = "label"
unit = "lesion"
"""


def cohort(folder, rows=ROWS, toml=TOML, record=None):
    for name in ("p1_1", "p1_2", "p2_1", "p3_1"):
        (folder / f"{name}.png").write_bytes(b"x")
    (folder / "t.csv").write_text(rows)
    (folder / "cohort.toml").write_text(toml)
    return Cohort.open(folder, record=record)


def everything(one):
    return np.arange(len(one.items))


def test_blank_asked_and_unseen_are_three_things(tmp_path):
    one = cohort(tmp_path)
    found = fit(one, "lesion", everything(one))
    new = one.items.assign(itch=["maybe", "UNK", "", "no"])
    assert found.encode(new).state[:, 1].tolist() == [UNSEEN, ASKED, MISSING, KNOWN]
    codes = found.encode(one.items)
    assert codes.state[:, 1].tolist() == [KNOWN, KNOWN, ASKED, MISSING]
    assert codes.value[:, 1].tolist() == [1, 0, 0, 0]  # values in order: no, yes
    assert found.columns[0].values == ("arm", "leg")  # one spelling
    assert codes.ticks.tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]  # hard, red
    assert codes.state[:, 2].tolist() == [KNOWN, MISSING, KNOWN, KNOWN]


def test_numbers_are_z_scores_of_the_rows_that_fitted_them(tmp_path):
    one = cohort(tmp_path)
    found = fit(one, "patient", np.array([0, 2]))
    assert (found.columns[0].mean, found.columns[0].std) == (45.0, 5.0)
    codes = found.encode(one.items)
    assert codes.number[:, 0].tolist() == [-1, -1, 1, 0]
    assert codes.state[:, 0].tolist() == [KNOWN, KNOWN, KNOWN, MISSING]


def test_columns_in_another_order_and_a_column_that_is_gone(tmp_path):
    one = cohort(tmp_path)
    found = fit(one, "lesion", everything(one))
    turned = found.encode(one.items[one.items.columns[::-1]])
    assert all(
        np.array_equal(getattr(turned, n), getattr(found.encode(one.items), n)) for n in ("state", "value", "ticks")
    )
    assert (found.encode(one.items.drop(columns="itch")).state[:, 1] == MISSING).all()


def test_a_vocabulary_survives_json_and_rare_values_stay_out(tmp_path):
    one = cohort(tmp_path)
    found = fit(one, "lesion", everything(one), least=2)
    assert found.columns[0].values == ("arm",)  # "leg" belongs to one patient, whom it may identify
    assert Vocabulary.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_equal_rows_have_equal_numbers_and_flat_features_tell_states_apart(tmp_path):
    one = cohort(tmp_path)
    found = fit(one, "lesion", everything(one))
    twice = found.encode(pd.concat([one.items, one.items], ignore_index=True)).same()
    assert twice[:4].tolist() == twice[4:].tolist() and len(set(twice.tolist())) == 4
    codes = found.encode(one.items.assign(itch=["", "UNK", "new", "no"]).assign(site="arm", signs="red"))
    assert len(np.unique(codes.flat(found.columns), axis=0)) == 4


def test_a_word_among_numbers_names_its_row(tmp_path):
    one = cohort(tmp_path, ROWS.replace("p2;1;50", "p2;1;fifty"))
    with pytest.raises(DataError, match=r"numeric column 'age' holds 'fifty' in the row of 'p2_1\.png'"):
        fit(one, "patient", everything(one))


@pytest.mark.parametrize("cells", [("fifty", "50"), ("1 cm", "2 mm")])
def test_a_numeric_column_that_stops_learning_is_an_error_of_check(tmp_path, cells):
    record, (some, other) = Record(), cells
    one = cohort(tmp_path, ROWS.replace(";40;", f";{some};").replace(";50;", f";{other};"), record=record)
    (found,) = record.findings
    assert (found.kind, found.severity, found.numbers) == ("table", "error", {"column": "age"})
    assert some in found.items and not any(cell in found.sentence for cell in found.items)
    with pytest.raises(DataError, match="numeric column 'age'"):
        fit(one, "patient", everything(one))


def test_a_column_that_is_the_label_is_refused(tmp_path):
    one = cohort(tmp_path, toml=TOML.replace('"site"', '"site", "label"'))
    with pytest.raises(DataError, match="'label', which is the label of the task 'diagnosis'"):
        described(one, "lesion")
    copied = replace(one, items=one.items.assign(site=one.items["label"]))
    with pytest.raises(DataError, match="'site', which is the label"):
        described(copied, "lesion")


def test_a_known_value_wins_over_one_asked_in_vain(tmp_path):
    rows = ROWS.replace("p1;1;40", "p1;1;UNK").replace("p3;1;;", "p3;1;UNK;")
    one = cohort(tmp_path, rows)
    assert one.items["age"].tolist() == ["40", "40", "50", "UNK"]


def test_a_kind_for_a_column_that_describes_nothing(tmp_path):
    with pytest.raises(ConfigError, match=r"'agee'.*Did you mean 'age'"):
        cohort(tmp_path, toml=TOML.replace('numeric = ["age"]', 'numeric = ["agee"]'))
    with pytest.raises(DataError, match="'any' needs to know"):
        cohort(tmp_path, toml=TOML + 'conflict = "any"\n').task("diagnosis")


@pytest.mark.parametrize(
    ("preset", "column"),
    [
        ("pad_ufes_20", "biopsed"),
        ("pad_ufes_20", "diagnostic"),
        ("ham10000", "dx_type"),
        ("isic2024", "lesion_id"),
        ("isic2024", "iddx_3"),
        ("isic2024_jpg", "mel_thick_mm"),
        ("isic2024_challenge", "tbp_lv_dnn_lesion_confidence"),
        ("hiba", "concomitant_biopsy"),
    ],
)
def test_columns_that_leak_are_refused(tmp_path, preset, column):
    level = {"ham10000": "lesion", "pad_ufes_20": "lesion", "hiba": "lesion"}.get(preset, "item")
    with pytest.raises(ConfigError, match=f"names the column '{column}'"):
        Cohort.open(tmp_path, preset=preset, metadata={level: [column], "numeric": []})
