"""What predicts a label by itself is found where it is planted, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from planted import opened, table, write
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Record
from sidelight.evaluation.shortcuts.shallow import branched, enough, folds_of, looked_up, strength
from sidelight.evaluation.shortcuts.shortcuts import shortcuts


def found(tmp_path, rows: pd.DataFrame, properties=None, **options):
    return shortcuts(opened(write(tmp_path, rows), **options), "ill", properties)


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_cohort_raises_no_alarm(tmp_path, seed):
    rows = table(30 if seed % 2 else 14, each=3, seed=seed)
    rng = np.random.default_rng([seed, 1])
    noise = pd.DataFrame({f"noise{n}": rng.choice(["a", "b", "c", ""], len(rows)) for n in range(10)})
    sizes = rng.integers(100, 104, (2, len(rows)))
    properties = pd.DataFrame({"width": sizes[0], "height": sizes[1], "folder": rng.choice(["x", "y"], len(rows))})
    assert found(tmp_path, pd.concat([rows, noise], axis=1), properties) == []


def test_a_column_that_predicts(tmp_path):
    rows = table()
    rng = np.random.default_rng(1)
    wrong = rng.random(len(rows)) < 0.1
    rows["biopsed"] = np.where((rows["diagnosis"] == "ill") ^ wrong, "True", "False")
    (one,) = found(tmp_path, rows, metadata={"item": ["biopsed"]})
    assert (one.kind, one.severity, one.numbers["column"]) == ("shortcut", "warning", "biopsed")
    assert 0.75 < one.numbers["low"] < one.numbers["value"] < one.numbers["high"] <= 1
    assert "predicts 'ill' with AUROC 0." in one.sentence and "declared as metadata" in one.sentence


def test_a_number_that_predicts_and_its_copy(tmp_path):
    rows = table()
    rng = np.random.default_rng(1)
    rows["dose"] = ((rows["diagnosis"] == "ill") * 3 + rng.normal(0, 1, len(rows))).round(2).astype(str)
    rows["dose_again"] = rows["dose"]
    (one,) = found(tmp_path, rows)
    assert (one.kind, one.numbers["column"], one.numbers["copies"]) == ("shortcut", "dose", ["dose_again"])


def test_numbers_are_copies_only_where_their_order_is_one(tmp_path):
    """No two cells of a measured column are equal, which makes it no copy of every other such column."""
    rows, rng = table(), np.random.default_rng(1)
    dose = (rows["diagnosis"] == "ill") * 3 + rng.normal(0, 1, len(rows))
    rows["dose"], rows["dose_in_mg"] = dose.astype(str), (1000 * dose).astype(str)
    rows["noise"] = rng.normal(0, 1, len(rows)).astype(str)
    (one,) = found(tmp_path, rows)
    assert (one.numbers["column"], one.numbers["copies"]) == ("dose", ["dose_in_mg"])


def test_a_number_beyond_its_range(tmp_path):
    rows, rng = table(), np.random.default_rng(1)
    rows["dose"] = ((rows["diagnosis"] == "ill") * 3 + rng.normal(0, 1, len(rows))).astype(str)
    rows.loc[rows["dose"].astype(float) > 3.5, "dose"] = "inf"
    (one,) = found(tmp_path, rows)
    assert (one.kind, one.numbers["column"]) == ("shortcut", "dose")


def test_a_site_of_the_body_is_no_source(tmp_path):
    rows, rng = table(80), np.random.default_rng(1)
    rows["site"] = np.where(rows["diagnosis"] == "ill", rng.choice(["head_neck", "hand"], len(rows)), "lower extremity")
    rows.loc[::9, "site"] = "trunk"
    (one,) = found(tmp_path, rows)
    assert (one.kind, one.numbers["column"]) == ("shortcut", "site")


def test_a_value_that_excludes_a_class(tmp_path):
    """Too few units for an AUROC above the limit, and yet a rule without exception."""
    rows = table(120)
    healthy = np.flatnonzero(rows["diagnosis"] == "healthy")
    rows["confirmed_by"] = "histology"
    rows.loc[healthy[:60], "confirmed_by"] = "consensus"
    (one,) = found(tmp_path, rows)
    assert "value" not in one.numbers
    (rule,) = one.numbers["rules"]
    assert (rule["value"], rule["units"], rule["always"]) == ("consensus", 60, "healthy")


def test_blank_cells_that_predict(tmp_path):
    rows = table()
    blank = (rows["diagnosis"] == "healthy") & (np.arange(len(rows)) % 3 > 0)
    rows["smoke"] = np.where(blank, "", np.random.default_rng(3).choice(["yes", "no"], len(rows)))
    rows["drink"] = np.where(blank, "", np.random.default_rng(4).choice(["yes", "no"], len(rows)))
    (one,) = found(tmp_path, rows)
    assert one.kind == "blanks"
    assert one.numbers["value"] > 0.8
    assert one.numbers["rules"][0]["columns"] == ["smoke", "drink"]
    assert one.numbers["rules"][0]["always"] == "healthy"


def test_another_name_of_the_label(tmp_path):
    rows = table()
    rng = np.random.default_rng(2)
    ill = np.where(rng.random(len(rows)) < 0.5, "MEL", "BCC")
    rows["histology"] = np.where(rows["diagnosis"] == "ill", ill, "NEV")
    (one,) = found(tmp_path, rows)
    assert (one.kind, one.numbers["column"]) == ("recoding", "histology")


def test_what_the_cohort_file_refuses_is_noted_only(tmp_path):
    rows, rng = table(), np.random.default_rng(2)
    rows["histology"] = np.where(rows["diagnosis"] == "ill", rng.choice(["MEL", "BCC"], len(rows)), "NEV")
    rows["thickness"] = np.where(rows["diagnosis"] == "ill", "1.5", "")
    never = {"histology": "it is the label", "thickness": "only melanomas have it"}
    (one,) = found(tmp_path, rows, metadata={"never": never})
    assert (one.kind, one.severity, one.numbers["column"]) == ("recoding", "note", "histology")
    assert one.sentence.endswith("under other names; [metadata.never] keeps it from methods")


def test_the_columns_of_tasks_and_what_they_come_from_are_not_shortcuts(tmp_path):
    rows = table().assign(code=lambda t: t["diagnosis"].str.upper() + "-1")
    tasks = {"ill": {"label": "name", "positive": ["ILL"]}, "same": {"label": "diagnosis"}}
    derive = {"name": {"from": "code", "pattern": "^[A-Z]+"}}
    assert found(tmp_path, rows, derive=derive, task=tasks) == []


def test_all_that_a_label_is_made_of_in_steps_is_no_shortcut(tmp_path):
    rows = table().assign(score=lambda t: np.where(t["diagnosis"] == "ill", "0.9", "0.1"), scan="0")
    derive = {
        "high": {"from": "score", "at_least": 0.5},
        "scanned": {"from": "scan", "at_least": 0.5},
        "name": {"from": ["high", "scanned"]},
        "words": {"from": "high", "pattern": ".", "values": {"1": "It is ill.", "0": "It is not."}},
    }
    tasks = {"ill": {"label": "name", "positive": ["high"], "negative": [""]}}
    assert found(tmp_path, rows.drop(columns="diagnosis"), derive=derive, task=tasks) == []


def test_the_view_that_is_the_label_is_no_shortcut_to_it(tmp_path):
    rows = table().assign(view=lambda t: np.where(t["diagnosis"] == "ill", "a", "p"))
    tasks = {"ill": {"label": "view", "positive": ["AP"]}, "other": {"label": "itch"}}
    options = {"roles": {"view": "column:view"}, "views": {"a": "AP", "p": "PA"}, "task": tasks}
    cohort = opened(write(tmp_path, rows.drop(columns="diagnosis")), **options)
    assert shortcuts(cohort, "ill") == [] and {"view", "table.view"} <= set(cohort.items)


def test_a_site_with_a_number(tmp_path):
    rows = table(80)
    patient = rows["patient"].str[1:].astype(int)
    rows["site"] = np.where(rows["diagnosis"] == "ill", 2 * (patient % 8), 2 * (patient % 8) + 1).astype(str)
    (one,) = found(tmp_path, rows)
    assert (one.kind, one.numbers["column"]) == ("recoding", "site")
    rows.loc[::9, "site"] = "3"
    (one,) = found(tmp_path, rows)
    assert (one.kind, one.numbers["column"]) == ("source", "site")


@pytest.mark.parametrize("name", ["image size", "folder", "device", "brightness"])
def test_properties_of_files_that_predict(tmp_path, name):
    rows = table()
    ill = (rows["diagnosis"] == "ill").to_numpy()
    plants = {
        "image size": pd.DataFrame({"width": np.where(ill, 640, 800), "height": 600}),
        "folder": pd.DataFrame({"folder": np.where(ill, "export/a", "export/b")}),
        "device": pd.DataFrame({"device": np.where(ill, "Acme One", "Acme Two")}),
        "brightness": pd.DataFrame({"brightness": np.where(ill, 0.5, 0.4) + np.arange(len(ill)) / 1e4}),
    }
    (one,) = found(tmp_path, rows, plants[name])
    assert (one.kind, one.numbers["property"]) == ("source", name)
    assert one.severity == ("note" if name == "brightness" else "warning")
    assert "export" not in one.sentence and "Acme" not in one.sentence


def test_a_folder_that_holds_the_label_by_design_is_no_finding(tmp_path):
    rows = table().assign(photo=lambda t: t["diagnosis"] + "_" + t["photo"])
    derive = {"name": {"from": "photo", "pattern": "^(ill|healthy)"}}
    tasks = {"ill": {"label": "name", "positive": ["ill"]}}
    folders = pd.DataFrame({"folder": rows["diagnosis"]})
    assert found(tmp_path, rows.drop(columns="diagnosis"), folders, derive=derive, task=tasks) == []


def test_labels_of_several_columns_are_asked_about_one_by_one(tmp_path):
    rows = table().assign(oedema=lambda t: np.where(t["diagnosis"] == "ill", "1", "0"))
    rows["nodule"] = np.random.default_rng(0).choice(["0", "1"], len(rows))
    rows["drain"] = rows["oedema"].replace({"1": "yes", "0": "no"})
    tasks = {"ill": {"label": ["oedema", "nodule"]}}
    named = {one.numbers["task"] for one in found(tmp_path, rows, task=tasks)}
    assert named == {"ill: oedema"}


def test_lookup_is_the_class_share_of_the_other_folds():
    values, labels = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1])
    scores = looked_up(values, labels, np.array([0, 1, 0, 1]))
    # fold 0 sees (0 -> 1) and (1 -> 1), whose prior is 1; fold 1 sees (0 -> 1) and (1 -> 0), prior 1/2, smoothing 2
    np.testing.assert_allclose(scores[:, 1], [1, (1 + 2 * 0.5) / 3, 1, (0 + 2 * 0.5) / 3])
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_the_tree_never_sees_its_own_fold():
    rng = np.random.default_rng(0)
    features, labels, groups = rng.normal(size=(200, 1)), rng.integers(0, 2, 200), np.arange(200) // 4
    folds = folds_of(labels, groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(50))
    changed = np.where(folds == 2, 1 - labels, labels)
    same = folds == 2
    np.testing.assert_array_equal(branched(features, labels, folds)[same], branched(features, changed, folds)[same])


def linked(real, to, toml):
    """The read-only folder ``real`` with a cohort file beside its entries."""
    if not real.is_dir():
        pytest.skip(f"no {real.name} in {real.parent}")
    for entry in real.iterdir():
        (to / entry.name).symlink_to(entry)
    (to / "cohort.toml").write_text(toml)
    return to


PAD = """
files  = "images/imgs_part_1/{image}.png"
tables = [{file = "metadata.csv", on = ["name=img_id"]}]
levels = ["patient", "lesion"]
[roles]
patient = "patient_id"
lesion  = "lesion_id"
[metadata]
patient = ["smoke", "drink", "background_father", "background_mother", "age", "pesticide", "gender",
           "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick"]
