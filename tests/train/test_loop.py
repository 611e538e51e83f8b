import json
import os
import signal

import numpy as np
import pytest
import torch

from sidelight.errors import RunError, TrainingError
from sidelight.methods.base import Criterion
from sidelight.models.weights import hash_tensors
from sidelight.train import checkpoint, guards, validation
from sidelight.train.loop import fit
from sidelight.train.signals import Interrupted
from training_toys import ToyFeed, ToyMethod, lines, settings, train


def weights(run):
    return run.summary["weights"]


def test_a_run_learns_and_tells_what_it_did(tmp_path):
    method = ToyMethod()
    run = train(tmp_path / "run", method, ToyFeed(draws=4), epochs=4)
    (start,), steps, epochs = (lines(run, kind) for kind in ("start", "step", "epoch"))
    assert (start["steps"], start["steps_per_epoch"], start["contrast_pairs"]) == (64, 16, 5)
    assert [line["step"] for line in steps] == list(range(1, 65))
    assert steps[0]["lr"] == pytest.approx(0.01 / 3) and (start["warmup_steps"], start["visits"]) == (3, 16)
    assert all(line["gradient_norm"] > 0 and 0 < line["average"] < 1 for line in steps)
    assert [line["step"] for line in epochs] == [16, 32, 48, 64]
    losses = [line["loss"] for line in steps]
    assert sum(losses[-8:]) / 8 < sum(losses[:8]) / 8 - 0.1
    assert all(1 < line["effective_rank"] < 6 for line in epochs)
    assert method.epochs == [0, 1, 2, 3]
    assert {p.name for p in run.folder.iterdir()} == {"config.json", "metrics.jsonl", "checkpoints", "done.json"}
    assert weights(run) == hash_tensors(method.state_dict())


def test_the_same_settings_give_the_same_weights_with_any_number_of_workers(tmp_path):
    hashes = {weights(train(tmp_path / f"{n}", ToyMethod(dropout=0.3), workers=n % 3)) for n in (0, 2, 3)}
    assert len(hashes) == 1
    assert weights(train(tmp_path / "other", ToyMethod(dropout=0.3), seed=1)) not in hashes


def test_steps_replace_epochs_and_the_unfinished_epoch_is_measured_too(tmp_path):
    run = train(tmp_path / "run", steps=6)
    assert run.summary["steps"] == 6
    assert [line["step"] for line in lines(run, "epoch")] == [4, 6]


