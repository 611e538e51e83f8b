"""Dice losses: the published numbers, and what one coefficient is of."""

import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.losses.dice import dice_loss

LOGITS = torch.tensor([[2.0, -1.0], [0.0, 3.0]], dtype=torch.float64)
EMPTY = torch.tensor([[-2.0, -1.0], [0.0, -3.0]], dtype=torch.float64)


def test_published_numbers():
    assert float(dice_loss(LOGITS, torch.eye(2))) == pytest.approx(0.2032826, abs=1e-6)
    both = torch.stack([torch.eye(2), torch.zeros(2, 2)])
    assert float(dice_loss(torch.stack([LOGITS, EMPTY]), both)) == pytest.approx(0.3378801, abs=1e-6)


def test_a_batch_without_any_positive_pixel_asks_for_nothing():
    logits = LOGITS.clone().requires_grad_()
    loss = dice_loss(logits, torch.zeros(2, 2))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


def test_gradient_and_shapes():
    assert torch.autograd.gradcheck(lambda x: dice_loss(x, torch.eye(2)), LOGITS.clone().requires_grad_())
    with pytest.raises(ConfigError, match="one shape"):
        dice_loss(LOGITS, torch.ones(2))


def test_of_each_class_and_of_each_image_by_hand():
    """Certain logits, so that probabilities are 0 and 1: class 0 finds 1 of 2 pixels, class 1 all of 1 beside 1 too many."""
    masks = torch.tensor([[[1.0, 1, 0, 0], [0, 0, 1, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    found = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 1, 0]], [[0, 0, 0, 0], [0, 1, 0, 0]]])
    logits = 60 * (2 * found - 1)
    by_class = 1 - (2 / 3 + 2 / 3) / 2
    by_image = 1 - (2 / 3 + 1) / 2  # the second image has nothing, and counts nowhere
    assert float(dice_loss(logits, masks, over="class")) == pytest.approx(by_class)
    assert float(dice_loss(logits, masks, over="image")) == pytest.approx(by_image)
    assert float(dice_loss(logits, masks)) == pytest.approx(1 - 4 / 6)
    known = torch.ones(2, 2, 4, dtype=torch.bool)
    known[0, 0, 1] = False  # the pixel that was missed
    assert float(dice_loss(logits, masks, known, over="image")) == pytest.approx(0)
    for over in ("batch", "class", "image"):
        assert float(dice_loss(logits, 0 * masks, over=over)) == 0
    with pytest.raises(ConfigError, match="over = 'class'"):
        dice_loss(LOGITS[0], LOGITS[0], over="class")
