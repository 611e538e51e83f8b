import re
from pathlib import Path

import pandas as pd

from sidelight.reporting.study.page import render_page


def test_the_page_stands_with_its_figures(study_folder: Path, tmp_path: Path):
    page = render_page(study_folder, tmp_path / "docs" / "ultrasound.md")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Lung ultrasound: what do unlabelled clips save?\n")
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert figures == ["figures/ultrasound-efficiency.png", "figures/ultrasound-training.png"]
    assert all((page.parent / figure).stat().st_size > 10_000 for figure in figures)
    for title in (
        "Scores",
        "Published",
        "Training",
        "All numbers",
        "Warnings",
        "What we could not show",
        "Hashes and commands",
    ):
        assert f"\n## {title}\n" in text
    assert "| **Meta-USCL** | linear | 0.76 [0.62, 0.87] |" in text
    assert "selected on the test fold, their split" in text


def test_the_same_tables_give_the_same_bytes(study_folder: Path, tmp_path: Path):
    first, second = (render_page(study_folder, tmp_path / name / "page.md") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    figure = "figures/page-efficiency.png"
    assert (first.parent / figure).read_bytes() == (second.parent / figure).read_bytes()


def test_a_page_without_runs_or_headline(study_folder: Path, tmp_path: Path):
    pd.read_parquet(study_folder / "results.parquet").assign(selected_on="test").to_parquet(
        tmp_path / "results.parquet"
    )
    text = render_page(tmp_path, tmp_path / "page.md").read_text(encoding="utf-8")
    assert "No headline can be made" in text
    assert "Selected on the test split: too optimistic" in text
    assert "## Training" not in text
    assert not (tmp_path / "figures").exists()
