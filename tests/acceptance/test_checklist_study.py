"""A study of the checklist: its rows, its page with the published numbers; and the study file that is shipped."""

from pathlib import Path

import numpy as np
import pytest

import sidelight
from derm7pt_writing import write_phantom
from sidelight.commands import study as studies
from sidelight.commands.study_file import StudyFile, at_size
from sidelight.config import build, load_toml, merge
from sidelight.errors import ConfigError

FILE = Path(__file__).parents[2] / "studies" / "sm3-derm7pt.toml"
KEPT = ("random", "simclr, clinical", "sm3", "sm3, clinical at test", "sm3 labels, as published", "given weights")
SMALL = {
    "seeds": 1, "protocols": ["knn"], "sizes": {},
    "pretrain": {"encoder": "test_resnet", "image_size": 32, "steps": 1, "epochs": 1, "batch_size": 8},
    "evaluate": {
        "split": "split", "labels": [], "resamples": 100, "device": "cpu", "folds": 2, "knn": {"k": 15},
        "projector": {"epochs": 2, "checks": 1, "width": 16},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_phantom(root / "release_v0", cases=160, size=36, seed=4)
    shipped = load_toml(FILE)
    encoders = {name: shipped["encoders"][name] for name in KEPT}
    encoders["sm3"] = {**encoders["sm3"], "protocols": []}
    values = {**shipped, **SMALL, "encoders": encoders}
    plan = build(StudyFile, values)
    same = {"data": str(root / "release_v0"), "cache": str(root / "cache"), "quiet": True}
    (root / "small.toml").write_text('title = "x"\n[encoders]\n[parts]\n')
    found = studies.study(root / "small.toml", out=root / "out", **same, **plan.model_dump(exclude_unset=True))
    return root, found


def test_rows_and_page(out):
    root, found = out
    table = found.results
    assert set(table["encoder"]) == set(KEPT) - {"given weights"}
    assert (table.loc[table["encoder"] == "sm3 labels, as published", "selected_on"] == "test").all()
    alone = table[(table["metric"] == "AVG: auroc") & table["encoder"].isin(["sm3", "sm3, clinical at test"])]
    assert alone["value"].nunique() == 2
    page = sidelight.report(root / "out", root / "page.md").read_text()
    for text in ("80.36", "82.92", "Selected on the test", "sm3, clinical at test", "true points", "no patients"):
        assert text in page, text
    assert "sm3 labels, as published" not in page[page.index("## Scores") : page.index("## Published numbers")]


def test_the_shipped_file_and_its_published_averages():
    plan = build(StudyFile, load_toml(FILE))
    assert set(plan.sizes) == {"cpu", "gpu"} and plan.evaluate["split"] == "split"
    for table in plan.published:
        for row in table.rows:
            numbers = np.array(row[1:], float)
            assert numbers[:8].mean() == pytest.approx(numbers[8], abs=0.05)
            assert numbers[1:8].mean() == pytest.approx(numbers[9], abs=0.06)


def test_a_size_may_change_single_rows():
    values = merge(load_toml(FILE), {"sizes": {"cpu": {"rows": {"sm3": {"batch_size": 7}}}}})
    plan = at_size(build(StudyFile, values), "cpu")
    assert plan.encoders["sm3"].settings["batch_size"] == 7 and "batch_size" not in plan.encoders["simclr"].settings
    with pytest.raises(ConfigError, match="Did you mean 'sm3'"):
        at_size(build(StudyFile, merge(values, {"sizes": {"cpu": {"rows": {"sm4": {}}}}})), "cpu")
