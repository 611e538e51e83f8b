"""The protocol ``series``: a study's series, plane by plane, up to 16 slices in order, to one score per label.

A frozen encoder reads every slice once. For each plane (view) an aggregator and one linear head per label learn from the
labelled units; planes are fused by the log-odds of their accuracy on a fifth of the labelled patients, which is kept out of
that fit and never reported. Then each plane learns from all labelled units. A unit without a plane is scored by the others; a
unit with several series of a plane by their mean. Slices are drawn anew at every step, and the scores of ``draws`` draws are
averaged.

``encoder = "finetuned"``: then the encoder and the heads of all planes learn on together
(:mod:`sidelight.evaluation.protocols.series.finetune`), in the fit of the fusion too, whose fifth neither has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sidelight.data.pixels.cache import Pixels
from sidelight.evaluation.protocols.base import Examples, Head, HeadSettings, Learned, Saved
from sidelight.evaluation.protocols.series.finetune import finetune_series
from sidelight.evaluation.protocols.series.planes import Floats, Ints, Plane, SeriesSettings, fit_plane, plane_scores
from sidelight.evaluation.protocols.series.slices import slice_features
from sidelight.evaluation.units import Reader, Units
from sidelight.losses.labels import outputs
from sidelight.models.image import Encoder
from sidelight.models.series import make_aggregator

TUNING, LEAST_TUNING = 5, 3
"""A fifth of the labelled patients tunes the fusion, where that is at least so many."""


@dataclass(frozen=True, eq=False)
class SeriesHead(Head):
    """An encoder, a network per plane and the weights [planes, classes] by which they are fused.

    :ivar keep: whether features of slices are stored beside the pixels.
    """

    encoder: Encoder
    planes: Mapping[str, Plane]
    weights: Floats
    sizes: tuple[int, ...]
    settings: SeriesSettings
    keep: bool = True

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other.

        Units of which no plane is known get the mean of the others' scores.
        """
        pixels, items = units.pixels, units.items
        rows = sorted({row for own in items for row in own})
        keep = self.keep and self.settings.encoder == "frozen"
        features = slice_features(self.encoder, pixels, rows, maps=self.settings.reads_maps, keep=keep)
        each, present = [], []
        for name, plane in self.planes.items():
            own = _series_of(pixels, items, name)
            scores, there = plane_scores(plane, features, own, self.sizes, self.settings)
            each.append(scores)
            present.append(there)
        fused = fuse(np.stack(each), self.weights, np.stack(present))
        return np.where(np.isnan(fused), np.nan_to_num(np.nanmean(fused, axis=0), nan=0.5), fused)

    @property
    def reader(self) -> Reader:
        """The encoder of slices."""
        return self.encoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The fusion's weights and, of each plane under its number, standardisation and network."""
        found: dict[str, NDArray[Any]] = {"weights": self.weights}
        for place, plane in enumerate(self.planes.values()):
            own = {"mean": plane.mean, "scale": plane.scale}
            own |= {f"net.{name}": value.detach().cpu().numpy() for name, value in plane.net.state_dict().items()}
            found |= {f"{place}.{name}": value for name, value in own.items()}
        return found

    def describe(self) -> dict[str, Any]:
        """Planes, settings and the shape of what their networks read."""
        shape = next(iter(self.planes.values())).mean.shape
        return {"planes": list(self.planes), "settings": self.settings.model_dump(), "shape": list(shape)}

    @classmethod
    def of(cls, saved: Saved) -> "SeriesHead":
        """The networks of the folder on its encoder; nothing is stored beside new data."""
        assert isinstance(saved.reader, Encoder)
        said, settings, planes = saved.described, SeriesSettings(**saved.described["settings"]), {}
        for place, name in enumerate(said["planes"]):
            start = f"{place}."
            own = {key.removeprefix(start): value for key, value in saved.tensors.items() if key.startswith(start)}
            net = make_aggregator(settings.aggregator, tuple(said["shape"]), outputs(saved.sizes), settings.width)
            net.load_state_dict({key[4:]: torch.from_numpy(one) for key, one in own.items() if key.startswith("net.")})
            planes[name] = Plane(net, own["mean"], own["scale"])
        return cls(saved.reader, planes, saved.tensors["weights"], saved.sizes, settings, keep=False)


class Series(Learned[SeriesSettings]):
    """Slices of every plane of a study."""

    name = "series"
    says = "an aggregator of slices with linear heads for each plane, fused by weights fitted inside the labelled units"
    group = "series"
    Settings = SeriesSettings
    reads = "slices"
    side_by_side = False

    def fit(
        self, reader: Reader, examples: Examples, own: SeriesSettings, settings: HeadSettings, *, seed: int, draw: int
    ) -> dict[str, Head]:
        """One head; all units train, those that are there to choose by, too."""
        assert isinstance(reader, Encoder)
        return {"selected": fit_series(reader, examples, own, examples.class_weights(settings, of_all=True), seed=draw)}

    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""
        return SeriesHead.of(saved)


