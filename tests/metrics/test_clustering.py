"""Spherical k-means: the fixture of the paper's code, empty clusters, and the agreement of labellings."""

import numpy as np
import pytest

from sidelight.metrics.clustering import nmi, spherical_kmeans

ROWS = [(2, 0), (1.8, 0.2), (0, 1), (0.1, 1.2), (-1, 0)]


@pytest.mark.parametrize("iterations", [1, 2, 10])
def test_the_fixture(iterations):
    found = spherical_kmeans(ROWS, [0, 2], iterations=iterations)
    assert found.assignments.tolist() == [0, 0, 1, 1, 1]  # (-1, 0): dot 0 beats -2
    np.testing.assert_allclose(found.centroids, [(0.998618, 0.052559), (-0.378633, 0.925547)], atol=1e-6)
    assert found.empty == 0


def test_an_empty_cluster_keeps_its_centroid_or_takes_the_worst_row():
    rows = [(2, 0), (0.9, 0.1), (1, 0), (-0.2, 1), (0.8, 0.2)]
    first = [0, 2, 3]  # the second is parallel to the first and shorter: nobody chooses it
    kept = spherical_kmeans(rows, first, iterations=1)
    np.testing.assert_allclose(kept.centroids[1], (1, 0))
    assert (kept.empty, set(kept.assignments[[0, 3]].tolist())) == (0, {1, 2})  # of length 1 it wins the next time
    same = [(1, 0)] * 4 + [(0, 1)]
    assert spherical_kmeans(same, [0, 1, 4]).empty == 1
    mended = spherical_kmeans([(1, 0), (1, 0.01), (0.99, 0.2), (0, 1)], [0, 3, 1], iterations=10, reseed=True)
    assert mended.empty == 0
    assert sorted(set(mended.assignments.tolist())) == [0, 1, 2]


def test_reseeding_fills_every_cluster_of_distinct_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3))
    rows[:3] = [[9, 9, 9], [1, 1, 1], [1.1, 1, 1]]
    found = spherical_kmeans(rows / np.linalg.norm(rows, axis=1, keepdims=True), [0, 1, 2], reseed=True)
    assert found.empty == 0
    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1)


def test_directions_are_found_and_lengths_do_not_matter_once_scaled():
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], 30)
    rows = np.eye(3)[truth] + 0.1 * rng.normal(size=(90, 3))
    rows *= rng.uniform(0.5, 3, (90, 1))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert nmi(spherical_kmeans(unit, [0, 30, 60]).assignments, truth) == pytest.approx(1)


def test_fewer_rows_than_clusters():
    with pytest.raises(ValueError, match="3 clusters of 2 rows"):
        spherical_kmeans(ROWS[:2], [0, 1, 2])
    with pytest.raises(ValueError, match="as many different first rows"):
        spherical_kmeans(ROWS, [1, 1])


def test_nmi():
    assert nmi([0, 0, 1, 1], [5, 5, 2, 2]) == pytest.approx(1)
    assert nmi([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0)
