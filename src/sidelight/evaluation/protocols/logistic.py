"""L2-regularised multinomial logistic regression along a path of strengths, each fit starting from the last.

What is minimised for a strength C, of standardised ``x`` and with the classes' weights w: ``C sum_i w_y ce_i + |W|^2 / 2``, as
scikit-learn does; biases are free. Features of networks are so correlated that L-BFGS takes hundreds of steps there. In
coordinates in which the axes of ``x`` that vary most have the curvature of the others it takes a few dozen, to a nearer optimum.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.utils.extmath import randomized_svd

Array = NDArray[Any]
Fit = tuple[Array, Array]
LARGE = 1_000_000
"""Numbers in a matrix of features from which it is fitted in single precision, which is enough for probabilities."""
AXES, EXACT = 128, 300
"""Axes that are levelled, and the sides of a matrix up to which all of them are."""
NEWTON_COLUMNS, NEWTON_STEPS, NEWTON_SLOPE, STEPS, NEAR = 64, 50, 1e-4, 300, 1e-8


def path(x: Array, y: Array, classes: int, strengths: tuple[float, ...], weights: Array | None) -> Iterator[Fit]:
    """Weight ``[D, C]`` and bias ``[C]`` on ``x`` [N, D] for each strength in turn.

    ``x`` is standardised by itself, not by what is held out.

    :param y: int [N] in ``range(classes)``, every class at least once; ``weights`` float [C] of units of each, or None.
    """
    mean, scale, basis = span(x)
    reduced = (x - mean) / scale
    reduced = reduced if basis is None else reduced @ basis
    newton = classes == 2 and reduced.shape[1] <= NEWTON_COLUMNS
    if x.size > LARGE:
        reduced = reduced.astype(np.float32)
    for weight, bias in (_newton if newton else _levelled)(reduced, y, classes, strengths, weights):
        own = (weight if basis is None else basis @ weight) / scale[:, None]
        yield own, bias - mean @ own


def span(x: Array) -> tuple[Array, Array, Array | None]:
    """Mean and scale [D] of the columns, and an orthonormal basis [D, N] of the span of standardised units.

    The optimum lies in it, so that the fit has N columns. None where that would not be half of them.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-8, scale, np.inf)
    if 2 * len(x) > x.shape[1]:
        return mean, scale, None
    return mean, scale, np.linalg.svd((x - mean) / scale, full_matrices=False)[2].T


def _levelled(x: Array, y: Array, classes: int, strengths: tuple[float, ...], weights: Array | None) -> Iterator[Fit]:
    """By L-BFGS in levelled coordinates."""
    problem = _Problem.of(x, y, classes, weights)
    weight, bias = np.zeros((x.shape[1], classes)), np.log(problem.shares)
    for strength in strengths:
        # one weight in place of two that mirror each other has twice their penalty
        strength = strength / 2 if classes == 2 else strength
        level = problem.level(strength)
        start = np.concatenate([level.inward(weight), bias[None] / level.bias]).ravel()
        found = minimize(
            problem.cost, start, args=(strength, level), jac=True, method="L-BFGS-B",
            options={"maxiter": STEPS, "maxfun": 2 * STEPS, "ftol": NEAR, "gtol": 1e-9},
        )  # fmt: skip
        point = found.x.reshape(-1, classes)
        weight, bias = level.outward(point[:-1]).astype(np.float64), point[-1] * level.bias
        yield weight, bias


@dataclass(frozen=True, eq=False)
class _Level:
    """Coordinates in which the cost curves alike in all directions.

    :ivar axes: [K, D], orthonormal; ``along`` [K, 1] what a step along each is multiplied by, ``rest`` across all of them.
    """

    axes: Array
    along: Array
    rest: float
    bias: float

    def outward(self, point: Array) -> Array:
        """Weights [D, C] at a point [D, C]."""
        point = point.astype(self.axes.dtype)
        return np.asarray(self.rest * point + self.axes.T @ ((self.along - self.rest) * (self.axes @ point)))

    def inward(self, weight: Array) -> Array:
        """The point [D, C] of weights [D, C], float64."""
        axes = self.axes.astype(np.float64)
        return np.asarray(weight / self.rest + axes.T @ ((1 / self.along - 1 / self.rest) * (axes @ weight)))