[task.cancer]
label = "diagnostic"
unit = "lesion"
positive = ["BCC", "SCC", "MEL"]
"""
CLINICAL = {
    *("smoke", "drink", "background_father", "background_mother", "pesticide", "gender", "skin_cancer_history"),
    *("cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick"),
}


def test_pad_ufes_20(real_data, tmp_path):
    record = Record()
    cohort = Cohort.open(linked(real_data / "pad_ufes_20", tmp_path, PAD), record=record)
    (conflict,) = [one for one in record.findings if "level" in one.numbers]
    assert [conflict.numbers[name] for name in ("units", "conflicts", "with_blanks")] == [629, 21, 23]
    column, blanks = shortcuts(cohort, "cancer")
    assert column.numbers["column"] == "biopsed" and column.numbers["value"] > 0.85
    assert blanks.kind == "blanks" and blanks.numbers["value"] > 0.8
    (rule,) = blanks.numbers["rules"]
    assert set(rule["columns"]) >= CLINICAL and rule["always"] == "negative"


HAM = """
files  = "HAM10000_images_part_1/{image}.jpg"
tables = [{file = "HAM10000_metadata.csv", on = ["image=image_id"]}]
levels = ["lesion"]
[roles]
lesion = "lesion_id"
[task.malignant]
label = "dx"
unit = "lesion"
positive = ["mel", "bcc", "akiec"]
"""


def test_ham10000(real_data, tmp_path):
    cohort = Cohort.open(linked(real_data / "ham10000", tmp_path, HAM))
    (one,) = shortcuts(cohort, "malignant")
    assert (one.numbers["column"], one.numbers["rules"][0]["value"]) == ("dx_type", "consensus")


def test_covid19_ultrasound(real_data):
    root = real_data / "covid19_ultrasound"
    if not root.is_dir():
        pytest.skip(f"no covid19_ultrasound in {real_data}")
    cohort = Cohort.open(root, preset="covid19_ultrasound")
    kinds = {one.numbers.get("column"): one.kind for one in shortcuts(cohort, "diagnosis")}
    assert (kinds["source_id"], kinds["Label"]) == ("source", "recoding")


def test_a_class_of_four_patients_does_not_hide_what_predicts_the_others():
    """With it no interval could be given, so no column would ever be told."""
    groups = np.repeat(np.arange(44), 2)
    labels = np.where(groups < 4, 2, groups % 2)
    kept = enough(labels, groups)
    assert set(labels[kept]) == {0, 1} and kept.sum() == 80
    scores = np.eye(2)[labels[kept]]
    assert strength(scores, labels[kept], groups[kept], 0.8).low > 0.8
