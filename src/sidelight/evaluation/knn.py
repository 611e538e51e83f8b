"""k nearest neighbours by cosine on frozen features."""

from dataclasses import dataclass

import numpy as np

from sidelight.metrics.representation import knn_scores


@dataclass(frozen=True)
class KnnHead:
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
