"""The command line: help, errors, and a trajectory of 30 steps that is pinned."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from sidelight.cli import main

COMMAND = Path(sys.executable).with_name("sidelight")
PHANTOM = "phantom:ultrasound?patients=16&clips=2&frames=6&size=40"


def sidelight(*words: str, **kwargs) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, env=environment, **kwargs)


def test_help_lists_only_what_works():
    shown = sidelight("--help").stdout
    names = ("demo", "init", "check", "plan", "pretrain", "evaluate", "predict")
    for name in (*names, "study", "embed", "export", "explain", "cache", "report", "methods"):
        assert f"  {name} " in shown


def test_importing_sidelight_loads_no_torch():
    code = "import sys, sidelight.cli; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def called(monkeypatch, *words: str) -> int:
    """Exit code of the entry point in this process, which spares the import of torch."""
    monkeypatch.setattr(sys, "argv", ["sidelight", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_an_error_is_one_sentence_without_a_traceback(tmp_path, monkeypatch, capsys):
    words = ("pretrain", "simclr", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"))
    assert called(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("sidelight: ")
    assert "does not exist" in said
    assert said.count("\n") == 1


def settings(tmp_path: Path, **more) -> list[str]:
    values = {
        **{"encoder": "resnet10t", "image_size": 32, "batch_size": 8, "max_frames": 6, "steps": 30},
        **{"device": "cpu", "precision": "float32", "pairs_per_clip": 2, "valid_fraction": 0.1},
        **more,
    }
    flags = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["--data", PHANTOM, "--cache", str(tmp_path / "cache"), *flags]


@pytest.mark.slow
def test_trajectory_of_meta_uscl(tmp_path, monkeypatch):
    """30 steps through the command line; a change of sign, order or randomness moves these numbers."""
    assert (
        called(monkeypatch, "pretrain", "meta_uscl", "--out", str(tmp_path / "run"), *settings(tmp_path, lr=3e-3)) == 0
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, 31))
    losses = np.array([line["loss"] for line in steps])
    norms = np.array([line["gradient_norm"] for line in steps])
    np.testing.assert_allclose(losses[0], FIRST_LOSS, rtol=2e-3)
    np.testing.assert_allclose(norms[0], FIRST_NORM, rtol=2e-2)
    np.testing.assert_allclose(losses[-10:].mean(), LAST_LOSS, rtol=0.03)
    assert losses[-10:].mean() < losses[:5].mean()
    assert {"meta_loss", "weight_mean", "weight_sd"} <= steps[0].keys()
    assert (tmp_path / "run" / "weights.safetensors").is_file()


FIRST_LOSS, FIRST_NORM, LAST_LOSS = 2.7093, 29.774, 2.449


@pytest.mark.slow
def test_ctrl_c_checkpoints_and_says_how_to_go_on(tmp_path):
    words = [COMMAND, "pretrain", "simclr", "--out", str(tmp_path / "run"), *settings(tmp_path, steps=4000)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    metrics = tmp_path / "run" / "metrics.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (metrics.is_file() and '"step"' in metrics.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To go on: sidelight pretrain simclr" in said
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").is_file()


@pytest.mark.parametrize(
    "error", [ImportError("libtorch_cpu.so: failed to map segment from shared object"), MemoryError()]
)
def test_too_little_memory_is_one_sentence(error, tmp_path, monkeypatch, capsys):
    def out_of_memory(*_, **__):
        raise error

    monkeypatch.setattr("sidelight.commands.check.check", out_of_memory)
    assert called(monkeypatch, "check", str(tmp_path)) == 2
    said = capsys.readouterr().err
    assert said.startswith("sidelight: There is not enough memory for this command.") and "Traceback" not in said


def test_a_report_of_nothing_is_refused(tmp_path, monkeypatch, capsys):
    assert called(monkeypatch, "report", str(tmp_path), "--out", str(tmp_path / "r.html")) == 2
    assert "neither a run nor results" in capsys.readouterr().err


def test_init_says_what_to_check_and_where_the_sheet_lies(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.png").write_bytes(b"x")
    assert called(monkeypatch, "init", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "To check: no patient was found" in said
    assert f"Read and mend {tmp_path / 'cohort.toml'}; look at" in said
    assert called(monkeypatch, "init", str(tmp_path)) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_next_command_can_be_pasted(tmp_path, monkeypatch, capsys):
    class Done:
        folder = tmp_path / "Läufe & mehr" / "run 1"

    monkeypatch.setattr("sidelight.commands.pretrain.pretrain", lambda *args, **settings: Done)
    data = str(tmp_path / "my photos")
    (tmp_path / "my photos").mkdir()

    def after(*words):
        assert called(monkeypatch, "pretrain", "simclr", "--data", data, *words, "--out", "x") == 0
        return shlex.split(capsys.readouterr().out.partition("next: ")[2])

    same = [str(Done.folder), "--data", data]
    assert after() == ["sidelight", "embed", *same, "--out", "vectors.parquet"]  # no task to be asked
    assert after("--preset", "busi")[3:] == ["--data", data, "--preset", "busi", "--task", "diagnosis"]
    (tmp_path / "my photos" / "cohort.toml").write_text('files = "{n}.png"\n[task.dx]\nlabel = "n"')
    assert after("--cache", "c d") == ["sidelight", "evaluate", *same, "--cache", "c d", "--task", "dx"]


def test_a_setting_of_the_wrong_type_is_told_once(monkeypatch, capsys):
    assert called(monkeypatch, "pretrain", "simclr", "--data", PHANTOM, "--out", "x", "--set", "epochs=two") == 2
    assert capsys.readouterr().err == "sidelight: Setting epochs = 'two'. Expected: a valid integer.\n"


def test_plain_weights_are_judged_once_their_architecture_is_named(tmp_path, monkeypatch, capsys):
    file = tmp_path / "w.pth"
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), file)
    words = [
        "evaluate",
        str(file),
        "--data",
        PHANTOM,
        "--task",
        "diagnosis",
        "--protocol",
        "knn",
        "--cache",
        str(tmp_path / "c"),
    ]
    words += [part for flag in ("seeds=1", "folds=2", "resamples=100", "image_size=32") for part in ("--set", flag)]
    assert called(monkeypatch, *words, "--encoder", "test_resnet") == 0
    assert "AUROC" in capsys.readouterr().out
    assert called(monkeypatch, *words) == 2
    assert "Name it: --encoder NAME" in capsys.readouterr().err
    assert called(monkeypatch, *words, "--set", "encoder=test_resnet") == 2
    assert "encoder is no setting of sidelight evaluate" in capsys.readouterr().err
