"""AdamW, SGD and RMSprop as the settings ask for them."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from sidelight.config import PretrainSettings


def build_optimizer(parameters: Iterable[nn.Parameter], settings: PretrainSettings) -> Optimizer:
    """The optimiser over ``parameters``; the loop sets its learning rate before every step.

    AdamW leaves biases, norms and temperatures (fewer than two axes) without weight decay. SGD decays everything, as
    the published recipes do and as Meta-USCL's look-ahead ``theta - lr (momentum v + G + decay theta)`` assumes. RMSprop has
    Keras' constants (0.9, 1e-7), without momentum.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if settings.optimizer == "sgd":
        return SGD(trained, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    if settings.optimizer == "rmsprop":
        return RMSprop(trained, lr=settings.lr, alpha=0.9, eps=1e-7, weight_decay=settings.weight_decay)
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=settings.lr)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr
