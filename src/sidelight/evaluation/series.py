"""The protocol ``series``: a study's series, plane by plane, up to 16 slices in order, to one score per label.

A frozen encoder reads every slice once. For each plane (view) an aggregator and one linear head per label learn from the
labelled units; planes are fused by the log-odds of their accuracy on a fifth of the labelled patients, which is kept out of
that fit and never reported. Then each plane learns from all labelled units. A unit without a plane is scored by the others; a
unit with several series of a plane by their mean. Slices are drawn anew at every step, and the scores of ``draws`` draws are
averaged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sidelight.config import Settings
from sidelight.data.cache import Pixels
from sidelight.evaluation.fusion import fuse, fusion_weights
from sidelight.evaluation.slices import select_slices, slice_features
from sidelight.losses.labels import label_loss
from sidelight.models.image import Encoder
from sidelight.models.series import make_aggregator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Features = Mapping[int, NDArray[np.float32]]
TUNING, LEAST_TUNING = 5, 3
"""A fifth of the labelled patients tunes the fusion, where that is at least so many."""


class SeriesSettings(Settings):
    """How slices become scores."""

    slices: int = Field(16, ge=1, description="slices of a series that a head sees, in order")
    draws: int = Field(8, ge=1, description="draws of slices whose scores are averaged")
    aggregator: Literal["max", "attention", "convlstm"] = Field("attention", description="convlstm is the paper's")
    width: int = Field(32, ge=1, description="of the attention's hidden layer or the ConvLSTM's states (paper: 512)")
    steps: int = Field(150, ge=1, description="optimiser steps of each head")
    batch_size: int = Field(32, ge=1, description="series per step")
    lr: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    fusion: Literal["log_odds", "mean"] = "log_odds"


@dataclass(frozen=True, eq=False)
class Plane:
    """What was learnt of one plane: the network and the normalisation of its slices' features."""

    net: nn.Module
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SeriesHead:
    """A frozen encoder, a network per plane and the weights [planes, classes] by which they are fused."""

    encoder: Encoder
    planes: Mapping[str, Plane]
    weights: Floats
    sizes: tuple[int, ...]
    settings: SeriesSettings

    def __call__(self, pixels: Pixels, items: list[list[int]], *, keep: bool = True) -> Floats:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other.

        Units of which no plane is known get the mean of the others' scores.

        :param items: for each of N units its rows in ``pixels``.
        """
        rows = sorted({row for own in items for row in own})
        features = slice_features(self.encoder, pixels, rows, maps=_reads_maps(self.settings), keep=keep)
        each, present = [], []
        for name, plane in self.planes.items():
            own = _series_of(pixels, items, name)
            scores, there = plane_scores(plane, features, own, self.sizes, self.settings)
            each.append(scores)
            present.append(there)
        fused = fuse(np.stack(each), self.weights, np.stack(present))
        return np.where(np.isnan(fused), np.nan_to_num(np.nanmean(fused, axis=0), nan=0.5), fused)


def describe_series(head: SeriesHead) -> dict[str, Any]:
    """What rebuilds the head beside its tensors, as JSON."""
    shape = next(iter(head.planes.values())).mean.shape
    return {"planes": list(head.planes), "settings": head.settings.model_dump(), "shape": list(shape)}


def series_tensors(head: SeriesHead) -> dict[str, NDArray[Any]]:
    """Its tensors by name."""
    found: dict[str, NDArray[Any]] = {"weights": head.weights}
    for place, plane in enumerate(head.planes.values()):
        own = {"mean": plane.mean, "scale": plane.scale}
        own |= {f"net.{name}": value.detach().cpu().numpy() for name, value in plane.net.state_dict().items()}
        found |= {f"{place}.{name}": value for name, value in own.items()}
    return found


def rebuild_series(
    encoder: Encoder, sizes: tuple[int, ...], described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> SeriesHead:
    """The head that :func:`describe_series` and :func:`series_tensors` kept."""
    settings, planes = SeriesSettings(**described["settings"]), {}
    for place, name in enumerate(described["planes"]):
        own = {key.removeprefix(f"{place}."): value for key, value in tensors.items() if key.startswith(f"{place}.")}
        net = make_aggregator(settings.aggregator, tuple(described["shape"]), _outputs(sizes), settings.width)
        net.load_state_dict({key[4:]: torch.from_numpy(value) for key, value in own.items() if key.startswith("net.")})
        planes[name] = Plane(net, own["mean"], own["scale"])
    return SeriesHead(encoder, planes, tensors["weights"], sizes, settings)


def _outputs(sizes: tuple[int, ...]) -> int:
    """One logit per target of several, else one per class."""
    return len(sizes) if len(sizes) > 1 else sizes[0]


def fit_series(
    encoder: Encoder,
    pixels: Pixels,
    items: list[list[int]],
    y: Ints,
    groups: NDArray[np.object_],
    sizes: tuple[int, ...],
    settings: SeriesSettings,
    *,
    seed: int,
    balance: Floats | None = None,
) -> SeriesHead:
    """Learn a head from labelled units.

    :param items: cache rows of each labelled unit; ``y`` int [N, targets], negative where unknown; ``groups`` [N] patients.
    :param balance: float [targets, classes], weights of the classes in the loss; none counts all alike.
    """
    rows = sorted({row for own in items for row in own})
    features = slice_features(encoder, pixels, rows, maps=_reads_maps(settings))
    planes = sorted({_view(pixels, row) for row in rows})
    series = {name: _series_of(pixels, items, name) for name in planes}
    everyone = np.arange(len(items))
    tuning = _tuning(groups, seed) if len(planes) > 1 and settings.fusion == "log_odds" else everyone[:0]
    weights = np.full((len(planes), sum(sizes)), 1 / len(planes))
    if len(tuning):
        rest = np.setdiff1d(everyone, tuning)
        accuracy = []
        for number, name in enumerate(planes):
            plane = _fit_plane(features, series[name], y, rest, sizes, settings, balance, [seed, number])
            scores, there = plane_scores(plane, features, [series[name][unit] for unit in tuning], sizes, settings)
            accuracy.append(_accuracy(scores[there], y[tuning][there], sizes))
        weights = fusion_weights(np.stack(accuracy))
    fitted = {
        name: _fit_plane(features, series[name], y, everyone, sizes, settings, balance, [seed, number])
        for number, name in enumerate(planes)
    }
    return SeriesHead(encoder, fitted, weights, sizes, settings)


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
        batch, mask = _batch(plane, features, [row for _, row in pairs], settings, rng if draw else None)
        with torch.no_grad():
            scores = _probabilities(plane.net(batch, mask), sizes).numpy()
        np.add.at(found, [unit for unit, _ in pairs], scores)
        np.add.at(counts, [unit for unit, _ in pairs], 1)
    return found / np.maximum(counts, 1)[:, None], counts > 0


def _fit_plane(
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
        net = make_aggregator(settings.aggregator, one.shape[1:], _outputs(sizes), settings.width)
    used = [features[row] for _, row in pairs] or list(features.values())
    axes = (0, 2, 3) if one.ndim == 4 else (0,)
    flat = np.concatenate(used)
    mean, spread = flat.mean(axis=axes, keepdims=True)[0], flat.std(axis=axes, keepdims=True)[0]
    plane = Plane(net, mean, np.where(spread > 1e-6, spread, 1).astype(np.float32))
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    weights = None if balance is None else torch.as_tensor(balance, dtype=torch.float32)
    net.train()
    for step, chosen in enumerate(_batches(len(pairs), settings, rng)):
        own = [pairs[place] for place in chosen]
        batch, mask = _batch(plane, features, [row for _, row in own], settings, rng)
        loss = _loss(net(batch, mask), torch.as_tensor(y[[unit for unit, _ in own]]), weights)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return plane


def _batches(count: int, settings: SeriesSettings, rng: np.random.Generator) -> Iterator[list[int]]:
    """``steps`` batches of series, each series as often as any other."""
    queue: list[int] = []
    size = min(settings.batch_size, count)
    for _ in range(settings.steps if count else 0):
        while len(queue) < size:
            queue += rng.permutation(count).tolist()
        yield queue[:size]
        queue = queue[size:]


def _batch(
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


def _loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Of several targets :func:`label_loss`, else cross-entropy over classes."""
    if labels.shape[1] > 1:
        return label_loss(logits, labels, weights)
    return functional.cross_entropy(logits, labels[:, 0], None if weights is None else weights[0])


