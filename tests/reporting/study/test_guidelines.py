"""Checklists are whole, filled from what is stored, and say nothing that is not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sidelight.reporting.document import Section
from sidelight.reporting.study.content import Content, load
from sidelight.reporting.study.guideline_items import CLAIM, GUIDELINES, TRIPOD_AI, Guideline
from sidelight.reporting.study.guidelines import ANSWERS, LEFT, answered, checklist, render_checklist
from sidelight.reporting.study.report import document

SUBITEMS = {"3": "abc", "5": "ab", "6": "abc", "8": "abc", "9": "abc", "12": "abcdefg", "18": "abcdef", "20": "abc"}
SUBITEMS |= {"23": "ab", "27": "abc"}


def test_every_item_of_both_guidelines_is_there():
    """27 items with 52 parts in TRIPOD+AI, 44 items in CLAIM's update of 2024."""
    parts = [f"{n}{letter}" for n in range(1, 28) for letter in SUBITEMS.get(str(n), [""])]
    assert [item.number for item in TRIPOD_AI.items] == parts and len(parts) == 52
    assert [item.number for item in CLAIM.items] == [str(n) for n in range(1, 45)]
    for guideline in GUIDELINES.values():
        assert {item.answer for item in guideline.items} - {""} <= ANSWERS.keys()
    assert {item.answer for one in GUIDELINES.values() for item in one.items} - {""} == ANSWERS.keys()


def test_a_folder_that_holds_nothing_answers_nothing(tmp_path: Path):
    empty = pd.DataFrame(
        columns=["encoder", "task", "protocol", "labels", "all_labels", "metric", "value", "low", "high"]
    )
    empty = empty.assign(
        **{name: pd.Series(dtype=object) for name in ("groups", "few_groups", "selected_on", "transductive")}
    )
    bare = Content(tmp_path, empty, pd.DataFrame(), pd.DataFrame(), [], {})
    for guideline in GUIDELINES.values():
        assert [item.number for item in guideline.items if answered(bare, item)] == []


@pytest.fixture(scope="module")
def whole(study_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with all that a study of today stores; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("guidelines") / "study"
    shutil.copytree(study_folder, folder)
    judging = {
        "folds": 5, "split": None, "split_seed": 0, "merge_duplicates": True, "labels": [8], "resamples": 1000,
        "max_frames": 64, "balance": ["none"],
    }  # fmt: skip
    about = json.loads((folder / "study.json").read_text())
    about |= {"data": {"name": "lung", "items": 120, "hash": "abc"}, "software": {"sidelight": "0.1.0"}}
    (folder / "study.json").write_text(json.dumps(about | {"judging": {"bacterial": judging}, "findings": ["One."]}))
    steps = [{"step": "found", "items": 120, "patients": 21, "units": 120, "lost": []}]
    steps += [{"step": "readable", "items": 115, "patients": 20, "units": 113,
               "lost": [{"reason": "unreadable: truncated", "items": 5, "patients": 1}]}]  # fmt: skip
    row = {"name": "bacterial", "value": "yes", "counts": "units", "sides": {"all": {"count": 51, "of": 113}}}
    flow = {"unit": "clip", "patient": "recording", "steps": steps, "groups": 18, "sides": ["all"], "rows": [row]}
    (folder / "participants.json").write_text(json.dumps({"bacterial": flow}))
    asked = {"encoder": "Meta-USCL", "task": "bacterial", "labels": 16, "rival": "SimCLR", "metric": "auroc"}
    said = {"declared": asked, "hash": "0", "date": "2026-01-02"}
    (folder / "beforehand.json").write_text(json.dumps(said))
    results = pd.read_parquet(folder / "results.parquet").assign(leaks=False, positives=51.0)
    results.to_parquet(folder / "results.parquet")
    return folder


@pytest.fixture(scope="module")
def titles(whole: Path) -> set[str]:
    """The sections that the report of the study has."""
    return {one.title for one in document(load(whole)).sections if isinstance(one, Section) and one.parts}


@pytest.mark.parametrize("guideline", GUIDELINES.values(), ids=GUIDELINES)
def test_answers_repeat_what_is_stored_and_name_a_place_that_exists(
    whole: Path, titles: set[str], guideline: Guideline
):
    content = load(whole)
    found = {item.number: answer for item in guideline.items if (answer := answered(content, item)) is not None}
    assert len(found) > 15
    for number, answer in found.items():
        assert answer.text.strip() and answer.places, number
        for place in answer.places:
            column = place.removeprefix("column ")
            known = place in titles or (whole / place).exists() or column in content.results
            assert known, (number, place)


def test_numbers_of_the_answers_are_those_of_the_files(whole: Path):
    content = load(whole)
    said = {item.number: answered(content, item) for item in CLAIM.items}
    text = {number: "" if answer is None else answer.text for number, answer in said.items()}
    assert "5 unreadable: truncated" in text["12"]
    assert "5 folds over groups" in text["19"] and "8, 16, 32, 94 labelled units" in text["19"]
    assert text["20"].startswith("Disjoint by recording")
    assert "120 images or series of 21 (recording) found, 115 images or series of 20 (recording) tested" in text["35"]
    assert "AUROC 0.94 [0.87, 0.99]" in text["38"]
    assert "2026-01-02" in text["42"] and "Meta-USCL against SimCLR" in text["42"]
    assert text["43"] == "sidelight 0.1.0."
    assert [text[number] for number in ("3", "11", "16", "30", "33", "44")] == [""] * 6, "nobody but the authors knows"


@pytest.mark.parametrize(
    ("gone", "numbers"),
    [
        ("participants.json", ["8", "10", "12", "14", "20", "35", "36"]),
        ("beforehand.json", ["42"]),
        ("confusion.json", ["39"]),
        ("runs", ["25"]),
    ],
)
def test_what_is_not_stored_is_not_claimed(whole: Path, tmp_path: Path, gone: str, numbers: list[str]):
    shutil.copytree(whole, tmp_path / "study", ignore=shutil.ignore_patterns(gone))
    content = load(tmp_path / "study")
    assert [item.number for item in CLAIM.items if item.number in numbers and answered(content, item)] == []


def test_a_leak_takes_answers_back(whole: Path):
    content = load(whole)
    leaky = replace(content, results=content.results.assign(leaks=True))
    internal, disjoint = ANSWERS["internal"], ANSWERS["disjoint"]
    assert internal(content) is not None and internal(leaky) is None
    answer = disjoint(leaky)
    assert answer is not None and "leaks" in answer.text


def test_a_checklist_is_a_page_in_both_forms(whole: Path, tmp_path: Path):
    text = render_checklist(whole, "tripod+ai", tmp_path / "x.md").read_text()
    assert "BMJ 2024;385:e078378" in text and f"| 17 | ethics approval and consent | {LEFT} |" in text
    page = render_checklist(whole, "claim", tmp_path / "x.html").read_text()
    assert "CLAIM (2024 update)" in page and "Methods: reference standard" in page
    rows = [row for one in checklist(load(whole), CLAIM).sections for row in one.parts[0].rows]
    assert len(rows) == 44
