"""The meta gradient in every form against central differences, and what it does to corrupted pairs."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sidelight.errors import ConfigError
from sidelight.losses import nt_xent
from sidelight.methods.look_ahead import LookAhead
from sidelight.methods.pair_weights import (
    BiLevel,
    CMWNet,
    distance_weights,
    meta_gradient_exact,
    meta_gradient_jvp,
)
from sidelight.models.heads import mlp
from sidelight.models.tangents import Tape, jvp

PAIRS, DIM = 6, 8


class ConvolutionalNet(nn.Module):
    """Convolution, batch normalisation, in-place ReLU, projector: what an encoder is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 2, 3),
            nn.Flatten(),
        )
        self.g = mlp(DIM, DIM, 4)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        features = self.f(view)
        return features, self.g(features)


class Scene:
    """A net that has been trained a few steps with momentum, a weight net, and the two levels between them."""

    def __init__(
        self,
        inputs: str = "concat",
        lr: float = 0.3,
        clip_norm: float | None = None,
        optimizer: str = "sgd",
        steps: int = 2,
    ) -> None:
        torch.manual_seed(0)
        self.clip_norm = clip_norm
        self.net, self.weigh = ConvolutionalNet().double(), CMWNet(DIM, inputs).double()
        made = {
            "sgd": lambda p: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.01),
            "adamw": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1),
        }
        self.make = made[optimizer]
        self.optimizer = self.make(self.net.parameters())
        self.views = [torch.randn(PAIRS, 1, 4, 4, dtype=torch.float64) for _ in range(4)]
        with torch.no_grad():  # larger than at birth, so that pairs differ in weight and weights in effect
            for parameter in (*self.weigh.parameters(), *self.net.g.parameters()):
                parameter.mul_(3)
        for _ in range(steps):
            self.optimizer.zero_grad()
            nt_xent(self.net(self.views[0])[1], self.net(self.views[1])[1], temperature=0.5).backward()
            self.optimizer.step()
        self.optimizer.zero_grad()

    def run(self, theta: dict[str, Tensor], view: Tensor) -> tuple[Tensor, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        return functional_call(self.net, theta | buffers, (view,))

    def pairs(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        (h_left, z_left), (h_right, z_right) = (self.run(theta, view) for view in self.views[:2])
        return nt_xent(z_left, z_right, temperature=0.5, reduction="none"), h_left, h_right

    def meta(self, theta: dict[str, Tensor]) -> Tensor:
        left, right = (self.run(theta, view)[1] for view in self.views[2:])
        return nt_xent(left, right, temperature=0.5)

    def problem(self) -> BiLevel:
        theta = dict(self.net.named_parameters())
        alpha = tuple(self.weigh.parameters())
        ahead = LookAhead.of(theta, self.optimizer, clip_norm=self.clip_norm)
        return BiLevel(theta, self.pairs, self.weigh, self.meta, alpha, ahead)

    def meta_loss(self, detached: tuple[Tensor, Tensor] | None) -> float:
        """L_meta after one real step of a copied net and a copied optimiser; ``detached`` are features held fixed."""
        net = ConvolutionalNet().double()
        net.load_state_dict(self.net.state_dict())
        optimizer = self.make(net.parameters())
        optimizer.load_state_dict(self.optimizer.state_dict())
        for p, q in zip(net.parameters(), self.net.parameters(), strict=True):
            optimizer.state[p] = {name: value.clone() for name, value in self.optimizer.state.get(q, {}).items()}
        (h_left, z_left), (h_right, z_right) = net(self.views[0]), net(self.views[1])
        weights = self.weigh(*(detached or (h_left, h_right)))
        nt_xent(z_left, z_right, temperature=0.5, weights=weights).backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), self.clip_norm)
        optimizer.step()
        with torch.no_grad():
            return float(nt_xent(net(self.views[2])[1], net(self.views[3])[1], temperature=0.5))

    def difference(self, which: int, place: int, detached: tuple[Tensor, Tensor] | None, eps: float = 1e-5) -> float:
        parameter = list(self.weigh.parameters())[which]
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[place] += sign * eps
            values.append(self.meta_loss(detached))
            with torch.no_grad():
                parameter.view(-1)[place] -= sign * eps
        return (values[0] - values[1]) / (2 * eps)


