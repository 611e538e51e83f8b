"""One document in two forms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sidelight.reporting.document import Detail, Document, Figure, Listing, Section, Text, picture_row, under, write
from sidelight.reporting.tables import Table

TABLE = Table(("a", "n"), (("<x>", "1"), ("y", "2")), numeric=frozenset({1}))


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"png")


DOCUMENT = Document(
    "A <title>",
    [
        Section("Both", [*under("Part", TABLE), Figure("<svg></svg>", "curve", "a curve", draw), Listing(["**one**"])]),
        Section("Long", [Detail("All rows", [TABLE])], only="html"),
        Section("Short", [Text("in short", "note")], only="markdown"),
        Section("Nothing", [Table((), ()), Listing([]), *under("Empty", Table(("a",), ()))], intro="never seen"),
    ],
    lead="Why?",
    facts=["1 task"],
    opening=Section("Opening", [Text("a `word`")]),
    files={"all-rows": pd.DataFrame({"a": ["x"], "n": [1 / 3]})},
    command="sidelight study x.toml",
)


def test_html_leaves_out_what_shows_nothing(tmp_path: Path):
    text = write(DOCUMENT, tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<nav><a href="#both">Both</a><a href="#long">Long</a></nav>' in text
    assert text.index("a <code>word</code>") < text.index("<nav>")
    for part in ("<h3>Part</h3>", "&lt;x&gt;", "<svg></svg>", "<strong>one</strong>", "<summary>All rows</summary>"):
        assert part in text
    assert "in short" not in text and "never seen" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_markdown_has_its_figures_and_tables_beside_it(tmp_path: Path):
    text = write(DOCUMENT, tmp_path / "My page.md").read_text(encoding="utf-8")
    assert text.splitlines()[:7] == ["# A &lt;title>", "", "Why?", "", "1 task", "", "## Opening"]
    assert "### Part\n\n| a | n |\n|---|---:|\n| &lt;x> | 1 |" in text
    assert "![a curve](figures/my-page-curve.png)" in text
    assert (tmp_path / "figures" / "my-page-curve.png").read_bytes() == b"png"
    assert "in short" in text and "All rows" not in text and "Nothing" not in text
    assert "- [all rows](My%20page/all-rows.csv): 1 row" in text
    assert (tmp_path / "My page" / "all-rows.csv").read_text(encoding="utf-8") == "a,n\nx,0.333333\n"
    assert text.endswith("by `sidelight report FOLDER --out 'My page.md'`; do not edit it by hand.\n")


def test_long_tables_and_lists_are_cut_with_a_word(tmp_path: Path):
    rows = tuple((f"row {number}", "1") for number in range(500))
    long = [Section(f"Table {number}", [replace(TABLE, rows=rows)]) for number in range(4)]
    listing = Section("List", [Listing([f"line {number}" for number in range(500)])])
    text = write(Document("Long", [*long, listing]), tmp_path / "long.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert "| row 24 | 1 |" in text and "| row 60 | 1 |" not in text
    assert text.count("more rows stand in the tables beside this page.") == 4
    assert "more stand in the HTML report." in text


def test_a_private_page_is_its_owners_and_pictures_stay_out_of_markdown(tmp_path: Path):
    images = [np.zeros((4, 4, 3), np.uint8)] * 2
    document = Document("Pictures", [Section("Row", [picture_row(images, ["a", "<b>"], height=20)])])
    page = write(document, tmp_path / "page.html", private=True)
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 2 and "<figcaption>&lt;b&gt;</figcaption>" in text
    assert "Row" not in write(document, tmp_path / "page.md").read_text(encoding="utf-8")


def test_parts_of_a_section_that_are_cut_are_not_cut_in_silence(tmp_path: Path):
    parts = [Text(f"paragraph {number}") for number in range(400)]
    text = write(Document("many", [Section("Much", parts)]), tmp_path / "many.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300 and "paragraph 0" in text and "paragraph 399" not in text
    assert "The rest of this section stands in the HTML report" in text
