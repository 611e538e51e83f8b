"""Stage 1 of SM3: its parts, which of them each term moves, lesions with one photograph, and runs."""

import pytest
import torch

import sidelight
from sidelight.config import build, merge
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError, DataError
from sidelight.losses import nt_xent
from sidelight.losses.sm3 import modality_terms
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.sm3 import SM3, SM3Settings
from sidelight.models.image import create_encoder, load_encoder
from sidelight.models.towers import read_tower, save_tower
from sidelight.views.photos import Photos
from stopping import stopped

TINY = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 8, "device": "cpu"}


def settings(**values):
    return build(SM3Settings, merge(TINY, values))


def batch(lesions=4, present=None):
    images = torch.rand(2, 2, lesions, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    there = torch.ones(2, lesions, dtype=torch.bool) if present is None else torch.tensor(present).bool()
    number = torch.arange(lesions)
    return Photos(images, there, number, number // 2)


def moved(method, term):
    """Which parts have a gradient of one term."""
    method.zero_grad()
    own, joint = method.project(batch())
    modality_terms(own, joint, temperature=0.1)[term].backward()
    parts = {
        "f_d": method.encoder, "f_c": method.second, "P_d": method.own[0], "P_c": method.own[1],
        "X_d": method.joint[0], "X_c": method.joint[-1],
    }  # fmt: skip
    return {
        name
        for name, part in parts.items()
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    }


def test_each_term_moves_its_own_parts():
    method = SM3(settings())
    assert moved(method, "first") == {"f_d", "P_d"}
    assert moved(method, "second") == {"f_c", "P_c"}
    assert moved(method, "cross") == {"f_d", "f_c", "X_d", "X_c"}


def test_shared_projector_and_shared_tower():
    separate, one, tower = SM3(settings()), SM3(settings(cross="shared")), SM3(settings(towers="shared"))
    assert (len(separate.joint), len(one.joint), len(one.own)) == (2, 1, 2)
    assert separate.both[0] is not separate.both[1] and tower.both[0] is tower.both[1]
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in separate.parameters())
    assert set(separate.towers()) == {"dermoscopic", "clinical", "dermoscopic_projection", "clinical_projection"}
    assert set(tower.towers()) == {"image", "image_projection"}
    assert set(SM3(settings(photographs=("cc", "mlo"))).towers()) == {
        "image",
        "mlo",
        "image_projection",
        "mlo_projection",
    }


def test_the_projector_of_the_paper():
    from sidelight.models.heads import Projection

    assert sum(p.numel() for p in Projection(2048, 128).parameters()) == 2 * 2048 * 2048 + 2048 * 128 + 4 * 2048


def test_a_lesion_with_one_photograph_trains_its_own_term():
    method = SM3(settings()).eval()
    present = [[1, 1, 1, 0], [1, 1, 0, 1]]
    with torch.no_grad():
        whole, partly = method.project(batch()), method.project(batch(present=present))
    for both, some in zip(whole, partly, strict=True):
        torch.testing.assert_close(some[:3, 0], both[:3, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(some[[0, 1, 3], 1], both[[0, 1, 3], 1], rtol=1e-4, atol=1e-5)
        assert not some[3, 0].any() and not some[2, 1].any()
    none = SM3(settings())
    none.loss(batch(present=[[1] * 4, [0] * 4])).backward()
    gradients = [p.grad for p in none.second.parameters()]
    assert all(g is not None and not g.any() for g in gradients)


def test_style_weights_and_repel_reach_the_loss():
    values = {}
    for name, change in {
        "plain": {}, "style": {"style": 1}, "cross": {"terms": {"cross": 0.0}}, "patient": {"repel": "other_patient"},
    }.items():  # fmt: skip
        values[name] = SM3(settings(**change)).eval().loss(batch()).item()
    assert len({round(value, 5) for value in values.values()}) == 4


def test_paper_needs_weights(tmp_path):
    paper = build(
        SM3Settings, merge(SM3.PROFILES["paper"], {"profile": "paper", "encoder": "test_resnet", "image_size": 32})
    )
    with pytest.raises(ConfigError, match=r"starts from ImageNet weights of ResNet-50 and was given none"):
        SM3(paper)
    file = save_tower(create_encoder("test_resnet", channels=3, image_size=32), tmp_path)
    method = SM3(paper.model_copy(update={"initial": str(file)}))
    for one, two in zip(method.encoder.parameters(), method.second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert method.encoder.mean.flatten().tolist() == pytest.approx([0.7833, 0.6712, 0.6026])
    assert (paper.batch_size, paper.parts, paper.lr, paper.epochs, paper.temperature) == (96, 2, 1e-6, 400, 0.1)
    assert (paper.passes, paper.drop_last) == ("apart", False)


def authors_loss(method, given):
    """tools/backbone_train.py of the published code on one GPU: its models v32 pass each view by itself."""
    (d1, d2), (c1, c2) = given.images
    f_d1, f_d2, f_c1, f_c2 = method.encoder(d1), method.encoder(d2), method.second(c1), method.second(c2)
    own = [
        head(torch.cat(views)).chunk(2) for head, views in zip(method.own, ((f_d1, f_d2), (f_c1, f_c2)), strict=True)
    ]
    X_d, X_c = method.joint
    total = sum(nt_xent(*views, temperature=0.1) for views in own)
    crossing = (X_d(f_d1), X_c(f_c1)), (X_d(f_d2), X_c(f_c2))
    return total + sum(nt_xent(*both, temperature=0.1) for both in crossing) / 2


def test_views_apart_have_the_batch_statistics_of_the_published_code():
    given, found = batch(8), {}
    for passes in ("together", "apart"):
        method = SM3(settings(passes=passes, temperature=0.1, repel="all"))
        found[passes] = method.loss(given)
    twin = SM3(settings(temperature=0.1))
    wanted = authors_loss(twin, given)
    torch.testing.assert_close(found["apart"], wanted)
    assert (found["together"] - wanted).abs() > 1e-3
    for name, buffer in method.named_buffers():
        torch.testing.assert_close(buffer, dict(twin.named_buffers())[name], msg=name)
    lone = batch(4, present=[[1, 1, 1, 1], [0, 0, 1, 0]])
    assert torch.isfinite(SM3(settings(passes="apart")).loss(lone))  # one clinical photograph: its views stay together


def test_parts_of_a_batch_have_contrasts_of_their_own():
    method, given = SM3(settings(temperature=0.1, repel="all")).eval(), batch(5)
    halves = [
        Photos(given.images[:, :, cut], given.present[:, cut], given.lesion[cut], given.group[cut])
        for cut in (slice(0, 3), slice(3, 5))
    ]
    apart = torch.stack([method.loss(half) for half in halves]).mean()
    split = SM3(settings(temperature=0.1, repel="all", parts=2)).eval()
    torch.testing.assert_close(split.loss(given), apart, rtol=1e-4, atol=1e-5)
    assert (method.loss(given) - apart).abs() > 1e-2
    torch.testing.assert_close(split.loss(halves[0]), method.loss(halves[0]))  # three lesions are one part


PHANTOM = "phantom:derm?cases=16&size=40&lone=0.25"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("sm3")
    return sidelight.pretrain("sm3", PHANTOM, root / "run", quiet=True, cache=str(root / "cache"), steps=2, **TINY)


def test_a_run_has_a_tower_for_each_photograph(run):
    assert {path.stem for path in (run.folder / "towers").iterdir()} == {
        "dermoscopic", "clinical", "dermoscopic_projection", "clinical_projection",
    }  # fmt: skip
    first, second = run.encoder("dermoscopic"), run.encoder("clinical")
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(first.embed(images), second.embed(images))
    assert torch.equal(load_encoder(run.folder).embed(images), first.embed(images))
    header, tensors = read_tower(run.folder, "clinical_projection", kind="projection")
    assert header["out"] == 8 and "layers.0.weight" in tensors


def feed_of(cohort, tmp_path, **change):
    resolved = resolve(SM3, {**TINY, **change, "cache": str(tmp_path)})
    pixels = open_pixels(cohort, 40, resolved, quiet=True)
    method = SM3(resolved, channels=3, source=MethodData(cohort, pixels, torch.arange(len(pixels)).numpy()))
    return method.feed(pixels)


def test_lesions_of_a_cohort(tmp_path):
    cohort = Cohort.open(PHANTOM)
    feed = feed_of(cohort, tmp_path)
    assert len(feed.train_rows) + len(feed.valid_rows) == 16
    assert set(feed.train_rows).isdisjoint(feed.valid_rows)
    sizes = [tuple(map(len, slots)) for source in feed.sources.values() for slots in source.lesions.slots]
    assert sorted(set(sizes)) == [(0, 1), (1, 0), (1, 1)] and sizes.count((1, 1)) == 12
    free = feed_of(cohort, tmp_path, photographs=())
    assert sorted({len(first) for first, _ in free.sources["train"].lesions.slots}) == [1, 2]
    assert len(feed.names(feed.train_rows)[0]) == 16


def test_what_does_not_fit_is_said(tmp_path):
    cohort = Cohort.open(PHANTOM)
    with pytest.raises(
        ConfigError, match=r"no photograph of the view 'macro'; its views are \['clinical', 'dermoscopic'\]"
    ):
        feed_of(cohort, tmp_path, photographs=("dermoscopic", "macro"))
    with pytest.raises(ConfigError, match=r"unit = 'lesion' is no level"):
        feed_of(cohort, tmp_path, unit="lesion")
    with pytest.raises(DataError, match=r"sm3 cannot learn from .*a clip with two photographs"):
        sidelight.pretrain(
            "sm3", "phantom:ultrasound?patients=4&clips=1&frames=2&size=16", tmp_path / "run", quiet=True
        )


def test_labels_never_reach_the_weights(tmp_path):
    one = Cohort.open(PHANTOM)
    shuffled = one.items.assign(diagnosis=one.items["diagnosis"].to_numpy()[::-1])
    two = Cohort(one.root, one.name, shuffled, one.levels, {}, one.channels, one.spec, (), one.phantom)
    hashes = [
        sidelight.pretrain("sm3", cohort, tmp_path / name, quiet=True, cache=str(tmp_path), steps=1, **TINY).summary[
            "weights"
        ]
        for name, cohort in (("one", one), ("two", two))
    ]
    assert hashes[0] == hashes[1]


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    settings = {**TINY, "cache": str(tmp_path / "cache"), "epochs": 4}
    whole = sidelight.pretrain("sm3", PHANTOM, tmp_path / "whole", quiet=True, **settings)
    with stopped(SM3, 2):
        sidelight.pretrain("sm3", PHANTOM, tmp_path / "stopped", quiet=True, **settings)
    again = sidelight.pretrain("sm3", PHANTOM, tmp_path / "stopped", quiet=True, **settings)
    assert again.summary["weights"] == whole.summary["weights"]


def test_photographs_without_a_negative_count_nothing(tmp_path):
    """Of two lesions with one photograph each, of different kinds, nothing can be told apart."""
    method = SM3(settings())
    apart = batch(2, [[1, 0], [0, 1]])
    loss = method.loss(apart)
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())
    assert method.eval().valid_loss(apart) is None
    data, values = "phantom:derm?cases=20&lone=0.8&size=40", {**TINY, "steps": 2, "seed": 3}
    run = sidelight.pretrain("sm3", data, tmp_path / "run", quiet=True, cache=str(tmp_path), **values)
    assert run.summary["steps"] == 2


def test_weights_of_a_contrast_that_is_left_out_are_refused():
    with pytest.raises(ConfigError, match=r"terms\.cross = 0"):
        settings(weights="meta", terms={"cross": 0.0})
    assert settings(terms={"cross": 0.0}).terms.cross == 0
