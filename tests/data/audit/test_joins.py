"""Rows that are shifted against the files whose names say whose they are."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sidelight.commands.init import init, open_points
from sidelight.data.audit.audit import audit
from sidelight.data.audit.joins import join_findings, misjoined
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Record


def photos(ids, names="img{n:03d}_PAT_{k}"):
    files = [(f"{names.format(n=n, k=k)}.png",) for n, k in enumerate(range(75, 75 + len(ids)))]
    return pd.DataFrame({"item": [file for (file,) in files], "files": files, "patient_id": ids})


RIGHT = [f"PAT_{k}" for k in range(75, 115)]


@pytest.mark.parametrize(
    ("ids", "names", "wrong"),
    [
        (RIGHT, "img{n:03d}_PAT_{k}", 0),
        (RIGHT[1:] + RIGHT[:1], "img{n:03d}_PAT_{k}", 40),
        ([f"{k}" for k in range(76, 116)], "pat{k:05d}/{n}", 39),  # nobody is called 75
        ([f"{k}" for k in range(75, 115)], "pat{k:05d}/{n}", 0),
        ([f"{k}" for k in range(1, 41)], "{n}", 0),  # a number that no word calls the patient's
        (RIGHT[1:] + RIGHT[:1], "img{n:03d}", 0),
        (["", *RIGHT[1:]], "img{n:03d}_PAT_{k}", 0),
        (["PAT_76", *RIGHT[1:]], "img{n:03d}_PAT_{k}", 0),  # one file may be named wrongly
    ],
)
def test_names_that_contradict_their_rows(ids, names, wrong):
    found = misjoined(photos(ids, names), ["patient_id"])
    assert {column: int(other.sum()) for column, (other, _) in found.items()} == (
        {"patient_id": wrong} if wrong else {}
    )


def test_what_is_said():
    (found,) = join_findings(photos(RIGHT[1:] + RIGHT[:1]), ["patient_id"])
    assert (found.kind, found.severity, len(found.items)) == ("join", "warning", 20)
    assert found.sentence.startswith("The name of 40 of 40 files holds an id of `patient_id`, but another one")
    assert not join_findings(photos(RIGHT).rename(columns={"patient_id": "note"}), ["note"])


def test_init_is_not_sure_of_such_a_join(tmp_path):
    """Two photos per patient, joined by the number of the photo; the table begins one patient too late."""
    rows = []
    for n in range(80):
        (tmp_path / f"PAT_{75 + n // 2}_{n + 300}.png").touch()
        rows.append({"photo": n + 300, "patient_id": f"PAT_{76 + n // 2}", "depth": n % 7})
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    file = init(tmp_path)
    assert "=photo" in file.read_text()
    text = " ".join(file.read_text().replace("\n# ", " ").split())
    said = "the name of 78 of 78 files holds an id of `patient_id`, but another one than the joined row says"
    assert f"NOT sure: {said}" in text
    assert any(said in point for point in open_points(file))
    record = Record()
    cohort = Cohort.open(tmp_path, record=record)
    assert [one.numbers["other"] for one in audit(cohort) if one.kind == "join"] == [78]


@pytest.mark.parametrize(
    ("file", "row"), [("p{k:02d}", "P{k:02d}"), ("PAT_{k:03d}", "PAT-{k:03d}"), ("Pat {k}", "PAT{k:02d}")]
)
def test_ids_that_differ_in_capitals_and_signs_alone_are_the_same(tmp_path, file, row):
    """Folders p01 ... and rows P01 ... beside a running number: joined by the number every image has another patient's row."""
    numbers = list(range(1, 25))
    right = pd.DataFrame({"item": numbers, "files": [(f"{file.format(k=k)}/a.png",) for k in numbers]})
    ids = [row.format(k=k) for k in numbers]
    assert misjoined(right.assign(Patient=ids), ["Patient"]) == {}
    wrong, names = misjoined(right.assign(Patient=ids[1:] + ids[:1]), ["Patient"])["Patient"]
    assert wrong.all() and names == 24
    for k in numbers:
        (tmp_path / file.format(k=k)).mkdir()
        Image.fromarray(np.full((32, 32), 10 * (k % 20), np.uint8)).save(tmp_path / file.format(k=k) / "a.png")
    turned = ids[7:] + ids[:7]
    lines = [f"{n + 1},{one},{'ill' if n % 2 else 'well'}" for n, one in enumerate(turned)]
    (tmp_path / "d.csv").write_text("\n".join(["Lfd,Patient,Diagnosis", *lines]))
    assert any("holds an id of `Patient`, but another one" in point for point in open_points(init(tmp_path)))
