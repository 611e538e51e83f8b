"""Weak labels as a method: its loss by hand, what it makes of doubt and silence, what it refuses, what a run of it is."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError, DataError
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.weak_labels import FIVE, WeakLabels, settled
from sidelight.train.run import Run
from sidelight.views.report_labels import LabelledBatch
from stopping import stopped

TINY = {
    "encoder": "test_resnet",
    "image_size": 32,
    "working_size": 32,
    "batch_size": 8,
    "device": "cpu",
    "precision": "float32",
    "valid_fraction": 0.2,
}
DATA = "phantom:chest?patients=40&studies=1&size=32&reports=rich&language={}"
FOUR = {
    "effusion": ["effusion"], "opacity": ["opacit", "consolidation"], "nodule": ["nodule"],
    "cardiomegaly": ["cardiomegaly", "(heart|cardiac).{0,30}(enlarged|normal)"],
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def build(cache):
    def made(language="en", data=DATA, cohort=None, **values):
        cohort = cohort or Cohort.open(data.format(language))
        settings = resolve(WeakLabels, {**TINY, "cache": cache, **values})
        pixels = open_pixels(cohort, 32, settings, quiet=True)
        return WeakLabels(settings, channels=1, source=MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key))

    return made


def feed_of(method):
    return method.feed(method.source.pixels, method.source.rows)


def batch_of(method, role="train", epoch=0):
    feed = feed_of(method)
    rows = {"train": feed.train_rows, "valid": feed.valid_rows}[role]
    return feed.finish(feed.raw(epoch, rows, np.zeros(len(rows), np.int64), role), torch.device("cpu"))


def test_the_loss_by_hand(build):
    """Logits 0 and log 3 of two images and findings: -log 1/2 = log 2; -log 3/4 where there, -log 1/4 where not; one unknown."""
    method = build(findings={"effusion": ["effusion"], "nodule": ["nodule"]}, balance="none").double()
    method.encoder.forward = lambda images: images[:, 0, :2, 0]
    method.head = torch.nn.Identity()
    logits = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]], dtype=torch.float64)
    images = torch.zeros(2, 1, 2, 1, dtype=torch.float64)
    images[:, 0, :, 0] = logits
    batch = LabelledBatch(images, torch.tensor([[1, 1], [0, -2]]))
    wanted = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    assert float(method.loss(batch)) == pytest.approx(wanted, abs=1e-12)
    method.class_weights = torch.tensor([[2.0, 1.0], [1.0, 4.0]], dtype=torch.float64)
    wanted = (math.log(2) + 4 * math.log(4 / 3) + 2 * math.log(4)) / 7
    assert float(method.loss(batch)) == pytest.approx(wanted, abs=1e-12)


def test_doubt_and_silence_are_settled():
    mined = np.array([[1, 0, -1, -2]], np.int8)
    assert settled(mined, "positive", "negative").tolist() == [[1, 0, 1, 0]]
    assert settled(mined, "negative", "ignore").tolist() == [[1, 0, 0, -2]]
    assert settled(mined, "ignore", "negative").tolist() == [[1, 0, -2, 0]]
    assert mined.tolist() == [[1, 0, -1, -2]]


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_its_labels_are_those_of_the_images_it_shows(build, language):
    """U-ones on the rich phantom: every finding is labelled, and what is labelled without a finding was doubted."""
    method = build(language, findings=FOUR if language == "en" else {})
    assert method.names == (
        ("effusion", "opacity", "nodule", "cardiomegaly")
        if language == "en"
        else ("opacity", "nodule", "effusion", "cardiomegaly")
    )
    items = method.source.cohort.items.iloc[method.source.pixels.index["position"].to_numpy()[method.studies.first]]
    truth = items[list(method.names)].to_numpy() == "1"
    assert (method.labels[truth] == 1).all()
    extra = (method.labels == 1) & ~truth
    assert 0 < extra.sum() < 0.1 * truth.size
    batch = batch_of(method, "valid")
    first = method.studies.first.tolist()
    places = [first.index(row) for row in feed_of(method).valid_rows.tolist()]
    assert batch.labels.tolist() == method.labels[places].tolist() and batch.left.shape[1:] == (1, 32, 32)


def test_the_control_takes_labels_of_other_patients(build):
    plain, broken = build(), build(shuffle_pairs=True)
    rows = feed_of(plain).train_rows
    own, others = (batch_of(method, epoch=3) for method in (plain, broken))
    torch.testing.assert_close(own.left, others.left)
    assert len(own) == len(rows) and 0.1 < (own.labels != others.labels).float().mean() < 0.6


def test_silence_may_be_passed_over_and_rare_values_weigh_more(build):
    ignored = build(unmentioned="ignore")
    assert (ignored.labels == -2).any() and not (build().labels == -2).any()
    method = build(balance="inverse_frequency")
    for column, (absent, present) in zip(method.labels.T, method.class_weights.tolist(), strict=True):
        counts = np.bincount(column, minlength=2)
        assert absent * counts[0] == pytest.approx(present * counts[1])
    assert (build().class_weights == 1).all()


def test_the_log_says_how_many_reports_name_each_finding(build):
    method = build("de")
    said = method.facts()
    total = {name: sum(said[f"{name}: {word}"] for word in ("present", "uncertain", "absent")) for name in method.names}
    assert len(said) == 15  # pneumothorax, always denied, is counted and not learnt
    assert said["pneumothorax: present"] == 0 < said["pneumothorax: absent"]
    assert all(0 < count <= len(method.studies.first) for count in total.values())


def test_what_cannot_be_learnt_is_refused(build, tmp_path):
    with pytest.raises(
        DataError,
        match=r"Of 2 findings 1 can be told apart in \d+ reports.*effusion \d+, \d+, \d+; banana 0, 0, 0.*Name what",
    ):
        build(findings={"effusion": ["effusion"], "banana": ["banana"]})
    with pytest.raises(ConfigError, match="'x' is no regular expression"):
        build(findings={"x": ["("]})
    with pytest.raises(DataError, match=r"cannot learn.*it needs reports"):
        sidelight.pretrain("weak_labels", "phantom:skin?patients=4&size=32", tmp_path / "run", **TINY)
    with pytest.raises(ConfigError, match="uncertain"):
        build(uncertain="maybe")


def test_a_run_and_one_that_is_stopped_and_resumed(tmp_path, cache):
    given = {**TINY, "cache": cache, "steps": 6, "quiet": True, "findings": FOUR, "checkpoint_every": 2}
    run = sidelight.pretrain("weak_labels", DATA.format("en"), tmp_path / "run", **given)
    log = run.metrics()
    assert log.loc[0, "effusion: present"] > 0 and "uncertain positive" in (run.folder / "card.md").read_text()
    assert math.isfinite(log["valid_loss"].dropna().iloc[-1])
    with stopped(WeakLabels, 4):
        sidelight.pretrain("weak_labels", DATA.format("en"), tmp_path / "again", **given)
    again = sidelight.pretrain("weak_labels", DATA.format("en"), tmp_path / "again", **given)
    assert again.summary["weights"] == run.summary["weights"]
    found = sidelight.evaluate(
        run, DATA.format("en"), "effusion", "linear", folds=2, seeds=1, resamples=100, device="cpu", cache=cache
    )
    assert found.headline()["value"].between(0, 1).all()
    small = sidelight.pretrain(
        "distil",
        DATA.format("en"),
        tmp_path / "small",
        start=run,
        image_size=32,
        steps=2,
        device="cpu",
        cache=cache,
        quiet=True,
    )
    assert small.finished and Run.open(small.folder).config["from"]["method"] == "weak_labels"


def test_the_papers_profile_is_the_rival_of_lovts_tables():
    found = resolve(WeakLabels, {"profile": "paper"})
    assert tuple(found.findings) == FIVE and (found.uncertain, found.unmentioned) == ("positive", "negative")
    assert (found.batch_size, found.lr, found.image_size, found.encoder) == (64, 3e-4, 224, "resnet50")
    assert found.weight_decay == 1e-6 and found.augment.flip == 0.5 and found.affine.rotation == 20.0


def test_check_counts_what_reports_name(tmp_path):
    rows = [(f"p{n}", "No effusion." if n % 2 else "There is an effusion. Possible nodule.") for n in range(8)]
    pd.DataFrame(rows, columns=["patient", "text"]).to_csv(tmp_path / "texts.csv", index=False)
    from PIL import Image

    for n, (name, _) in enumerate(rows):
        Image.linear_gradient("L").rotate(11 * n).resize((32, 32)).save(tmp_path / f"{name}.png")
    (tmp_path / "cohort.toml").write_text(
        'files = "{patient}.png"\nlevels = ["patient"]\ntables = [{file = "texts.csv", on = ["patient"]}]\nreport = "text"\n'
    )
    counts = sidelight.check(tmp_path, quick=True, quiet=True, image_size=32, cache=str(tmp_path / "c")).counts[
        "reports"
    ]
    assert {"finding": "pleural_effusion", "present": 4, "uncertain": 0, "absent": 4, "unmentioned": 0} in counts
    assert {"finding": "lung_lesion", "present": 0, "uncertain": 4, "absent": 0, "unmentioned": 4} in counts
