"""The shapes that metrics take and give: scores [N] or [N, C], weights [N] or [R, N], one value or [R]."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sidelight.metrics.metric import Floats


def as_columns(scores: ArrayLike) -> Floats:
    """Scores as [N, C]; a vector is the score of class 1 of two."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.stack([1.0 - scores, scores], axis=1) if scores.ndim == 1 else scores


def all_numbers(scores: ArrayLike) -> Floats:
    """Scores as they are; :raises ValueError: where some are not a number, which would rank above all that are."""
    scores = np.asarray(scores, dtype=np.float64)
    if (wrong := np.isnan(scores)).any():
        raise ValueError(f"{wrong.sum()} of {wrong.size} scores are not a number")
    return scores


def as_rows(weights: Floats | None, count: int) -> Floats:
    """Weights as [R, N]."""
    return np.ones((1, count)) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))


def shaped(values: Floats, weights: Floats | None) -> Any:
    """[R, ...] -> without the first axis where the caller gave no resamples; a scalar becomes a float."""
    if weights is not None and np.ndim(weights) == 2:
        return values
    return float(values[0]) if values.ndim == 1 else values[0]


def ratio(above: Floats, below: Floats, empty: float) -> Floats:
    """Element-wise ``above / below``, ``empty`` where ``below`` is 0."""
    found: Floats = np.divide(above, below, out=np.full(np.broadcast(above, below).shape, empty), where=below != 0)
    return found
