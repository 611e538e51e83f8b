"""The plan of a cohort: what it returns, prints and writes; and that no pixel is read."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import sidelight
from sidelight.cli import app
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError

DATA = "phantom:skin?patients=24&size=16"


@pytest.fixture(autouse=True)
def blind(monkeypatch):
    """Nothing may be decoded."""

    def refuse(*_, **__):
        raise AssertionError("a pixel was read")

    monkeypatch.setattr("sidelight.data.cohort.cohort.Cohort.read", refuse)


def test_a_plan_in_python():
    asked = {"task": "malignant", "worlds": 20, "auroc": [0.7, 0.8], "width": 0.24, "gain": 0.15, "quiet": True}
    found = sidelight.plan(DATA, **asked)
    own = [row for row in found.rows if row["patients"] == 24]
    assert [row["auroc"] for row in own] == [0.7, 0.8]
    assert all(0 < row["width"] < 1 and row["with_interval"] == 1 for row in own)
    assert [(one["task"], one["auroc"]) for one in found.needed] == [("malignant", 0.7), ("malignant", 0.8)]
    assert found.to_json() == sidelight.plan(DATA, **asked).to_json()
    assert found.to_json() != sidelight.plan(DATA, **asked, seed=1).to_json()


def test_on_the_command_line(tmp_path):
    words = ["plan", "phantom:skin?patients=6&size=16", "--task", "malignant", "--worlds", "20", "--gain", "0.19"]
    done = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "plan.json")])
    assert done.exit_code == 0, done.output
    assert "give no interval and no verdict (too few groups" in done.output
    assert "patients like these" in done.output
    assert "held fixed" in done.output
    assert max(map(len, done.output.split("\n\n")[0].splitlines()[:8])) <= 80
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["rows"][0]["width"] is None
    assert written["settings"]["gain"] == 0.19
    refused = CliRunner().invoke(app, [*words, "--json", str(tmp_path)]).exception
    assert str(refused).endswith("is a folder. Expected: the name of a file. Give another place with --json.")


def test_tasks_of_masks_are_passed_over_and_refused():
    cohort = Cohort.open("phantom:chest?patients=8&size=32")
    cohort = replace(cohort, tasks={name: cohort.tasks[name] for name in ("finding_boxes", "opacity")})
    found = sidelight.plan(cohort, worlds=20, auroc=0.9, quiet=True)
    assert {row["task"] for row in found.rows} == {"opacity"}
    with pytest.raises(ConfigError, match=r"'finding_boxes' asks for boxes.*classes: opacity"):
        sidelight.plan(cohort, task="finding_boxes")


def test_wrong_input_is_told():
    with pytest.raises(ConfigError, match=r"has no task 'malignent'.*'malignant'"):
        sidelight.plan(DATA, task="malignent")
    with pytest.raises(ConfigError, match="icc = 2"):
        sidelight.plan(DATA, icc=2)
