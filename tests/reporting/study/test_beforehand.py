"""How a page opens: what was said beforehand, its answer, and what was changed afterwards."""

import json
import shutil
from pathlib import Path

import pytest

from sidelight.reporting.study.beforehand import beforehand
from sidelight.reporting.study.content import Content, load
from sidelight.reporting.study.report import document, render_study

ASKED = {"encoder": "Meta-USCL", "task": "sources", "labels": 16, "rival": "SimCLR", "metric": "auroc"}


@pytest.fixture
def told(study_folder: Path, tmp_path: Path):
    """The study with what was said before, and what its file says now; None: not recorded."""

    def content(before: dict[str, object] | None, now: dict[str, object]) -> Content:
        folder = tmp_path / "study"
        if not folder.exists():
            shutil.copytree(study_folder, folder, ignore=shutil.ignore_patterns("runs"))
        about = json.loads((study_folder / "study.json").read_text())
        (folder / "study.json").write_text(json.dumps({**about, "headline": now}))
        said = {"declared": before, "hash": "0123456789abcdef", "date": "2026-01-02"}
        (folder / "beforehand.json").write_text(json.dumps(said))
        if before is None:
            (folder / "beforehand.json").unlink()
        return load(folder)

    return content


def words(content: Content) -> list[str]:
    return [part.text for part in beforehand(content)]


def test_what_was_said_opens_the_page_and_is_answered_first(told):
    content = told(ASKED, ASKED)
    said, answer = words(content)
    assert said == (
        "**Said beforehand** on 2026-01-02: Meta-USCL against SimCLR on “Three classes over all sources”, with 16 labelled "
        "clips, by AUROC (`0123456789abcdef`)."
    )
    assert answer.startswith("With **16 labelled clips**, Meta-USCL reaches AUROC **0.75")
    assert "; the rival, SimCLR, 0.66" in answer and "no difference shown" in answer, "Holm takes it back"
    page = document(content)
    assert page.opening is not None and page.opening.parts[0].text == said
    assert [head.task for head in (content.primary(ASKED),) if head] == ["sources"]


def test_the_verdict_is_against_the_named_rival_and_not_the_best(told, tmp_path):
    content = told(ASKED | {"rival": "random initialisation"}, ASKED | {"rival": "random initialisation"})
    assert "the rival, random initialisation" in words(content)[1] and words(content)[1].endswith("**better**.")
    page = render_study(content.folder, tmp_path / "page.md").read_text()
    assert "| rival |" in page and "best rival" not in page
    assert page.index("Said beforehand") < page.index("| task |")
    assert page.index("Three classes over all sources | 16 clips") < page.index("Bacterial pneumonia against regular")


def test_a_change_is_said_and_the_first_question_stays_first(told):
    now = ASKED | {"rival": "random initialisation", "protocol": "linear"}
    said, answer, changed, instead = words(told(ASKED, now))
    assert "against SimCLR" in said and "the rival, SimCLR" in answer
    assert changed == (
        "**Changed after the first result**: rival was SimCLR, now random initialisation; protocol was not named, now linear."
    )
    assert "the rival, random initialisation" in instead
    assert words(told(ASKED, {}))[2].startswith(
        "**Changed after the first result**: encoder was Meta-USCL, now not named"
    )


def test_silence_is_said_in_one_line(told):
    (line,) = words(told({}, {"encoder": "Meta-USCL"}))
    assert line.startswith("**Nothing was said beforehand** (2026-01-02)")
    assert len(words(told({}, ASKED))) == 3, "named afterwards: the question stands there as what it is"
    assert "not recorded" in words(told(None, {}))[0]


def test_a_question_without_numbers_says_so(told):
    gone = ASKED | {"rival": "given weights"}
    assert "It has no answer here: no number of given weights at 16 labels." in words(told(gone, gone))
    assert "It has no answer here" in words(told(ASKED | {"labels": 17}, ASKED))[1]


def test_all_labels_is_a_label_count(told):
    asked = ASKED | {"labels": "all"}
    said, answer = words(told(asked, asked))
    assert "with all labelled clips" in said and answer.startswith("With **all 94 labelled clips**")


def test_a_folder_that_is_no_study_says_nothing(study_folder: Path, tmp_path: Path):
    (tmp_path / "results.parquet").write_bytes((study_folder / "results.parquet").read_bytes())
    assert beforehand(load(tmp_path)) == []


def test_only_a_page_whose_question_is_not_corrected_says_so(told, tmp_path):
    content = told(ASKED, ASKED)
    sentence = "The question said beforehand is one comparison: it keeps its own p."
    assert not content.asked and sentence not in render_study(content.folder, tmp_path / "old.md").read_text()
    rows = content.differences
    mine = (rows["task"] == "sources") & (rows["labels"] == 16) & (rows["metric"] == "auroc")
    mine &= rows["encoder"].isin({"Meta-USCL", "SimCLR"}) & rows["rival"].isin({"Meta-USCL", "SimCLR"})
    assert mine.sum() == 1
    rows.assign(beforehand=mine, p_holm=rows["p_holm"].where(~mine, 0.01)).to_parquet(
        content.folder / "differences.parquet"
    )
    after = load(content.folder)
    assert after.asked and "no difference shown" not in words(after)[1] and words(after)[1].endswith("**better**.")
    assert sentence in render_study(content.folder, tmp_path / "new.md").read_text()
