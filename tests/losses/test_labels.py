import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from sidelight.losses.labels import inverse_frequency, label_loss

LOGITS = torch.tensor([[0.0, math.log(3)], [-math.log(3), 0.0]], dtype=torch.float64)
LABELS = torch.tensor([[1, 0], [-1, 1]])


def test_by_hand():
    """ln 2, ln 4 and ln 2 are known; the fourth is not."""
    assert float(label_loss(LOGITS, LABELS)) == pytest.approx(4 * math.log(2) / 3, abs=1e-12)
    weights = torch.tensor([[1.0, 4.0], [2.0, 1.0]], dtype=torch.float64)
    assert float(label_loss(LOGITS, LABELS, weights)) == pytest.approx(9 * math.log(2) / 7, abs=1e-12)


def test_what_is_not_known_moves_nothing():
    logits = LOGITS.clone().requires_grad_()
    label_loss(logits, LABELS).backward()
    assert logits.grad[1, 0] == 0 and (logits.grad[LABELS >= 0] != 0).all()
    changed = LOGITS.clone()
    changed[1, 0] = 50.0
    assert label_loss(changed, LABELS) == label_loss(LOGITS, LABELS)
    assert label_loss(LOGITS, torch.full((2, 2), -1)) == 0


def test_all_known_is_plain_cross_entropy_and_order_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 2, (6, 3), generator=generator)
    expected = functional.binary_cross_entropy_with_logits(logits, labels.double())
    torch.testing.assert_close(label_loss(logits, labels), expected)
    rows, columns = torch.randperm(6, generator=generator), torch.randperm(3, generator=generator)
    moved = label_loss(logits[rows][:, columns], labels[rows][:, columns])
    torch.testing.assert_close(moved, expected)
    weights = torch.rand(3, 2, generator=generator).double()
    assert torch.autograd.gradcheck(lambda z: label_loss(z, labels, weights), logits.requires_grad_())


@pytest.mark.parametrize(("present", "expected"), [(913, (4.2074, 1)), (208, (1, 4.4327)), (397, (1, 1.8463))])
def test_weights_of_the_three_labels_of_mrnet(present, expected):
    """1,130 training studies: abnormal, ACL tear and meniscal tear, with the weights of the published code."""
    labels = np.array([1] * present + [0] * (1130 - present) + [-1] * 9)
    np.testing.assert_allclose(inverse_frequency(labels, 2), expected, atol=5e-5)


def test_a_class_without_units_weighs_one():
    assert inverse_frequency(np.array([0, 0, 2, -1]), 3).tolist() == [1, 1, 2]
