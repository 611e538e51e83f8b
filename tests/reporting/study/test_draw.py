"""The sentence on how labels were drawn stands under the figure, and says no more than the numbers."""

from pathlib import Path

import pandas as pd
import pytest

from sidelight.reporting.study import tables
from sidelight.reporting.study.content import load
from sidelight.reporting.study.draw import drawn
from sidelight.reporting.study.report import render_study


@pytest.fixture
def counted(study_folder: Path, tmp_path: Path) -> Path:
    """The study folder, whose rows say how many cases were read."""
    for path in study_folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    rows = pd.read_parquet(tmp_path / "results.parquet")
    read = rows["labels"].map({8: 157.4, 16: 310.0, 32: 620.0, 94: 94.0})
    rows.assign(cases_read=read).to_parquet(tmp_path / "results.parquet")
    return tmp_path


def test_balanced_draws_say_what_was_read(counted, tmp_path):
    content = load(counted)
    heads = list(content.headlines.values())
    text = drawn(content, heads)
    assert (
        "as many of each class while they last" in text and "8 of about 157, 16 of about 310, 32 of about 620 " in text
    )
    assert f"{heads[0].title}: 8 of" in text and "94" not in text
    single = drawn(content, heads[:1])
    assert heads[0].title not in single and single.endswith("read.")
    last = tables.scores(heads[0]).rows[-1]
    assert last == ("cases read to find them", "", "157", "310", "620", "94")
    page = render_study(counted, tmp_path / "page.md").read_text()
    assert text in page and "8 of about 157" in render_study(counted, tmp_path / "page.html").read_text()


def test_natural_draws_and_unknown_ones(study_folder, counted):
    old = load(study_folder)
    heads = list(old.headlines.values())
    assert drawn(old, heads).endswith("not as cases come: more cases are read than labelled.")
    assert not any("cases read" in row[0] for row in tables.scores(heads[0]).rows)
    rows = pd.read_parquet(counted / "results.parquet")
    rows.assign(cases_read=rows["labels"] * 1.0).to_parquet(counted / "results.parquet")
    natural = load(counted)
    assert drawn(natural, list(natural.headlines.values())).startswith("Labels are drawn as cases come")
    rows[rows["all_labels"]].to_parquet(counted / "results.parquet")
    everything = load(counted)
    assert drawn(everything, list(everything.headlines.values())) == ""
