"""Regions and sentences by a sigmoid, on a small phantom: what the loss asks about, what learns, what resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.losses import global_alignment
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.local_sigmoid import LocalSigmoid
from sidelight.models.joint import align, load_joint
from sidelight.models.text import Tokens
from sidelight.views.reports import StudyBatch
from stopping import stopped

TINY = {
    **{"encoder": "test_resnet", "image_size": 64, "working_size": 64, "batch_size": 8, "device": "cpu"},
    **{"text": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0}, "hidden": 16, "dim": 8},
    **{"precision": "float32", "valid_fraction": 0.2},
}
CHEST = "phantom:chest?patients=30&studies=1&size=64"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def build(cache):
    cohort = Cohort.open(CHEST)

    def made(**values):
        settings = resolve(LocalSigmoid, {**TINY, "cache": cache, **values})
        pixels = open_pixels(cohort, 64, settings, quiet=True)
        method = LocalSigmoid(
            settings, channels=1, source=MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key)
        )
        feed = method.feed(pixels)
        batch = feed.finish(feed.raw(0, feed.train_rows[:8], np.zeros(8, np.int64), "train"), torch.device("cpu"))
        return method, batch

    return made


def asked_about(method, batch):
    """The sum of what the loss says, pair by pair in plain Python: of every image and every sentence."""
    found = align(method.encoder, method.reports, method.alignment, batch.left, batch.tokens)
    regions, sentences = F.normalize(found.image.local, dim=-1), F.normalize(found.report.local, dim=-1)
    said = [
        [tuple(row[owner == number].tolist()) for number in range(int(owner.max()) + 1)]
        for row, owner in zip(batch.tokens.ids, batch.tokens.sentence, strict=True)
    ]
    each, total = [], sum(map(len, said))
    for j, own in enumerate(said):
        for place, text in enumerate(own):
            for i in range(len(said)):
                if i != j and (text in said[i] or batch.group[i] == batch.group[j]):
                    continue
                likeness = regions[i] @ sentences[j, place]
                pooled = (10 * likeness).softmax(0) @ regions[i]
                answer = 10 * F.cosine_similarity(pooled, sentences[j, place], dim=0) + method.local_bias
                each.append(-F.logsigmoid(answer if i == j else -answer))
    return found, torch.stack(each).sum() / total, len(each), total * len(said)


def test_the_loss_is_the_global_one_and_a_question_for_each_pair_that_may_be_asked(build):
    method, batch = build()
    method.eval()
    found, local, asked, pairs = asked_about(method, batch)
    assert asked < pairs  # phantoms repeat their sentences
    assert found.attended is None and method.alignment.attention is None
    whole = global_alignment(found.image.whole, found.report.whole, groups=batch.group)
    torch.testing.assert_close(method.loss(batch), whole + local, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(method.valid_loss(batch), whole + local, rtol=1e-5, atol=1e-5)
    alone = build(global_weight=0.0, local_weight=0.5)[0].eval()
    torch.testing.assert_close(alone.loss(batch), local / 2, rtol=1e-5, atol=1e-5)


def test_who_repels_whom_is_a_setting(build):
    method, batch = build(global_weight=0.0)
    one = replace(batch, group=torch.zeros_like(batch.group))  # all of one patient: only own pairs are left
    losses = {
        repel: float(build(global_weight=0.0, repel=repel, local_bias=0.0)[0].eval().loss(one).detach())
        for repel in ("all", "other_patient")
    }
    assert losses["other_patient"] < losses["all"] - 0.5
    assert float(method.eval().loss(one).detach()) > 0


def test_the_very_same_sentence_is_no_negative(build):
    """Two images with one report each of the same words: only own pairs are asked; another word, and all four are."""
    method, _ = build(global_weight=0.0, local_bias=0.0)
    method.eval()
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    owner = torch.tensor([[-1, 0, 0, -1]] * 2)
    number = torch.arange(2)
    first = [[2, 5, 6, 3], [2, 5, 6, 3]]
    found = {}
    for name, ids in (("same", first), ("other", [first[0], [2, 5, 7, 3]])):
        batch = StudyBatch(images, Tokens(torch.tensor(ids), owner), number, number)
        _, wanted, asked, _ = asked_about(method, batch)
        found[name] = asked
        torch.testing.assert_close(method.loss(batch), wanted, rtol=1e-5, atol=1e-5)
    assert found == {"same": 2, "other": 4}


def test_cached_gradients_are_those_of_the_whole_batch(build):
    grads = []
    for size in (None, 4):
        method, batch = build(encode_at_once=size)
        method.eval()
        loss = method.loss(batch)
        loss.backward()
        grads.append([loss.detach(), *(p.grad.clone() for p in method.parameters() if p.grad is not None)])
    assert len(grads[0]) == len(grads[1])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3)


def test_temperature_and_bias_learn_and_stay_in_range(build):
    method, batch = build()
    method.loss(batch).backward()
    assert all(p.grad is not None for p in method.parameters_to_train())
    assert (
        float(method.log_local_temperature.grad) != 0 and float(method.local_bias.grad) < 0
    )  # positives cost 10 at first
    assert method.before_step(0, 1) == {"local_temperature": pytest.approx(0.1), "local_bias": pytest.approx(-10)}
    method.log_local_temperature.data.fill_(-9.0)
    assert method.before_step(1, 2)["local_temperature"] == pytest.approx(0.01)


def test_one_sentence_of_each_report_and_a_vit(build):
    method, batch = build(sentences="one", encoder="test_vit")
    assert batch.tokens.mask.shape[1] == 1
    method.loss(batch).backward()
    assert torch.isfinite(method.log_local_temperature.grad)


def test_a_run_resumes_to_the_same_weights_and_its_towers_read(cache, tmp_path):
    values = {**TINY, "steps": 4, "checkpoint_every": 1, "cache": cache, "quiet": True, "precision": "bf16"}
    whole = sidelight.pretrain("local_sigmoid", CHEST, tmp_path / "whole", **values)
    with stopped(LocalSigmoid, 3):
        sidelight.pretrain("local_sigmoid", CHEST, tmp_path / "cut", **values)
    cut = sidelight.pretrain("local_sigmoid", CHEST, tmp_path / "cut", **values)
    assert cut.summary["weights"] == whole.summary["weights"]
    log = whole.metrics().query("kind == 'step'")
    assert {"local_temperature", "local_bias"} <= set(log.columns) and np.isfinite(log["loss"]).all()
    joint = load_joint(whole.folder)
    cohort = Cohort.open(CHEST)
    images = np.stack([cohort.read(n, max_frames=1).frames[0] for n in range(3)])
    assert joint.embed_images(images).shape == (3, 8)
    assert joint.similarity_map(images, "A nodule.").shape == (3, 2, 2)
    with pytest.raises(sidelight.errors.ConfigError, match="no attention"):
        joint.heat_map(images, "A nodule.")


def test_the_lower_part_of_the_encoder_stays_where_it_is_asked_to(build):
    method, batch = build(train_from="layer3")
    method.train().loss(batch).backward()
    network = method.encoder.network
    assert network.layer2[0].conv1.weight.grad is None and network.layer3[0].conv1.weight.grad is not None
    assert not network.bn1.training
