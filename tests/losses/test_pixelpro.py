"""PixPro's loss: which cells are positives, propagation and consistency, worked by hand in float64."""

import math

import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.losses.pixelpro import pixel_consistency, positive_pairs, propagate


def crop(*corners):
    return torch.tensor([corners], dtype=torch.float64)


def pairs(left, right, height=2, width=2, **options):
    """Which pairs (cell left, cell right) are positive."""
    return {(i, j) for i, j in positive_pairs(left, right, height, width, **options)[0].nonzero().tolist()}


def sample(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


WHOLE = crop(0, 0, 4, 4)  # cells of 2 x 2, centres at 1 and 3, diagonal 2.828
ITSELF = {(0, 0), (1, 1), (2, 2), (3, 3)}
BESIDE = {(0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0), (1, 3), (3, 1)}


def test_in_one_crop_a_cell_is_its_own_positive_and_its_neighbours_from_0_7071():
    """Neighbours lie 2 / sqrt(8) = 0.7071 apart, diagonal ones 1."""
    assert pairs(WHOLE, WHOLE) == ITSELF
    assert pairs(WHOLE, WHOLE, threshold=math.sqrt(0.5) - 1e-9) == ITSELF
    assert pairs(WHOLE, WHOLE, threshold=0.71) == ITSELF | BESIDE
    assert len(pairs(WHOLE, WHOLE, threshold=1.001)) == 16


def test_a_shifted_crop_meets_the_other_with_the_half_they_share():
    """Centres at x = 3 and 5: its left column is the other's right one. Shifted by 1: 1 / sqrt(8) = 0.354 either way in x."""
    assert pairs(WHOLE, crop(0, 2, 4, 6)) == {(1, 0), (3, 2)}
    assert pairs(WHOLE, crop(2, 0, 6, 4)) == {(2, 0), (3, 1)}
    assert pairs(WHOLE, crop(0, 1, 4, 5)) == ITSELF | {(1, 0), (3, 2)}
    assert pairs(crop(0, 1, 4, 5), WHOLE) == ITSELF | {(0, 1), (2, 3)}


def test_a_mirrored_crop_meets_its_mirror_image():
    assert pairs(WHOLE, crop(0, 4, 4, 0)) == {(0, 1), (1, 0), (2, 3), (3, 2)}
    assert pairs(crop(0, 4, 4, 0), crop(0, 4, 4, 0)) == ITSELF


def test_crops_that_do_not_meet_have_no_positives():
    assert pairs(WHOLE, crop(0, 4, 4, 8)) == set()  # side by side: 0.7071
    assert pairs(WHOLE, crop(20, 20, 24, 24)) == set()


def test_the_larger_of_two_crops_says_what_is_near():
    """Its centres lie at 2 and 6, its diagonal is 5.657: near is below 3.96. (1, 1) to (2, 6) is 5.10, (1, 3) to it 3.16."""
    large = crop(0, 0, 8, 8)
    near = {(0, 0), (1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (2, 2), (3, 2)}
    assert pairs(WHOLE, large) == near
    assert pairs(large, WHOLE) == {(j, i) for i, j in near}  # (3, 3) to (6, 6) is 4.24: too far either way


def test_a_grid_that_is_not_square():
    """1 x 2 cells of 4 x 2: the diagonal is 4.47, so that centres 2 apart are 0.447: all are near."""
    assert pairs(WHOLE, WHOLE, 1, 2) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert pairs(WHOLE, crop(0, 4, 4, 8), 1, 2) == {(1, 0)}


def test_mirroring_one_crop_mirrors_its_cells():
    corners = sample(2, 5, 4).abs().cumsum(-1)  # top < left < bottom < right: any boxes
    left, right = corners
    height, width = 3, 4
    plain = positive_pairs(left, right, height, width, threshold=1.5)
    turned = positive_pairs(left, right[:, [0, 3, 2, 1]], height, width, threshold=1.5)
    assert 0 < plain.sum() < plain.numel() and not turned.equal(plain)
    assert turned.view(5, -1, height, width).equal(plain.view(5, -1, height, width).flip(3))
    assert positive_pairs(right, left, height, width, threshold=1.5).equal(plain.mT)
    upside = positive_pairs(left[:, [2, 1, 0, 3]], right, height, width, threshold=1.5)
    assert upside.view(5, height, width, -1).equal(plain.view(5, height, width, -1).flip(1))


def test_propagation_by_hand():
    """cos(x0, x1) = 0.6, squared 0.36; x2 is like neither (cosines -1 and -0.6)."""
    cells = torch.tensor([[[2.0, 0.0], [0.6, 0.8], [-3.0, 0.0]]], dtype=torch.float64)
    values = torch.tensor([[[10.0], [100.0], [7.0]]], dtype=torch.float64)
    assert propagate(cells, values).flatten().tolist() == pytest.approx([46.0, 103.6, 7.0])
    assert propagate(cells, values, sharpness=1).flatten().tolist() == pytest.approx([70.0, 106.0, 7.0])


def test_consistency_by_hand():
    """cos: (1, 0)(1, 0) = 1, (3, 4)(0, 2) = 0.8, (3, 4)(1, 0) = 0.6: their mean is 0.8; the second image has no positive."""
    predicted = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    target = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    positive = torch.tensor([[[True, False], [True, True]], [[False, False], [False, False]]])
    assert pixel_consistency(predicted[:1], target[:1], positive[:1]).item() == pytest.approx(-0.8)
    assert pixel_consistency(predicted, target, positive).item() == pytest.approx(-0.4)
    assert pixel_consistency(predicted, -target, positive).item() == pytest.approx(0.4)


def test_without_positives_the_loss_is_zero_and_so_is_its_gradient():
    predicted = sample(2, 4, 3).requires_grad_()
    loss = pixel_consistency(predicted, sample(2, 4, 3, seed=1), torch.zeros(2, 4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and predicted.grad.equal(torch.zeros(2, 4, 3, dtype=torch.float64))


def test_gradients_and_order():
    cells, target = sample(3, 4, 5), sample(3, 4, 5, seed=1)
    values = sample(3, 4, 2, seed=2)
    positive = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.4
    assert torch.autograd.gradcheck(propagate, (cells.clone().requires_grad_(), values.clone().requires_grad_()))
    assert torch.autograd.gradcheck(lambda x: pixel_consistency(x, target, positive), cells.clone().requires_grad_())
    value = pixel_consistency(cells, target, positive)
    turned = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(pixel_consistency(cells.flip(0), target.flip(0), positive.flip(0)), value)
    torch.testing.assert_close(pixel_consistency(cells[:, turned], target, positive[:, turned]), value)
    torch.testing.assert_close(pixel_consistency(cells, target[:, turned], positive[:, :, turned]), value)
    torch.testing.assert_close(propagate(cells[:, turned], values[:, turned]), propagate(cells, values)[:, turned])


def test_half_of_the_images_in_each_of_two_processes_is_the_whole():
    cells, target = sample(4, 4, 5), sample(4, 4, 5, seed=1)
    positive = torch.zeros(4, 4, 4, dtype=torch.bool)
    positive[:3, 0, 1:3] = True  # the fourth image has none
    halves = [pixel_consistency(*(x[part] for x in (cells, target, positive))) for part in (slice(2), slice(2, 4))]
    torch.testing.assert_close(sum(halves) / 2, pixel_consistency(cells, target, positive))


def test_half_precision_is_computed_in_full():
    cells, target = sample(2, 4, 8).float(), sample(2, 4, 8, seed=1).float()
    positive = torch.eye(4, dtype=torch.bool).expand(2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = pixel_consistency(propagate(cells, cells), target, positive)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pixel_consistency(propagate(cells, cells), target, positive))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: positive_pairs(WHOLE, WHOLE[:, :3], 2, 2), r"right is float64 \(1, 3\)"),
        (lambda: positive_pairs(WHOLE, WHOLE, 0, 2), "height=0"),
        (lambda: positive_pairs(WHOLE, WHOLE, 2, 2, threshold=0), "threshold=0"),
        (lambda: propagate(sample(1, 4, 2), sample(1, 3, 2)), "the same N and K"),
        (lambda: propagate(sample(1, 4, 2), sample(1, 4, 2), sharpness=0), "sharpness=0"),
        (lambda: pixel_consistency(sample(1, 4, 2), sample(1, 4, 3), torch.ones(1)), "one shape"),
        (lambda: pixel_consistency(sample(1, 4, 2), sample(1, 4, 2), torch.ones(1, 4, 4)), "bool"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ConfigError, match=says):
        call()
