"""A cohort file from somebody else reads nothing outside its folder, unless the user says so."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import DataError

FILES = 'files = "{patient}/{image}.png"\nlevels = ["patient"]\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cohort's folder, and beside it what is none of its business."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for place in ("cohort", "secret"):
        for patient in ("a", "b"):
            file = tmp_path / place / patient / "1.png"
            file.parent.mkdir(parents=True)
            Image.fromarray(np.random.default_rng(ord(patient)).integers(0, 255, (20, 20), np.uint8)).save(file)
    pd.DataFrame({"patient": ["a", "b"], "word": ["hidden", "words"]}).to_csv(
        tmp_path / "secret" / "t.csv", index=False
    )
    pd.DataFrame({"path": ["../secret/a/1.png", "b/1.png"], "patient": ["a", "b"]}).to_csv(
        tmp_path / "cohort" / "items.csv", index=False
    )
    with zipfile.ZipFile(tmp_path / "secret" / "r.zip", "w") as file:
        file.writestr("a.txt", "No effusion.")
    (tmp_path / "cohort" / "x").mkdir()
    return tmp_path / "cohort"


@pytest.mark.parametrize(
    "toml",
    [
        FILES + 'tables = [{file = "../secret/t.csv", on = ["patient"]}]',
        FILES + 'tables = [{file = "SECRET/t.csv", on = ["patient"]}]',
        FILES + 'tables = [{file = "x/../../secret/t.csv", on = ["patient"]}]',
        'root = ".."\nfiles = "secret/{patient}/{image}.png"\nlevels = ["patient"]',
        'root = "SECRET"\n' + FILES,
        'levels = ["patient"]\n[items]\ntable = "../secret/t.csv"\npath = "word"',
        'levels = ["patient"]\n[items]\ntable = "items.csv"\npath = "path"',
        FILES + '[report]\nfiles = "../secret/r.zip::{patient}.txt"',
        FILES + '[report]\nfiles = "SECRET/r.zip::{patient}.txt"',
    ],
)
def test_what_leads_outside_is_refused_and_told_where_it_is_allowed(folder, toml):
    (folder / "cohort.toml").write_text(toml.replace("SECRET", str(folder.parent / "secret")))
    with pytest.raises(DataError, match=r"reads outside its folder: '.*--allow-outside"):
        Cohort.open(folder)
    if "word" in toml:
        return  # which names no files
    opened = Cohort.open(folder, allow_outside=True)
    assert any("reads outside its folder" in notice for notice in opened.notices)


def test_what_lies_inside_and_what_the_user_types_is_nothing_special(folder):
    (folder / "cohort.toml").write_text(FILES + 'tables = [{file = "./x/../t.csv", on = ["patient"]}]')
    (folder / "t.csv").write_bytes((folder.parent / "secret" / "t.csv").read_bytes())
    assert not any("outside" in notice for notice in Cohort.open(folder).notices)
    assert len(Cohort.open(folder, root=str(folder.parent / "secret"), tables=[]).items) == 2


def test_what_init_wrote_for_this_user_is_read_and_told(folder, tmp_path, monkeypatch):
    elsewhere = tmp_path / "drafts" / "mine.toml"
    elsewhere.parent.mkdir()
    sidelight.init(folder, out=elsewhere)
    assert any("reads outside" in notice for notice in Cohort.open(elsewhere).notices)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of somebody else"))
    with pytest.raises(DataError, match="--allow-outside"):
        Cohort.open(elsewhere)
