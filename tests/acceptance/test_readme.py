"""The README's example, run as it stands on clips written here (with small settings added)."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from sidelight.cli import app
from sidelight.data.cohort.cohort import Cohort

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TINY = {
    **{"encoder": "resnet10t", "image_size": 32, "batch_size": 8, "steps": 3},
    **{"pairs_per_clip": 1, "device": "cpu", "valid_fraction": 0.0},
}
EXTRA = {
    "check": {},
    "pretrain": TINY,
    "evaluate": {"frames": 2, "seeds": 1, "resamples": 100},
    "predict": {},
    "embed": {"frames": 2},
    "export": {},
}
SAYS = {
    "check": "",
    "pretrain": "The run lies in",
    "evaluate": "AUROC",
    "predict": "4 units scored",
    "embed": "48 vectors",
    "export": "timm.create_model(",
}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, language
    return found[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the README draws it: patients, clips, a table with a semicolon, cohort.toml."""
    root = tmp_path_factory.mktemp("readme")
    write(root / "clips", "phantom:ultrasound?patients=24&clips=2&frames=5&size=40")
    write(root / "new_clips", "phantom:ultrasound?patients=2&clips=2&frames=5&size=40&seed=1")
    for name in ("labels.csv", "cohort.toml"):
        (root / "new_clips" / name).unlink()
    return root


def write(folder, source):
    phantom = Cohort.open(source)
    rows = ["patient;clip;diagnosis"]
    for position, (patient, label) in enumerate(zip(phantom.items["group"], phantom.items["diagnosis"], strict=True)):
        path = folder / str(patient) / f"{position}.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [Image.fromarray(frame) for frame in phantom.read(position, max_frames=5).frames]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        rows.append(f"{patient};{position};{'pneumonia' if label == 'ill' else 'healthy'}")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "cohort.toml").write_text(block("toml"))


def test_commands(folder, monkeypatch):
    monkeypatch.chdir(folder)
    commands = re.findall(r"^sidelight (?:check|pretrain|evaluate|predict|embed|export) .*$", README, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        extra = EXTRA[words[0]]
        words += ["--quick"] if words[0] == "check" else []
        flags = [part for key, value in extra.items() for part in ("--set", f"{key}={value}")]
        done = CliRunner().invoke(app, [*words, *flags], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert SAYS[words[0]] in done.output


def test_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    code = block("python").replace('weights="meta")', 'weights="meta", **TINY)')
    code = code.replace("labels=[16, 32, 64])", "labels=[16], frames=2, seeds=1, resamples=100)")
    code = code.replace('"runs/meta"', '"runs/python"')
    names: dict[str, object] = {"TINY": TINY}
    exec(code, names)
    assert len(names["results"].headline()) == 2
    assert names["encoder"].dim == 512
