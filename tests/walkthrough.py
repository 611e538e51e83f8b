"""The way of a folder through the command line: init, a few edited lines, check, a study, its report, a model, predict."""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from sidelight.cli import app
from sidelight.metrics.classification import auroc

STUDY = """
title = "a folder as it comes"
seeds = 1
[pretrain]
encoder = "test_resnet"
image_size = 32
batch_size = 8
steps = 4
max_frames = 6
device = "cpu"
precision = "float32"
valid_fraction = 0.1
[evaluate]
image_size = 32
max_frames = 6
frames = 3
folds = 2
resamples = 100
device = "cpu"
[encoders.random]
[encoders.trained]
method = "{method}"
"""
JUDGED = {"seeds": 1, "folds": 2, "frames": 3, "max_frames": 6, "resamples": 100, "device": "cpu"}


def sidelight(*words: object, code: int = 0) -> str:
    """What the command says; it must leave with ``code``."""
    left = CliRunner().invoke(app, [str(word) for word in words])
    if left.exception is not None and not isinstance(left.exception, SystemExit):
        raise left.exception
    assert left.exit_code == code, left.output
    return left.output


def edited(folder: Path, edits: Mapping[str, str]) -> int:
    """Replace lines of ``cohort.toml`` (each must stand there once) and count the lines that are new or other."""
    file = folder / "cohort.toml"
    before = file.read_text(encoding="utf-8")
    lines = before.splitlines()
    for old, new in edits.items():
        assert lines.count(old) == 1, f"{old!r} not in\n{before}"
        place = lines.index(old)
        lines[place : place + 1] = new.split("\n")
    file.write_text("\n".join(lines), encoding="utf-8")
    changed = difflib.ndiff(before.splitlines(), lines)
    return sum(line.startswith("+ ") for line in changed)


def drafted(folder: Path) -> dict[str, Any]:
    """What ``cohort.toml`` says as it stands."""
    return tomllib.loads((folder / "cohort.toml").read_text(encoding="utf-8"))


def checked(folder: Path, out: Path, *, code: int = 0) -> dict[str, Any]:
    """What ``check --quick --json`` writes; it must leave with ``code``."""
    sidelight("check", folder, "--quick", "--json", out / "check.json", "--set", "image_size=32", code=code)
    return json.loads((out / "check.json").read_text(encoding="utf-8"))


def found(check: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kinds and severities of the findings, the severest first."""
    return [(one["kind"], one["severity"]) for one in check["findings"]]


def classes(check: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Units of each class of each task."""
    return {(one["task"], one["class"]): one["units"] for one in check["counts"]["tasks"]}


def articles(folder: Path) -> list[str]:
    """The items of the contact sheet."""
    text = (folder / ".sidelight" / "contact.html").read_text(encoding="utf-8")
    return re.findall(r"<article.*?</article>", text, re.DOTALL)


def studied(folder: Path, out: Path, method: str, task: str) -> None:
    """A short study; its results hold both encoders, and its report names the task."""
    (out / "study.toml").write_text(
        f'{STUDY.format(method=method)}[parts.{task}]\ntask = "{task}"\ntransductive = true\n'
    )
    sidelight("study", out / "study.toml", "--data", folder, "--out", out / "study")
    table = pd.read_parquet(out / "study" / "results.parquet")
    assert set(table["encoder"]) == {"random", "trained"} and set(table["task"]) == {task}
    page = (out / "study" / "report.html").read_text(encoding="utf-8")
    assert "a folder as it comes" in page and task in page


def judged(folder: Path, out: Path, task: str) -> Path:
    """The folder that ``evaluate --out`` wrote for the run of the study."""
    (run,) = [file.parent for file in (out / "study" / "runs").glob("*/config.json")]
    flags = [word for key, value in JUDGED.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    sidelight("evaluate", run, "--data", folder, "--task", task, "--out", out / "model", *flags)
    return out / "model"


def predicted(model: Path, known: Path, new: Path, out: Path) -> pd.DataFrame:
    """Scores of the new folder, read with the cohort file of the known one; indexed by the unit's name."""
    said = sidelight("predict", model, "--data", new, "--cohort", known, "--out", out / "scores.csv", "--names")
    assert "Research use only" in said
    return pd.read_csv(out / "scores.csv", keep_default_na=False, dtype={"name": str}).set_index("name")


def separation(scores: pd.DataFrame, ill: Sequence[bool]) -> float:
    """AUROC of the probabilities."""
    ranks = scores["probability"].astype(float).to_numpy()
    return float(auroc(np.array(ill, int), np.stack([1 - ranks, ranks], 1)))


def bytes_of(folder: Path) -> bytes:
    """All files of a folder, one after the other."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
