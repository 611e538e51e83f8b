"""Pointing game, contrast to noise and mean IoU of heat maps: numbers by hand, and maps that say nothing."""

import numpy as np
import pytest

from sidelight.metrics.heat import CNR, MIOU, POINTING, heat_row
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.overlap import mask_row

LEFT = np.array([[True, False], [True, False]])


def rows(maps, truths):
    return np.stack(
        [
            np.concatenate([mask_row(heat > 0.5, true), heat_row(heat, true)])
            for heat, true in zip(maps, truths, strict=True)
        ]
    )


def test_a_hit_a_miss_and_a_tie_of_which_one_place_is_inside():
    hit, miss = np.array([[0.9, 0.2], [0.1, 0.3]]), np.array([[0.1, 0.2], [0.1, 0.3]])
    tie = np.array([[0.9, 0.9], [0.1, 0.3]])
    assert [heat_row(heat, LEFT)[0] for heat in (hit, miss, tie)] == [1, 0, 0.5]
    table = rows([hit, miss, tie, hit], [LEFT, LEFT, LEFT, LEFT & False])
    assert POINTING(None, table) == pytest.approx(0.5)  # (1 + 0 + 0.5) / 3: the last has no region
    assert np.isnan(heat_row(hit, LEFT & False)).all()


def test_contrast_over_noise():
    heat = np.array([[0.6, 0.1], [0.4, 0.3]])
    # inside 0.6 and 0.4: mean 0.5, variance 0.01; outside 0.1 and 0.3: mean 0.2, variance 0.01
    assert heat_row(heat, LEFT)[1] == pytest.approx(0.3 / np.sqrt(0.02))
    assert heat_row(-heat, LEFT)[1] == pytest.approx(0.3 / np.sqrt(0.02))  # published without its sign
    assert heat_row(3 * heat + 1, LEFT)[1] == pytest.approx(0.3 / np.sqrt(0.02))
    assert heat_row(np.full((2, 2), 0.1), LEFT)[1] == 0
    assert np.isnan(heat_row(LEFT * 0.1, LEFT)[1]) and np.isnan(heat_row(heat, LEFT | True)[1])


def test_mean_iou_over_the_published_thresholds():
    heat = np.array([[0.45, 0.25], [0.15, 0.05]])
    # reached at 0.1 by three places (2 of them inside: 2/3), at 0.2 by two (1 inside: 1/3), at 0.3 and 0.4 by one (1/2),
    # at 0.5 by none
    assert heat_row(heat, LEFT)[2] == pytest.approx((2 / 3 + 1 / 3 + 1 / 2 + 1 / 2 + 0) / 5)
    assert heat_row(np.where(LEFT, 0.5, -1.0), LEFT)[2] == 1


def test_what_is_unknown_counts_nowhere():
    heat, known = np.array([[0.9, 0.2, 5.0], [0.7, 0.3, 5.0]]), np.array([[True, True, False]] * 2)
    truth = np.array([[True, False, True], [True, False, False]])
    assert heat_row(heat, truth, known).tolist() == heat_row(heat[:, :2], LEFT).tolist()
    assert np.isnan(heat_row(heat, ~known, known)).all()


@pytest.fixture(scope="module")
def regions():
    """Of 60 patients a region each, somewhere, of a 20th to a third of the image."""
    rng, found = np.random.default_rng(0), np.zeros((60, 16, 16), bool)
    for one in found:
        (top, left), (high, wide) = rng.integers(0, 8, 2), rng.integers(3, 9, 2)
        one[top : top + high, left : left + wide] = True
    return found


def test_a_constant_map_points_as_often_as_the_regions_are_large(regions):
    table = rows(np.full(regions.shape, 0.3), regions)
    share = regions.mean()
    assert POINTING(None, table) == pytest.approx(share) and CNR(None, table) == 0
    assert MIOU(None, table) == pytest.approx(3 / 5 * share)  # the whole image at 0.1, 0.2 and 0.3, then nothing
    found = clustered_interval(np.ones(60, int), table, np.arange(60), POINTING, resamples=200)
    assert found.low < share < found.high
    assert clustered_interval(np.ones(60, int), table, np.arange(60), CNR, resamples=200).value == 0


def test_random_maps_do_too_within_their_interval(regions):
    covered, share, ones = 0, regions.mean(), np.ones(60, int)
    for world in range(40):
        maps = np.random.default_rng([world, 1]).uniform(-1, 1, regions.shape)
        table = np.full((60, 9), np.nan)
        table[:, 6:] = [heat_row(heat, true) for heat, true in zip(maps, regions, strict=True)]
        found = clustered_interval(ones, table, np.arange(60), POINTING, resamples=200)
        covered += found.low <= share <= found.high
    assert covered >= 36
