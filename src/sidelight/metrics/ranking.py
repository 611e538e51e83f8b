"""Which of a group's units to look at first: how often one that matters is among the first k."""

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


def first_hits(labels: Array, scores: Array, groups: Array, k: int) -> Floats:
    """For each group that has positives and negatives and more than ``k`` units: the chance that one of its positives
    is among its ``k`` highest scores, ties in random order.

    :param labels: int [N], 0 or 1; ``scores`` float [N]; ``groups`` [N].
    :return: float [G] in [0, 1], in the order of the sorted groups; constant scores give the chance of a blind draw.

    >>> first_hits(np.array([1, 0, 0]), np.array([0.9, 0.9, 0.1]), np.array([7, 7, 7]), 1)
    array([0.5])
    """
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(np.unique(groups, return_inverse=True)[1][order])) + 1)
    found = [_hit(labels[at] == 1, scores[at], k) for at in parts if len(at) > k and len({*labels[at].tolist()}) == 2]
    return np.array(found, np.float64)


def _hit(positive: Array, score: Array, k: int) -> float:
    """A first positive that shares its score with others comes among the places that are left by chance."""
    best = score[positive].max()
    left = k - int((score > best).sum())
    tied = score == best
    count, hits = int(tied.sum()), int((tied & positive).sum())
    if left <= 0:
        return 0.0
    return 1.0 if left >= count else 1.0 - comb(count - hits, left) / comb(count, left)
