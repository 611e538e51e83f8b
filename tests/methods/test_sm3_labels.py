"""Stage 2 of SM3: clusterings every epoch, frozen encoders, exact resume, and what it refuses."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import sidelight
from sidelight.commands.pretrain import _start
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.sm3_labels import CHECKLIST, SM3Labels
from sidelight.models.labels import LabelRelations
from sidelight.train.loader import Timetable
from sidelight.train.run import Run
from stopping import stopped

PHANTOM = "phantom:derm?cases=24&size=40&lone=0.2"
FIRST = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 8, "device": "cpu", "steps": 2}
SECOND = {"width": 16, "batch_size": 8, "device": "cpu", "epochs": 3, "lr": 1e-3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("labels")


@pytest.fixture(scope="module")
def first(root):
    return sidelight.pretrain("sm3", PHANTOM, root / "first", quiet=True, cache=str(root / "cache"), **FIRST)


def second(root, first, name, data=PHANTOM, **more):
    settings = {**SECOND, "cache": str(root / "cache"), **more}
    return sidelight.pretrain("sm3_labels", data, root / name, start=first, quiet=True, **settings)


@pytest.fixture(scope="module")
def run(root, first):
    return second(root, first, "second")


def made(root, first, **more):
    """The method as pretrain makes it, with its feed."""
    start = _start("sm3_labels", SM3Labels, first)
    resolved = resolve(SM3Labels, {**SECOND, "cache": str(root / "cache"), **more}, start)
    cohort = Cohort.open(PHANTOM)
    pixels = open_pixels(cohort, 40, resolved, quiet=True)
    method = SM3Labels(
        resolved, channels=3, source=MethodData(cohort, pixels, torch.arange(len(pixels)).numpy(), start=start)
    )
    return method, method.feed(pixels)


def test_the_checklist():
    assert list(CHECKLIST.values()) == [5, 3, 2, 3, 3, 3, 3, 2]


def test_every_label_is_clustered_every_epoch(root, first):
    method, feed = made(root, first)
    method.train()
    method.on_epoch(0)
    one = method._assigned.clone()
    assert one.shape == (len(feed.train_rows), 8)
    for place, classes in enumerate(CHECKLIST.values()):
        assert one[:, place].min() >= 0 and one[:, place].max() < classes
        weights = method.net.prototypes()[place]
        torch.testing.assert_close(weights.norm(dim=1), torch.ones(classes))
        bank = torch.nn.functional.normalize(method._bank[:, place], dim=1)
        assert torch.equal((bank @ weights.T).argmax(1), one[:, place])  # prototypes are the centroids
    batch = feed.finish(feed.raw(0, feed.train_rows[:8], torch.zeros(8).long().numpy(), "train"), torch.device("cpu"))
    before = method._bank.clone()
    method.loss(batch).backward()
    assert (method._bank[:8] != before[:8]).any((1, 2)).all() and torch.equal(method._bank[8:], before[8:])
    method.on_epoch(1)
    assert not torch.equal(method._assigned, one)
    notes = method.before_step(0, 1)
    assert {"nmi_between", "empty_clusters", *(f"nmi_{name}" for name in CHECKLIST)} == set(notes)
    assert all(0 <= value <= 1.0001 for name, value in notes.items() if name.startswith("nmi"))
    assert notes["empty_clusters"] == 0


def test_encoders_do_not_move_buffers_included(root, first, run):
    for role in ("dermoscopic", "clinical"):
        before, after = (load_file(one.folder / "towers" / f"{role}.safetensors") for one in (first, run))
        assert before.keys() == after.keys()
        assert any("running_mean" in name for name in before)
        assert all(torch.equal(before[name], after[name]) for name in before)
    net = LabelRelations(2 * run.encoder().dim, CHECKLIST, width=16)
    trained = run.metrics()["trained_parameters"].dropna().tolist()
    assert trained == [sum(p.numel() for p in net.parameters())]


def test_an_epoch_sees_every_lesion(root, first, run):
    """The last incomplete batch is a step of its own, and the log counts it."""
    _, feed = made(root, first)
    steps, rest = divmod(len(feed.train_rows), 8)
    start = run.metrics().query("kind == 'start'").iloc[0]
    assert rest >= 2 and start["steps_per_epoch"] == steps + 1 and start["steps"] == 3 * (steps + 1)
    table = Timetable(feed, seed=0, batch_size=8)
    seen = [int(row) for step in range(table.per_epoch) for rows, _ in table.batches(step) for row in rows]
    assert sorted(seen) == sorted(feed.train_rows.tolist())
    for profile in ("default", "paper"):
        assert resolve(SM3Labels, {"profile": profile}).drop_last is False


def test_agreement_is_logged(run):
    table = run.metrics()
    steps = table[table["kind"] == "step"]
    assert steps["nmi_between"].between(0, 1).all() and steps["nmi_diagnosis"].between(0, 1).all()
    assert steps.groupby("epoch")["nmi_between"].nunique().eq(1).all()
    assert run.config["settings"]["encoder"] == "test_resnet" and run.config["from"]["method"] == "sm3"


@pytest.mark.parametrize("steps", [2, 4])
def test_a_stopped_run_goes_on_bit_for_bit(root, first, run, steps):
    with stopped(SM3Labels, steps):
        second(root, first, f"stopped{steps}")
    again = second(root, first, f"stopped{steps}")
    assert again.summary["weights"] == run.summary["weights"]
    tensors = [load_file(one.checkpoint("last")) for one in (run, again)]
    assert torch.equal(tensors[0]["method.bank"], tensors[1]["method.bank"])
    assert torch.equal(tensors[0]["method.assigned"], tensors[1]["method.assigned"])


def test_labels_of_the_cohort_never_reach_the_weights(root, first, run):
    one = Cohort.open(PHANTOM)
    items = one.items.assign(diagnosis=one.items["diagnosis"].to_numpy()[::-1])
    mixed = Cohort(one.root, one.name, items, one.levels, {}, one.channels, one.spec, (), one.phantom)
    assert second(root, first, "mixed", mixed).summary["weights"] == run.summary["weights"]


def test_any_labels(root, first):
    found = second(root, first, "free", labels={"colour": 4, "shape": 2}, epochs=1, scaled=False, reseed=False)
    shapes = load_file(found.folder / "towers" / "labels.safetensors")
    assert shapes["heads.0.weight"].shape == (4, 16) and "heads.2.weight" not in shapes


def test_what_does_not_fit_is_said(root, first):
    with pytest.raises(ConfigError, match=r"21 lesions cannot make 40 clusters|cannot make 40 clusters"):
        made(root, first, labels={"colour": 40})
    with pytest.raises(ConfigError, match="at least two clusters"):
        made(root, first, labels={"colour": 1})
    with pytest.raises(ConfigError, match=r"second stage of sm3.*--from RUN"):
        sidelight.pretrain("sm3_labels", PHANTOM, root / "alone", quiet=True, cache=str(root / "cache"), **SECOND)


def test_a_run_of_an_older_version_opens_resumes_and_is_reported(root, first, run, tmp_path):
    """Its config holds ``repel``, which a method without negatives no longer has."""
    old = tmp_path / "old"
    shutil.copytree(run.folder, old)
    config = run.config
    assert "repel" not in config["settings"]
    config["settings"]["repel"] = "other_item"
    (old / "config.json").write_text(json.dumps(config))
    (old / "done.json").unlink()
    again = second(root, first, old)
    assert again.summary["weights"] == run.summary["weights"]
    assert Run.open(old).config == config
    assert sidelight.report(old, tmp_path / "page.html").is_file()
    assert "repel" not in (old / "card.md").read_text()
