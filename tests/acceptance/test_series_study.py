"""The study files of series parse, and a study of them runs: several labels, two protocols, a row in one part alone."""

from pathlib import Path

import pytest

import sidelight
from sidelight.commands.study_file import StudyFile
from sidelight.config import build, load_toml, merge
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.methods import load_method
from sidelight.methods.base import resolve

STUDIES = Path(__file__).parents[2] / "studies"
SIZES = [
    (name, size)
    for name in ("knee_phantom", "mr", "sslm-mrnet")
    for size in load_toml(STUDIES / f"{name}.toml")["sizes"]
]
SMALL = """
title = "Knees"
data = "phantom:knee?exams=24&slices=3&size=48&missing=0.1"
seeds = 1
pretrain = {encoder = "test_resnet", image_size = 48, steps = 2, batch_size = 8, max_frames = 3, device = "cpu"}
evaluate = {folds = 2, frames = 2, max_frames = 3, resamples = 100, device = "cpu", series = {steps = 2, draws = 1}}
parts.diagnosis.task = "diagnosis"
parts.meniscus.task = "meniscus"
[encoders.random]
[encoders.sslm]
method = "sslm"
settings = {patch_size = 33}
[encoders."sslm, series"]
method = "sslm"
settings = {patch_size = 33}
protocols = ["series"]
parts = ["diagnosis"]
"""


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_setting_of_a_study_file_is_known(name, size) -> None:
    plan = build(StudyFile, load_toml(STUDIES / f"{name}.toml"))
    change = plan.sizes[size]
    for row in plan.encoders.values():
        assert set(row.parts) <= set(plan.parts)
        build(EvaluateSettings, merge(plan.evaluate, change.evaluate, row.evaluate))
        if row.method:
            kind = load_method(row.method)
            kind(
                resolve(kind, merge(plan.pretrain, change.pretrain, row.settings)), channels=1
            )  # patches are not too small


def test_a_row_in_one_part_alone(tmp_path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    found = sidelight.study(tmp_path / "small.toml", out=tmp_path / "out", cache=str(tmp_path / "cache"), quiet=True)
    rows = found.results[(found.results["metric"] == "auroc") & (found.results["target"] == "")]
    assert set(map(tuple, rows[["encoder", "task", "protocol"]].to_numpy().tolist())) == {
        ("random", "diagnosis", "linear"), ("random", "meniscus", "linear"), ("sslm", "diagnosis", "linear"),
        ("sslm", "meniscus", "linear"), ("sslm, series", "diagnosis", "series"),
    }  # fmt: skip
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1  # both rows are one run
    page = sidelight.report(tmp_path / "out", tmp_path / "page.md").read_text()
    assert "sslm, series" in page and "meniscus" in page and "sslm: Puzzles of patients kept for validation" in page
