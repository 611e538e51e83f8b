"""A run that is killed at any moment and started again ends with the same weights, bit for bit."""

import signal

import pytest

from training_toys import ToyMethod, lines, spawn, train, train_and_die, train_and_die_writing

CHANGES = {"checkpoint_every": 3}
METHOD = {"dropout": 0.3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole") / "run", ToyMethod(**METHOD), **CHANGES)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("call", [1, 5, 10], ids=["before a checkpoint", "within an epoch", "in the last epoch"])
def test_killed_at_a_step(tmp_path, whole, call, workers):
    changes = {**CHANGES, "workers": workers}
    child = spawn(train_and_die, tmp_path, call, METHOD, changes)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    run = train(tmp_path, ToyMethod(**METHOD), **changes)
    assert run.summary["weights"] == whole.summary["weights"]
    for kind in ("step", "epoch"):
        assert lines(run, kind) == lines(whole, kind)


def test_killed_while_a_checkpoint_is_moved_into_place(tmp_path, whole):
    child = spawn(train_and_die_writing, tmp_path, 3, CHANGES)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "checkpoints" / "last.safetensors.tmp").exists()
    run = train(tmp_path, **CHANGES)
    assert run.summary["weights"] == train(tmp_path / "twin", **CHANGES).summary["weights"]
    assert not (tmp_path / "checkpoints" / "last.safetensors.tmp").exists()
    assert lines(run, "resume")[0]["step"] == 4


def test_a_run_killed_after_its_last_step_only_finishes(tmp_path, whole):
    run = train(tmp_path, ToyMethod(**METHOD), **CHANGES)
    (tmp_path / "done.json").unlink()
    method = ToyMethod(**METHOD)
    assert train(tmp_path, method, **CHANGES).summary["weights"] == whole.summary["weights"]
    assert method.calls == 0
    assert lines(run, "step") == lines(whole, "step")


def test_another_thread_count_is_told(tmp_path, capsys, monkeypatch):
    import torch

    from sidelight.train.signals import Interrupted

    method = ToyMethod()
    method.on_loss = lambda call: signal.raise_signal(signal.SIGINT) if call == 1 else None
    with pytest.raises(Interrupted):
        train(tmp_path, method)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    train(tmp_path)
    assert "may differ in the last bits" in capsys.readouterr().err
