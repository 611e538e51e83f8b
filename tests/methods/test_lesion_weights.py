"""Learned pair weights of SLIMP's lesion level: the meta gradient by differences, what it leaves alone, whom it trusts."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.losses.nested import clip_loss, level_loss
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.learned_weights import weigh
from sidelight.methods.lesion_weights import Heads, PairFeatures, two_levels
from sidelight.methods.pair_weights import CMWNet, WeightLearner, meta_gradient_exact, meta_gradient_jvp
from sidelight.methods.slimp import Slimp
from sidelight.models.heads import mlp

TINY = {"encoder": "test_resnet", "image_size": 32, "batch_size": 8, "projection": 16, "lesions": 3, "device": "cpu"}
TINY |= {"table": {"width": 16, "heads": 2, "depth": 1}, "precision": "float32", "working_size": 32}
TINY |= {"least_patients": 1, "weights": "meta", "optimizer": "sgd", "lr": 0.1, "meta_fraction": 0.3}


class Scene:
    """Two heads after a step with momentum, features of pairs and meta pairs, and a weight net worth differentiating."""

    def __init__(self, targets="plain"):
        torch.manual_seed(0)
        self.targets = targets
        self.heads, self.net = Heads(mlp(6, 5, 4), mlp(3, 5, 4)).double(), CMWNet(4, "symmetric").double()
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.mul_(3)
        groups, same = torch.tensor([0, 0, 1, 2, 3, 4]), torch.tensor([0, 0, 1, 2, 1, 3])
        told = torch.randn(2, 4, 3).double()
        self.pairs, self.meta = (
            PairFeatures(torch.randn(6, 6).double(), own[same], same, by)
            for own, by in zip(told, (groups, None), strict=True)
        )
        self.optimizer = torch.optim.SGD(self.heads.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
        clip_loss(*self.heads(*self.pairs[:2]), temperature=0.2).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def problem(self):
        given = {"share": 0.7, "temperature": torch.tensor(0.2, dtype=torch.float64), "targets": self.targets}
        return two_levels(self.heads, self.net, self.pairs, self.meta, self.optimizer, **given)

    def meta_loss(self, net):
        """After one real step of copies, on the method's loss of whole batches, weights of fixed projections."""
        heads = copy.deepcopy(self.heads)
        optimizer = torch.optim.SGD(heads.parameters(), lr=1.0)
        optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        left, right = heads(*self.pairs[:2])
        weights = weigh(net, left, right).detach()
        given = {"temperature": 0.2, "targets": self.targets}
        shown = {"same": self.pairs.same, "groups": self.pairs.groups}
        (0.7 * level_loss(left, right, weights=weights, **given, **shown)).backward()
        optimizer.step()
        with torch.no_grad():
            return float(level_loss(*heads(*self.meta[:2]), same=self.meta.same, **given))


