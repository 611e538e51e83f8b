import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from sidelight.errors import RunError
from sidelight.reporting.document import LINES
from sidelight.reporting.study.report import render_study

VOID = {"meta", "img", "br", "use", "path", "circle"}


class Whole(HTMLParser):
    """Fails on a tag that closes what is not open, and on an address that leaves the file."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            inside = name not in ("src", "href", "xlink:href") or str(value).startswith(("#", "data:"))
            assert inside, f"the report reaches outside: {value}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = self.open if tag in VOID else self.open[:-1]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def assert_whole(text: str) -> None:
    parser = Whole()
    parser.feed(text)
    assert not parser.open
    assert not re.search(r"@import|url\((?!#)", text)


@pytest.fixture(scope="module")
def report(study_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = render_study(study_folder, tmp_path_factory.mktemp("out") / "deep" / "report.html")
    assert path.stat().st_size < 5e6
    return path.read_text(encoding="utf-8")


def test_the_report_is_one_whole_file(report: str):
    assert_whole(report)
    assert "prefers-color-scheme: dark" in report
    assert "<script" not in report


def test_it_opens_with_the_answer_and_the_figure(report: str):
    opening = report[: report.index("<nav>")]
    assert opening.count("<svg role=") == 2
    assert "<strong>0.76 [0.62, 0.87]</strong>" in opening
    assert "2.4 × [1.3, &gt;11.7] fewer labels than Meta-USCL, uniform" in opening
    assert "Source and label are confounded" in opening


def test_every_part_is_there(report: str):
    parts = ["Scores by label count", "Paired differences", "Confusion matrices", "Published numbers", "Training"]
    parts += ["Example pairs", "Pair weights", "All numbers", "Settings, hashes and commands", "Warnings and notes"]
    found = re.findall("<h2>(.*?)</h2>", report)
    last = ["What we could not show", "How to read this page"]
    assert found == ["How many labels does the score cost?", *parts, *last]


def test_pictures_are_embedded(report: str):
    assert report.count("data:image/jpeg;base64,") == 2 * (6 + 10)


def test_text_from_outside_is_escaped(tmp_path: Path, fake: SimpleNamespace):
    folder = fake.study(tmp_path / "s", runs=False)
    about = fake.about() | {"title": "<img src=x>", "notes": ["<b>&"], "warnings": ["<i>"]}
    (folder / "study.json").write_text(json.dumps(about), encoding="utf-8")
    table = pd.read_parquet(folder / "results.parquet").replace({"encoder": {"SimCLR": "<u>$1"}})
    table.to_parquet(folder / "results.parquet")
    text = render_study(folder, tmp_path / "r.html").read_text(encoding="utf-8")
    for tag in ("<img src=x>", "<b>", "<i>", "<u>"):
        assert tag not in text
    assert "&lt;img src=x&gt;" in text
    assert_whole(text)


def test_too_few_groups_are_said_and_nothing_is_claimed(tmp_path: Path, fake: SimpleNamespace):
    folder = fake.study(tmp_path / "s", groups=8, runs=False)
    table = pd.read_parquet(folder / "differences.parquet").assign(low=float("nan"), high=float("nan"))
    table.to_parquet(folder / "differences.parquet")
    text = render_study(folder, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "too few groups for an interval, so no difference is shown" in text
    assert "fewer than 10 groups" in text
    assert "<strong>better</strong>" not in text
    assert "nan" not in re.sub(r"data:image[^\"]+|<svg.*?</svg>", "", text, flags=re.S)


def test_results_alone_are_enough(tmp_path: Path, study_folder: Path):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "results.parquet").write_bytes((study_folder / "results.parquet").read_bytes())
    text = render_study(folder, tmp_path / "r.html").read_text(encoding="utf-8")
    assert_whole(text)
    assert "difference: not compared" in text.lower()
    assert "No pair of encoders was compared" in text
    assert "No pre-training run belongs to this study" in text
    assert "Confusion matrices" not in text


def test_a_study_without_a_cell_says_so(tmp_path: Path, study_folder: Path):
    pd.read_parquet(study_folder / "results.parquet").head(0).to_parquet(tmp_path / "results.parquet")
    assert "No cell of this study is done yet" in render_study(tmp_path, tmp_path / "r.html").read_text(
        encoding="utf-8"
    )


def test_test_selected_numbers_stand_apart(tmp_path: Path, study_folder: Path):
    table = pd.read_parquet(study_folder / "results.parquet")
    chosen = table[table["encoder"] == "SimCLR"].assign(protocol="published", selected_on="test", value=0.987)
    pd.concat([table, chosen]).to_parquet(tmp_path / "results.parquet")
    text = render_study(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8")
    before, after = text.split("Published protocol, selected on the test split")
    assert "0.987" not in before
    assert "0.987" in after


def test_a_folder_without_results_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="Run sidelight study first"):
        render_study(tmp_path, tmp_path / "r.html")


def test_a_page_is_short_and_its_files_hold_the_rest(study_folder: Path, tmp_path: Path):
    page = render_study(study_folder, tmp_path / "docs" / "ultrasound.md")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Lung ultrasound: what do unlabelled clips save?\n")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links[0] == "figures/ultrasound-efficiency.png"
    assert (page.parent / links[0]).stat().st_size > 10_000
    names = ("results", "differences", "label-factors", "confusion", "hashes-and-commands")
    assert links[1:] == [f"ultrasound/{name}.csv" for name in names]
    titles = ["Answer", "Scores and differences with all labels", "Published numbers", "Warnings and notes"]
    last = ["What we could not show", "How to read this page", "Tables"]
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [*titles, *last]
    assert "| Meta-USCL | 0.94 [0.87, 0.99] | 0.89 [0.82, 0.94] |" in text
    assert "**+0.21 [0.14, 0.29]**" in text
    assert "selected on the test fold, their split" in text
    assert_complete(page, study_folder)


def assert_complete(page: Path, study: Path) -> None:
    """Every row and every number of the study's tables stands in the files beside the page."""
    for name in ("results", "differences"):
        table, file = pd.read_parquet(study / f"{name}.parquet"), pd.read_csv(page.with_suffix("") / f"{name}.csv")
        columns = [column for column in file if column in table]
        pd.testing.assert_frame_equal(file[columns], table[columns], rtol=1e-5, check_dtype=False)
        assert {"value", "low", "high"} <= set(columns) or {"difference", "low", "high", "p_holm"} <= set(columns)


