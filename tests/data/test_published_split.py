"""Splits by id files and by rule: who stands where, patients whole, the same each time."""

import pandas as pd
import pytest
from PIL import Image

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.published_split import Beside, SplitPlan, cut, published_split
from sidelight.errors import ColumnError, SplitError


def cohort(folder, patients=20, each=2, task=""):
    rows = ["patient,n,kind,box"]
    for patient in range(patients):
        for n in range(each):
            Image.new("L", (8, 8), patient).save(folder / f"p{patient:02d}_{n}.png")
            rows.append(
                f"p{patient:02d},{n},{'none' if patient % 4 == 0 else 'some'},{'' if patient % 4 == 0 else '1 1 3 3'}"
            )
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    (folder / "cohort.toml").write_text(
        'files = "{patient}_{n}.png"\nlevels = ["patient"]\n'
        f'tables = [{{file = "t.csv", on = ["patient", "n"]}}]\n{task}'
    )
    return Cohort.open(folder)


def patients_of(names):
    return {name.partition("_")[0] for name in names}


def test_by_rule_patients_stay_whole_and_sides_have_their_shares(tmp_path):
    found, said = published_split(cohort(tmp_path), tmp_path, SplitPlan(shares=(0.6, 0.2, 0.2)))
    assert {side: len(names) for side, names in found.items()} == {"train": 24, "valid": 8, "test": 8}
    sides = [patients_of(names) for names in found.values()]
    assert sum(map(len, sides)) == 20 == len(set.union(*sides)) and "by rule" in said
    assert [name[:3] for name in found["train"]] != sorted(name[:3] for name in found["train"]), "shuffled"
    assert published_split(cohort(tmp_path), tmp_path, SplitPlan())[0] == found
    assert published_split(cohort(tmp_path), tmp_path, SplitPlan(), seed=1)[0] != found


def test_a_column_says_who_is_tested_and_the_others_are_dealt(tmp_path):
    one = cohort(tmp_path)
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("none", "test"))
    one = Cohort.open(tmp_path)
    found, said = published_split(one, tmp_path, SplitPlan(shares=(0.8, 0.2, 0.0), tested="kind"))
    assert patients_of(found["test"]) == {"p00", "p04", "p08", "p12", "p16"} and "column kind" in said
    assert len(found["train"]) == 24 and len(found["valid"]) == 6
    with pytest.raises(ColumnError, match="kinds"):
        published_split(one, tmp_path, SplitPlan(tested="kinds"))


def test_those_that_hold_something_and_some_that_do_not(tmp_path):
    task = '[task.boxes]\nboxes = {thing = "box"}\nbox_format = "xywh"\nwhere_missing = "empty"\n'
    one = cohort(tmp_path, task=task)
    plan = SplitPlan(holding="boxes", beside=Beside(column="kind", value="none", count=4))
    found, _ = published_split(one, tmp_path, plan)
    taken = [name for names in found.values() for name in names]
    kinds = pd.Series(dict(zip(one.items["item"], one.items["kind"], strict=True)))[taken]
    assert len(taken) == 34 and (kinds == "none").sum() == 4
    without, _ = published_split(one, tmp_path, SplitPlan(holding="boxes"))
    assert sum(map(len, without.values())) == 30


def test_id_files_are_taken_as_they_are(tmp_path):
    one = cohort(tmp_path)
    (tmp_path / "splits").mkdir()
    for side, names in {
        "train": ["p03_0.png", "p01_1.png"],
        "validation": ["p02_0.png"],
        "test": ["p05_0.png"],
    }.items():
        (tmp_path / "splits" / f"{side}.csv").write_text("\n".join(["ID,boxes", *(f"{name},x" for name in names)]))
    found, said = published_split(one, tmp_path, SplitPlan())
    assert found == {"train": ["p03_0.png", "p01_1.png"], "valid": ["p02_0.png"], "test": ["p05_0.png"]}
    assert said == "by the id files in splits/"
    assert cut(found, {"train": 1}) == {**found, "train": ["p03_0.png"]}
    (tmp_path / "splits" / "test.csv").unlink()
    with pytest.raises(SplitError, match=r"splits/ has no test.csv"):
        published_split(one, tmp_path, SplitPlan())


def test_too_few_for_three_sides_is_said(tmp_path):
    with pytest.raises(SplitError, match="leave nobody on the side"):
        published_split(cohort(tmp_path, patients=2), tmp_path, SplitPlan())