@pytest.mark.parametrize("targets", ["plain", "multi_positive", "distinct"])
def test_the_meta_gradient_is_that_of_a_real_step(targets):
    scene = Scene(targets)
    fast, slow = meta_gradient_jvp(scene.problem()), meta_gradient_exact(scene.problem())
    analytic, numeric = [], []
    for number, (one, other) in enumerate(zip(fast.gradients, slow.gradients, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
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
    assert float(fast.loss) == pytest.approx(scene.meta_loss(scene.net), rel=1e-12)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Column ``checked`` says of some patients that photographs and data belong together."""
    cohort = Cohort.open("phantom:skin?patients=40&size=32&seed=3")
    checked = cohort.items["patient"].isin(np.unique(cohort.items["patient"])[::2])
    cohort = replace(cohort, items=cohort.items.assign(checked=np.where(checked, "yes", "no")))
    cache = str(tmp_path_factory.mktemp("weights"))
    return cohort, open_pixels(cohort, 32, EvaluateSettings(cache=cache), quiet=True)


def method(world, **values):
    cohort, pixels = world
    rows = np.arange(len(pixels), dtype=np.int64)
    return Slimp(resolve(Slimp, {**TINY, **values}), source=MethodData(cohort, pixels, rows, cohort.key))


def batches(net, pixels, step, size=24):
    feed, rng = net.feed(pixels), np.random.default_rng(step)
    found = []
    for role in ("train", "extra"):
        rows = rng.permutation(getattr(feed, f"{role}_rows"))[:size]
        found.append(feed.finish(feed.raw(step, rows, np.zeros(len(rows), np.int64), role), torch.device("cpu")))
    return found


def test_a_net_without_an_opinion_is_uniform_and_validation_has_no_weights(world):
    net, plain = method(world).eval(), method(world, weights="uniform", optimizer="adamw").eval()
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if "weight_net" not in name})
    given = batches(net, world[1], 0)[0]
    assert not torch.isclose(net.loss(given), plain.loss(given), rtol=1e-7)
    torch.testing.assert_close(net.valid_loss(given), plain.loss(given))
    torch.nn.init.zeros_(net.weight_net.out.weight)
    torch.testing.assert_close(net.loss(given), plain.loss(given))


def test_the_meta_step_moves_the_weight_net_alone(world):
    net = method(world)
    optimizer = torch.optim.SGD(net.parameters_to_train(), lr=0.1, momentum=0.9)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    notes = net.before_step(0, 1) | net.before_batch(*batches(net, world[1], 0), optimizer)
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    counters = {name for name in changed if name.endswith("num_batches_tracked")}
    assert changed - counters == {f"weight_net.{name}" for name, _ in net.weight_net.named_parameters()}
    assert all(p.grad is None for p in net.parameters())
    assert 0 < notes["weight_min"] < notes["weight_max"] < 1 and notes["lesion_temperature"] == pytest.approx(0.07)
    own = {id(p) for p in net.weight_net.parameters()}
    assert not own & {id(p) for p in net.parameters_to_train()}


def test_the_look_ahead_is_clipped_by_the_length_of_the_last_whole_gradient(world):
    found = {}
    for clip_norm, length in ((None, 50.0), (100.0, 50.0), (1e-3, 0.0), (1e-3, 50.0), (2e-3, 50.0)):
        net = method(world, clip_norm=clip_norm).eval()
        optimizer = torch.optim.SGD(net.parameters_to_train(), lr=0.1, momentum=0.9)
        net.learner.length = length
        found[clip_norm, length] = net.meta_gradient(*batches(net, world[1], 0), optimizer).gradients[2].norm().item()
    assert found[None, 50.0] == found[100.0, 50.0] > found[1e-3, 0.0] > found[1e-3, 50.0] > 0
    assert found[2e-3, 50.0] == pytest.approx(2 * found[1e-3, 50.0], rel=1e-2)


def test_meta_pairs_are_of_trusted_patients_who_take_part_in_nothing_else(world):
    cohort, pixels = world
    feed = method(world, trusted={"checked": "yes"}, meta_fraction=0.5).feed(pixels)
    position, patient = pixels.index["position"].to_numpy(), pixels.index["group"].to_numpy()
    assert (cohort.items["checked"].to_numpy()[position[feed.extra_rows]] == "yes").all()
    roles = [set(patient[rows]) for rows in (feed.train_rows, feed.valid_rows, feed.extra_rows)]
    assert all(roles) and not roles[0] & roles[2] and not roles[1] & roles[2]
    with pytest.raises(DataError, match="No readable item fits trusted"):
        method(world, trusted={"checked": "maybe"}).feed(pixels)


def made(count, share, seed):
    """Features of ``count`` lesions from latents they share; of a ``share`` the data are another lesion's (True: right)."""
    maps = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(0))
    given = torch.Generator().manual_seed(seed)
    latents, right = torch.randn(count, 4, generator=given), torch.rand(count, generator=given) >= share
    other = torch.where(right[:, None], latents, torch.randn(count, 4, generator=given))
    return PairFeatures(torch.tanh(latents @ maps[0]), torch.tanh(other @ maps[1]), torch.arange(count)), right


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_mismatched_pairs_lose_weight(optimizer):
    """Half of the lesions have another lesion's data; those of the meta pairs are right. The net finds out whom to believe."""
    torch.manual_seed(0)
    heads, net = Heads(mlp(12, 16, 8), mlp(12, 16, 8)), CMWNet(8, "symmetric")
    rates = {"lr": 0.1, "momentum": 0.9} if optimizer is torch.optim.SGD else {"lr": 3e-3}
    optimizer, learner = optimizer(heads.parameters(), **rates), WeightLearner(net, 0.01)
    scale = torch.tensor(0.1)
    for step in range(160):
        pairs, meta = made(48, 0.5, step + 1)[0], made(48, 0.0, 10_000 + step)[0]
        learner.step(
            meta_gradient_jvp(
                two_levels(heads, net, pairs, meta, optimizer, targets="plain", share=1.0, temperature=scale)
            )
        )
        left, right = heads(pairs.images, pairs.metadata)
        optimizer.zero_grad()
        clip_loss(left, right, temperature=scale, weights=weigh(net, left, right).detach()).backward()
        optimizer.step()
    unseen, true = made(400, 0.5, 0)
    with torch.no_grad():
        weights = weigh(net, *heads(*unseen[:2]))
    assert weights[true].mean() > 2 * weights[~true].mean(), (weights[true].mean(), weights[~true].mean())


def test_what_does_not_fit_is_refused(world):
    with pytest.raises(ConfigError, match="cannot do so through rmsprop"):
        method(world, optimizer="rmsprop")
    with pytest.raises(ConfigError, match="here there are none"):
        method(world, lam=0.0)
