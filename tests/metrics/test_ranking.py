"""Which unit of a group first: by hand, ties included, and against drawing lots."""

import numpy as np
import pytest

from sidelight.metrics.ranking import first_hits


def test_by_hand():
    labels = np.array([1, 0, 0, 0, 1, 0, 1, 1, 0])
    scores = np.array([0.9, 0.5, 0.1, 0.8, 0.7, 0.6, 0.2, 0.3, 0.5])
    groups = np.array([1, 1, 1, 2, 2, 2, 3, 3, 4])  # 3 has no negative, 4 one unit
    assert first_hits(labels, scores, groups, 1).tolist() == [1, 0]
    assert first_hits(labels, scores, groups, 2).tolist() == [1, 1]
    assert first_hits(labels, scores, groups, 3).size == 0


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_are_lots(k):
    labels, scores = np.array([1, 0, 1, 0, 0, 0]), np.array([0.5, 0.5, 0.5, 0.5, 0.9, 0.1])
    found = first_hits(labels, scores, np.zeros(6, int), k)[0]
    rng = np.random.default_rng(0)
    drawn = [labels[np.lexsort((rng.random(6), -scores))[:k]].any() for _ in range(4000)]
    assert found == pytest.approx(np.mean(drawn), abs=0.03)


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(1)
    labels, scores, groups = rng.integers(0, 2, 60), rng.random(60), rng.integers(0, 12, 60)
    order = rng.permutation(60)
    assert first_hits(labels, scores, groups, 1) == pytest.approx(
        first_hits(labels[order], scores[order], groups[order], 1)
    )
