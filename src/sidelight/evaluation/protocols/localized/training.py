"""How localized heads are trained: batches in random order, a learning rate and a step chosen on units that are kept back."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from sidelight.config import Settings
from sidelight.data.split import k_folds
from sidelight.errors import RunError
from sidelight.evaluation.protocols.localized.net import Images, Localizer

LEAST_GROUPS, PARTS = 10, 5
"""Patients that are needed for a fifth of them to be kept back."""


class LocalizedSettings(Settings):
    """Budget and optimiser of a head on an encoder's maps."""

    train: Literal["head", "all"] = Field(
        "head", description="what learns: the head alone, on maps of the frozen encoder, or the encoder with it"
    )
    steps: int = Field(400, ge=1, description="optimiser steps at most, the same for every start of the encoder")
    batch_size: int = Field(16, ge=1, description="images of a step")
    rates: tuple[float, ...] = Field(
        (1e-3, 3e-4), min_length=1, description="learning rates; where there are several, validation chooses"
    )
    warmup: int = Field(
        50, ge=0, description="first steps of train = 'all' in which the head learns alone, at warmup_rate"
    )
    warmup_rate: float = Field(1e-3, gt=0, description="learning rate of the head in these steps")
    weight_decay: float = Field(1e-6, ge=0, description="of all weights")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd: with momentum 0.9")
    checks: int = Field(10, ge=1, description="how often validation looks at the head")
    patience: int | None = Field(
        5, ge=1, description="checks without a better one after which training ends; none: never"
    )
    flip: bool = Field(False, description="mirror half of the images in training; then maps cannot be stored")


Score = Callable[[Localizer], float]


def train(
    make: Callable[[], Localizer], images: Images, learn: np.ndarray, own: LocalizedSettings, score: Score | None,
    *, seed: int, bf16: bool = False,
) -> tuple[Localizer, Localizer]:  # fmt: skip
    """The network of the rate and step that ``score`` found best, and that of the last step at this rate.

    :param make: a network with weights from torch's global generator, which is seeded first: the same at every rate.
    :param learn: places of the units that train; ``score`` of a network, higher is better. None: the first rate, the last step.
    First weights and the order of units depend on ``seed``.
    :raises RunError: where the training diverged at every rate.
    """
    best: tuple[float, Localizer, Localizer] | None = None
    diverged: RunError | None = None
    for rate in own.rates if score else own.rates[:1]:
        torch.manual_seed(seed)
        net = make()
        net.to(net.encoder.mean.device)
        net.prepare(images.maps, [images.rows[at] for at in learn])
        try:
            found = _at_rate(net, make, images, learn, own, rate, score, seed=seed, bf16=bf16)
        except RunError as error:
            diverged = error
            continue
        if best is None or found[0] > best[0]:
            best = found
    if best is None:
        assert diverged is not None
        raise diverged
    return best[1], best[2]


def _at_rate(
    net: Localizer, make: Callable[[], Localizer], images: Images, learn: np.ndarray, own: LocalizedSettings, rate: float,
    score: Score | None, *, seed: int, bf16: bool,
) -> tuple[float, Localizer, Localizer]:  # fmt: skip
    highest, kept, waited, every = -np.inf, None, 0, max(1, own.steps // own.checks)
    for step in _steps(net, images, learn, own, rate, seed=seed, bf16=bf16):
        if score is None or (step % every and step != own.steps):
            continue
        net.eval()
        value = score(net)
        waited = 0 if value > highest else waited + 1
        if value > highest:
            highest, kept = value, (net.state(), net.learning)
        if own.patience is not None and waited >= own.patience:
            break
    net.eval()
    if kept is None:
        return highest, net, net
    best = make().to(net.encoder.mean.device)
    best.restore(kept[0], whole=kept[1])
    best.learning = net.learning
    return highest, best.eval(), net


def _steps(
    net: Localizer, images: Images, learn: np.ndarray, own: LocalizedSettings, rate: float, *, seed: int, bf16: bool
) -> Iterator[int]:
    """Train, and give the number of each step that is done."""
    rng, device = np.random.default_rng([seed, 1]), net.encoder.mean.device
    warm = own.warmup if own.train == "all" else 0
    net.learning = own.train == "all" and warm == 0
    optimizer = _optimizer(net, own, own.warmup_rate if warm else rate)
    order = np.empty(0, np.int64)
    for step in range(1, own.steps + 1):
        if step == warm + 1 and warm:
            net.learning = True
            optimizer = _optimizer(net, own, rate)
        net.train()
        while len(order) < own.batch_size:
            order = np.concatenate([order, rng.permutation(learn)])
        chosen, order = order[: own.batch_size], order[own.batch_size :]
        flipped = rng.random(len(chosen)) < 0.5 if own.flip else None
        batch = images.batch(chosen.tolist(), net, flipped)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = net.loss(batch)
        if not torch.isfinite(loss):
            raise RunError(
                f"The training of a head diverged at step {step} with the learning rate {rate:g}",
                expected="a loss that is a number",
                do="Give lower learning rates: the setting rates of this protocol",
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield step


def _optimizer(net: Localizer, own: LocalizedSettings, rate: float) -> torch.optim.Optimizer:
    trained = list((net if net.learning else net.decoder).parameters())
    if own.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=rate, momentum=0.9, weight_decay=own.weight_decay)
    return torch.optim.Adam(trained, lr=rate, weight_decay=own.weight_decay)


def sides(
    groups: np.ndarray, holding: np.ndarray, valid: np.ndarray | None, draw: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the units that train and of those that choose.

    The latter are the ``valid`` ones where they are given; else a fifth of the patients, where there are ten or more and both
    sides hold something; else nobody chooses.

    :param holding: bool [N], whether a unit holds a mask or a box.
    """
    everyone, nobody = np.arange(len(groups)), np.arange(0)
    if valid is not None:
        return np.flatnonzero(~valid), np.flatnonzero(valid)
    if len(np.unique(groups)) < LEAST_GROUPS:
        return everyone, nobody
    units = pd.DataFrame({"unit": everyone, "group": groups, "label": holding.astype(np.int64)})
    kept = np.isin(everyone.astype(str), k_folds(units, PARTS, draw, require_classes=False)[0].test)
    if not holding[kept].any() or not holding[~kept].any():
        return everyone, nobody
    return np.flatnonzero(~kept), np.flatnonzero(kept)
