"""Fine-tuning and training from scratch: the encoder learns with its head, on frames; units are scored by the mean over frames.

Equal budget means the same number of optimiser steps at the same batch and image size, whatever the encoder started from.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.data.pixels.cache import Pixels
from sidelight.data.read.clip import spaced_indices
from sidelight.errors import EncoderError
from sidelight.losses.labels import class_probabilities, outputs, target_loss
from sidelight.models.image import Encoder
from sidelight.train.device import place
from sidelight.views.augment import NUMBERS, Augment, augment, resize


class FinetuneSettings(Settings):
    """Budget and optimiser of supervised training."""

    steps: int = Field(200, ge=1, description="optimiser steps")
    batch_size: int = Field(32, ge=1, description="units of a step")
    lr: float | None = Field(
        None,
        gt=0,
        description="of the encoder; none is 0.0001 where its weights come from somewhere, 0.001 of random ones",
    )
    head_lr: float = Field(1e-2, gt=0, description="highest learning rate of the linear head")
    weight_decay: float = Field(1e-4, ge=0, description="of all weights")
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="adam adds the decay to the gradient")
    layers: Literal["all", "last_block"] = Field("all", description="of the encoder, that are trained")
    crop: float = Field(0.6, gt=0, le=1, description="least area of the crops that it is trained on")
    jitter: float = Field(0.3, ge=0, description="brightness and contrast that it is trained on")
    checks: int = Field(10, ge=1, description="times that the units which choose the step are looked at")
    width: int | None = Field(
        None,
        ge=2,
        description="of a label's token, where two photographs are read side by side; none is projector.width",
    )


@dataclass(frozen=True)
class Frames:
    """Frames of labelled units: ``rows`` and ``at`` int64 [F] locate a frame in the cache, ``unit`` int64 [F] its unit."""

    rows: np.ndarray
    at: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, pixels: Pixels, items: list[list[int]], per_item: int) -> "Frames":
        """Evenly spaced frames of every item of every unit; ``items[u]`` lists the cache rows of unit u."""
        table = [
            (row, at, unit)
            for unit, rows in enumerate(items)
            for row in rows
            for at in spaced_indices(pixels.frames_of(row), per_item)
        ]
        rows, at, unit = np.array(table, dtype=np.int64).T
        return cls(rows, at, unit)

    def balanced(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` frames: units drawn evenly, then one frame of each, so that a long clip weighs no more than a short one."""
        units = np.unique(self.unit)
        order = np.concatenate([rng.permutation(units) for _ in range(-(-count // len(units)))])[:count]
        return np.array([rng.choice(np.flatnonzero(self.unit == unit)) for unit in order])


class Classifier(nn.Module):
    """An encoder and a linear head; logits ``[N, K]`` of images ``[N, C, S, S]`` in [0, 1], K as ``outputs`` says.

    :param sizes: how many classes each target has.
    :param beside: how many numbers of a unit the head reads beside the features; they are standardised first.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, encoder: Encoder, sizes: tuple[int, ...], beside: int = 0) -> None:
        super().__init__()
        self.encoder = deepcopy(encoder)
        self.sizes = sizes
        self.head = nn.Linear(encoder.dim + beside, outputs(sizes))
        self.register_buffer("centre", torch.zeros(beside))
        self.register_buffer("spread", torch.ones(beside))

    @classmethod
    def of(cls, encoder: Encoder, sizes: tuple[int, ...], weight: np.ndarray, bias: np.ndarray) -> "Classifier":
        """A classifier with a given head: ``weight`` float32 [K, D + beside], ``bias`` [K]."""
        model = cls(encoder, sizes, weight.shape[1] - encoder.dim)
        with torch.no_grad():
            model.head.weight.copy_(torch.from_numpy(weight))
            model.head.bias.copy_(torch.from_numpy(bias))
        return model

    def standardise(self, beside: np.ndarray) -> None:
        """From now on the numbers beside the features are standardised as those of the units [U, beside] are."""
        spread = beside.std(axis=0)
        self.centre.copy_(torch.from_numpy(beside.mean(axis=0)))
        self.spread.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """The head on numbers that are not standardised: weight float32 [K, D + beside] and bias [K]."""
        weight, bias = self.head.weight.detach().clone(), self.head.bias.detach().clone()
        weight[:, self.encoder.dim :] /= self.spread
        bias -= weight[:, self.encoder.dim :] @ self.centre
        return weight.cpu().numpy(), bias.cpu().numpy()

    def forward(self, images: Tensor, beside: Tensor | None = None) -> Tensor:
        """Logits ``[N, K]``; ``beside`` float32 ``[N, beside]``."""
        features = self.encoder(self.encoder.match_channels(images))
        if beside is not None:
            features = torch.cat([features, (beside - self.centre) / self.spread], dim=1)
        return self.head(features)  # type: ignore[no-any-return]


def last_block(encoder: nn.Module) -> nn.Module:
    """The last residual or transformer block of a timm model; :raises EncoderError: when it has none we know."""
    backbone = getattr(encoder, "network", encoder)
    for name in ("layer4", "blocks", "stages", "features"):
        stages = getattr(backbone, name, None)
        if isinstance(stages, nn.Module) and len(list(stages.children())):
            return list(stages.children())[-1]
    raise EncoderError(
        "This encoder has no block that could be fine-tuned alone",
        expected="layer4, blocks, stages or features",
        do="Use finetune.layers='all'",
    )


def train_classifier(
    encoder: Encoder,
    pixels: Pixels,
    frames: Frames,
    labels: np.ndarray,
    sizes: tuple[int, ...],
    settings: FinetuneSettings,
    *,
    seed: int,
    device: torch.device,
    bf16: bool = False,
    weights: np.ndarray | None = None,
    beside: np.ndarray | None = None,
) -> Iterator[tuple[int, Classifier]]:
    """Train on ``frames`` and hand out the model, in training, after each of ``checks`` parts.

    :param labels: int [U, targets] per unit, negative where unknown; ``sizes``: how many classes each target has.
    :param weights: float [targets, classes], of the classes in the loss; none counts all alike.
    :param beside: float32 [U, M], what the head reads beside the features.

    Draws depend on ``seed`` and the step only. :yields: (steps done, model).
    """
    torch.manual_seed(seed)
    model = Classifier(encoder, sizes, 0 if beside is None else beside.shape[1])
    if beside is not None:
        model.standardise(beside)
    place(model, device)
    balance = None if weights is None else torch.as_tensor(weights, dtype=torch.float32, device=device)
    trained = _trained_parameters(model, settings)
    optimizer = _optimizer(model, trained, settings)
    recipe = Augment(scale=(settings.crop, 1.0), brightness=settings.jitter, contrast=settings.jitter)
    rng = np.random.default_rng([seed, 1])
    every = max(1, settings.steps // settings.checks)
    for step in range(1, settings.steps + 1):
        model.train()
        chosen = frames.balanced(settings.batch_size, rng)
        raw = torch.from_numpy(pixels.batch(frames.rows[chosen].tolist(), frames.at[chosen].tolist())).to(device)
        draws = torch.from_numpy(rng.random((len(chosen), NUMBERS))).to(device)
        target = torch.from_numpy(labels[frames.unit[chosen]]).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = model(
                augment(raw, recipe, draws, size=encoder.image_size), _beside(beside, frames.unit[chosen], device)
            )
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * (step - 1) / settings.steps))
        optimizer.zero_grad()
        target_loss(logits.float(), target, sizes, balance).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % every == 0 or step == settings.steps:
            yield step, model


def _beside(beside: np.ndarray | None, units: np.ndarray, device: torch.device) -> Tensor | None:
    return None if beside is None else torch.from_numpy(beside[units]).to(device)


def predict_units(
    model: Classifier,
    pixels: Pixels,
    frames: Frames,
    units: int,
    *,
    batch: int = 256,
    bf16: bool = False,
    beside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of each frame ``[F, C]``, C classes of all targets, and their mean per unit ``[units, C]``, in eval mode.

    :param beside: float32 [units, M], what the head reads beside the features.
    """
    device = model.head.weight.device
    model.eval()
    parts = []
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for start in range(0, len(frames.rows), batch):
            take = slice(start, start + batch)
            raw = torch.from_numpy(pixels.batch(frames.rows[take].tolist(), frames.at[take].tolist())).to(device)
            extra = _beside(beside, frames.unit[take], device)
            logits = model(resize(raw, model.encoder.image_size), extra).float()
            parts.append(class_probabilities(logits, model.sizes).cpu().numpy())
    each = np.concatenate(parts)
    sums, counts = np.zeros((units, each.shape[1])), np.zeros(units)
    np.add.at(sums, frames.unit, each)
    np.add.at(counts, frames.unit, 1)
    return each, sums / counts[:, None]


def _trained_parameters(model: Classifier, settings: FinetuneSettings) -> list[nn.Parameter]:
    if settings.layers == "all":
        return list(model.encoder.parameters())
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    block = list(last_block(model.encoder).parameters())
    for parameter in block:
        parameter.requires_grad_(True)
    return block


def encoder_rate(encoder: Encoder, settings: FinetuneSettings) -> float:
    """Learning rate of the encoder: what is known already is moved less than what is random."""
    return settings.lr if settings.lr is not None else 1e-4 if encoder.trained else 1e-3


def _optimizer(model: Classifier, trained: list[nn.Parameter], settings: FinetuneSettings) -> torch.optim.Optimizer:
    rate = encoder_rate(model.encoder, settings)
    groups = [
        {"params": trained, "lr": rate, "peak": rate},
        {"params": list(model.head.parameters()), "lr": settings.head_lr, "peak": settings.head_lr},
    ]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=settings.weight_decay)
