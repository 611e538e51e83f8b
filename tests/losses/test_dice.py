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
