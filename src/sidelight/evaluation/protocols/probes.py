"""Probes on frozen vectors: k nearest neighbours by cosine, and L2-regularised multinomial logistic regression.

The strength of the linear probe is chosen, and its probabilities are put on one scale, by cross-validation *inside the
labelled units*, grouped by patient: a probe that is said to have seen 16 labels has seen 16, the selection included. Of many
units one fold is left out for it.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from sidelight.config import Settings
from sidelight.evaluation.protocols.base import Examples, Floats, Head, HeadSettings, Learned, Saved
from sidelight.evaluation.protocols.logistic import path
from sidelight.evaluation.units import Reader, Units, filled, mean_of
from sidelight.losses.labels import inverse_frequency
from sidelight.metrics.representation import knn_scores
from sidelight.models.pair import PhotoPair

STRENGTHS = tuple(10.0**k for k in range(-5, 3))
MANY = 1000
"""Units from which those of one fold are enough to choose by."""
PATIENCE = 2


class KnnSettings(Settings):
    """Of the protocol ``knn``."""

    k: int = Field(5, ge=1, description="neighbours")


@dataclass(frozen=True)
class LinearProbe:
    """Class probabilities are the softmax of ``vectors @ weight + bias``; float64 ``[D, C]`` and ``[C]``."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Probabilities ``[M, C]`` of vectors ``[M, D]``."""
        return np.asarray(np.exp(log_softmax(vectors.astype(np.float64) @ self.weight + self.bias, axis=1)))

    def tensors(self) -> dict[str, np.ndarray]:
        """Its numbers by name."""
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True)
class KnnProbe:
    """Vectors ``[N, D]`` of the labelled units, their ``labels`` int [N], the number of classes and of neighbours."""

    vectors: np.ndarray
    labels: np.ndarray
    classes: int
    k: int

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Class probabilities ``[M, C]`` of ``vectors`` [M, D].

        They are centred with the mean of the labelled units, without which every cosine of a ReLU network is near 1.
        """
        centre = self.vectors.mean(axis=0)
        k = min(self.k, len(self.vectors))
        return knn_scores(self.vectors - centre, self.labels, vectors - centre, k, self.classes)

    def tensors(self) -> dict[str, np.ndarray]:
        """Its numbers by name."""
        return {"vectors": self.vectors, "labels": self.labels, "k": np.array([self.k])}


@dataclass(frozen=True)
class ProbeHead(Head):
    """A probe for each target.

    :ivar fill: float32 [D], what the numbers of an absent photograph are: the mean of the units that were learnt from.
    """

    probes: tuple[LinearProbe | KnnProbe, ...]
    fill: NDArray[np.float32] | None = None

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        assert units.vectors is not None
        vectors = units.vectors if self.fill is None else filled(units.vectors, self.fill)
        return np.concatenate([probe(vectors) for probe in self.probes], axis=1)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Those of each probe under its number."""
        own = {
            f"{place}.{name}": one for place, probe in enumerate(self.probes) for name, one in probe.tensors().items()
        }
        return own if self.fill is None else {"fill": self.fill, **own}

    @classmethod
    def of(cls, saved: Saved) -> "ProbeHead":
        """The probes whose tensors are there."""
        probes: list[LinearProbe | KnnProbe] = []
        for place, classes in enumerate(saved.sizes):
            start = f"{place}."
            own = {name.removeprefix(start): one for name, one in saved.tensors.items() if name.startswith(start)}
            if "k" in own:
                probes.append(KnnProbe(own["vectors"], own["labels"], classes, int(own["k"][0])))
            else:
                probes.append(LinearProbe(own["weight"], own["bias"]))
        return cls(tuple(probes), saved.tensors.get("fill"))


Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, int], LinearProbe | KnnProbe]
"""Vectors [N, D], classes [N], patients [N] and the number of classes -> a probe."""


class _Probes(Learned[Any]):
    """Targets one by one, each from the units whose class is known; absent photographs get the mean of the units."""

    @abstractmethod
    def probe(self, own: Any, settings: HeadSettings, seed: int) -> Fit:
        """What fits one target."""

    def fit(
        self, reader: Reader, examples: Examples, own: Any, settings: HeadSettings, *, seed: int, draw: int
    ) -> dict[str, Head]:
        """One head; probes learn the units that are there to choose by like the others."""
        assert examples.units.vectors is not None
        fill = mean_of(examples.units.vectors) if isinstance(reader, PhotoPair) else None
        vectors = examples.units.vectors if fill is None else filled(examples.units.vectors, fill)
        fit, probes = self.probe(own, settings, seed), []
        for target, size in enumerate(examples.sizes):
            y = examples.y[:, target]
            known = y >= 0
            probes.append(fit(vectors[known], y[known], examples.groups[known], size))
        return {"selected": ProbeHead(tuple(probes), fill)}

    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""
        return ProbeHead.of(saved)


