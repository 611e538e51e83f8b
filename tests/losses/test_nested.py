"""The nested contrast: the worked numbers of the specification (T5), its floors (T6) and what must not matter (T3, T4)."""

import math

import pytest
import torch

from sidelight.losses import info_nce
from sidelight.losses.nested import clip_loss, level_loss, nested

I = torch.tensor([[1, 0], [0.6, 0.8], [0, 1]], dtype=torch.float64)  # noqa: E741
T = torch.tensor([[0.8, 0.6], [0, 1], [-0.6, 0.8]], dtype=torch.float64)
A = torch.tensor([[0.8, 0.4, 0.4, 0.8], [0, 1, -0.6, 0.8]], dtype=torch.float64)
B = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.float64)
ALONE = torch.arange(2)


@pytest.mark.parametrize(("temperature", "lesions", "patients"), [(1.0, 0.891169, 0.465683), (0.1, 1.311158, 0.197377)])
def test_worked_numbers(temperature, lesions, patients):
    inner = clip_loss(I, T, temperature=temperature)
    outer = level_loss(A, B, temperature=temperature, same=ALONE, targets="plain")
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
    assert info_nce(a, b, temperature=0.1).item() == pytest.approx(math.log(6), abs=1e-5)
    loss = level_loss(a, b, temperature=0.1, same=same, targets=targets)
    assert loss.item() >= math.log(6) - 1e-5


def test_two_equal_of_four_have_the_floor_of_the_specification():
    keys = torch.eye(4, dtype=torch.float64)
    keys[1] = keys[0]
    same = torch.tensor([0, 0, 1, 2])
    plain = level_loss(keys, keys, temperature=0.01, same=same, targets="plain")
    assert plain.item() == pytest.approx(0.5 * math.log(2), abs=1e-6)  # 0.346574
    assert level_loss(keys, keys, temperature=0.01, same=same, targets="distinct").item() == pytest.approx(0, abs=1e-6)
    several = level_loss(keys, keys, temperature=0.01, same=same, targets="multi_positive")
    assert several.item() == pytest.approx(0.5 * math.log(2), abs=1e-6)


SITES = (2192, 2077, 1404, 1118, 1022, 745, 407, 319, 234, 168, 128, 90, 56, 48, 7)
"""Lesions of HAM10000 by site: back, lower extremity, trunk, ..., acral."""


def floor(counts):
    """(1/N) sum_s n_s log n_s: what a perfect encoder of sites pays where n_s lesions have site s."""
    return sum(n * math.log(n) for n in counts if n) / sum(counts)


def test_the_floor_of_one_column_with_the_sites_of_ham10000():
    """1.51 of log 32 = 3.47 on average over batches; a batch pays what the formula says, and its gradient vanishes there."""
    total, lesions = sum(SITES), 32
    shares = [count / total for count in SITES]
    expected = sum(
        math.comb(lesions, n) * p**n * (1 - p) ** (lesions - n) * n * math.log(n) / lesions
        for p in shares
        for n in range(2, lesions + 1)
    )
    assert expected == pytest.approx(1.511, abs=0.001)
    generator = torch.Generator().manual_seed(0)
    sites = torch.multinomial(torch.tensor(shares), lesions, replacement=True, generator=generator)
    told = torch.eye(15, dtype=torch.float64)[sites]
    for targets in ("plain", "multi_positive"):
        images = told.clone().requires_grad_()
        loss = level_loss(images, told, temperature=0.01, same=sites, targets=targets)
        assert loss.item() == pytest.approx(floor(torch.bincount(sites).tolist()), abs=1e-9)
        (gradient,) = torch.autograd.grad(loss, images)
        assert gradient.abs().max() < 1e-9  # nothing asks a perfect encoder to tell equal lesions apart
    assert level_loss(told, told, temperature=0.01, same=sites, targets="distinct").item() == pytest.approx(0, abs=1e-9)


