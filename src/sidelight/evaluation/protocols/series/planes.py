"""One plane of the protocol ``series``: an aggregator and a linear head per label, learnt from the slices of labelled series."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.evaluation.protocols.series.slices import select_slices
from sidelight.losses.labels import class_probabilities, outputs, target_loss
from sidelight.models.series import make_aggregator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Features = Mapping[int, NDArray[np.float32]]


class SeriesFinetune(Settings):
    """How an encoder learns on, after heads have learnt on its frozen slices."""

    steps: int = Field(100, ge=1, description="optimiser steps")
    batch_size: int = Field(
        4, ge=1, description="series per step, of every plane; each shows up to series.slices images"
    )
    lr: float = Field(1e-4, gt=0, description="of the encoder; the heads go on at series.lr")
    crop: float = Field(0.8, gt=0, le=1, description="least area of the crop, the same for all slices of a series")
    jitter: float = Field(0.2, ge=0, description="brightness and contrast, the same for all slices of a series")


class SeriesSettings(Settings):
    """How slices become scores."""

    slices: int = Field(16, ge=1, description="slices of a series that a head sees, in order")
    draws: int = Field(8, ge=1, description="draws of slices whose scores are averaged")
    aggregator: Literal["max", "attention", "convlstm"] = Field("attention", description="convlstm is the paper's")
    width: int = Field(32, ge=1, description="of the attention's hidden layer or the ConvLSTM's states (paper: 512)")
    steps: int = Field(150, ge=1, description="optimiser steps of each head")
    batch_size: int = Field(32, ge=1, description="series per step")
    lr: float = Field(3e-3, gt=0, description="highest learning rate of the heads")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    fusion: Literal["log_odds", "mean"] = Field(
        "log_odds", description="of planes: log odds with weights that are fitted, or the mean of the probabilities"
    )
    encoder: Literal["frozen", "finetuned"] = Field(
        "frozen", description="finetuned: the encoder learns on with the heads"
    )
    finetune: SeriesFinetune = SeriesFinetune()

    @property
    def reads_maps(self) -> bool:
        """Whether the aggregator reads maps of slices instead of vectors."""
        return self.aggregator == "convlstm"


@dataclass(frozen=True, eq=False)
class Plane:
    """What was learnt of one plane: the network and the normalisation of its slices' features."""

    net: nn.Module
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


def plane_scores(
    plane: Plane, features: Features, series: list[list[int]], sizes: tuple[int, ...], settings: SeriesSettings
) -> tuple[Floats, NDArray[np.bool_]]:
    """Probabilities [N, C] of units by their series of one plane, and which units have one, bool [N]."""
    found = np.zeros((len(series), sum(sizes)))
    counts = np.zeros(len(series))
    pairs = [(unit, row) for unit, rows in enumerate(series) for row in rows]
    rng = np.random.default_rng(0)
    plane.net.eval()
    for draw in range(settings.draws if pairs else 0):
        batch, mask = slice_batch(plane, features, [row for _, row in pairs], settings, rng if draw else None)
        with torch.no_grad():
            scores = class_probabilities(plane.net(batch, mask), sizes).numpy()
        np.add.at(found, [unit for unit, _ in pairs], scores)
        np.add.at(counts, [unit for unit, _ in pairs], 1)
    return found / np.maximum(counts, 1)[:, None], counts > 0


def fit_plane(
    features: Features,
    series: list[list[int]],
    y: Ints,
    units: Ints,
    sizes: tuple[int, ...],
    settings: SeriesSettings,
    balance: Floats | None,
    seed: list[int],
) -> Plane:
    """An aggregator and its heads, learnt from the series of ``units``."""
    pairs = [(unit, row) for unit in units.tolist() for row in series[unit]]
    rng = np.random.default_rng([*seed, 3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        one = next(iter(features.values()))
        net = make_aggregator(settings.aggregator, one.shape[1:], outputs(sizes), settings.width)
    used = [features[row] for _, row in pairs] or list(features.values())
    axes = (0, 2, 3) if one.ndim == 4 else (0,)
    flat = np.concatenate(used)
    mean, spread = flat.mean(axis=axes, keepdims=True)[0], flat.std(axis=axes, keepdims=True)[0]
    plane = Plane(net, mean, np.where(spread > 1e-6, spread, 1).astype(np.float32))
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    weights = None if balance is None else torch.as_tensor(balance, dtype=torch.float32)
    net.train()
    for step, chosen in enumerate(batches(len(pairs), settings.steps, settings.batch_size, rng)):
        own = [pairs[place] for place in chosen]
        batch, mask = slice_batch(plane, features, [row for _, row in own], settings, rng)
        loss = target_loss(net(batch, mask), torch.as_tensor(y[[unit for unit, _ in own]]), sizes, weights)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return plane


def batches(count: int, steps: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """``steps`` batches of ``size`` of ``count`` series, each series as often as any other."""
    queue: list[int] = []
    size = min(size, count)
    for _ in range(steps if count else 0):
        while len(queue) < size:
            queue += rng.permutation(count).tolist()
        yield queue[:size]
        queue = queue[size:]


def slice_batch(
    plane: Plane, features: Features, rows: list[int], settings: SeriesSettings, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    """Normalised features of the drawn slices of each series [N, K, ...] and their mask [N, K]."""
    drawn = [select_slices(len(features[row]), settings.slices, rng) for row in rows]
    longest = max(map(len, drawn))
    batch = np.zeros((len(rows), longest, *features[rows[0]].shape[1:]), np.float32)
    mask = np.zeros((len(rows), longest), bool)
    for place, (row, at) in enumerate(zip(rows, drawn, strict=True)):
        batch[place, : len(at)] = (features[row][at] - plane.mean) / plane.scale
        mask[place, : len(at)] = True
    return torch.from_numpy(batch), torch.from_numpy(mask)
