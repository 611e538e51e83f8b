import math

import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.losses.maps import MAP_LOSSES, bce_loss, focal_loss

LOGITS = torch.tensor([[[0.0, math.log(3)]], [[-math.log(3), 0.0]]], dtype=torch.float64)  # p = 1/2, 3/4; 1/4, 1/2
MASKS = torch.tensor([[[1, 1]], [[1, 0]]])
KNOWN = torch.tensor([[[True, True]], [[True, False]]])


def test_cross_entropy_and_focal_loss_by_hand():
    each = [math.log(2), math.log(4 / 3), math.log(4), math.log(2)]
    assert float(bce_loss(LOGITS, MASKS)) == pytest.approx(sum(each) / 4)
    assert float(bce_loss(LOGITS, MASKS, KNOWN)) == pytest.approx(sum(each[:3]) / 3)
    weighed = [0.25 * each[0] / 4, 0.25 * each[1] / 16, 0.25 * each[2] * 9 / 16, 0.75 * each[3] / 4]
    assert float(focal_loss(LOGITS, MASKS)) == pytest.approx(sum(weighed) / 4)
    assert float(focal_loss(LOGITS, MASKS, KNOWN)) == pytest.approx(sum(weighed[:3]) / 3)
    assert float(bce_loss(LOGITS, MASKS, torch.zeros_like(KNOWN))) == 0


@pytest.mark.parametrize("name", MAP_LOSSES)
def test_each_has_gradients_ignores_order_and_what_is_unknown(name):
    loss = MAP_LOSSES[name]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=generator)
    masks = (torch.rand(3, 2, 4, 4, generator=generator) < 0.4).long()
    known = torch.rand(3, 2, 4, 4, generator=generator) < 0.8
    assert torch.autograd.gradcheck(lambda x: loss(x, masks, known), logits.clone().requires_grad_())
    value = float(loss(logits, masks, known))
    assert value == pytest.approx(float(loss(logits.flip(0), masks.flip(0), known.flip(0))))
    assert value == pytest.approx(float(loss(torch.where(known, logits, 9.0), torch.where(known, masks, 1), known)))
    assert value == pytest.approx(float(loss(logits.flip(3), masks.flip(3), known.flip(3))))
    right = 40.0 * (2 * masks.double() - 1)
    assert float(loss(right, masks, known)) < 1e-6 < value
    with pytest.raises(ConfigError, match="one shape"):
        loss(logits, masks[:1], known)
