import numpy as np
import pytest
from scipy.special import stdtrit

from sidelight.metrics.training import FIXED, Training, of_draws, of_halves


def test_heads_as_they_are_add_nothing():
    assert FIXED.total(0.01, 30) == pytest.approx((0.01, 30))


def test_draws_by_hand():
    """Two seeds with three draws each of 16 of 64 units, in five folds: f / (1 - f) is 1/3, and four folds share a pool."""
    values, seeds = np.array([0.1, 0.2, 0.3, 0.0, 0.1, 0.2]), np.array([0, 0, 0, 1, 1, 1])
    within = 0.01  # both seeds: variance 0.01 around 0.2 and around 0.1, four degrees of freedom
    between = (0.005 - within / 3) / 2  # of the means 0.2 and 0.1, less what draws explain, over two seeds
    found = of_draws(values, seeds, learnt=64, labels=16, folds=5, tested=80)
    assert found.ratio == 1
    (draws, df), (seed, seed_df) = found.variances
    assert (draws, df) == pytest.approx((within / 6 + within * 4 / 3, 4))
    assert (seed, seed_df) == pytest.approx((between, 1))
    total, freedom = found.total(0.02, 39)
    parts = [(0.02, 39), (draws, 4), (seed, 1)]
    assert total == pytest.approx(sum(one for one, _ in parts))
    assert freedom == pytest.approx(max(4, total**2 / sum(one**2 / own for one, own in parts)))


def test_one_draw_alone_takes_the_rule_of_nadeau_and_bengio():
    assert of_draws([0.1], [0], learnt=64, labels=64, folds=5, tested=80) == Training(1 + 80 / 64)
    few = of_draws([0.1, 0.2], [0, 1], learnt=64, labels=16, folds=5, tested=80)
    assert few.ratio == 1 + 80 / 64 and few.variances[0] == pytest.approx((0.005 / 2, 1))


def test_halves_by_hand():
    joint, seeds = np.array([0.0, 0.2, 0.1, 0.3]), np.array([0, 0, 1, 1])
    found = of_halves(joint, seeds, 0.01, [0.1, 0.2], [0, 1], outside=False)
    assert (found.ratio, found.df) == pytest.approx((0.02 / 0.01, 2))
    assert found.variances == (pytest.approx((0.005 / 2, 1)),)
    assert of_halves(joint, seeds, 0.01, [0.1], [0], outside=True).ratio == pytest.approx(1 + 0.02 / 0.01)
    assert of_halves(joint, seeds, 0.1, [0.1], [0], outside=False).ratio == 1


def test_four_degrees_of_freedom_that_seeds_leave_make_no_more_false_verdicts_and_narrower_intervals():
    """Two seeds of pre-training whose spread is as large as all other chance, in 20,000 null worlds."""
    rng, worlds = np.random.default_rng(0), 20_000
    tested = rng.chisquare(20, worlds) / 20
    seeds = np.maximum(0, 2.5 * rng.chisquare(1, worlds) - 0.5) / 2  # of two means, less what draws explain
    difference = rng.standard_normal(worlds) * np.sqrt(2)
    found = [Training(variances=((seed, 1.0),)).total(one, 20) for one, seed in zip(tested, seeds, strict=True)]
    total, freedom = np.array(found).T
    welch = total**2 / (tested**2 / 20 + seeds**2)
    ours, plain = (stdtrit(df, 0.975) * np.sqrt(total) for df in (freedom, welch))
    false = [np.mean(np.abs(difference) > half) for half in (ours, plain, stdtrit(20, 0.975) * np.sqrt(tested))]
    assert false[0] < false[1] + 0.003 < false[2]
    assert false[0] < 0.09 and false[2] > 0.14
    assert ours.mean() < 0.8 * plain.mean()
