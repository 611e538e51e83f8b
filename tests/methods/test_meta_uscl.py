import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sidelight.config import build, merge
from sidelight.errors import ConfigError, TrainingError
from sidelight.explaining.pairs import keep
from sidelight.losses import nt_xent
from sidelight.methods.meta_uscl import MetaUSCL, MetaUSCLSettings
from sidelight.models.image import Encoder, create_encoder
from sidelight.views.clips import ClipPairs

TINY = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 4}


def tiny_encoder() -> Encoder:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    network.num_features = 24
    return Encoder(network, name="tiny", channels=1, image_size=32, mean=[0.4], std=[0.2])


def make(encoder: Encoder | None = None, **values) -> tuple[MetaUSCL, torch.optim.SGD]:
    """A float64 method and its optimiser with momentum in it; weights of W large enough to matter."""
    method = MetaUSCL(build(MetaUSCLSettings, TINY | values), encoder=encoder or tiny_encoder()).double()
    if values.get("weights", "meta") == "meta":
        with torch.no_grad():
            for parameter in method.weight_net.parameters():
                parameter.mul_(4)
    optimizer = torch.optim.SGD(method.parameters_to_train(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    method.loss(batch(seed=5)).backward()
    optimizer.step()
    optimizer.zero_grad()
    return method, optimizer


def batch(seed: int = 0, pairs: int = 4) -> ClipPairs:
    generator = torch.Generator().manual_seed(seed)
    shade = torch.linspace(0.1, 1, pairs, dtype=torch.float64)[:, None, None, None]
    left, right = shade * torch.rand(2, pairs, 1, 32, 32, dtype=torch.float64, generator=generator)
    number = torch.arange(pairs)
    return ClipPairs(
        left, right, item=number, group=number, gap=number.double(), max_gap=torch.full((pairs,), 4.0).double()
    )


def snapshot(method: MetaUSCL, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    momenta = {f"v{i}": state["momentum_buffer"] for i, state in enumerate(optimizer.state.values())}
    return {name: tensor.clone() for name, tensor in (method.state_dict() | momenta).items()}


@pytest.mark.parametrize("form", ["jvp", "exact", "head"])
def test_a_meta_step_changes_the_weight_net_only(form: str) -> None:
    method, optimizer = make(meta_step=form)
    before = snapshot(method, optimizer)
    notes = method.before_batch(batch(), batch(1), optimizer)
    after = snapshot(method, optimizer)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("weight_net.") for name in changed)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert notes.keys() == {"meta_loss", "weight_mean", "weight_sd", "weight_min", "weight_max"}
    assert 0 < notes["weight_min"] < notes["weight_mean"] < notes["weight_max"] < 1


def test_jvp_is_exact_through_a_real_encoder() -> None:
    method, optimizer = make(create_encoder("test_resnet", channels=1, image_size=32))
    gradients = []
    for form in ("jvp", "exact"):
        method.settings = method.settings.model_copy(update={"meta_step": form})
        found = method.meta_gradient(batch(), batch(1), optimizer)
        gradients.append(torch.cat([gradient.flatten() for gradient in found.gradients]))
    fast, exact = gradients
    assert exact.norm() > 0
    assert (fast - exact).norm() < 1e-9 * exact.norm()


def optimizer_of(method: MetaUSCL, like: torch.optim.Optimizer) -> torch.optim.SGD:
    optimizer = torch.optim.SGD(method.parameters_to_train(), lr=0.1)
    optimizer.load_state_dict(copy.deepcopy(like.state_dict()))
    return optimizer


def test_head_looks_ahead_with_the_projector_alone() -> None:
    """Against a central difference of the meta loss after a step of the projector on fixed features."""
    method, optimizer = make(meta_step="head", clip_norm=None)
    found = method.meta_gradient(batch(), batch(1), optimizer).gradients[-1]

    def meta_loss() -> float:
        copied, _ = make(meta_step="head", clip_norm=None)
        copied.load_state_dict(method.state_dict())
        real = optimizer_of(copied, optimizer)
        with torch.no_grad():
            h = [copied.encoder(view) for view in (batch().left, batch().right, batch(1).left, batch(1).right)]
        real.zero_grad()
        nt_xent(
            copied.projector(h[0]),
            copied.projector(h[1]),
            temperature=copied.settings.temperature,
            weights=copied.weight_net(*h[:2]),
        ).backward()
        for parameter in copied.encoder.parameters():
            parameter.grad = None
        real.step()
        with torch.no_grad():
            return float(
                nt_xent(copied.projector(h[2]), copied.projector(h[3]), temperature=copied.settings.temperature)
            )

    bias, values = method.weight_net.out.bias, []
    for sign in (1, -1):
        with torch.no_grad():
            bias += sign * 1e-5
        values.append(meta_loss())
        with torch.no_grad():
            bias -= sign * 1e-5
    assert found.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("form", ["jvp", "exact", "head"])
def test_the_look_ahead_is_clipped_as_the_step_is(form: str) -> None:
    """To a short step, the meta gradient is in proportion; of the projector alone by the length of the last whole gradient."""
    found = {}
    for clip_norm in (None, 1e6, 1e-4, 2e-4):
        method, optimizer = make(meta_step=form, clip_norm=clip_norm)
        found[clip_norm] = method.meta_gradient(batch(), batch(1), optimizer).gradients[-1].item()
    assert found[None] == found[1e6] != 0
    assert found[2e-4] == pytest.approx(2 * found[1e-4], rel=1e-3) and abs(found[1e-4]) < abs(found[None])
    method, optimizer = make(meta_step=form, clip_norm=1.0)
    method.loss(batch()).backward()
    method.after_backward(0, 1)
    whole = float(nn.utils.get_total_norm([p.grad for p in method.parameters_to_train()]))
    assert method.learner.length == (pytest.approx(whole) if form == "head" else 0.0)
    if form == "head":
        method.learner.length = 1e4  # clipped to a 10,000th
        short = method.meta_gradient(batch(), batch(1), optimizer).gradients[-1].item()
        head = float(nn.utils.get_total_norm([p.grad for p in method.projector.parameters()]))
        method.settings, method.learner.length = method.settings.model_copy(update={"clip_norm": head / 1e4}), 0.0
        # the same factor, by the projector's own length
        assert method.meta_gradient(batch(), batch(1), optimizer).gradients[-1].item() == pytest.approx(short, rel=0.05)


@pytest.mark.parametrize("form", ["jvp", "exact", "head"])
def test_the_main_step_reuses_the_meta_steps_forward_pass(form: str) -> None:
    """Same loss, gradient and batch statistics as a forward pass of its own, and only for the same batch."""
    found = []
    for reuse in (True, False):
        method, optimizer = make(meta_step=form)
        pairs = batch()
        method.before_batch(pairs, batch(1), optimizer)
        calls = []
        method.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        loss = method.loss(pairs if reuse else batch())
        loss.backward()
        assert len(calls) == (0 if reuse else 2)
        found.append([loss.detach(), *(p.grad for p in method.parameters_to_train()), *method.buffers()])
    for shared, own in zip(*found, strict=True):
        torch.testing.assert_close(shared, own, rtol=1e-9, atol=1e-12)


def test_every_process_takes_the_meta_step_of_the_whole_batch() -> None:
    whole, meta = batch(), batch(1)
    parts = [tensor for pairs in (whole, meta) for tensor in vars(pairs).values() if tensor is not None]

    def gather(tensor: Tensor) -> Tensor:
        return next(part for part in parts if torch.equal(part[: len(tensor)], tensor))

    found = []
    for count in (4, 2):  # one process; the first of two
        method, optimizer = make()
        shares = (pairs.map(lambda tensor, count=count: tensor[:count]) for pairs in (whole, meta))
        method.before_batch(*shares, optimizer, gather)
        found.append([parameter.detach() for parameter in method.weight_net.parameters()])
    for alone, shared in zip(*found, strict=True):
        assert torch.equal(alone, shared)


def test_under_autocast_the_main_step_has_its_own_forward_pass() -> None:
    method, optimizer = make()
    method.float()
    optimizer = torch.optim.SGD(method.parameters_to_train(), lr=0.1)
    pairs = batch().map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    for expected in (2, 2):
        method.before_batch(pairs, pairs, optimizer)
        calls = []
        hook = method.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            method.loss(pairs).backward()
        hook.remove()
        assert len(calls) == expected


def test_equal_weights_give_the_unweighted_gradient_and_alpha_none() -> None:
    gradients = {}
    start = make(weights="uniform")[0].state_dict()
    for weights in ("uniform", "meta"):
        method, _ = make(weights=weights)
        method.load_state_dict(start, strict=False)
        if weights == "meta":
            torch.nn.init.zeros_(method.weight_net.out.weight)
            torch.nn.init.zeros_(method.weight_net.out.bias)
        method.loss(batch()).backward()
        gradients[weights] = [parameter.grad for parameter in method.parameters_to_train()]
        if weights == "meta":
            assert all(parameter.grad is None for parameter in method.weight_net.parameters())
    for plain, weighted in zip(*gradients.values(), strict=True):
        assert torch.equal(plain, weighted)


def test_distance_weights_reach_the_loss() -> None:
    method, _ = make(weights="distance")
    method.eval()
    pairs = batch()
    z = [method.projector(method.encoder(view)) for view in (pairs.left, pairs.right)]
    expected = nt_xent(*z, temperature=0.2, weights=torch.tensor([5.0, 4, 3, 2]) / 5)
    torch.testing.assert_close(method.loss(pairs), expected)
    torch.testing.assert_close(method.valid_loss(pairs), nt_xent(*z, temperature=0.2))
    assert method.before_batch(pairs, None, torch.optim.AdamW(method.parameters())) == {}


def test_the_weight_nets_optimizer_resumes_bit_for_bit() -> None:
    method, optimizer = make(meta_step="head")
    assert method.state_tensors() == {}
    method.before_batch(batch(), batch(1), optimizer)
    resumed, _ = make(meta_step="head")
    resumed.load_state_dict(method.state_dict())
    resumed.load_state_tensors({name: tensor.clone() for name, tensor in method.state_tensors().items()})
    other = optimizer_of(resumed, optimizer)
    for _ in range(2):
        method.before_batch(batch(), batch(1), optimizer)
        resumed.before_batch(batch(), batch(1), other)
    for left, right in zip(method.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_what_cannot_go_together_is_refused() -> None:
    for values, words in (
        ({"accumulate": 2}, "cannot accumulate"),
        ({"attached": True}, "meta_step=exact"),
    ):
        with pytest.raises(ConfigError, match=words):
            build(MetaUSCLSettings, values)
    assert build(MetaUSCLSettings, {"optimizer": "adamw"}).weights == "meta"
    method, optimizer = make()
    with pytest.raises(TrainingError, match="no meta clips"):
        method.before_batch(batch(), None, optimizer)


def test_roles_are_disjoint_by_default_and_overlap_as_published() -> None:
    rows, groups = np.arange(200), np.repeat(np.arange(50), 4)
    ours, _ = make()
    roles = ours.roles(rows, groups)
    owners = [set(groups[roles[role]]) for role in ("train", "valid", "extra")]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    assert sum(len(chosen) for chosen in roles.values()) == 200
    paper = build(MetaUSCLSettings, merge(MetaUSCL.PROFILES["paper"], TINY))
    roles = MetaUSCL(paper, encoder=tiny_encoder()).roles(rows, groups)
    assert [len(roles[role]) for role in ("train", "valid", "extra")] == [160, 40, 40]
    assert set(roles["extra"]) & set(roles["train"])
    assert "extra" not in make(weights="uniform")[0].roles(rows, groups)


class Clips:
    """Six frames of each of 30 clips, as the pixel cache gives them."""

    def __init__(self) -> None:
        self.data = np.random.default_rng(0).integers(0, 256, (30, 6, 1, 40, 40), dtype=np.uint8)
        self.index = pd.DataFrame({"item": [f"clip{i}" for i in range(30)], "group": [f"p{i // 2}" for i in range(30)]})

    def __len__(self) -> int:
        return 30

    def frames_of(self, row: int) -> int:
        return 6

    def numbers(self, row: int) -> np.ndarray:
        return 2 * np.arange(6)

    def times(self, row: int) -> np.ndarray:
        return np.arange(6) / 25

    def read(self, row: int, at: list[int]) -> np.ndarray:
        return self.data[row][np.asarray(at)]

    def batch(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        return self.data[np.asarray(rows), np.asarray(at)]


@pytest.mark.parametrize("shuffled", [False, True])
def test_feed_and_pictures(tmp_path: Path, shuffled: bool) -> None:
    settings = build(MetaUSCLSettings, TINY | {"shuffle_pairs": shuffled})
    method = MetaUSCL(settings, encoder=tiny_encoder())
    feed = method.feed(Clips())
    device = torch.device("cpu")
    for role, rows in (("train", feed.train_rows), ("valid", feed.valid_rows), ("extra", feed.extra_rows)):
        pairs = feed.finish(feed.raw(0, rows[:2], np.zeros(2, dtype=np.int64), role), device)
        assert pairs.left.shape == (2, 1, 32, 32)
        assert pairs.item.tolist() == rows[:2].tolist()
        assert (pairs.gap == 0).all() == (role == "extra")
    assert len(set(feed.names(feed.train_rows))) == len(feed.train_rows)
    assert "clip" not in "".join(feed.names(feed.train_rows))
    keep(method, feed, tmp_path, pictures=True)
    stored = load_file(tmp_path / "examples.safetensors")
    assert stored["left"].shape == stored["right"].shape == (12, 1, 32, 32)
    assert stored["left"].dtype == torch.uint8
    strip = load_file(tmp_path / "strip.safetensors")
    assert strip["similarity"][0] == pytest.approx(1, abs=1e-5)
    assert strip["frames"].shape[0] == len(strip["weight"]) == 6
    assert load_file(tmp_path / "weights.safetensors")["weight"].shape == (256,)
