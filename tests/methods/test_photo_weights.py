"""Learned weights of SM3's pairs: the meta gradient by differences, what it leaves alone, whom it trusts, a stopped run."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.losses.sm3 import crossed
from sidelight.methods.base import MethodData, identity, resolve
from sidelight.methods.learned_weights import weigh
from sidelight.methods.pair_weights import CMWNet, WeightLearner, meta_gradient_exact, meta_gradient_jvp
from sidelight.methods.photo_weights import Crossing, PhotoFeatures, two_levels
from sidelight.methods.sm3 import SM3
from sidelight.models.heads import Projection
from stopping import stopped

TINY = {
    "encoder": "test_resnet",
    "image_size": 32,
    "batch_size": 8,
    "projection": 8,
    "device": "cpu",
    "precision": "float32",
}
TINY |= {"weights": "meta", "optimizer": "sgd", "lr": 0.05, "meta_fraction": 0.3, "working_size": 32}


class Scene:
    """Two projectors after a step with momentum, features of pairs and meta pairs, and a weight net worth differentiating."""

    def __init__(self, style, apart, shared, sizes=None):
        torch.manual_seed(0)
        self.style, self.sizes = style, sizes
        widths = [6] if shared else [6, 6]
        self.crossing = Crossing(nn.ModuleList(Projection(width, 4) for width in widths), apart=apart).double()
        self.net = CMWNet(4, "symmetric").double()
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.mul_(3)
        groups = torch.tensor([0, 0, 1, 2, 3, 4])
        self.pairs = PhotoFeatures(torch.randn(6, 2, 6).double(), torch.randn(6, 2, 6).double(), groups, sizes)
        self.meta = PhotoFeatures(torch.randn(5, 2, 6).double(), torch.randn(5, 2, 6).double())
        self.optimizer = torch.optim.SGD(self.crossing.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
        crossed(self.crossing(*self.pairs[:2]), temperature=0.2).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def problem(self):
        given = {"share": 0.7, "temperature": 0.2, "style": self.style}
        return two_levels(
            self.crossing, self.crossing.structure(), self.net, self.pairs, self.meta, self.optimizer, **given
        )

    def meta_loss(self, net):
        """After one real step of copies on the method's loss, weights of fixed projections."""
        crossing = copy.deepcopy(self.crossing)
        optimizer = torch.optim.SGD(crossing.parameters(), lr=1.0)
        optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        joint, given = crossing(*self.pairs[:2]), {"temperature": 0.2, "style": self.style}
        weights = weigh(net, *joint.mean(2).unbind(1)).detach()
        sizes = self.sizes or (6,)
        parts = zip(joint.split(sizes), weights.split(sizes), self.pairs.groups.split(sizes), strict=True)
        each = [crossed(part, weights=some, groups=own, **given) for part, some, own in parts]
        (0.7 * torch.stack(each).mean()).backward()
        optimizer.step()
        with torch.no_grad():
            return float(crossed(crossing(*self.meta[:2]), **given))