@pytest.mark.parametrize(("encoders", "tasks"), [(1, 1), (3, 16), (12, 3)])
def test_a_page_stays_short_however_large_the_study(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: int, tasks: int
):
    monkeypatch.setattr("sidelight.reporting.study.report.efficiency_png", lambda panels, path: path)
    for name in ("results", "differences", "efficiency"):
        table = pd.read_parquet(study_folder / f"{name}.parquet")
        wide = [table]
        for number in range(1, encoders):
            names = {one: f"{one} {number}" for one in ("SimCLR", "from scratch", "random initialisation")}
            copy = table[table["encoder"].isin(names) | (table["rival"].isin(names) if "rival" in table else False)]
            wide.append(copy.replace(names))
        every = pd.concat(wide)
        long = [every, *(every.assign(task=every["task"] + f" {number}") for number in range(1, tasks))]
        pd.concat(long, ignore_index=True).to_parquet(tmp_path / f"{name}.parquet")
    page = render_study(tmp_path, tmp_path / "page.md")
    assert len(page.read_text(encoding="utf-8").splitlines()) <= LINES == 300
    assert_complete(page, tmp_path)


def test_the_result_pages_of_the_documentation_are_short():
    pages = sorted((Path(__file__).parents[3] / "docs" / "results").glob("*.md"))
    assert pages
    assert {page.name for page in pages if len(page.read_text(encoding="utf-8").splitlines()) > LINES} == set()


def test_the_same_tables_give_the_same_bytes(study_folder: Path, tmp_path: Path):
    for name in "ab":
        render_study(study_folder, tmp_path / name / "page.md")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_page_without_a_headline_says_so(study_folder: Path, tmp_path: Path):
    table = pd.read_parquet(study_folder / "results.parquet").assign(selected_on="test")
    table.to_parquet(tmp_path / "results.parquet")
    text = render_study(tmp_path, tmp_path / "page.md").read_text(encoding="utf-8")
    assert "Every number was selected on the test split; no headline is made of those." in text
    assert not (tmp_path / "figures").exists()
    assert set(pd.read_csv(tmp_path / "page" / "results.csv")["selected_on"]) == {"test"}


def test_reports_are_made_without_torch():
    code = (
        "import sys, sidelight.reporting.study.report, sidelight.reporting.run.report; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
