r"""How much each pair counts: a fixed weight by distance, or a small network trained by one-step look-ahead.

Any contrast over N pairs can use it. With per-pair losses l_i, weights w_i = W_alpha(h_i^left, h_i^right) and their
shares w^_i = w_i / sum_j w_j, the encoder minimises L(theta, alpha) = sum_i w^_i l_i(theta), while alpha minimises the
loss of clean "meta" pairs after one step of the encoder's own optimiser (:mod:`sidelight.methods.look_ahead`):

    theta^(alpha) = step(theta, G),   G = grad L(theta, alpha),      alpha <- Adam(alpha, grad_alpha L_meta(theta^)).

The step's Jacobian D = -d theta^ / dG is a diagonal (eta of SGD) and G is linear in the shares, so no second-order graph is
needed: with g = D grad L_meta at theta^ and s_i = <g, grad l_i(theta)>,

    grad_alpha L_meta = -sum_i s_i grad_alpha w^_i,        dL_meta/dw_i = -(1 / sum_j w_j) (s_i - sum_j w^_j s_j),

and s is one forward-mode derivative of theta -> (l_1, ..., l_N) in direction g (:func:`meta_gradient_jvp`). A pair
gains weight if and only if its gradient agrees with the meta gradient, as the step would follow it, more than the weighted
average pair's does.

Sources: Shu et al., Meta-Weight-Net (2019), for the look-ahead; Chen et al., Meta-USCL, for pairs; IVPP (2024) for
distances.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sidelight.methods.look_ahead import LookAhead, Tensors
from sidelight.models.tangents import Tape, jvp


class CMWNet(nn.Module):
    """Contrastive meta weight net: the features of a pair to its weight in (0, 1).

    :param dim: length D of a feature vector.
    :param inputs: "concat" reads (left, right), as published: 2D -> 10 -> 1, 10,261 parameters at D = 512; it sees what
        kind of image a pair is and hardly whether its views match. "symmetric" reads (abs(left - right), left * right).
    """

    def __init__(self, dim: int, inputs: Literal["concat", "symmetric"] = "concat") -> None:
        super().__init__()
        self.inputs = inputs
        self.hidden, self.out = nn.Linear(2 * dim, 10), nn.Linear(10, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """[N,D], [N,D] -> weights [N]."""
        parts = (left, right) if self.inputs == "concat" else ((left - right).abs(), left * right)
        hidden = torch.relu(self.hidden(torch.cat(parts, dim=1)))
        return torch.sigmoid(self.out(hidden)).squeeze(1)


def distance_weights(gap: Tensor, max_gap: Tensor) -> Tensor:
    """(max_gap - gap + 1) / (max_gap + 1): 1 at distance 0, falling linearly, positive up to ``max_gap`` (IVPP, 2024).

    :param gap: [N] distance between the two views of a pair; ``max_gap`` [N] or scalar: the largest possible, same
        unit.
    """
    return (max_gap - gap.clamp(max=max_gap) + 1) / (max_gap + 1)


@dataclass(frozen=True)
class BiLevel:
    """The two levels at one step; the functions take the trained parameters by name and change nothing.

    :param parameters: theta, as the leaf tensors that the optimiser holds.
    :param pairs: theta -> (losses [N], left features [N,D], right features [N,D]) of the training pairs; its first call
        is at ``parameters``, with their graph.
    :param weigh: features -> weights [N] > 0, through ``alpha``.
    :param meta: theta -> unweighted scalar loss of the meta pairs.
    :param alpha: parameters of ``weigh``.
    :param ahead: the encoder's next step.
    :param sizes: of the parts of the pairs, in their order, each with a contrast of its own, of which the step takes the
        mean; None: all pairs are in one.
    """

    parameters: Tensors
    pairs: Callable[[Tensors], tuple[Tensor, Tensor, Tensor]]
    weigh: Callable[[Tensor, Tensor], Tensor]
    meta: Callable[[Tensors], Tensor]
    alpha: Sequence[Tensor]
    ahead: LookAhead
    sizes: tuple[int, ...] | None = None

    def shares(self, weights: Tensor) -> Tensor:
        """w^ [N]: what each pair has of the weights of its part, over the number of parts."""
        parts = torch.split(weights, list(self.sizes or [len(weights)]))
        return torch.cat([part / part.sum() for part in parts]) / len(parts)


@dataclass(frozen=True)
class MetaGradient:
    """``gradients`` of alpha, ``weights`` [N] before its step, ``loss`` of the meta pairs after the look-ahead."""

    gradients: tuple[Tensor, ...]
    weights: Tensor
    loss: Tensor


def meta_gradient_jvp(problem: BiLevel, *, keep: bool = False) -> MetaGradient:
    """The exact gradient without a second-order graph; the net's inputs are detached, as in Meta-Weight-Net.

    :param keep: the graph of the first call of ``problem.pairs`` will be used again.
    """
    theta, tape = problem.parameters, Tape()
    with torch.enable_grad(), tape:
        losses, left, right = problem.pairs(theta)
    with torch.enable_grad():
        weights = problem.weigh(left.detach(), right.detach())
        shares = problem.shares(weights)
    step = torch.autograd.grad(shares.detach() @ losses, list(theta.values()), retain_graph=keep)
    del losses, left, right  # frees the graph before the next one is built
    ahead = problem.ahead.clipped(step)
    hat = {name: tensor.detach().requires_grad_() for name, tensor in ahead(step).items()}
    with torch.enable_grad():
        loss = problem.meta(hat)
    pull = ahead.pull(step, torch.autograd.grad(loss, list(hat.values())))
    del step
    agreement = jvp(lambda p: problem.pairs(dict(p))[0], problem.parameters, pull, tape)
    gradients = torch.autograd.grad(-(agreement @ shares), list(problem.alpha))
    return MetaGradient(gradients, weights.detach(), loss.detach())


def meta_gradient_exact(problem: BiLevel, *, attached: bool = False) -> MetaGradient:
    """The gradient by differentiating twice; the oracle of :func:`meta_gradient_jvp`, and slower.

    :param attached: also through theta -> features -> weights in the look-ahead, as the published code does.
    """
    theta = problem.parameters
    with torch.enable_grad():
        losses, left, right = problem.pairs(theta)
        weights = problem.weigh(left, right) if attached else problem.weigh(left.detach(), right.detach())
        step = torch.autograd.grad(problem.shares(weights) @ losses, list(theta.values()), create_graph=True)
        loss = problem.meta(problem.ahead.clipped(step)(step))
    gradients = torch.autograd.grad(loss, list(problem.alpha))
    return MetaGradient(gradients, weights.detach(), loss.detach())


class WeightLearner:
    """The weight net's own Adam: one step along a meta gradient, and what must resume of it.

    :ivar length: of the whole gradient of the last step, before it was clipped; 0 before the first.
    """

    def __init__(self, net: nn.Module, lr: float) -> None:
        self.net, self.adam, self.length = net, torch.optim.Adam(net.parameters(), lr=lr), 0.0

    def remember(self, trained: Sequence[Tensor]) -> None:
        """Note how long the gradient of all ``trained`` parameters is."""
        self.length = float(nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None]))

    def step(self, found: MetaGradient) -> dict[str, float]:
        """Move the net along ``found``; numbers for the log."""
        for parameter, gradient in zip(self.net.parameters(), found.gradients, strict=True):
            parameter.grad = gradient
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        spread = torch.stack([found.loss, *(f(found.weights) for f in (torch.mean, torch.std, torch.min, torch.max))])
        names = ("meta_loss", "weight_mean", "weight_sd", "weight_min", "weight_max")
        return dict(zip(names, spread.tolist(), strict=True))

    def tensors(self) -> Tensors:
        """Of Adam: ``adam.<index>.<slot>``; and ``length``, once there is one."""
        states = self.adam.state_dict()["state"]
        slots = {f"adam.{index}.{slot}": value for index, state in states.items() for slot, value in state.items()}
        return slots | ({"length": torch.tensor(self.length)} if self.length else {})

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave, bit for bit; nothing of it, if it had not stepped."""
        parameters = list(self.net.parameters())
        self.adam.state.clear()
        self.length = float(tensors.get("length", 0.0))
        for name, value in tensors.items():
            if name == "length":
                continue
            _, index, slot = name.split(".")
            parameter = parameters[int(index)]
            device = "cpu" if slot == "step" else parameter.device
            self.adam.state[parameter][slot] = value.to(device, copy=True)