@dataclass(frozen=True, eq=False)
class _Problem:
    """Units [N, D], their classes as 0 and 1 [N, C], weights [N], and the axes [K, D] of the units with their lengths."""

    x: Array
    truth: Array
    each: Array
    axes: Array
    length: Array

    @classmethod
    def of(cls, x: Array, y: Array, classes: int, weights: Array | None) -> "_Problem":
        """Of units and classes."""
        each = np.ones(len(y)) if weights is None else weights[y]
        if min(x.shape) <= EXACT:
            _, length, axes = np.linalg.svd(x, full_matrices=False)
        else:
            _, length, axes = randomized_svd(x, AXES, n_iter=2, random_state=0)
        return cls(x, np.eye(classes, dtype=x.dtype)[y], each.astype(x.dtype), axes.astype(x.dtype), length)

    @property
    def shares(self) -> Array:
        """Of each class, by weight: float64 [C]."""
        return np.asarray((self.each @ self.truth) / self.each.sum(), np.float64)

    def level(self, strength: float) -> _Level:
        """Coordinates for the curvature that the cost has where every unit has the classes' shares."""
        total = float(self.each.sum(dtype=np.float64))
        curvature = strength * float((self.shares * (1 - self.shares)).mean()) * total / len(self.x)
        along = 1 / np.sqrt(1 + curvature * self.length.astype(np.float64) ** 2)
        whole = len(self.length) == min(self.x.shape)
        rest = 1.0 if whole else float(along[-1])
        return _Level(self.axes, along.astype(self.x.dtype)[:, None], rest, float(1 / np.sqrt(curvature * len(self.x))))

    def cost(self, flat: Array, strength: float, level: _Level) -> tuple[float, Array]:
        """What is minimised, by unit and strength, and its slope at ``flat``, the point and the bias in one row."""
        point = flat.reshape(-1, self.truth.shape[1])
        weight, kind = level.outward(point[:-1]), self.x.dtype.type
        line = self.x @ weight + (point[-1] * level.bias).astype(kind)
        line -= line.max(axis=1, keepdims=True)
        chance = np.exp(line)
        total = chance.sum(axis=1, keepdims=True)
        missed = (np.log(total[:, 0]) - (line * self.truth).sum(axis=1)) * self.each
        cost = strength * float(missed.sum(dtype=np.float64)) + 0.5 * float((weight**2).sum(dtype=np.float64))
        pull = (chance / total - self.truth) * (kind(strength) * self.each[:, None])
        slope = level.outward(self.x.T @ pull + weight).astype(np.float64)
        free = pull.sum(axis=0, dtype=np.float64)[None] * level.bias
        size = strength * len(self.x)
        return cost / size, np.concatenate([slope, free]).ravel() / size


def _newton(x: Array, y: Array, classes: int, strengths: tuple[float, ...], weights: Array | None) -> Iterator[Fit]:
    """By Newton's method, of two classes and few columns; the first class has no weight and no bias.

    Forty fits choose one head, of units so few that L-BFGS spends its time on calls.
    """
    each = np.ones(len(y)) if weights is None else weights[y]
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    ridge, point = np.ones(design.shape[1]), np.zeros(design.shape[1])
    ridge[-1] = 0.0
    point[-1] = np.log((each @ y) / (each @ (1 - y)))

    def cost(at: Array, strength: float) -> float:
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
        yield np.stack([np.zeros(x.shape[1]), point[:-1]], axis=1), np.array([0.0, point[-1]])
