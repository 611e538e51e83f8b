"""Counter-based random numbers: their hash, their independence of company, their laws."""

import numpy as np
import pytest

from sidelight.views.randomness import arcsine, beta35, dirichlet, distinct, integer, splitmix64, uniform

MANY = np.arange(20_000)


def test_hash_is_splitmix64() -> None:
    """The first three outputs of the published generator at seed 0."""
    states = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(states).tolist() == expected


def test_a_row_depends_only_on_its_own_key() -> None:
    items, draws = np.array([7, 3, 7, 9]), np.array([0, 1, 1, 0])
    together = uniform(5, 2, items, draws, 1, 8)
    for place in range(4):
        alone = uniform(5, 2, items[[place]], draws[[place]], 1, 4)
        np.testing.assert_array_equal(alone[0], together[place, :4])
    np.testing.assert_array_equal(uniform(5, 2, items, draws, np.array([0, 1, 1, 1]), 8)[1:], together[1:])


@pytest.mark.parametrize(
    "change", [(6, 2, 7, 0, 1), (5, 3, 7, 0, 1), (5, 2, 8, 0, 1), (5, 2, 7, 1, 1), (5, 2, 7, 0, 2)]
)
def test_every_part_of_the_key_matters(change: tuple[int, int, int, int, int]) -> None:
    seed, epoch, item, draw, view = change
    base, other = uniform(5, 2, np.array([7]), 0, 1, 64), uniform(seed, epoch, np.array([item]), draw, view, 64)
    assert abs(np.corrcoef(base[0], other[0])[0, 1]) < 0.4
    assert not np.isin(base, other).any()


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    u = uniform(0, 0, MANY, 0, 0, 3)
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(u.mean(0) - 0.5).max() < 4 * (1 / 12 / len(MANY)) ** 0.5
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < 4 / len(MANY) ** 0.5
    assert np.abs(np.histogram(u, 10, (0, 1))[0] / u.size - 0.1).max() < 0.005


def test_beta_laws() -> None:
    """Beta(3, 5): mean 0.375, sd 0.161, quantiles of the spec. Beta(0.5, 0.5): mean 0.5, variance 1 / 8."""
    three = beta35(uniform(0, 0, MANY, 0, 0, 7))
    assert three.mean() == pytest.approx(0.375, abs=0.005)
    assert three.std() == pytest.approx((15 / 64 / 9) ** 0.5, abs=0.003)
    np.testing.assert_allclose(np.quantile(three, [0.05, 0.5, 0.95]), [0.13, 0.36, 0.66], atol=0.01)
    half = arcsine(uniform(0, 0, MANY, 0, 1, 1)[:, 0])
    assert half.mean() == pytest.approx(0.5, abs=0.01)
    assert half.var() == pytest.approx(0.125, abs=0.003)


def test_dirichlet_over_the_valid_parts() -> None:
    valid = np.tile([[True, True, True, False]], (len(MANY), 1))
    parts = dirichlet(uniform(0, 0, MANY, 0, 0, 4), valid)
    np.testing.assert_allclose(parts.sum(1), 1)
    assert not parts[:, 3].any()
    np.testing.assert_allclose(parts[:, :3].mean(0), 1 / 3, atol=0.01)
    assert parts[:, 0].var() == pytest.approx(1 / 18, abs=0.002)  # of Dirichlet(1, 1, 1)


def test_distinct_is_a_uniform_choice_without_repeats() -> None:
    chosen = distinct(uniform(0, 0, MANY, 0, 0, 6), np.full(len(MANY), 4), 2)
    assert (chosen[:, 0] != chosen[:, 1]).all()
    pairs = np.bincount(chosen[:, 0] * 4 + chosen[:, 1], minlength=16).reshape(4, 4) / len(MANY)
    np.testing.assert_allclose(pairs, (1 - np.eye(4)) / 12, atol=0.01)
    assert distinct(uniform(0, 0, np.array([0]), 0, 0, 6), np.array([1]), 3).tolist() == [[0, -1, -1]]


def test_integer_covers_its_range() -> None:
    assert set(integer(uniform(0, 0, MANY, 0, 0, 1)[:, 0], 5).tolist()) == {0, 1, 2, 3, 4}
    assert integer(np.array([0.0, np.nextafter(1, 0)]), np.array([3, 3])).tolist() == [0, 2]
