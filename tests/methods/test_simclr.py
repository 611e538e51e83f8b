from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sidelight
from sidelight.config import build, merge
from sidelight.data.split import deal
from sidelight.errors import ConfigError, TrainingError
from sidelight.losses import nt_xent
from sidelight.methods import METHODS, load_method
from sidelight.methods.base import MethodBase, resolve
from sidelight.methods.simclr import SimCLR, SimCLRSettings
from sidelight.views.augment import Augment
from sidelight.views.clips import ClipPairs

TINY = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 4}


def settings(**values) -> SimCLRSettings:
    return build(SimCLRSettings, TINY | values)


def batch(pairs: int = 4) -> ClipPairs:
    left, right = torch.rand(2, pairs, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    number = torch.arange(pairs)
    return ClipPairs(left, right, item=number, group=number // 2, gap=number.float(), max_gap=torch.full((pairs,), 9.0))


def test_loss_is_nt_xent_of_one_forward_pass() -> None:
    method, pairs = SimCLR(settings(repel="all"), channels=1), batch()
    z = method.projector(method.encoder(torch.cat([pairs.left, pairs.right])))
    torch.testing.assert_close(method.loss(pairs), nt_xent(z[:4], z[4:], temperature=0.2), rtol=1e-5, atol=1e-6)


def test_repel_decides_who_is_a_negative() -> None:
    pairs = batch()
    found = {}
    for repel in ("all", "other_item", "other_patient"):
        method = SimCLR(settings(repel=repel), channels=1).eval()
        found[repel] = float(method.valid_loss(pairs).detach())
    assert found["all"] == pytest.approx(found["other_item"], rel=1e-5)  # every pair is of another clip
    assert found["other_patient"] < found["all"] - 0.1


def test_a_seed_makes_a_method_and_leaves_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (SimCLR(settings(seed=seed), channels=1) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    a, b, c = (torch.cat([p.detach().flatten() for p in method.parameters()]) for method in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert len(first.parameters_to_train()) == len(list(first.parameters()))
    assert first.towers() == {"image": first.encoder}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("profile", ["default", "paper"])
def test_every_profile_builds_and_the_user_wins(name: str, profile: str) -> None:
    kind = load_method(name)
    assert issubclass(kind, MethodBase)
    if profile not in kind.PROFILES:
        with pytest.raises(ConfigError, match="Unknown profile"):
            resolve(kind, {"profile": profile})
        return
    values = merge(kind.PROFILES[profile], {"profile": profile, "lr": 0.7, "augment": {"flip": 0.25}})
    resolved = build(kind.Settings, values)
    assert resolved.lr == 0.7
    assert resolved.augment.flip == 0.25
    assert isinstance(resolved.augment, Augment)
    known = {*kind.Settings.model_fields, *(f"augment.{key}" for key in Augment.model_fields)}
    assert set(kind.NOT_FROM_PAPER) <= known


def test_unknown_method() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'simclr'"):
        load_method("simlcr")


def test_deal_keeps_groups_whole() -> None:
    groups = np.repeat(np.arange(20), 3)
    rows = np.arange(100, 160)
    dealt = deal(rows, groups, {"valid": 0.1, "extra": 0.2}, seed=0)
    assert sorted(np.concatenate(list(dealt.values()))) == rows.tolist()
    owners = {role: set(groups[chosen - 100]) for role, chosen in dealt.items()}
    assert sum(len(chosen) for chosen in owners.values()) == 20
    assert [len(dealt[role]) for role in ("train", "valid", "extra")] == [42, 6, 12]
    again, other = deal(rows, groups, {"valid": 0.1}, seed=0), deal(rows, groups, {"valid": 0.1}, seed=1)
    assert again["valid"].tolist() == dealt["valid"].tolist() != other["valid"].tolist()


def test_deal_passes_over_a_giant_and_keeps_enough_groups() -> None:
    groups = np.array([0] * 80 + list(range(1, 21)))
    dealt = deal(np.arange(100), groups, {"valid": 0.1}, seed=0)
    assert len(dealt["valid"]) == 10
    assert 0 not in groups[dealt["valid"]]
    pairs = np.repeat(np.arange(6), 5)
    assert len(set(pairs[deal(np.arange(30), pairs, {"valid": 0.1}, seed=0, least=2)["valid"]])) == 2
    assert len(deal(np.arange(30), pairs, {"valid": 0.0}, seed=0)["valid"]) == 0
    with pytest.raises(ConfigError, match="too few"):
        deal(np.arange(4), np.array([0, 0, 1, 1]), {"valid": 0.1, "extra": 0.1}, seed=0)


CLIPS = "phantom:ultrasound?patients=4&clips=20&frames=1&size=32"


def test_a_batch_of_one_patient_counts_nothing_and_the_run_goes_on(tmp_path: Path) -> None:
    """A batch of 4 of 80 images of 4 patients is of one patient now and then."""
    values = TINY | {"repel": "other_patient", "pairs_per_clip": 4, "steps": 40, "valid_fraction": 0.3, "lr": 1e-4}
    values |= {"pairs": "single", "device": "cpu", "working_size": 32}
    run = sidelight.pretrain("simclr", CLIPS, tmp_path / "run", quiet=True, cache=str(tmp_path), **values)
    losses = run.metrics()["loss"].dropna()
    assert len(losses) == 40 and (losses == 0).any() and (losses > 0).mean() > 0.9


@pytest.mark.parametrize(
    ("repel", "rows", "patients", "says"),
    [
        ("other_patient", 4, 1, "1 patient"),
        ("other_item", 1, 1, "one item"),
        ("other_item", 2, 1, ""),
        ("all", 1, 1, ""),
    ],
)
def test_training_images_without_any_negative_are_refused(repel: str, rows: int, patients: int, says: str) -> None:
    method = SimCLR(settings(repel=repel), channels=1)
    feed = SimpleNamespace(train_rows=np.arange(rows), count_groups=lambda rows: patients)
    with pytest.raises(TrainingError, match=says) if says else nullcontext():
        method.check_negatives(feed)
