r"""The encoder's next step before the optimiser takes it: theta^ as a function of the gradient G, by SGD or AdamW.

Each number of theta moves by a function of its own gradient, so that the step's Jacobian is a diagonal, which
:meth:`LookAhead.pull` applies:

    SGD     theta^ = theta (1 - eta lambda) - eta (mu v + G),                    -d theta^ / dG = eta
    AdamW   theta^ = theta (1 - eta lambda) - eta m^ / (sqrt(v^) + eps),
            m^ = (b1 m + (1 - b1) G) / (1 - b1^t),   v^ = (b2 v + (1 - b2) G^2) / (1 - b2^t),
            -d theta^ / dG = eta / (sqrt(v^) + eps)
                             ((1 - b1) / (1 - b1^t) - m^ (1 - b2) G / ((1 - b2^t) sqrt(v^) (sqrt(v^) + eps)))

Where the step is clipped, so is the look-ahead: G comes in as G min(1, c / ||G||), with a factor that is taken for a constant.
Where it moves a part of theta only, the length is that of the whole gradient all the same, as it was in the last step, or of the
part where that is longer.

Sources: Ren et al., Learning to Reweight Examples (2018), and Shu et al., Meta-Weight-Net (2019), for looking ahead by SGD;
Loshchilov and Hutter (2019) for AdamW's step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sidelight.errors import ConfigError

Tensors = dict[str, Tensor]


def check_look_ahead(optimizer: str, accumulate: int) -> None:
    """:raises ConfigError: for settings under which learned weights cannot look ahead."""
    if optimizer not in ("sgd", "adamw"):
        raise ConfigError(
            f"weights=meta looks ahead one step of SGD or AdamW and cannot do so through {optimizer}",
            do="Set optimizer=adamw or optimizer=sgd (with a rate of its kind, such as lr=0.1), or weights=uniform",
        )
    if accumulate > 1:
        raise ConfigError(f"weights=meta cannot accumulate {accumulate} batches", do="Set accumulate=1")


@dataclass(frozen=True)
class SgdStep:
    """By how much a parameter moves along its gradient."""

    rate: float

    def __call__(self, gradient: Tensor) -> Tensor:
        """Of the shape of the gradient; it is subtracted."""
        return self.rate * gradient

    def slope(self, gradient: Tensor) -> Tensor:
        """The derivative by the gradient, number by number."""
        return torch.full_like(gradient, self.rate)


@dataclass(frozen=True)
class AdamStep:
    """The same by AdamW: ``first`` and ``second`` are its moments before the step, ``share`` and ``square`` what of a gradient
    and of its square goes into their unbiased estimates.
    """

    rate: float
    first: Tensor
    second: Tensor
    share: float
    square: float
    eps: float

    @classmethod
    def of(cls, parameter: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> "AdamStep":
        """Of a parameter and what AdamW has kept of it; nothing before its first step."""
        (one, two), time = group["betas"], float(state.get("step", 0)) + 1
        whole = 1 - one**time, 1 - two**time
        zero = torch.zeros_like(parameter, requires_grad=False)
        first, second = (state.get(name, zero).detach() for name in ("exp_avg", "exp_avg_sq"))
        first, second = first * (one / whole[0]), second * (two / whole[1])
        return cls(float(group["lr"]), first, second, (1 - one) / whole[0], (1 - two) / whole[1], group["eps"])

    def __call__(self, gradient: Tensor) -> Tensor:
        """As :meth:`SgdStep.__call__`."""
        mean, root = self._moments(gradient)
        return self.rate * mean / (root + self.eps)

    def slope(self, gradient: Tensor) -> Tensor:
        """As :meth:`SgdStep.slope`."""
        mean, root = self._moments(gradient)
        size = root + self.eps
        return self.rate / size * (self.share - mean * self.square * gradient / (root * size))

    def _moments(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        mean, square = self.first + self.share * gradient, self.second + self.square * gradient**2
        return mean, square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()  # a root has a slope beyond 0 alone


@dataclass(frozen=True)
class LookAhead:
    """The step of an optimiser over some parameters, by their names.

    :ivar start: where each would be after a step that its gradient has no part in; ``steps`` the rest of it.
    :ivar clip_norm: to which the step's gradient is clipped, None where it is not; ``length`` of that gradient at least,
        which may be of more parameters than these; ``scale`` the factor that clipping has come to.
    """

    start: Tensors
    steps: Mapping[str, SgdStep | AdamStep]
    clip_norm: float | None = None
    length: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(
        cls,
        parameters: Tensors,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float | None = None,
        length: float = 0.0,
    ) -> "LookAhead":
        """The next step of ``optimizer`` over ``parameters``, with its current rates, moments and weight decay.

        Groups of the optimiser may differ in each of them.

        :raises ConfigError: unless it is AdamW, or SGD without dampening and Nesterov's form.
        """
        hyper = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        _check(optimizer)
        start, steps = Tensors(), dict[str, SgdStep | AdamStep]()
        for name, parameter in parameters.items():
            group, state = hyper[id(parameter)], optimizer.state.get(parameter, {})
            rate = float(group["lr"])
            start[name] = parameter.detach() * (1 - rate * group["weight_decay"])
            if isinstance(optimizer, torch.optim.AdamW):
                steps[name] = AdamStep.of(parameter, group, state)
                continue
            steps[name] = SgdStep(rate)
            if state.get("momentum_buffer") is not None:
                start[name].add_(state["momentum_buffer"], alpha=-rate * group["momentum"])
        return cls(start, steps, clip_norm, length)

    def clipped(self, gradients: Sequence[Tensor]) -> "LookAhead":
        """The step along ``gradients`` as the optimiser will take it: shorter where they are longer than ``clip_norm``."""
        if self.clip_norm is None:
            return self
        own = float(nn.utils.get_total_norm([g.detach() for g in gradients]))
        factor = self.clip_norm / (max(own, self.length) + 1e-6)  # as torch clips
        return replace(self, scale=min(factor, 1.0), clip_norm=None)

    def __call__(self, gradients: Sequence[Tensor]) -> Tensors:
        """The parameters after a step along ``gradients``, which come in the order of the parameters."""
        pairs = zip(self.start.items(), gradients, strict=True)
        return {name: start - self.steps[name](self.scale * g) for (name, start), g in pairs}

    def pull(self, gradients: Sequence[Tensor], beyond: Sequence[Tensor]) -> Tensors:
        """What a gradient ``beyond`` the step is before it, but for its sign: the step's Jacobian applied to it."""
        pairs = zip(self.start, gradients, beyond, strict=True)
        return {name: self.scale * self.steps[name].slope(self.scale * g) * after for name, g, after in pairs}


def _check(optimizer: torch.optim.Optimizer) -> None:
    wrong = {torch.optim.SGD: ("dampening", "nesterov", "maximize"), torch.optim.AdamW: ("amsgrad", "maximize")}
    if type(optimizer) not in wrong or any(
        group[name] for group in optimizer.param_groups for name in wrong[type(optimizer)]
    ):
        raise ConfigError(
            f"Learned pair weights cannot look ahead through {type(optimizer).__name__} as it is set",
            expected="AdamW without AMSGrad, or SGD with plain momentum",
            do="Set optimizer=adamw or optimizer=sgd, or weights=uniform or distance",
        )
