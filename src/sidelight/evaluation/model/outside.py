"""How far a unit is from the labelled ones, and from which distance on it is called outside."""

from collections.abc import Sequence

import numpy as np

from sidelight.evaluation.units import mean_of

MOST_LEFT_OUT = 500
FALSE_ALARMS = 0.05


def nearest_distance(vectors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosine distance (0 .. 2) of each of ``vectors`` [N, D] to the nearest of ``reference`` [R, D]: [N]."""
    return np.asarray(1 - (unit_length(vectors) @ unit_length(reference).T).max(axis=1))


def centred(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Vectors from ``centre``; an absent photograph lies there."""
    return np.asarray(np.nan_to_num(vectors - centre))


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, D] divided by their length."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def left_out_distances(vectors: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """Each patient left out, as a new one is: the distances of its units to those of the others, centred on the others.

    :param vectors: [N, D]; ``groups`` [N] their patients, of whom at most ``MOST_LEFT_OUT`` are left out.
    :return: per patient the distances [units]; nothing for a single patient.
    """
    patients = np.random.default_rng(0).permutation(np.unique(groups))[:MOST_LEFT_OUT]
    distances = []
    for own in (groups == patient for patient in patients):
        if not own.all():
            centre = mean_of(vectors[~own])
            distances.append(nearest_distance(centred(vectors[own], centre), centred(vectors[~own], centre)))
    return distances


def outside_limit(distances: Sequence[np.ndarray]) -> tuple[float, float]:
    """The distance above which a unit is called outside, and the share of false alarms that it is made for.

    Of K patients each counts 1 / (K + 1), shared by its units, and the new patient the rest; the limit is the 1 -
    ``FALSE_ALARMS`` quantile. Fewer than 19 patients cannot tell so much: the limit is then the largest distance, which a
    unit of one more patient exceeds with probability 1 / (K + 1).

    Source: hierarchical conformal prediction (Lee, Barber and Willett, "Distribution-free inference with hierarchical
    data", 2023). Its guarantee is for a fixed distance; here a new unit is measured against one patient more than those
    left out were, which makes alarms rarer, and the encoder may know the labelled ones: `benchmarks/outside.py`.

    :param distances: of :func:`left_out_distances`; of no patient (2.0, 0.0): nothing is outside.
    """
    if not distances:
        return 2.0, 0.0
    distance, count = np.concatenate(distances), len(distances) + 1
    share = np.concatenate([np.full(len(own), 1 / len(own)) for own in distances])
    order = np.argsort(distance, kind="stable")
    covered = np.cumsum(share[order]) / count
    false_alarms = max(FALSE_ALARMS, 1 / count)
    place = int(np.searchsorted(covered, 1 - false_alarms - 1e-9))
    return float(distance[order[place]]), false_alarms
