import json
import shutil
from pathlib import Path

from sidelight.reporting.study.content import load
from sidelight.reporting.study.participants import (
    characteristics_rows,
    characteristics_table,
    flow_rows,
    flow_table,
    sections,
)
from sidelight.reporting.study.report import render_study

STEPS = [
    {"step": "found", "items": 120, "patients": 21, "lost": []},
    {
        "step": "readable", "items": 115, "patients": 20, "units": 113,
        "lost": [{"reason": "unreadable: truncated", "items": 5, "patients": 1}],
    },
]  # fmt: skip
AGE = {"count": 18, "of": 20, "mean": 61.24, "sd": 12.0, "median": 60.0, "q1": 52.0, "q3": 70.5}
FOUND = {
    "unit": "clip",
    "patient": "recording",
    "steps": STEPS,
    "groups": 18,
    "sides": ["train", "test"],
    "rows": [
        {"name": "patients", "value": "", "counts": "patients",
         "sides": {"train": {"count": 12, "of": 12}, "test": {"count": 8, "of": 8}}},
        {"name": "bacterial", "value": "yes", "counts": "units",
         "sides": {"train": {"count": 30, "of": 90}, "test": {"count": 0, "of": 0}}},
        {"name": "age", "value": "", "counts": "patients", "sides": {"train": AGE}},
    ],
}  # fmt: skip


def test_the_flow_is_a_table_of_steps_and_reasons():
    table = flow_table(FOUND)
    assert table.header == ("step", "images or series", "recordings", "clips")
    assert table.rows == (
        ("**found**", "120", "21", ""),
        ("– unreadable: truncated", "−5", "−1", ""),
        ("**readable**", "115", "20", "113"),
    )
    assert table.caption.endswith("near-duplicates make them 18 groups")


def test_table_one_has_a_column_per_side():
    table = characteristics_table(FOUND)
    assert table.header == ("", "of", "train", "test")
    assert table.rows == (
        ("recordings", "", "12", "8"),
        ("bacterial: yes", "clips", "30 (33 %)", "0"),
        ("age", "recordings", "61.2 (12.0); 60.0 [52.0, 70.5]", "–"),
    )


def test_both_stand_on_the_page_and_in_files(study_folder: Path, tmp_path: Path):
    folder = tmp_path / "study"
    shutil.copytree(study_folder, folder, ignore=shutil.ignore_patterns("runs"))
    (folder / "participants.json").write_text(json.dumps({"bacterial": FOUND}))
    content = load(folder)
    assert len(sections(content)) == 3 and not sections(load(study_folder))
    assert list(flow_rows(content)["items"]) == [120, 5, 115]
    assert len(characteristics_rows(content)) == 5
    page = render_study(folder, tmp_path / "page.md").read_text()
    assert "## Participants" in page and (tmp_path / "page" / "flow.csv").is_file()
