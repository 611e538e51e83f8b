"""The clustered DeLong variance against a naive one, by hand, and in worlds whose truth is known."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from sidelight.metrics.classification import auroc
from sidelight.metrics.delong import delong_interval, delong_p, placements


def naive(labels, scores, clusters, others=None):
    """Obuchowski 1997 written out over all pairs: covariance of two AUROCs, of one score with itself its variance."""
    others = scores if others is None else others
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    names = sorted(set(clusters))
    m, n = len(positive), len(negative)

    def components(values):
        wins = [[(values[i] > values[j]) + 0.5 * (values[i] == values[j]) for j in negative] for i in positive]
        wins = np.array(wins, float)
        v10, v01, area = wins.mean(axis=1), wins.mean(axis=0), wins.mean()
        diseased = [sum(v10[k] - area for k, i in enumerate(positive) if clusters[i] == one) for one in names]
        healthy = [sum(v01[k] - area for k, j in enumerate(negative) if clusters[j] == one) for one in names]
        return np.array(diseased), np.array(healthy)

    (a10, a01), (b10, b01) = components(scores), components(others)
    i10 = len({clusters[i] for i in positive})
    i01 = len({clusters[j] for j in negative})
    total = len(names)
    s10 = i10 / ((i10 - 1) * m) * (a10 * b10).sum()
    s01 = i01 / ((i01 - 1) * n) * (a01 * b01).sum()
    s11, s11_turned = (total / (total - 1) * one.sum() for one in (a10 * b01, a01 * b10))
    return s10 / m + s01 / n + (s11 + s11_turned) / (m * n)


def mixed(seed, clusters=12):
    """Clusters of unequal size, most of both classes, with ties."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(1, 6, clusters))
    label = (rng.random(len(cluster)) < 0.4).astype(int)
    label[:2] = 0, 1
    score = np.round(label + rng.normal(size=len(cluster)) + rng.normal(size=clusters)[cluster], 1)
    return label, score, cluster


@pytest.mark.parametrize("seed", range(5))
def test_clustered_variance_is_that_of_all_pairs(seed):
    label, score, cluster = mixed(seed)
    found = placements(label, score, cluster)
    assert found.value == pytest.approx(auroc(label, score))
    assert found.variance == pytest.approx(naive(label, score, cluster), rel=1e-10)


def test_one_unit_per_cluster_is_delong():
    """DeLong 1988: var(V10) / m + var(V01) / n, each with n - 1."""
    label, score, _ = mixed(7)
    wins = (score[label == 1][:, None] > score[label == 0]) + 0.5 * (score[label == 1][:, None] == score[label == 0])
    m, n = wins.shape
    by_pairs = wins.mean(axis=1).var(ddof=1) / m + wins.mean(axis=0).var(ddof=1) / n
    assert placements(label, score, np.arange(len(label))).variance == pytest.approx(by_pairs, rel=1e-10)


def test_by_hand():
    """Positives 2 and 4, negatives 1 and 3: placements 1/2, 1 and 1, 1/2, area 3/4, variance 2 * (1/16 + 1/16) / 2."""
    found = placements(np.array([1, 0, 1, 0]), np.array([2.0, 1, 4, 3]), np.arange(4))
    assert found.value == 0.75
    assert found.variance == pytest.approx(1 / 8)
    low, high = delong_interval(found)
    half = norm.ppf(0.975) * np.sqrt(1 / 8) / (0.75 * 0.25)
    assert low == pytest.approx(1 / (1 + np.exp(-(np.log(3) - half))))
    assert high == pytest.approx(1 / (1 + np.exp(-(np.log(3) + half))))


@pytest.mark.parametrize("seed", range(3))
def test_paired_difference_has_the_covariance_of_all_pairs(seed):
    label, score, cluster = mixed(seed)
    other = score + np.random.default_rng(seed).normal(size=len(score))
    a, b = placements(label, score, cluster), placements(label, other, cluster)
    variance = naive(label, score, cluster) + naive(label, other, cluster)
    variance -= 2 * naive(label, score, cluster, other)
    assert delong_p(a, b) == pytest.approx(2 * norm.sf(abs(a.value - b.value) / np.sqrt(variance)), rel=1e-8)
    assert delong_p(a, a) == 1


def test_seeds_average_the_placements():
    """The variance of a mean of two AUROCs, from their variances and their covariance."""
    label, score, cluster = mixed(1)
    other = score + np.random.default_rng(0).normal(size=len(score))
    both = placements(label, np.stack([score, other]), cluster)
    parts = [naive(label, score, cluster), naive(label, other, cluster), 2 * naive(label, score, cluster, other)]
    assert both.variance == pytest.approx(sum(parts) / 4, rel=1e-10)
    assert both.value == pytest.approx((auroc(label, score) + auroc(label, other)) / 2)


def test_macro_over_classes_is_the_mean_with_its_covariance():
    """Close to the jackknife over clusters, which knows nothing of placements."""
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(120), 4)
    label = rng.integers(0, 3, len(cluster))
    score = rng.normal(size=(len(cluster), 3)) + 0.8 * np.eye(3)[label] + rng.normal(size=(120, 3))[cluster]
    found = placements(label, score, cluster)
    assert found.value == pytest.approx(auroc(label, score))
    left_out = [auroc(label[cluster != one], score[cluster != one]) for one in range(120)]
    assert found.variance == pytest.approx(119 / 120 * np.sum((left_out - np.mean(left_out)) ** 2), rel=0.03)
    assert 0 < delong_interval(found)[0] < found.value < delong_interval(found)[1] < 1


def test_no_interval_where_nothing_varies_or_a_class_is_absent():
    label = np.array([0, 0, 1, 1])
    perfect = placements(label, label.astype(float), np.arange(4))
    assert perfect.value == 1
    assert np.isnan(delong_interval(perfect)).all()
    absent = placements(np.zeros(4, int), np.arange(4.0), np.arange(4))
    assert np.isnan(absent.value)
    assert np.isnan(delong_interval(absent)).all()
    assert np.isnan(delong_p(absent, absent))


def coverage(worlds, patients=40, images=5, icc=0.7, truth=0.8, seed=0):
    """Shares of worlds whose interval holds the truth, and of worlds in which two equal encoders get p below 0.05."""
    rng, hits, false = np.random.default_rng(seed), 0, 0
    label = np.repeat(np.arange(patients) % 2, images)
    cluster = np.repeat(np.arange(patients), images)
    for _ in range(worlds):
        patient, own = rng.normal(size=(2, patients))[:, cluster], rng.normal(size=(2, len(label)))
        one, other = np.sqrt(2) * ndtri(truth) * label + np.sqrt(icc) * patient + np.sqrt(1 - icc) * own
        a, b = placements(label, one, cluster), placements(label, other, cluster)
        low, high = delong_interval(a)
        hits += low <= truth <= high
        false += delong_p(a, b) < 0.05
    return hits / worlds, false / worlds


def test_coverage_and_null_world():
    """``coverage(8000)`` gives the figures of the module's doc string."""
    holds, false = coverage(500)
    assert 0.925 <= holds <= 0.975
    assert 0.03 <= false <= 0.08
