"""What a study file may ask, and that it is kept from before the first cell."""

import json
from pathlib import Path

import pytest

from sidelight.commands.study_file import (
    Headline,
    StudyFile,
    at_size,
    check_headline,
    record_beforehand,
    said_beforehand,
)
from sidelight.commands.suite import is_suite
from sidelight.commands.suite_file import SuiteFile, check_tasks
from sidelight.config import build, digest, load_toml, merge
from sidelight.errors import ConfigError

ASKED = {"encoder": "ours", "task": "ill", "labels": 16, "rival": "random", "metric": "auroc"}
PLAN = {
    "title": "x",
    "evaluate": {"labels": [16, 32]},
    "encoders": {"random": {}, "ours": {"method": "simclr"}, "elsewhere": {"parts": ["other"]}},
    "parts": {"ill": {"task": "ill"}, "other": {"task": "other"}},
}


def plan(**headline: object) -> StudyFile:
    return build(StudyFile, merge(PLAN, {"headline": headline}))


@pytest.mark.parametrize("headline", [{}, {"encoder": "ours"}, {"labels": 32}, ASKED, ASKED | {"labels": "all"}])
def test_a_whole_question_and_none_are_taken(headline):
    check_headline(plan(**headline))
    assert plan(**headline).headline.named == headline


@pytest.mark.parametrize(
    ("headline", "said"),
    [
        ({"rival": "random"}, "without encoder, task, labels, metric"),
        (ASKED | {"rival": "rando"}, "Did you mean 'random'"),
        (ASKED | {"rival": "ours"}, "compares 'ours' with itself"),
        (ASKED | {"rival": "elsewhere"}, "this row is not judged"),
        (ASKED | {"task": "il"}, "Did you mean 'ill'"),
        (ASKED | {"metric": "brier"}, "rows are not compared by it"),
        (ASKED | {"labels": 8}, 'Expected: "all" or 16 or 32'),
        (ASKED | {"protocol": "knn"}, "not judged by it"),
        ({"encoder": "us"}, "is no row"),
    ],
)
def test_a_question_that_has_no_answer_is_refused(headline, said):
    with pytest.raises(ConfigError, match=said):
        check_headline(plan(**headline))


def test_the_studies_of_the_repository_can_be_asked():
    for file in sorted((Path(__file__).parents[2] / "studies").glob("*.toml")):
        if is_suite(file):
            suite = build(SuiteFile, load_toml(file))
            check_tasks(suite)
            asked = [build(StudyFile, merge(suite.common, one.study)) for one in suite.sets.values()]
        else:
            asked = [build(StudyFile, load_toml(file))]
        for whole in asked:
            for size in whole.sizes or ("cpu",):
                check_headline(at_size(whole, size))


def test_what_was_said_is_written_once_before_the_first_cell(tmp_path):
    record_beforehand(tmp_path, ASKED)
    said = json.loads((tmp_path / "beforehand.json").read_text())
    assert said["declared"] == ASKED and said["hash"] == digest(ASKED) and len(said["date"]) == 10
    record_beforehand(tmp_path, ASKED | {"labels": 32})
    assert json.loads((tmp_path / "beforehand.json").read_text())["declared"]["labels"] == 32, "no cell is scored yet"
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "a.parquet").touch()
    record_beforehand(tmp_path, ASKED)
    assert json.loads((tmp_path / "beforehand.json").read_text())["declared"]["labels"] == 32


def test_a_folder_with_cells_and_no_record_gets_none(tmp_path):
    (tmp_path / "results.parquet").touch()
    record_beforehand(tmp_path, ASKED)
    assert not (tmp_path / "beforehand.json").exists()
    assert Headline().named == {}


def test_a_whole_question_of_before_is_read_back_and_half_a_one_is_not(tmp_path):
    assert said_beforehand(tmp_path) is None, "nothing recorded"
    record_beforehand(tmp_path, {"encoder": "simclr", "metric": "auroc"})
    assert said_beforehand(tmp_path) is None, "no task and rival"
    record_beforehand(tmp_path, ASKED)
    question = said_beforehand(tmp_path)
    assert {name: getattr(question, name) for name in ASKED} == ASKED