def fit_series(
    encoder: Encoder, examples: Examples, settings: SeriesSettings, balance: Floats | None = None, *, seed: int
) -> SeriesHead:
    """Learn a head from labelled units.

    :param balance: float [targets, classes], weights of the classes in the loss; none counts all alike.
    """
    pixels, items = examples.units.pixels, examples.units.items
    y, groups, sizes = examples.y, examples.groups, examples.sizes
    planes = sorted({_view(pixels, row) for own in items for row in own})
    series = {name: _series_of(pixels, items, name) for name in planes}
    everyone = np.arange(len(items))

    def learn(units: Ints) -> tuple[Encoder, dict[str, Plane]]:
        return _learn(encoder, pixels, series, y, units, sizes, settings, balance, seed)

    tuning = _tuning(groups, seed) if len(planes) > 1 and settings.fusion == "log_odds" else everyone[:0]
    weights = np.full((len(planes), sum(sizes)), 1 / len(planes))
    if len(tuning):
        net, fitted = learn(np.setdiff1d(everyone, tuning))
        own = {name: [rows[unit] for unit in tuning] for name, rows in series.items()}
        features = _read(net, pixels, own, settings)
        accuracy = []
        for name, plane in fitted.items():
            scores, there = plane_scores(plane, features, own[name], sizes, settings)
            accuracy.append(_accuracy(scores[there], y[tuning][there], sizes))
        weights = fusion_weights(np.stack(accuracy))
    net, fitted = learn(everyone)
    return SeriesHead(net, fitted, weights, sizes, settings)


def _learn(
    encoder: Encoder,
    pixels: Pixels,
    series: Mapping[str, list[list[int]]],
    y: Ints,
    units: Ints,
    sizes: tuple[int, ...],
    settings: SeriesSettings,
    balance: Floats | None,
    seed: int,
) -> tuple[Encoder, dict[str, Plane]]:
    """The encoder and what was learnt of each plane, from ``units`` alone."""
    features = _read(encoder, pixels, series, settings, keep=True)
    fitted = {
        name: fit_plane(features, rows, y, units, sizes, settings, balance, [seed, number])
        for number, (name, rows) in enumerate(series.items())
    }
    if settings.encoder == "frozen":
        return encoder, fitted
    known = {name: [(unit, row) for unit in units.tolist() for row in rows[unit]] for name, rows in series.items()}
    return finetune_series(encoder, pixels, fitted, known, y, settings, balance, sizes=sizes, seed=seed)


def _read(
    encoder: Encoder,
    pixels: Pixels,
    series: Mapping[str, list[list[int]]],
    settings: SeriesSettings,
    *,
    keep: bool | None = None,
) -> dict[int, NDArray[np.float32]]:
    """Features of all slices of ``series``; those of a fine-tuned encoder are not stored, for it is of one fold."""
    rows = sorted({row for units in series.values() for own in units for row in own})
    keep = settings.encoder == "frozen" if keep is None else keep
    return slice_features(encoder, pixels, rows, maps=settings.reads_maps, keep=keep)


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


MOST = 0.99
"""Accuracies are cut here: a plane that makes no mistake on a few tuning exams is not infinitely good."""


def fusion_weights(accuracy: Floats) -> Floats:
    """``w_p = log(a_p / (1 - a_p))``, divided by their sum over planes: [P, L].

    :param accuracy: [P, L] of P planes for L labels, on exams that are neither trained on nor reported. A plane at or below 0.5
        gets 0; where all are there, or NaN because nothing was measured, planes count alike.
    """
    known = np.clip(np.nan_to_num(accuracy, nan=0.5), 0.5, MOST)
    odds = np.log(known / (1 - known))
    total = odds.sum(axis=0, keepdims=True)
    return np.asarray(np.where(total > 0, odds / np.where(total > 0, total, 1), 1 / len(accuracy)), np.float64)


def fuse(probabilities: Floats, weights: Floats, present: NDArray[np.bool_]) -> Floats:
    """Weighted means over the planes that are there: [N, L].

    :param probabilities: [P, N, L], anything where a plane is missing; ``weights`` [P, L] >= 0; ``present`` [P, N].
    :return: NaN where no plane is there. Where those that are there weigh nothing, they count alike.
    """
    here = present[:, :, None] * np.ones_like(probabilities)
    own = here * weights[:, None]
    own = np.where(own.sum(axis=0) > 0, own, here)
    total = own.sum(axis=0)
    summed = (own * np.where(here > 0, probabilities, 0.0)).sum(axis=0)
    return np.asarray(np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0))