class Knn(_Probes):
    """k nearest neighbours."""

    name = "knn"
    says = "k nearest neighbours by cosine on the frozen encoder's features"
    group = "knn"
    Settings = KnnSettings
    weighs_classes = False

    def probe(self, own: KnnSettings, settings: HeadSettings, seed: int) -> Fit:
        """Keeps the units."""
        return lambda x, y, groups, classes: KnnProbe(x, y, classes, own.k)


class Linear(_Probes):
    """The linear probe."""

    name = "linear"
    says = "an L2-regularised logistic regression on the frozen encoder's features"

    def probe(self, own: Any, settings: HeadSettings, seed: int) -> Fit:
        """Logistic regression, classes weighted if asked."""
        none = settings.balance == "none"
        return lambda x, y, groups, classes: fit_linear(
            x, y, groups, classes, seed=seed, weights=None if none else inverse_frequency(y, classes)
        )


def fit_linear(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: int,
    *,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> LinearProbe:
    """The probe with its strength and temperature chosen inside the labelled units.

    Where a class has no unit nothing can be learnt, and every unit gets the shares of the classes, (n_c + 1/2) / (n + C/2).

    :param x: float [N, D] vectors of the labelled units; ``y`` int [N] in ``range(classes)``; ``groups`` [N] patients.
    :param weights: float [C], of the units of each class; none counts all alike.
    """
    x = x.astype(np.float64)
    counts = np.bincount(y, minlength=classes)
    if not counts.all():
        return LinearProbe(np.zeros((x.shape[1], classes)), np.log((counts + 0.5) / (len(y) + classes / 2)))
    # One thread: the matrices are small, and threads that wait for each other make a fit twenty times slower.
    with threadpool_limits(1):
        strength, temperature = _choose(x, y, groups, classes, seed, weights)
        weight, bias = next(path(x, y, classes, (strength,), weights))
    return LinearProbe(weight / temperature, bias / temperature)


def _choose(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, classes: int, seed: int, weights: np.ndarray | None
) -> tuple[float, float]:
    """Strength and temperature under which left-out units are most likely.

    Strengths grow, and so do the iterations of a fit: what is worse than the best ``PATIENCE`` times running ends the search.
    """
    held_out = _out_of_fold(x, y, groups, classes, seed, weights)
    if held_out is None:
        return STRENGTHS[2], 1.0
    rows, by_strength = held_out
    least, best, chosen = np.inf, 0, np.empty(0)
    for place, logits in enumerate(by_strength):
        loss = _loss(logits, y[rows], weights)
        if loss < least:
            least, best, chosen = loss, place, logits
        elif place - best >= PATIENCE:
            break
    return STRENGTHS[best], _temperature(chosen, y[rows], weights)


def _loss(logits: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean negative log-likelihood."""
    each = -log_softmax(logits, axis=1)[np.arange(len(y)), y]
    return float(each.mean() if weights is None else np.average(each, weights=weights[y]))


def _out_of_fold(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, classes: int, seed: int, weights: np.ndarray | None
) -> tuple[np.ndarray, Iterator[np.ndarray]] | None:
    """Logits of units left out of the fit, strength by strength; none where a class has a single patient.

    Of ``MANY`` units one fold is left out, else each in turn.
    """
    fewest = min(len(np.unique(groups[y == c])) for c in range(classes))
    if fewest < 2:
        return None
    folds = StratifiedGroupKFold(min(5, fewest), shuffle=True, random_state=seed)
    parts = [(a, b) for a, b in folds.split(x, y, groups) if len(np.unique(y[a])) == classes]
    if not parts:
        return None
    parts = parts[:1] if len(x) >= MANY else parts
    rows = np.concatenate([b for _, b in parts])
    paths = [path(x[a], y[a], classes, STRENGTHS, weights) for a, _ in parts]
    logits = (
        np.concatenate([x[b] @ weight + bias for (weight, bias), (_, b) in zip(fits, parts, strict=True)])
        for fits in zip(*paths, strict=True)
    )
    return rows, logits


def _temperature(logits: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
    """The temperature in [0.1, 10] at which the left-out logits are most likely (Guo et al. 2017)."""

    def loss(log_t: float) -> float:
        return _loss(logits / np.exp(log_t), y, weights)

    limit = np.log(10.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))