def compare(scene: Scene, gradients: tuple[Tensor, ...], detached: tuple[Tensor, Tensor] | None) -> float:
    """Relative error over coordinates of every parameter of the weight net."""
    analytic, numeric = [], []
    for which, gradient in enumerate(gradients):
        for place in torch.linspace(0, gradient.numel() - 1, 3).long().unique().tolist():
            analytic.append(gradient.view(-1)[place].item())
            numeric.append(scene.difference(which, place, detached))
    found, expected = torch.tensor(analytic), torch.tensor(numeric)
    assert expected.norm() > 1e-4
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("inputs", ["concat", "symmetric"])
@pytest.mark.parametrize("form", ["jvp", "exact", "attached"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_meta_gradient_against_central_differences(form: str, inputs: str, optimizer: str) -> None:
    scene = Scene(inputs, optimizer=optimizer)
    problem = scene.problem()
    found = meta_gradient_jvp(problem) if form == "jvp" else meta_gradient_exact(problem, attached=form == "attached")
    _, left, right = scene.pairs(problem.parameters)
    detached = None if form == "attached" else (left.detach(), right.detach())
    assert compare(scene, found.gradients, detached) < 1e-4
    assert float(found.loss) == pytest.approx(scene.meta_loss(detached), rel=1e-12)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_jvp_is_exact_with_detached_inputs_and_attached_differs(clip_norm: float | None, optimizer: str) -> None:
    scene = Scene(clip_norm=clip_norm, optimizer=optimizer)
    fast, exact, attached = (
        torch.cat([g.flatten() for g in found.gradients])
        for found in (
            meta_gradient_jvp(scene.problem()),
            meta_gradient_exact(scene.problem()),
            meta_gradient_exact(scene.problem(), attached=True),
        )
    )
    assert (fast - exact).norm() < 1e-9 * exact.norm()
    assert (attached - exact).norm() > 1e-3 * exact.norm()


@pytest.mark.parametrize(("optimizer", "steps"), [("sgd", 2), ("adamw", 2), ("adamw", 0)])
def test_look_ahead_is_the_optimizers_own_step(optimizer: str, steps: int) -> None:
    scene = Scene(optimizer=optimizer, steps=steps)
    theta = dict(scene.net.named_parameters())
    losses, _, _ = scene.pairs(theta)
    gradients = torch.autograd.grad(losses.mean(), list(theta.values()))
    ahead = LookAhead.of(theta, scene.optimizer)(gradients)
    for parameter, gradient in zip(theta.values(), gradients, strict=True):
        parameter.grad = gradient
    scene.optimizer.step()
    for name, parameter in theta.items():
        torch.testing.assert_close(ahead[name], parameter.detach(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_look_ahead_that_is_clipped_is_the_optimizers_own_clipped_step(optimizer: str) -> None:
    scene = Scene(optimizer=optimizer)
    theta = dict(scene.net.named_parameters())
    losses, _, _ = scene.pairs(theta)
    gradients = torch.autograd.grad(losses.mean(), list(theta.values()))
    length = float(nn.utils.get_total_norm(gradients))
    ahead = LookAhead.of(theta, scene.optimizer, clip_norm=0.3 * length).clipped(gradients)
    assert ahead.scale == pytest.approx(0.3, rel=1e-5)
    hat = ahead(gradients)
    assert LookAhead.of(theta, scene.optimizer, clip_norm=2 * length).clipped(gradients).scale == 1
    longer = LookAhead.of(theta, scene.optimizer, clip_norm=length, length=4 * length).clipped(gradients)
    assert longer.scale == pytest.approx(1 / 4, rel=1e-5)  # theta is a part of what is trained
    for parameter, gradient in zip(theta.values(), gradients, strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(list(theta.values()), 0.3 * length)
    scene.optimizer.step()
    for name, parameter in theta.items():
        torch.testing.assert_close(hat[name], parameter.detach(), rtol=0, atol=1e-14)


def test_the_look_ahead_reads_the_decay_of_each_group() -> None:
    """Where norms and temperatures do not decay, beside one group that does."""
    torch.manual_seed(0)
    theta = {name: nn.Parameter(torch.randn(*shape)) for name, shape in {"weight": (3, 2), "scale": (3,)}.items()}
    groups = [
        {"params": [theta["weight"]], "weight_decay": 0.2, "lr_factor": 1.0},
        {"params": [theta["scale"]], "weight_decay": 0.0, "lr_factor": 1.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5, momentum=0.9)
    for _ in range(2):  # the second step has momenta
        gradients = [torch.randn_like(p) for p in theta.values()]
        ahead = LookAhead.of(theta, optimizer)(gradients)
        still = LookAhead.of(theta, optimizer)([torch.zeros_like(p) for p in theta.values()])
        for parameter, gradient in zip(theta.values(), gradients, strict=True):
            parameter.grad = gradient
        before = {name: p.detach().clone() for name, p in theta.items()}
        first = not optimizer.state
        optimizer.step()
        for name, parameter in theta.items():
            torch.testing.assert_close(ahead[name], parameter.detach(), rtol=1e-5, atol=1e-6)
        if first:
            torch.testing.assert_close(still["weight"], 0.9 * before["weight"])  # 1 - 0.5 x 0.2
            assert torch.equal(still["scale"], before["scale"])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_meta_part_changes_nothing(optimizer: str) -> None:
    scene = Scene(optimizer=optimizer)

    def everything() -> list[Tensor]:
        momenta = [slot for state in scene.optimizer.state.values() for slot in state.values() if slot is not None]
        return [t.detach().clone() for t in (*scene.net.state_dict().values(), *momenta, *scene.weigh.parameters())]

    before = everything()
    meta_gradient_jvp(scene.problem())
    meta_gradient_exact(scene.problem(), attached=True)
    assert all(torch.equal(old, new) for old, new in zip(before, everything(), strict=True))
    assert all(p.grad is None for p in (*scene.net.parameters(), *scene.weigh.parameters()))


def test_two_pairs_by_hand() -> None:
    """w = (.5, .5), s = (.3, .1), eta = .1: dL_meta/dw = (-.01, +.01)."""
    slopes = torch.tensor([0.3, 0.1], dtype=torch.float64)
    weights = nn.Parameter(torch.tensor([0.5, 0.5], dtype=torch.float64))
    theta = {"t": nn.Parameter(torch.ones((), dtype=torch.float64))}
    features = torch.zeros(2, 1, dtype=torch.float64)
    problem = BiLevel(
        theta,
        pairs=lambda p: (slopes * p["t"], features, features),
        weigh=lambda left, right: weights,
        meta=lambda p: p["t"],
        alpha=(weights,),
        ahead=LookAhead.of(theta, torch.optim.SGD(theta.values(), lr=0.1)),
    )
    for found in (meta_gradient_jvp(problem), meta_gradient_exact(problem)):
        torch.testing.assert_close(found.gradients[0], torch.tensor([-0.01, 0.01], dtype=torch.float64))


def test_a_clipped_quadratic_by_hand() -> None:
    """l = (3 t_1, 4 t_2), w = (.5, .5): G = (1.5, 2), 2.5 long, is clipped to 1, so (.6, .8). One step of eta = .1 from (1, 1)
    ends at (.94, .92), where L_meta = t.t / 2 has that gradient: s = (2.82, 3.68), 3.25 on average, and
    dL_meta/dw = -.1 (1 / 2.5) (s - 3.25) = (.0172, -.0172). Unclipped it ends at (.85, .8): (.0325, -.0325)."""
    slopes = torch.tensor([3.0, 4.0], dtype=torch.float64)
    weights = nn.Parameter(torch.tensor([0.5, 0.5], dtype=torch.float64))
    theta = {"t": nn.Parameter(torch.ones(2, dtype=torch.float64))}
    features = torch.zeros(2, 1, dtype=torch.float64)
    optimizer = torch.optim.SGD(theta.values(), lr=0.1)
    for clip_norm, slope, loss in ((1.0, 0.0172, 0.865), (None, 0.0325, 0.68125), (9.0, 0.0325, 0.68125)):
        problem = BiLevel(
            theta,
            pairs=lambda p: (slopes * p["t"], features, features),
            weigh=lambda left, right: weights,
            meta=lambda p: p["t"] @ p["t"] / 2,
            alpha=(weights,),
            ahead=LookAhead.of(theta, optimizer, clip_norm=clip_norm),
        )
        for found in (meta_gradient_jvp(problem), meta_gradient_exact(problem)):
            expected = torch.tensor([slope, -slope], dtype=torch.float64)
            torch.testing.assert_close(found.gradients[0], expected, rtol=1e-5, atol=0)
            assert found.loss.item() == pytest.approx(loss, rel=1e-6)


def test_adamw_by_hand() -> None:
    """Moments m = 1, v = 4 after nine steps, b = (.5, .5), a gradient of 2: m^ = 1.5 / (1 - 2^-10), v^ = 4 / (1 - 2^-10). A zero
    that has always been one does not move, and has no slope that is not a number."""
    parameter = nn.Parameter(torch.tensor([10.0, 0.0], dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, betas=(0.5, 0.5), eps=0.0 + 1e-12, weight_decay=0.2)
    optimizer.state[parameter] = {
        "step": torch.tensor(9.0),
        "exp_avg": torch.tensor([1.0, 0.0], dtype=torch.float64),
        "exp_avg_sq": torch.tensor([4.0, 0.0], dtype=torch.float64),
    }
    ahead = LookAhead.of({"p": parameter}, optimizer)
    gradient = torch.tensor([2.0, 0.0], dtype=torch.float64, requires_grad=True)
    whole = 1 - 2**-10
    moved = 0.1 * (1.5 / whole) / (4 / whole) ** 0.5
    found = ahead([gradient])["p"]
    assert found.tolist() == pytest.approx([10 * 0.98 - moved, 0])
    assert found.tolist() == pytest.approx(_stepped(optimizer, parameter, gradient))
    (by_autograd,) = torch.autograd.grad(-found.sum(), gradient)
    slope = ahead.pull([gradient.detach()], [torch.ones(2, dtype=torch.float64)])["p"]
    torch.testing.assert_close(slope, by_autograd)
    by_hand = 0.1 * (0.5 / whole / (4 / whole) ** 0.5 - (1.5 / whole) * (0.5 / whole) * 2 / (4 / whole) ** 1.5)
    assert slope[0].item() == pytest.approx(by_hand) and torch.isfinite(slope).all()


def _stepped(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor) -> list[float]:
    parameter.grad = gradient.detach().clone()
    optimizer.step()
    return parameter.tolist()


def test_each_group_has_its_own_rate() -> None:
    """As with rates that fall from layer to layer."""
    torch.manual_seed(0)
    theta = {name: nn.Parameter(torch.randn(3, dtype=torch.float64)) for name in "ab"}
    for make in (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.AdamW(p, lr=0.1)):
        optimizer = make([{"params": [theta["a"]]}, {"params": [theta["b"]], "lr": 0.01}])
        for _ in range(2):
            gradients = [torch.randn_like(p) for p in theta.values()]
            ahead = LookAhead.of(theta, optimizer)(gradients)
            for parameter, gradient in zip(theta.values(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            for name, parameter in theta.items():
                torch.testing.assert_close(ahead[name], parameter.detach())


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, amsgrad=True),
        lambda p: torch.optim.Adam(p),
        lambda p: torch.optim.RMSprop(p),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ],
)
def test_another_optimizer_is_refused(make) -> None:
    theta = {name: nn.Parameter(torch.zeros(2)) for name in "ab"}
    with pytest.raises(ConfigError, match="AdamW without AMSGrad, or SGD with plain momentum"):
        LookAhead.of(theta, make(list(theta.values())))


def test_forward_mode_with_a_tape_is_forward_mode() -> None:
    """Also where an operation in place has overwritten a convolution's output, and in eval mode."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4)
    ).double()
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    theta = {name: p.detach() for name, p in net.named_parameters()}
    direction = {name: torch.randn_like(p) for name, p in theta.items()}

    def f(p) -> Tensor:
        return (
            functional_call(net, dict(p) | {n: b.clone() for n, b in net.named_buffers()}, (x,))
            .square()
            .mean((1, 2, 3))
        )

    for mode in (True, False):
        net.train(mode)
        expected = torch.func.jvp(f, (theta,), (direction,))[1]
        with Tape() as tape:
            f(theta)
        torch.testing.assert_close(jvp(f, theta, direction, tape), expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(jvp(f, theta, direction), expected, rtol=1e-10, atol=1e-12)


def test_weight_net_and_distance() -> None:
    net = CMWNet(512)
    assert sum(p.numel() for p in net.parameters()) == 10_261
    weights = net(torch.randn(7, 512), torch.randn(7, 512))
    assert weights.shape == (7,)
    assert ((weights > 0) & (weights < 1)).all()
    left, right = torch.randn(2, 7, 512)
    symmetric = CMWNet(512, "symmetric")
    torch.testing.assert_close(symmetric(left, right), symmetric(right, left))
    gaps = torch.tensor([0.0, 2.0, 4.0])
    torch.testing.assert_close(distance_weights(gaps, torch.tensor([4.0, 4.0, 4.0])), torch.tensor([1.0, 0.6, 0.2]))


# 64 Gaussian clusters in R^16; 30 % of the right views are noise or another cluster's; the spec's toy recipe.


def toy(corruption: str, inputs: str, form: str, *, steps: int, seed: int = 1) -> tuple[float, float]:
    """Mean weight of corrupted and of clean pairs after training."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    torch.manual_seed(seed)
    centres = 1.5 * draw(64, 16)
    net = nn.ModuleDict({"f": mlp(16, 64, 32), "g": mlp(32, 32, 16)})
    weigh = CMWNet(32, inputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    adam = torch.optim.Adam(weigh.parameters(), lr=1e-2)
    names = [name for name, _ in net.named_parameters() if form != "head" or name.startswith("g.")]
    bad = torch.arange(32) < 10
    collected: list[tuple[float, float]] = []
    for _ in range(steps):
        clusters, meta_clusters = (torch.randperm(64, generator=generator)[:32] for _ in range(2))
        left, right = (centres[clusters] + 0.3 * draw(32, 16) for _ in range(2))
        others = centres[clusters.roll(7)] + 0.3 * draw(32, 16)
        right = torch.where(bad[:, None], 4 * draw(32, 16) if corruption == "noise" else others, right)
        views = [left, right, *(centres[meta_clusters] + 0.3 * draw(32, 16) for _ in range(2))]
        theta = {name: p for name, p in net.named_parameters() if name in names}
        found = meta_gradient_jvp(toy_problem(net, weigh, theta, views, optimizer, head=form == "head"))
        for parameter, gradient in zip(weigh.parameters(), found.gradients, strict=True):
            parameter.grad = gradient
        adam.step()
        h_left, h_right = net["f"](left), net["f"](right)
        weights = weigh(h_left, h_right).detach()
        optimizer.zero_grad()
        nt_xent(net["g"](h_left), net["g"](h_right), temperature=0.5, weights=weights).backward()
        optimizer.step()
        collected.append((float(weights[bad].mean()), float(weights[~bad].mean())))
    corrupted, clean = (sum(column[-20:]) / 20 for column in map(list, zip(*collected, strict=True)))
    return corrupted, clean


def toy_problem(net, weigh, theta, views, optimizer, *, head: bool) -> BiLevel:
    if head:
        with torch.no_grad():
            views = [net["f"](view) for view in views]

    def run(parameters: dict[str, Tensor], view: Tensor) -> tuple[Tensor, Tensor]:
        part = {kind: {n[2:]: t for n, t in parameters.items() if n.startswith(kind)} for kind in "fg"}
        features = view if head else functional_call(net["f"], part["f"], (view,))
        return features, functional_call(net["g"], part["g"], (features,))

    def pairs(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        (h_left, z_left), (h_right, z_right) = (run(parameters, view) for view in views[:2])
        return nt_xent(z_left, z_right, temperature=0.5, reduction="none"), h_left, h_right

    def meta(parameters: dict[str, Tensor]) -> Tensor:
        return nt_xent(*(run(parameters, view)[1] for view in views[2:]), temperature=0.5)

    return BiLevel(theta, pairs, weigh, meta, tuple(weigh.parameters()), LookAhead.of(theta, optimizer))


@pytest.mark.parametrize("form", ["jvp", "head"])
def test_corrupted_pairs_lose_weight(form: str) -> None:
    corrupted, clean = toy("noise", "concat", form, steps=220)
    assert corrupted < 0.5 * clean


@pytest.mark.parametrize("form", ["jvp", "head"])
def test_mismatched_pairs_lose_weight(form: str) -> None:
    """On the concatenation only the direction is right; on differences and products the net sees the mismatch."""
    corrupted, clean = toy("cluster", "concat", form, steps=120)
    assert corrupted < clean
    corrupted, clean = toy("cluster", "symmetric", form, steps=80)
    assert corrupted < 0.25 * clean
