import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sidelight.errors import RunError
from sidelight.reporting.run.report import load_run, render_run


def test_a_run_report_holds_everything(run_folder: Path, tmp_path: Path):
    text = render_run(run_folder, tmp_path / "run.html").read_text(encoding="utf-8")
    for title in (
        "Loss",
        "Learning rate",
        "Effective rank",
        "kNN monitor",
        "Images per second",
        "Similarity against weight",
    ):
        assert f"<h3>{title}</h3>" in text
    assert "Weights of 360 pairs" in text
    assert text.count("<img ") == 12 + 10
    assert "100 steps; loss from" in text
    assert "3 items could not be read" in text
    assert "5f3a9c0e77b1d2aa" in text
    assert "<td>resnet18</td>" in text


def test_a_run_has_a_markdown_page_without_pictures(run_folder: Path, tmp_path: Path):
    text = render_run(run_folder, tmp_path / "run.md").read_text(encoding="utf-8")
    assert "100 steps; loss from" in text and "| encoder | resnet18 |" in text
    assert "![" not in text and "<" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["run.md"]


def test_half_a_last_line_and_repeated_steps_are_settled(run_folder: Path, tmp_path: Path):
    run = load_run(run_folder)
    assert (len(run.steps), len(run.epochs)) == (100, 20), "the broken last line is skipped"
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    lines = [{"kind": "step", "step": 4, "epoch": 0, "loss": loss} for loss in (2.0, 1.0)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert load_run(tmp_path).steps["loss"].tolist() == [1.0], "after a resume the later line counts"


def test_a_run_that_has_just_begun(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"method": "simclr"}), encoding="utf-8")
    text = render_run(tmp_path, tmp_path / "out" / "run.html").read_text(encoding="utf-8")
    assert "No training metrics were recorded" in text
    assert "This run stores no pictures of pairs" in text
    assert "This run stores no pair weights" in text
    assert "This run is not finished" in text


def test_losses_that_are_not_finite_do_not_stop_the_report(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    lines = [
        {"kind": "step", "step": i, "epoch": i, "loss": loss, "lr": 0.1} for i, loss in enumerate((2.0, float("nan")))
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert "<h3>Loss</h3>" in render_run(tmp_path, tmp_path / "run.html").read_text(encoding="utf-8")


def test_a_broken_picture_file_is_named_and_the_rest_is_made(tmp_path: Path, fake: SimpleNamespace):
    run = fake.run(tmp_path / "run", "simclr")
    (run / "examples.safetensors").write_bytes(b"broken")
    text = render_run(run, tmp_path / "run.html").read_text(encoding="utf-8")
    assert "examples.safetensors cannot be read" in text
    assert "<h3>Loss</h3>" in text


def test_what_is_no_run_folder_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="no config"):
        render_run(tmp_path, tmp_path / "run.html")
