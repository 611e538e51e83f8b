"""A study of the checklist: its rows, its cells, its page with the published numbers; and the study file that is shipped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sidelight
from derm7pt_writing import write_phantom
from sidelight import studies
from sidelight.config import build, load_toml
from sidelight.studies import StudyFile

FILE = Path(__file__).parents[1] / "studies" / "sm3-derm7pt.toml"
SMALL = {
    "seeds": 2,
    "pretrain": {"encoder": "test_resnet", "image_size": 32, "steps": 1, "epochs": 1, "batch_size": 8},
    "evaluate": {"labels": [], "resamples": 100, "device": "cpu", "train": {"epochs": 2, "checks": 1, "width": 16}},
}
KEPT = (
    "random",
    "two photographs from scratch",
    "simclr, clinical",
    "sm3",
    "sm3, clinical at test",
    "sm3 labels, as published",
    "given weights",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_phantom(root / "release_v0", cases=90, size=36, seed=3)
    values = load_toml(FILE)
    text = FILE.read_text()
    for name in values["encoders"]:
        if name not in KEPT:
            head, _, tail = text.partition(
                f'[encoders."{name}"]' if " " in name or "," in name else f"[encoders.{name}]"
            )
            text = head + tail[tail.index("\n[") + 1 :]
    text = text.replace('protocols = ["linear", "projector", "finetune"]\n', "")
    sizes, _, rest = text.partition("[sizes.cpu]")
    text = sizes + rest[rest.index("[parts.") :]
    (root / "small.toml").write_text(text)
    studies.study(
        root / "small.toml",
        out=root / "out",
        data=str(root / "release_v0"),
        cache=str(root / "cache"),
        quiet=True,
        **SMALL,
    )
    return root


def test_rows_and_page(out):
    averages = pd.read_csv(out / "out" / "averages.csv")
    assert set(averages["encoder"]) == set(KEPT) - {"given weights"}
    assert (averages.loc[averages["encoder"] == "sm3 labels, as published", "selected_on"] == "test").all()
    assert len(list((out / "out" / "cells").glob("*.safetensors"))) == 6 * 2
    page = sidelight.report(out / "out", out / "page.md").read_text()
    for text in ("80.36", "82.92", "Selected on the test", "sm3, clinical at test", "seven-point rule", "no patients"):
        assert text in page, text
    assert "sm3 labels, as published" not in page[page.index("## Averages") : page.index("## Published protocol")]
    assert "<table" in (out / "out" / "report.html").read_text()


def test_finished_cells_are_read_back(out, monkeypatch):
    before = (out / "out" / "averages.csv").read_bytes()
    monkeypatch.setattr("sidelight.checklist_cells.score_checklist", None)
    studies.study(
        out / "small.toml", out=out / "out", data=str(out / "release_v0"), cache=str(out / "cache"), quiet=True, **SMALL
    )
    assert (out / "out" / "averages.csv").read_bytes() == before


def test_the_shipped_file_and_its_published_averages():
    plan = build(StudyFile, load_toml(FILE))
    assert plan.checklist and set(plan.sizes) == {"cpu", "gpu"}
    for table in plan.published:
        for row in table.rows:
            numbers = np.array(row[1:], float)
            assert numbers[:8].mean() == pytest.approx(numbers[8], abs=0.05)
            assert numbers[1:8].mean() == pytest.approx(numbers[9], abs=0.06)
