"""Probes on frozen vectors: k nearest neighbours by cosine, and L2-regularised multinomial logistic regression.

The strength of the linear probe is chosen, and its probabilities are put on one scale, by cross-validation *inside the
labelled units*, grouped by patient: a probe that is said to have seen 16 labels has seen 16, the selection included.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from sidelight.config import Settings
from sidelight.evaluation.protocols.base import Examples, Floats, Head, HeadSettings, Learned, Saved
from sidelight.evaluation.units import Reader, Units, filled, mean_of
from sidelight.losses.labels import inverse_frequency
from sidelight.machine import cores
from sidelight.metrics.representation import knn_scores
from sidelight.models.pair import PhotoPair

LARGE = 1_000_000
"""Numbers in a matrix of features from which it is worth while to fit folds side by side, in single precision."""
_Fit = tuple[np.ndarray, np.ndarray]
STRENGTHS = tuple(10.0**k for k in range(-5, 3))
NEWTON_COLUMNS, NEWTON_STEPS, NEWTON_SLOPE, STEPS, PATIENCE = 64, 50, 1e-4, 300, 2


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
    with threadpool_limits(1), warnings.catch_warnings():
        # Weak penalties may stop before the optimum: that is one more penalty, and left-out units choose among them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength, temperature = _choose(x, y, groups, classes, seed, weights)
        weight, bias = next(_path(x, y, classes, (strength,), weights))
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
    rows, path = held_out
    least, best, chosen = np.inf, 0, np.empty(0)
    for place, logits in enumerate(path):
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


def _span(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and scale of the columns, and a basis of the span of the standardised units: the optimum lies in it, so that
    the fit has N instead of D columns."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-8, scale, np.inf)
    if len(x) >= x.shape[1]:
        return mean, scale, np.eye(x.shape[1])
    return mean, scale, np.linalg.svd((x - mean) / scale, full_matrices=False)[2].T


def _out_of_fold(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, classes: int, seed: int, weights: np.ndarray | None
) -> tuple[np.ndarray, Iterator[np.ndarray]] | None:
    """Logits of units left out of the fit, strength by strength; none where a class has a single patient."""
    fewest = min(len(np.unique(groups[y == c])) for c in range(classes))
    if fewest < 2:
        return None
    folds = StratifiedGroupKFold(min(5, fewest), shuffle=True, random_state=seed)
    parts = [(a, b) for a, b in folds.split(x, y, groups) if len(np.unique(y[a])) == classes]
    if not parts:
        return None
    rows = np.concatenate([b for _, b in parts])
    paths = [_path(x[a], y[a], classes, STRENGTHS, weights) for a, _ in parts]
    logits = (
        np.concatenate([x[b] @ weight + bias for (weight, bias), (_, b) in zip(fits, parts, strict=True)])
        for fits in _side_by_side(paths, large=x.size > LARGE)
    )
    return rows, logits


def _side_by_side(paths: list[Iterator[_Fit]], *, large: bool) -> Iterator[tuple[_Fit, ...]]:
    """What comes next of each path, together; large ones in threads, since their matrix products leave Python's lock alone."""
    if not large:
        yield from zip(*paths, strict=True)
        return
    with ThreadPoolExecutor(min(cores(), len(paths))) as pool:
        for _ in STRENGTHS:
            yield tuple(pool.map(next, paths))


def _path(
    x: np.ndarray, y: np.ndarray, classes: int, strengths: tuple[float, ...], weights: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weight ``[D, C]`` and bias ``[C]`` on ``x`` for each strength in turn; ``x`` is standardised by itself, not by what is
    held out."""
    mean, scale, basis = _span(x)
    reduced = ((x - mean) / scale) @ basis
    newton = classes == 2 and reduced.shape[1] <= NEWTON_COLUMNS
    if x.size > LARGE:
        reduced = reduced.astype(np.float32)  # enough for probabilities, and it takes half the time
    for weight, bias in (
        _newton(reduced, y, strengths, weights) if newton else _fits(reduced, y, classes, strengths, weights)
    ):
        own = (basis @ weight) / scale[:, None]
        yield own, bias - mean @ own


def _newton(
    x: np.ndarray, y: np.ndarray, strengths: tuple[float, ...], weights: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """As :func:`_fit` of two classes, the fit of one strength starting from that of the last.

    Forty fits choose one head, of units so few that scikit-learn spends its time on checking its input: this is six times
    faster.
    """
    each = np.ones(len(y)) if weights is None else weights[y]
    design, fits = np.concatenate([x, np.ones((len(x), 1))], axis=1), []
    ridge, point = np.ones(design.shape[1]), np.zeros(design.shape[1])
    ridge[-1] = 0.0
    point[-1] = np.log((each @ y) / (each @ (1 - y)))

    def cost(at: np.ndarray, strength: float) -> float:
        line = design @ at
        return float(strength * (each @ (np.logaddexp(0, line) - y * line)) + 0.5 * ridge @ at**2)

    for strength in strengths:
        here = cost(point, strength)
        for _ in range(NEWTON_STEPS):
            chance = expit(design @ point)
            slope = strength * (design.T @ (each * (chance - y))) + ridge * point
            if np.abs(slope).max() < NEWTON_SLOPE:
                break
            curve = strength * (design.T * (each * chance * (1 - chance))) @ design
            curve[np.diag_indices_from(curve)] += ridge + 1e-10
            step, size = np.linalg.solve(curve, slope), 1.0
            while (there := cost(point - size * step, strength)) > here and size > 1e-4:
                size /= 2
            point, here = point - size * step, there
        fits.append((np.stack([np.zeros(x.shape[1]), point[:-1]], axis=1), np.array([0.0, point[-1]])))
    return fits


def _fits(
    x: np.ndarray, y: np.ndarray, classes: int, strengths: tuple[float, ...], weights: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weights ``[D, C]``, bias ``[C]`` for each strength, each fit starting from the last; the first of two classes has none."""
    # Newton's method is three times faster where its Hessian is small.
    solver = "newton-cholesky" if x.shape[1] * classes <= 150 else "lbfgs"
    balance = None if weights is None else dict(enumerate(weights.tolist()))
    model = LogisticRegression(max_iter=STEPS, solver=solver, class_weight=balance, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength).fit(x, y)
        weight, bias = np.asarray(model.coef_).T.copy(), np.asarray(model.intercept_).copy()
        if classes > 2:
            yield weight, bias
        else:
            yield np.concatenate([np.zeros_like(weight), weight], axis=1), np.concatenate([[0.0], bias])


def _temperature(logits: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
    """The temperature in [0.1, 10] at which the left-out logits are most likely (Guo et al. 2017)."""

    def loss(log_t: float) -> float:
        return _loss(logits / np.exp(log_t), y, weights)

    limit = np.log(10.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))
