"""Fusion of planes: probabilities weighted by the log-odds of each plane's accuracy, label by label."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
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
