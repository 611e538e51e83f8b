"""Spherical k-means and the agreement of two clusterings. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import normalized_mutual_info_score

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clusters:
    """``centroids`` float64 [K, D], of length 1 once there was an iteration; ``assignments`` int64 [N] in 0 .. K - 1;
    ``empty`` clusters at the end.
    """

    centroids: Floats
    assignments: Integers
    empty: int


def spherical_kmeans(rows: ArrayLike, first: ArrayLike, *, iterations: int = 10, reseed: bool = False) -> Clusters:
    """Cluster ``rows`` [N, D] by dot product with centroids of length 1, as SM3's second stage does.

    Each iteration assigns a row to the centroid of the largest dot product (the first of several), then replaces a
    centroid by the mean of its rows and scales all to length 1. A final assignment follows the last iteration. The rows
    themselves are not scaled; scale them first for clusters by direction alone.

    :param first: int [K], distinct rows that are the first centroids, as they are.
    :param reseed: an empty cluster takes the row that fits its own centroid worst (by cosine), a different one for each;
        False keeps its old centroid, as published.
    :raises ValueError: for fewer rows than clusters.
    """
    x, chosen = np.asarray(rows, np.float64), np.asarray(first, np.int64)
    if len(chosen) > len(x) or len(set(chosen.tolist())) < len(chosen):
        raise ValueError(f"{len(chosen)} clusters of {len(x)} rows need as many different first rows")
    centroids = x[chosen].copy()
    for _ in range(iterations):
        own = (x @ centroids.T).argmax(axis=1)
        if reseed:
            own = _filled(x, centroids, own)
        for one in np.unique(own):
            centroids[one] = x[own == one].mean(axis=0)
        centroids = _unit(centroids)
    assignments = (x @ centroids.T).argmax(axis=1).astype(np.int64)
    return Clusters(centroids, assignments, len(centroids) - len(np.unique(assignments)))


def _filled(x: Floats, centroids: Floats, own: Integers) -> Integers:
    """Assignments in which every empty cluster has taken a row, the worst fitting first, of clusters that keep another."""
    counts = np.bincount(own, minlength=len(centroids))
    if counts.all():
        return own
    own, fit = own.copy(), (_unit(x) * _unit(centroids)[own]).sum(axis=1)
    order = iter(fit.argsort(kind="stable").tolist())
    for one in np.flatnonzero(counts == 0):
        row = next((row for row in order if counts[own[row]] > 1), None)
        if row is not None:
            counts[own[row]] -= 1
            own[row] = one
    return own


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return units


def nmi(one: ArrayLike, two: ArrayLike) -> float:
    """Normalised mutual information of two labellings [N], arithmetic mean of their entropies: 0 independent, 1 the same.

    Small for few rows by chance alone, but not 0: compare with that of shuffled labels.
    """
    return float(normalized_mutual_info_score(np.asarray(one), np.asarray(two)))