def with_targets(left, right, same, temperature, weights=None, groups=None):
    """CLIP's loss in which all equal ones are targets of each other, by their weights; what multi_positive stands for."""
    shares = (same[:, None] == same).double() * (1 if weights is None else weights)
    given = {"temperature": temperature, "targets": shares, "weights": weights, "groups": groups}
    return (info_nce(left, right, **given) + info_nce(right, left, **given)) / 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_equal_ones_attract_each_other(grouped, weighted):
    """Value and gradients are those of targets spread over all equal ones; without groups those of plain targets, too."""
    generator = torch.Generator().manual_seed(1)
    same = torch.tensor([0, 0, 1, 2, 1, 0, 3, 1])
    groups = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3]) if grouped else None
    weights = torch.rand(8, generator=generator, dtype=torch.float64) if weighted else None
    left, kinds = torch.randn(8, 5, generator=generator).double(), torch.randn(4, 5, generator=generator).double()

    def found(loss):
        given = [left.clone(), kinds.clone(), torch.tensor(0.3, dtype=torch.float64)]
        given = [one.requires_grad_() for one in given]
        value = loss(given[0], given[1][same], given[2])
        return value, *torch.autograd.grad(value, given)

    def level(targets):
        shared = {"same": same, "weights": weights, "groups": groups}
        return found(lambda a, b, t: level_loss(a, b, temperature=t, targets=targets, **shared))

    wanted = found(lambda a, b, t: with_targets(a, b, same, t, weights, groups))
    torch.testing.assert_close(level("multi_positive"), wanted, rtol=1e-10, atol=1e-12)
    if not grouped:
        torch.testing.assert_close(level("plain"), wanted, rtol=1e-10, atol=1e-12)
    else:
        assert (level("plain")[0] - wanted[0]).abs() > 1e-3


def test_distinct_takes_weights_and_groups_along():
    generator = torch.Generator().manual_seed(2)
    left, right = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, generator=generator, dtype=torch.float64)
    same, groups, kept = torch.tensor([4, 4, 1, 4, 2]), torch.tensor([0, 1, 0, 2, 3]), [0, 2, 4]
    given = {"temperature": 0.3, "same": same, "targets": "distinct", "weights": weights, "groups": groups}
    wanted = {"temperature": 0.3, "weights": weights[kept], "groups": groups[kept]}
    torch.testing.assert_close(
        level_loss(left, right, **given), clip_loss(left[kept], right[kept], **wanted), rtol=1e-12, atol=0
    )
    each = level_loss(left, right, reduction="none", **given | {"weights": None})
    assert each.shape == (3,)
    one = level_loss(left[:4], right[:4], temperature=0.3, same=same[:4], groups=groups[:4], targets="distinct")
    assert one.item() == 0  # what is left, the first and the third, is of one patient


@pytest.mark.parametrize("targets", ["plain", "multi_positive"])
def test_order_and_length_do_not_matter(targets):
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    same = torch.tensor([0, 1, 1, 2, 3])
    order = torch.tensor([3, 1, 4, 0, 2])
    loss = level_loss(a, b, temperature=0.3, same=same, targets=targets)
    torch.testing.assert_close(level_loss(a[order], b[order], temperature=0.3, same=same[order], targets=targets), loss)
    torch.testing.assert_close(level_loss(3 * a, 0.1 * b, temperature=0.3, same=same, targets=targets), loss)


def test_distinct_keeps_one_of_each_and_a_single_one_has_no_loss():
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 3, 4, generator=generator)
    a.requires_grad_(True)
    both = level_loss(a, b, temperature=0.2, same=torch.tensor([5, 5, 9]), targets="distinct")
    torch.testing.assert_close(both, clip_loss(a[[0, 2]], b[[0, 2]], temperature=0.2))
    alone = level_loss(a, b, temperature=0.2, same=torch.zeros(3, dtype=torch.int64), targets="distinct")
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
        outer = level_loss(x, y, temperature=t, same=same, targets="multi_positive")
        return nested(clip_loss(x, y, temperature=t, groups=same), outer, 0.3)

    assert torch.autograd.gradcheck(f, (a, b, scale))


def test_one_patient_has_nobody_to_differ_from():
    for targets in ("plain", "multi_positive", "distinct"):
        assert level_loss(A[:1], B[:1], temperature=0.1, same=torch.zeros(1, dtype=torch.int64), targets=targets) == 0
