"""k nearest neighbours by cosine on frozen features."""

import numpy as np

from sidelight.metrics.representation import knn_scores


def predict_knn(x: np.ndarray, y: np.ndarray, test: np.ndarray, classes: int, *, k: int = 5) -> np.ndarray:
    """Class probabilities ``[M, classes]`` of ``test`` [M, D] from the ``k`` nearest of ``x`` [N, D] with labels ``y`` [N].

    The features are centred with the mean of the labelled units, without which every cosine of a ReLU network is near 1.
    """
    centre = x.mean(axis=0)
    return knn_scores(x - centre, y, test - centre, min(k, len(x)), classes)
