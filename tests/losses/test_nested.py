"""The nested contrast: the worked numbers of the specification (T5), its floors (T6) and what must not matter (T3, T4)."""

import math

import pytest
import torch

from sidelight.errors import TrainingError
from sidelight.losses.nested import clip_loss, nested, patient_loss

I = torch.tensor([[1, 0], [0.6, 0.8], [0, 1]], dtype=torch.float64)  # noqa: E741
T = torch.tensor([[0.8, 0.6], [0, 1], [-0.6, 0.8]], dtype=torch.float64)
A = torch.tensor([[0.8, 0.4, 0.4, 0.8], [0, 1, -0.6, 0.8]], dtype=torch.float64)
B = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.float64)
ALONE = torch.arange(2)


@pytest.mark.parametrize(("temperature", "lesions", "patients"), [(1.0, 0.891169, 0.465683), (0.1, 1.311158, 0.197377)])
def test_worked_numbers(temperature, lesions, patients):
    inner = clip_loss(I, T, temperature=temperature)
    outer = patient_loss(A, B, temperature=temperature, same=ALONE, targets="plain")
    assert inner.item() == pytest.approx(lesions, abs=1e-6)
    assert outer.item() == pytest.approx(patients, abs=1e-6)
    totals = {1.0: {0.5: 0.678426, 0.25: 0.572054}, 0.1: {0.5: 0.754268}}[temperature]
    for share, total in totals.items():
        assert nested(inner, outer, share).item() == pytest.approx(total, abs=1e-6)


def test_the_phenotypes_are_the_means_of_the_worked_lesions():
    both = torch.cat([I, T], dim=1)
    torch.testing.assert_close(torch.stack([both[:2].mean(0), both[2]]), A)


@pytest.mark.parametrize("targets", ["plain", "multi_positive"])
def test_equal_metadata_cost_at_least_log_p(targets):
    """T6: with P equal keys the phenotype finds its own with probability 1/P, and no phenotype can do better."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 4, generator=generator), torch.randn(1, 4, generator=generator).expand(6, 4)
    same = torch.zeros(6, dtype=torch.int64)
    from sidelight.losses import info_nce

    assert info_nce(a, b, temperature=0.1).item() == pytest.approx(math.log(6), abs=1e-5)
    loss = patient_loss(a, b, temperature=0.1, same=same, targets=targets)
    assert loss.item() >= math.log(6) - 1e-5


def test_two_equal_of_four_have_the_floor_of_the_specification():
    keys = torch.eye(4, dtype=torch.float64)
    keys[1] = keys[0]
    same = torch.tensor([0, 0, 1, 2])
    plain = patient_loss(keys, keys, temperature=0.01, same=same, targets="plain")
    assert plain.item() == pytest.approx(0.5 * math.log(2), abs=1e-6)  # 0.346574
    assert patient_loss(keys, keys, temperature=0.01, same=same, targets="distinct").item() == pytest.approx(
        0, abs=1e-6
    )
    several = patient_loss(keys, keys, temperature=0.01, same=same, targets="multi_positive")
    assert several.item() == pytest.approx(0.5 * math.log(2), abs=1e-6)


def test_multi_positive_does_not_push_equal_patients_apart():
    """Where b is equal, so is the loss of swapping the phenotypes; under plain targets only the batch order says who is who."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(4, 5, generator=generator, requires_grad=True)
    b = torch.randn(4, 5, generator=generator)
    b[1] = b[0]
    same = torch.tensor([0, 0, 1, 2])
    loss = patient_loss(a, b, temperature=0.2, same=same, targets="multi_positive")
    swapped = patient_loss(a[[1, 0, 2, 3]], b, temperature=0.2, same=same, targets="multi_positive")
    torch.testing.assert_close(loss, swapped)


@pytest.mark.parametrize("targets", ["plain", "multi_positive"])
def test_order_and_length_do_not_matter(targets):
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    same = torch.tensor([0, 1, 1, 2, 3])
    order = torch.tensor([3, 1, 4, 0, 2])
    loss = patient_loss(a, b, temperature=0.3, same=same, targets=targets)
    torch.testing.assert_close(
        patient_loss(a[order], b[order], temperature=0.3, same=same[order], targets=targets), loss
    )
    torch.testing.assert_close(patient_loss(3 * a, 0.1 * b, temperature=0.3, same=same, targets=targets), loss)


def test_distinct_keeps_one_of_each_and_a_single_one_has_no_loss():
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 3, 4, generator=generator)
    a.requires_grad_(True)
    both = patient_loss(a, b, temperature=0.2, same=torch.tensor([5, 5, 9]), targets="distinct")
    torch.testing.assert_close(both, clip_loss(a[[0, 2]], b[[0, 2]], temperature=0.2))
    alone = patient_loss(a, b, temperature=0.2, same=torch.zeros(3, dtype=torch.int64), targets="distinct")
    alone.backward()
    assert alone.item() == 0 and a.grad is not None and not a.grad.any()


def test_gradients_agree_with_differences():
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    a.requires_grad_(True)
    b.requires_grad_(True)
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    same = torch.tensor([0, 1, 1, 2])

    def f(x, y, t):
        outer = patient_loss(x, y, temperature=t, same=same, targets="multi_positive")
        return nested(clip_loss(x, y, temperature=t, groups=same), outer, 0.3)

    assert torch.autograd.gradcheck(f, (a, b, scale))


def test_one_patient_has_nobody_to_differ_from():
    with pytest.raises(TrainingError, match="has a negative"):
        patient_loss(A[:1], B[:1], temperature=0.1, same=torch.zeros(1, dtype=torch.int64), targets="plain")