def _probabilities(logits: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """[N, C]: both classes of each of several targets, or all classes of one."""
    if len(sizes) == 1:
        return logits.softmax(dim=1)
    return torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=2).flatten(1)


def _accuracy(scores: Floats, y: Ints, sizes: tuple[int, ...]) -> Floats:
    """Accuracy of each target, once for each of its classes [C]; NaN where no label is known."""
    found, start = [], 0
    for target, size in enumerate(sizes):
        known = y[:, target] >= 0
        right = scores[known, start : start + size].argmax(axis=1) == y[known, target]
        found += [float(right.mean()) if known.any() else np.nan] * size
        start += size
    return np.array(found)


def _tuning(groups: NDArray[np.object_], seed: int) -> Ints:
    """Units of a fifth of the groups, or none where that is fewer than ``LEAST_TUNING``."""
    names = np.unique(groups.astype(str))
    count = len(names) // TUNING
    chosen = np.random.default_rng([seed, 7]).permutation(names)[:count]
    own = np.flatnonzero(np.isin(groups.astype(str), chosen))
    return own if count >= LEAST_TUNING else own[:0]


def _series_of(pixels: Pixels, items: list[list[int]], plane: str) -> list[list[int]]:
    """The rows of each unit that show ``plane``."""
    return [[row for row in own if _view(pixels, row) == plane] for own in items]


def _view(pixels: Pixels, row: int) -> str:
    return str(pixels.index["view"].iloc[row])


def _reads_maps(settings: SeriesSettings) -> bool:
    return settings.aggregator == "convlstm"
