"""The learning rate as a pure function of the step, so that a resumed run needs no memory of it."""

from collections.abc import Iterable
from math import cos, exp, pi
from typing import Any

from torch.optim import SGD, AdamW, Optimizer, RMSprop

from sidelight.methods.base import ParameterGroup
from sidelight.methods.settings import PretrainSettings

RAMP_EPOCHS = 10
"""Length of Meta-USCL's ramp (published code); at most half of a shorter run."""
DECAY = 0.95


def learning_rate(settings: PretrainSettings, step: int, *, total: int, per_epoch: int) -> float:
    """Learning rate of the optimiser step ``step`` (from 0) of ``total``, with ``per_epoch`` steps in an epoch.

    ``constant`` is ``lr`` throughout; ``cosine`` warms up linearly over the share ``warmup`` of the steps and falls to zero;
    ``ramp_cosine`` and ``decay`` (x 0.95) change once per epoch, ``cosine_wave`` at every step, as published.
    """
    if settings.schedule == "constant":
        return settings.lr
    if settings.schedule == "decay":
        return settings.lr * DECAY ** (step // per_epoch)
    if settings.schedule == "cosine":
        return settings.lr * cosine(step, total, warmup_steps(settings, total))
    if settings.schedule == "cosine_wave":
        return settings.lr * cosine_wave(step, per_epoch)
    return settings.lr * ramp_cosine(step // per_epoch, -(-total // per_epoch))


def warmup_steps(settings: PretrainSettings, total: int) -> int:
    """In how many of ``total`` steps the rate rises; 0 where the schedule has no warm-up of its own."""
    return round(settings.warmup * total) if settings.schedule == "cosine" else 0


def cosine(step: int, total: int, warmup: int = 0) -> float:
    """Factor: ``(step + 1) / warmup`` while it warms up, then half a cosine from 1 at ``warmup`` to 0 at ``total``."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + cos(pi * (step - warmup) / max(total - warmup, 1)))


def ramp_cosine(epoch: float, epochs: int) -> float:
    """Meta-USCL's factor: ``.1 + .9 exp(-5 (1 - e/10)^2)`` to epoch 10, then half a cosine from 1 to 0 at ``epochs``.

    For ``epochs = 300`` and lr .1 the epochs 0, 5, 10, 155, 300 give .01061, .03579, .1, .05, 0.
    """
    ramp = min(RAMP_EPOCHS, epochs / 2)
    if epoch < ramp:
        return 0.1 + 0.9 * exp(-5 * (1 - epoch / ramp) ** 2)
    return 0.5 * (1 + cos(pi * (epoch - ramp) / (epochs - ramp)))


def cosine_wave(step: int, per_epoch: int) -> float:
    """LoVT's factor, PyTorch's ``CosineAnnealingLR`` with an epoch's steps as ``T_max``: 1 to 0 in the first epoch, back to 1
    in the second, and so on.

    For ``per_epoch = 4`` the steps 0 to 4 give 1, .8536, .5, .1464, 0; step 8 gives 1 again.
    """
    return 0.5 * (1 + cos(pi * step / per_epoch))


def build_optimizer(groups: Iterable[ParameterGroup], settings: PretrainSettings) -> Optimizer:
    """The optimiser over ``groups``, without frozen parameters; the loop sets its learning rates before every step.

    Biases, norms and temperatures (fewer than two axes) are left without weight decay, unless their group names one. In profile
    ``paper`` SGD and RMSprop decay them, too, as the published code does. RMSprop has Keras' constants (0.9, 1e-7), without
    momentum.
    """
    spares = settings.optimizer == "adamw" or settings.profile == "default"
    made = [part for group in groups for part in _parts(group, settings.weight_decay, spares=spares) if part["params"]]
    if settings.optimizer == "sgd":
        return SGD(made, lr=settings.lr, momentum=settings.momentum)
    if settings.optimizer == "rmsprop":
        return RMSprop(made, lr=settings.lr, alpha=0.9, eps=1e-7)
    return AdamW(made, lr=settings.lr)


def _parts(group: ParameterGroup, usual: float, *, spares: bool) -> list[dict[str, Any]]:
    """A group as torch takes it, with ``lr_factor`` for :func:`set_learning_rate`; two of it where the decay ``spares`` some."""
    trained = [parameter for parameter in group.parameters if parameter.requires_grad]
    common = {"lr_factor": group.lr_factor}
    if group.weight_decay is not None or not spares:
        decay = usual if group.weight_decay is None else group.weight_decay
        return [{"params": trained, "weight_decay": decay, **common}]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": usual, **common},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, **common},
    ]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate ``lr`` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