@pytest.mark.parametrize(
    ("style", "apart", "shared", "sizes"),
    [(0, False, False, None), (2, True, False, None), (1, False, True, None), (0, False, False, (4, 2))],
)
def test_the_meta_gradient_is_that_of_a_real_step(style, apart, shared, sizes):
    scene = Scene(style, apart, shared, sizes)
    before = copy.deepcopy(scene.crossing.state_dict())
    fast, slow = meta_gradient_jvp(scene.problem()), meta_gradient_exact(scene.problem())
    assert all(torch.equal(before[name], value) for name, value in scene.crossing.state_dict().items())
    analytic, numeric = [], []
    for number, (one, other) in enumerate(zip(fast.gradients, slow.gradients, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)
        for place in {0, one.numel() // 2, one.numel() - 1}:
            values = []
            for sign in (1, -1):
                net = copy.deepcopy(scene.net)
                with torch.no_grad():
                    list(net.parameters())[number].view(-1)[place] += sign * 1e-5
                values.append(scene.meta_loss(net))
            numeric.append((values[0] - values[1]) / 2e-5)
            analytic.append(float(one.view(-1)[place]))
    assert np.linalg.norm(numeric) > 1e-4
    np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-8)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Column ``checked`` says of some cases that both photographs show one lesion."""
    cohort = Cohort.open("phantom:derm?cases=40&size=32&seed=3")
    checked = cohort.items["group"].isin(np.unique(cohort.items["group"])[::2])
    cohort = replace(cohort, items=cohort.items.assign(checked=np.where(checked, "yes", "no")))
    cache = str(tmp_path_factory.mktemp("weights"))
    return cohort, open_pixels(cohort, 32, EvaluateSettings(cache=cache), quiet=True)


def method(world, **values):
    cohort, pixels = world
    rows = np.arange(len(pixels), dtype=np.int64)
    return SM3(resolve(SM3, {**TINY, **values}), source=MethodData(cohort, pixels, rows, cohort.key))


def batches(net, pixels, size=8):
    feed, rng, found = net.feed(pixels), np.random.default_rng(0), []
    for role in ("train", "extra"):
        rows = rng.permutation(getattr(feed, f"{role}_rows"))[:size]
        found.append(feed.finish(feed.raw(0, rows, np.zeros(len(rows), np.int64), role), torch.device("cpu")))
    return found


def test_the_meta_step_moves_the_weight_net_alone(world):
    net = method(world)
    optimizer = torch.optim.SGD(net.parameters_to_train(), lr=0.1, momentum=0.9)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    notes = net.before_batch(*batches(net, world[1]), optimizer)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(before[name], value)}
    counters = {name for name in changed if name.endswith("num_batches_tracked")}
    assert changed - counters == {f"weight_net.{name}" for name, _ in net.weight_net.named_parameters()}
    assert 0 < notes["weight_min"] < notes["weight_max"] < 1
    assert not {id(p) for p in net.weight_net.parameters()} & {id(p) for p in net.parameters_to_train()}


def test_a_net_without_an_opinion_is_uniform_and_validation_has_no_weights(world):
    net, plain = method(world).eval(), method(world, weights="uniform").eval()
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if "weight_net" not in name})
    given = batches(net, world[1])[0]
    assert not torch.isclose(net.loss(given), plain.loss(given), rtol=1e-7)
    torch.testing.assert_close(net.valid_loss(given), plain.loss(given))
    nn.init.zeros_(net.weight_net.out.weight)
    torch.testing.assert_close(net.loss(given), plain.loss(given))


def test_meta_pairs_are_of_trusted_patients_who_take_part_in_nothing_else(world):
    cohort, pixels = world
    feed = method(world, trusted={"checked": "yes"}, meta_fraction=0.5).feed(pixels)
    position, patient = pixels.index["position"].to_numpy(), pixels.index["group"].to_numpy()
    assert (cohort.items["checked"].to_numpy()[position[feed.extra_rows]] == "yes").all()
    roles = [set(patient[rows]) for rows in (feed.train_rows, feed.valid_rows, feed.extra_rows)]
    assert all(roles) and not roles[0] & roles[2] and not roles[1] & roles[2]
    assert not len(method(world, weights="uniform").feed(pixels).extra_rows)


def test_meta_pairs_are_the_trusted_lesions_of_their_patients_alone(world):
    """Every patient has two lesions, of which one is checked."""
    cohort, pixels = world
    case = np.unique(pixels.index["group"], return_inverse=True)[1]
    two = replace(pixels, index=pixels.index.assign(group=[f"p{one // 2:02}" for one in case]))
    feed = method((cohort, two), trusted={"checked": "yes"}, meta_fraction=0.5).feed(two)
    shown = [row for slots in feed.sources["extra"].lesions.slots for rows in slots for row in rows]
    assert (cohort.items["checked"].to_numpy()[two.index["position"].to_numpy()[shown]] == "yes").all()
    patient = two.index["group"].to_numpy()
    assert len(feed.extra_rows) == len(set(patient[feed.extra_rows])) > 1
    assert not set(patient[feed.extra_rows]) & set(patient[np.r_[feed.train_rows, feed.valid_rows]])


@pytest.mark.parametrize("passes", ["together", "apart"])
def test_the_look_ahead_sees_the_features_of_the_step(world, passes):
    """Without absent photographs, whose zeros would be in the batch statistics, and in the passes and parts of the step."""
    net = method(world, passes=passes, parts=2, repel="all").train()
    given = batches(net, world[1])[0]
    present = torch.ones_like(given.present)
    present[1, 2] = present[0, 5] = False
    given, seen = replace(given, present=present), []
    for tower in net.both:
        tower.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    net.loss(given)
    known = net._known(given, identity)
    half = len(seen) // 2
    assert half == (2 if passes == "together" else 4)
    assert all(torch.equal(one, other) for one, other in zip(seen[:half], seen[half:], strict=True))
    assert known.sizes == (3, 3) and known.first.shape[:2] == known.second.shape[:2] == (7, 2)
    crossing = Crossing(net.joint, apart=passes == "apart")
    torch.testing.assert_close(crossing(*known[:2], known.rows), net.project(given)[1][present.all(0)])
    assert net._known(replace(given, present=torch.eye(2, 8).bool()), identity) is None


def made(count, share, seed):
    """Features of ``count`` lesions from latents they share, two views; of a ``share`` the second photograph is of another
    lesion (True: right)."""
    maps = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(0))
    given = torch.Generator().manual_seed(seed)
    latents, right = torch.randn(count, 4, generator=given), torch.rand(count, generator=given) >= share
    other = torch.where(right[:, None], latents, torch.randn(count, 4, generator=given))
    noise = 0.1 * torch.randn(2, count, 2, 12, generator=given)
    first, second = (torch.tanh(of @ by)[:, None] + n for of, by, n in zip((latents, other), maps, noise, strict=True))
    return PhotoFeatures(first, second), right


@pytest.mark.parametrize("seed", range(3))
def test_mismatched_photographs_lose_weight(seed):
    """Half of the lesions have another lesion's second photograph; those of the meta pairs are right."""
    torch.manual_seed(seed)
    crossing = Crossing(nn.ModuleList(Projection(12, 8) for _ in range(2)), apart=False)
    net, structure = CMWNet(8, "symmetric"), crossing.structure()
    optimizer, learner = torch.optim.SGD(crossing.parameters(), lr=0.1, momentum=0.9), WeightLearner(net, 0.01)
    given = {"share": 1.0, "temperature": 0.1, "style": 0}
    for step in range(120):
        pairs, meta = made(48, 0.5, 1000 * seed + step + 1)[0], made(48, 0.0, 100_000 + step)[0]
        learner.step(meta_gradient_jvp(two_levels(crossing, structure, net, pairs, meta, optimizer, **given)))
        joint = crossing(*pairs[:2])
        optimizer.zero_grad()
        crossed(joint, temperature=0.1, weights=weigh(net, *joint.mean(2).unbind(1)).detach()).backward()
        optimizer.step()
    unseen, true = made(400, 0.5, 0)
    with torch.no_grad():
        weights = weigh(net, *crossing(*unseen[:2]).mean(2).unbind(1))
    assert weights[true].mean() > 2 * weights[~true].mean(), (weights[true].mean(), weights[~true].mean())


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    given = {**TINY, "steps": 4, "cache": str(tmp_path / "cache"), "quiet": True}
    phantom = "phantom:derm?cases=20&size=32"
    whole = sidelight.pretrain("sm3", phantom, tmp_path / "whole", **given)
    with stopped(SM3, 3):
        sidelight.pretrain("sm3", phantom, tmp_path / "stopped", **given)
    again = sidelight.pretrain("sm3", phantom, tmp_path / "stopped", **given)
    assert again.summary["weights"] == whole.summary["weights"]


def test_what_does_not_fit_is_refused(world):
    with pytest.raises(ConfigError, match="cannot do so through rmsprop"):
        method(world, optimizer="rmsprop")
