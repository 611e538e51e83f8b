"""LoVT and its neighbours on small phantoms: what the loss is made of, what learns, what resumes, what is refused."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError, DataError, EncoderError
from sidelight.losses import global_alignment
from sidelight.methods import load_method
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.lovt import TERMS
from sidelight.models.joint import Alignment, align, load_joint
from sidelight.models.text import BUDGET
from sidelight.models.towers import read_tower

TINY = {
    "encoder": "test_resnet",
    "image_size": 64,
    "text": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0},
    "hidden": 16,
    "dim": 8,
    "batch_size": 8,
    "device": "cpu",
    "precision": "float32",
    "valid_fraction": 0.2,
    "working_size": 64,
}


@pytest.fixture(scope="module")
def chest():
    return Cohort.open("phantom:chest?patients=30&studies=1&size=64")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def build(chest, cache):
    def made(name="lovt", cohort=chest, **values):
        kind = load_method(name)
        settings = resolve(kind, {**TINY, "cache": cache, **values})
        pixels = open_pixels(cohort, 64, settings, quiet=True)
        source = MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key)
        method = kind(settings, channels=1, source=source)
        feed = method.feed(pixels)
        rows = feed.train_rows[:8]
        batch = feed.finish(feed.raw(0, rows, np.zeros(8, np.int64), "train"), torch.device("cpu"))
        return method, feed, batch

    return made


def found_in(method, batch):
    return align(method.encoder, method.reports, method.alignment, batch.left, batch.tokens)


def test_the_loss_is_the_weighted_sum_of_its_parts(build):
    method, _, batch = build(repel="all")
    method.eval()
    found = found_in(method, batch)
    terms = method.local_terms(found, batch.group)
    wanted = global_alignment(found.image.whole, found.report.whole) + 0.375 * sum(terms[name] for name in TERMS)
    torch.testing.assert_close(method.loss(batch), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(method.valid_loss(batch), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "convirt"])
def test_neighbours_are_the_global_loss_alone(build, name):
    method, _, batch = build(name, repel="all")
    method.eval()
    found = found_in(method, batch)
    assert found.attended is None
    assert batch.tokens.mask.shape[1] == 1  # one sentence of each report
    torch.testing.assert_close(method.loss(batch), global_alignment(found.image.whole, found.report.whole))
    norms = [part for part in method.alignment.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    assert bool(norms) == (name == "clip")
    if name == "convirt":
        torch.testing.assert_close(
            found.image.whole, method.alignment.image.whole(method.encoder(batch.left)), atol=1e-4, rtol=1e-4
        )


def test_ablations_are_settings(build):
    losses = {}
    for name, values in {
        "all": {},
        "no global": {"global_weight": 0.0},
        "no regions": {"image_weight": 0.0},
        "no sentences": {"report_weight": 0.0},
        "even": {"local_weights": "uniform"},
        "no decay": {"decay": 0.0},
        "batch": {"negatives": "batch"},
        "own key": {"attend": "own"},
        "pools": {"image_pool": "mean", "report_pool": "max"},
    }.items():
        method, _, batch = build(**values)
        losses[name] = float(method.eval().loss(batch).detach())
    assert len({round(value, 5) for value in losses.values()}) == len(losses)
    assert max(losses, key=losses.get) == "batch"
    method, _, batch = build(global_weight=0.0)
    assert method.alignment.shape["attend"] == "own"  # nothing would make a shared space
    method.loss(batch).backward()  # property 4
    assert all(
        p.grad is None for side in (method.alignment.image, method.alignment.report) for p in side.pool.parameters()
    )


def test_property_7_frozen_layers_stay_and_the_image_encoder_learns(build, tmp_path):
    method, _, _ = build()
    folder = tmp_path / "text"
    method.reports.network.save_pretrained(folder)
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    special = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk")}
    made = Tokenizer.from_str(method.reports.tokenizer.text)
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    method, _, batch = build(text={"model": str(folder), "freeze": 1})
    method.loss(batch).backward()
    still = [name for name, p in method.reports.named_parameters() if p.grad is None]
    assert still == [name for name, p in method.reports.named_parameters() if not p.requires_grad]
    assert any("embeddings" in name for name in still) and any("layer.0" in name for name in still)
    assert all(p.grad is not None for p in method.encoder.parameters())
    assert not {id(p) for p in method.reports.network.embeddings.parameters()} & {
        id(p) for p in method.parameters_to_train()
    }


def test_cached_gradients_are_those_of_the_whole_batch(build):
    """Pieces of the batch see their own batch statistics, so both are compared in eval mode; the contrast sees all."""
    grads = []
    for size in (None, 4):
        method, _, batch = build(encode_at_once=size)
        method.eval()
        loss = method.loss(batch)
        loss.backward()
        grads.append([float(loss.detach()), *(p.grad.clone() for p in method.parameters() if p.grad is not None)])
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-5)
    assert len(grads[0]) == len(grads[1])
    for one, other in zip(grads[0][1:], grads[1][1:], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3)
    method, _, batch = build(encode_at_once=4)
    norm = method.alignment.image.whole.norm.batch
    method.loss(batch).backward()
    assert int(norm.num_batches_tracked) == 4  # two pieces, each counted again ...
    once = [float(norm.running_mean.abs().sum())]
    method, _, batch = build(encode_at_once=4)
    method.loss(batch)
    assert float(method.alignment.image.whole.norm.batch.running_mean.abs().sum()) == pytest.approx(
        once[0], rel=1e-5
    )  # in vain
    with pytest.raises(ConfigError, match="divisor"):
        build(encode_at_once=3)


def test_temperatures_learn_where_they_are_asked_to(build):
    method, _, batch = build(learn_temperature=True)
    method.loss(batch).backward()
    learnt = method.learnt_temperatures()
    assert all(float(one.grad) != 0 for one in learnt.values())
    assert method.before_step(0, 1) == {
        "temperature": pytest.approx(0.1),
        "local_temperature": pytest.approx(0.3),
    }
    learnt["temperature"].data.fill_(-9.0)
    learnt["local_temperature"].data.fill_(9.0)
    assert method.before_step(1, 2) == {"temperature": pytest.approx(0.01), "local_temperature": pytest.approx(1.0)}
    assert float(method.alignment.temperature.detach()) == pytest.approx(0.01)
    assert build()[0].before_step(0, 1) == {}
    assert set(build("clip", learn_temperature=True)[0].learnt_temperatures()) == {"temperature"}


def test_a_run_keeps_the_temperature_that_it_learnt(chest, cache, tmp_path):
    values = {**TINY, "steps": 3, "lr": 0.1, "warmup": 0, "cache": cache, "quiet": True, "learn_temperature": True}
    run = sidelight.pretrain("clip", chest, tmp_path / "run", **values)
    learnt = math.exp(run.tensors()["alignment.log_temperature"])
    assert abs(learnt - 0.1) > 1e-3
    joint = load_joint(run.folder)
    assert joint.temperature == pytest.approx(learnt) and load_joint(run.folder, temperature=0.2).temperature == 0.2
    images = np.stack([chest.read(n, max_frames=1).frames[0] for n in range(3)])
    prompts = {"nodule": ("A nodule is seen.", "No nodule.")}
    sharp, flat = (load_joint(run.folder, temperature=t).score(images, prompts).logit() for t in (None, 2 * learnt))
    torch.testing.assert_close(sharp, 2 * flat, rtol=1e-3, atol=1e-4)
    # towers of a run that was made before hold no learnt temperature
    said, tensors = read_tower(run.folder, "alignment", kind="alignment")
    del said["shape"]["learn_temperature"], said["shape"]["temperature"], tensors["log_temperature"]
    old = Alignment(**said["shape"])
    old.load_state_dict(tensors)
    assert old.temperature == 0.1


def test_a_vit_gives_its_patches_as_regions(build):
    method, _, batch = build(encoder="test_vit")
    found = found_in(method, batch)
    assert (found.grid, found.attended.to_regions.shape[-1]) == ((4, 4), 16)
    method.loss(batch).backward()


def test_normalisation_is_that_of_the_images(build):
    method, feed, _ = build()
    values = np.concatenate([feed.pixels.read(row, [0]).ravel() for row in range(len(feed.pixels))]) / 255
    assert float(method.encoder.mean) == pytest.approx(values.mean(), abs=1e-6)
    assert float(method.encoder.std) == pytest.approx(values.std(), abs=1e-5)
    assert float(build(mean=0.5, std=0.25)[0].encoder.mean) == 0.5
    some = np.array([2, 5, 11])  # rows that may be learnt from: the others are held out
    settings = resolve(type(method), {**TINY, "cache": str(feed.pixels.folder)})
    source = MethodData(method.source.cohort, feed.pixels, some)
    made = type(method).make_encoder(SimpleNamespace(settings=settings, source=source, learnt_rows=lambda: some), 1)
    values = np.concatenate([feed.pixels.read(row, [0]).ravel() for row in some]) / 255
    assert float(made.mean) == pytest.approx(values.mean(), abs=1e-6)
    assert float(made.std) == pytest.approx(values.std(), abs=1e-5)


def test_a_given_split_says_who_trains(build, chest):
    _, feed, _ = build(split="split")
    sides = chest.items["split"].to_numpy()[feed.pixels.index["position"]]
    assert set(sides[feed.train_rows]) == {"train"}
    assert set(sides[feed.valid_rows]) == {"validate"}
    with pytest.raises(ConfigError, match="no value 'train'"):
        build(split="sex" if "sex" in chest.items else "view")


def test_a_run_resumes_to_the_same_weights_and_its_towers_read(chest, cache, tmp_path):
    values = {
        **TINY,
        "steps": 6,
        "checkpoint_every": 1,
        "cache": cache,
        "quiet": True,
        "text": {**TINY["text"], "dropout": 0.1},
    }
    whole = sidelight.pretrain("lovt", chest, tmp_path / "whole", **values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidelight.train.loop._log_step", _stop)
        with pytest.raises(KeyboardInterrupt):
            sidelight.pretrain("lovt", chest, tmp_path / "cut", **values)
    cut = sidelight.pretrain("lovt", chest, tmp_path / "cut", **values)
    assert cut.summary["weights"] == whole.summary["weights"]
    joint = load_joint(whole.folder)
    images = np.stack([chest.read(n, max_frames=1).frames[0] for n in range(3)])
    assert joint.embed_images(images).shape == (3, 8)
    assert joint.embed_reports([["No effusion."], ["A nodule.", "Clear."]]).shape == (2, 8)
    scores = joint.score(images, {"nodule": ("A nodule is seen.", ["No nodule.", "Clear."])})
    assert scores.shape == (3, 1) and float(scores.min()) > 0 and float(scores.max()) < 1
    heat = joint.heat_map(images, "A nodule in the left upper zone.")
    torch.testing.assert_close(heat.sum((1, 2)), torch.ones(3))
    with pytest.raises(EncoderError, match="no tower 'report'"):
        load_joint(tmp_path)


def _stop(trainer, epoch, result, state, reporter):
    if state.step == 4:
        raise KeyboardInterrupt


def test_what_is_refused(chest, cache, tmp_path):
    values = {**TINY, "steps": 1, "cache": cache, "quiet": True}
    with pytest.raises(DataError, match="it needs reports"):
        sidelight.pretrain("lovt", "phantom:ultrasound?patients=4", tmp_path / "a", **values)
    with pytest.raises(ConfigError, match="Bio_ClinicalBERT"):
        sidelight.pretrain("lovt", chest, tmp_path / "b", profile="paper", **{**values, "text": {"freeze": 6}})
    with pytest.raises(ConfigError, match="without a text model"):
        sidelight.pretrain("lovt", chest, tmp_path / "c", **{**values, "text": {"freeze": 1}})
    with pytest.raises(ConfigError, match="20 patients"):
        sidelight.pretrain("lovt", "phantom:chest?patients=8&size=64", tmp_path / "d", **values)
    with pytest.raises(EncoderError, match="no text model"):
        sidelight.pretrain("lovt", chest, tmp_path / "e", **{**values, "text": {"model": str(tmp_path / "none")}})


def test_a_report_of_5000_words_and_a_study_without_images(tmp_path, cache):
    rng = np.random.default_rng(0)
    import pandas as pd
    from PIL import Image

    rows = []
    for n in range(24):
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / f"{n}.png")
        rows.append(
            (
                str(n),
                "The heart is large. " * 1250 if n == 3 else ("" if n == 4 else "No effusion. The lungs are clear."),
            )
        )
    (tmp_path / "5.png").write_bytes(b"broken")
    pd.DataFrame(rows, columns=["n", "text"]).to_csv(tmp_path / "texts.csv", index=False)
    (tmp_path / "cohort.toml").write_text(
        'files = "{n}.png"\nlevels = ["n"]\ntables = [{file = "texts.csv", on = ["n"]}]\nreport = "text"\n'
    )
    kind = load_method("lovt")
    settings = resolve(kind, {**TINY, "cache": cache, "max_bad_fraction": 0.2})
    cohort = Cohort.open(tmp_path)
    pixels = open_pixels(cohort, 64, settings, quiet=True)
    method = kind(settings, channels=1, source=MethodData(cohort, pixels, np.arange(len(pixels))))
    assert len(method.studies.rows) == 22
    feed = method.feed(pixels)
    rows = feed.train_rows
    batch = feed.finish(feed.raw(0, rows, np.zeros(len(rows), np.int64), "train"), torch.device("cpu"))
    assert batch.tokens.ids.shape[1] <= BUDGET + 2
    assert torch.isfinite(method.loss(batch))


def test_pieces_are_no_smaller_than_two_and_count_by_their_size(build):
    """Of 5 studies, two at a time: pieces of 2 and 3; a local loss of scalars is their mean over studies."""
    found = []
    for size in (None, 2):
        method, feed, _ = build(encode_at_once=size)
        rows = feed.train_rows[:5]
        batch = feed.finish(feed.raw(0, rows, np.zeros(5, np.int64), "train"), torch.device("cpu"))
        found.append(float(method.eval().loss(batch).detach()))
        assert torch.isfinite(method.train().loss(batch))  # every piece has batch statistics
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_pieces_that_would_hide_negatives_are_refused():
    kind = load_method("lovt")
    with pytest.raises(ConfigError, match="their own piece"):
        resolve(kind, {**TINY, "negatives": "batch", "encode_at_once": 4})
    assert resolve(kind, {**TINY, "negatives": "batch", "encode_at_once": 8}).encode_at_once == 8
