"""Distances between outlines: by hand, and as MONAI has them."""

import numpy as np
import pytest

from sidelight.metrics.surfaces import surface_measures


def square(side, top, left, high, wide):
    mask = np.zeros((side, side), bool)
    mask[top : top + high, left : left + wide] = True
    return mask


def test_by_hand_in_pixels_and_millimetres():
    one, other = square(20, 4, 4, 3, 3), square(20, 4, 9, 3, 3)  # the same square, five columns further
    # of 8 outline pixels a side: 3 lie 3, 2 lie 4 and 3 lie 5 columns from the other
    furthest, share, diagonal = surface_measures(one, other, (1, 1), 4.0)
    assert (furthest, share, diagonal) == pytest.approx((5, 5 / 8, np.hypot(20, 20)))
    furthest, share, diagonal = surface_measures(one, other, (3, 0.5), 1.5)
    assert (furthest, share, diagonal) == pytest.approx((2.5, 3 / 8, np.hypot(60, 10)))


def test_empty_masks_and_equal_ones():
    one, none = square(16, 2, 3, 5, 4), np.zeros((16, 16), bool)
    assert surface_measures(one, one, (1, 1), 0.0)[:2] == (0, 1)
    for pair in ((one, none), (none, one)):
        assert surface_measures(*pair, (1, 2), 3.0) == pytest.approx((np.hypot(16, 32), 0, np.hypot(16, 32)))
    assert np.isnan(surface_measures(none, none, (1, 1), 1.0)[:2]).all()


def test_as_monai_has_them():
    metrics, torch = pytest.importorskip("monai.metrics", reason="MONAI is not installed"), pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for spacing in ((1.0, 1.0), (0.7, 2.0)):
        pair = []
        for _ in range(2):
            mask = np.zeros((24, 30), bool)
            for _ in range(3):
                top, left = rng.integers(0, 20, 2)
                mask[top : top + rng.integers(1, 8), left : left + rng.integers(1, 8)] = True
            pair.append(mask)
        one, other = (torch.from_numpy(mask)[None, None].float() for mask in pair)
        furthest = metrics.compute_hausdorff_distance(
            one, other, percentile=95, spacing=list(spacing), include_background=True
        )
        share = metrics.compute_surface_dice(one, other, [1.5], spacing=list(spacing), include_background=True)
        ours = surface_measures(*pair, spacing, 1.5)
        assert ours[:2] == pytest.approx((furthest.item(), share.item()), rel=1e-5)