def test_accumulated_batches_give_the_mean_of_their_gradients(tmp_path, capsys):
    feed = ToyFeed(extra_rows=np.arange(0))
    method = ToyMethod(norm=False)
    run = train(
        tmp_path / "run", method, feed, steps=1, accumulate=4, optimizer="sgd", schedule="constant", weight_decay=0
    )
    twin = ToyMethod(norm=False)
    table = [rows for rows, _ in plan_of(feed)]
    batches = [feed.raw(0, rows, rows * 0, "train") for rows in table]
    mean = sum(twin.loss(batch, gather=lambda tensor: tensor) for batch in batches) / 4
    mean.backward()
    for moved, still in zip(method.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(moved, still - 0.01 * still.grad, atol=1e-7)
    assert lines(run, "step")[0]["loss"] == pytest.approx(mean.item(), rel=1e-5)
    assert "adds up 4 batches; the contrast runs inside each: 5 pairs" in capsys.readouterr().err


def test_nothing_is_said_of_a_contrast_where_there_is_none(tmp_path, capsys):
    class Plain(ToyMethod):
        contrasts = False

    run = train(tmp_path / "run", Plain(), steps=1, accumulate=4)
    assert "adds up 4 batches\n" in capsys.readouterr().err
    assert "contrast_pairs" not in lines(run, "start")[0]


def plan_of(feed):
    from sidelight.train.loader import plan

    return plan(0, 0, feed.train_rows, feed.draws, 5)


def test_gradients_are_clipped_and_their_length_before_it_is_logged(tmp_path):
    before, after = ToyMethod(), ToyMethod()
    run = train(tmp_path, after, steps=1, clip_norm=1e-3, optimizer="sgd", schedule="constant", lr=1.0, weight_decay=0)
    moved = [a.detach() - b.detach() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert torch.nn.utils.get_total_norm(moved).item() == pytest.approx(1e-3, rel=1e-2)
    assert lines(run, "step")[0]["gradient_norm"] > 0.01


def test_bf16_trains_in_bf16_and_keeps_float32_weights(tmp_path):
    method, seen = ToyMethod(), []
    method.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    run = train(tmp_path, method, steps=2, precision="bf16")
    assert seen[0] == torch.bfloat16
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert lines(run, "start")[0]["precision"] == "bfloat16"


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_ruined(tmp_path):
    method = ToyMethod()
    with pytest.raises(TrainingError, match="loss is not finite at step"):
        train(tmp_path, method, ToyFeed(poisoned=7))
    bad = json.loads((tmp_path / "bad_batch.json").read_text())
    assert "item7" in bad["items"]
    assert len(bad["items"]) == 5
    assert len(bad["last_losses"]) == bad["step"]
    assert all(torch.isfinite(p).all() for p in method.parameters())
    assert not (tmp_path / "done.json").exists()


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    method = ToyMethod()
    method.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="gradient is not finite at step 0"):
        train(tmp_path, method)


def test_collapse_warns_once_and_is_logged(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(guards, "COLLAPSE_COUNT", 2)
    method = ToyMethod()
    torch.nn.init.zeros_(method.encoder[3].weight)
    method.encoder.requires_grad_(False)
    run = train(tmp_path, method)
    assert capsys.readouterr().err.count("embeddings collapse") == 1
    assert [line["collapsed"] for line in lines(run, "epoch")] == [True] * 3


def test_best_is_kept_when_asked_for(tmp_path, monkeypatch):
    scores = iter([1.0, 0.5, 2.0])
    read = validation.read

    def scripted(*arguments, **named):
        reading = read(*arguments, **named)
        return validation.Reading(next(scores), reading.effective_rank, reading.std, reading.count, reading.dim)

    monkeypatch.setattr(validation, "read", scripted)
    method = ToyMethod()
    run = train(tmp_path, method, keep="best")
    assert [line["best"] for line in lines(run, "epoch")] == [True, True, False]
    assert run.summary["best_epoch"] == 1
    best, notes = checkpoint.load(run.checkpoint("best"))
    assert notes["step"] == 8
    assert torch.equal(best["model.head.weight"], method.head.weight)
    last, _ = checkpoint.load(run.checkpoint("last"))
    assert not torch.equal(last["model.head.weight"], method.head.weight)


def test_a_method_says_what_best_means(tmp_path):
    class Spread(ToyMethod):
        CRITERION = Criterion("embedding_std", more_is_better=True)

    run = train(tmp_path, Spread(), keep="best")
    spread = [line["embedding_std"] for line in lines(run, "epoch")]
    assert run.summary["best_epoch"] == int(np.argmax(spread))


def test_without_validation_rows_best_is_the_highest_rank(tmp_path):
    run = train(tmp_path, feed=ToyFeed(valid_rows=np.arange(0)))
    ranks = [line["effective_rank"] for line in lines(run, "epoch")]
    assert run.summary["best_epoch"] == int(np.argmax(ranks))


def test_the_monitor_is_asked_every_so_many_epochs_and_at_the_end(tmp_path):
    asked, method = [], ToyMethod()

    def monitor(encoder, epoch):
        assert encoder is method.encoder
        encoder.eval()
        asked.append(epoch)
        return {"knn_accuracy": epoch / 10}

    changes = settings(epochs=5, monitor_every=2)
    run = fit(method, ToyFeed(), changes, tmp_path, header={}, monitor=monitor, quiet=True)
    assert asked == [1, 3, 4]
    readings = run.metrics().query("kind == 'epoch'")["knn_accuracy"]
    assert readings.dropna().tolist() == [0.1, 0.3, 0.4]
    assert method.training


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_the_same_call_goes_on(tmp_path, number, code):
    whole = train(tmp_path / "whole")
    method = ToyMethod()
    method.on_loss = lambda call: os.kill(os.getpid(), number) if call == 5 else None
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match="after step") as caught:
        train(tmp_path / "run", method)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is handler
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]["step"] == caught.value.step == 6
    assert weights(train(tmp_path / "run")) == weights(whole)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_stops_with_the_last_checkpoint_whole_and_the_run_goes_on_after_it(tmp_path):
    whole = train(tmp_path / "whole")
    method = ToyMethod()
    folder = tmp_path / "run" / "checkpoints"
    method.on_loss = lambda call: (folder / "last.safetensors.tmp").symlink_to("/dev/full") if call == 5 else None
    with pytest.raises(RunError, match="disk is full"):
        train(tmp_path / "run", method)
    assert checkpoint.load(folder / "last.safetensors")[1]["step"] == 4
    assert not (folder / "last.safetensors.tmp").exists()
    assert weights(train(tmp_path / "run")) == weights(whole)


def test_towers_are_written_by_role(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("sidelight.train.loop.save_tower", lambda tower, folder, role: saved.append((folder, role)))
    method = ToyMethod()
    method.towers = lambda: {"image": method.encoder, "lesion_metadata": method.encoder}
    run = train(tmp_path, method, steps=1)
    assert saved == [(run.folder / "towers", "image"), (run.folder / "towers", "lesion_metadata")]
