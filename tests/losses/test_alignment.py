"""LoVT's losses: its numbers worked by hand, and what follows from its formulas (float64 throughout)."""

import math

import pytest
import torch
import torch.nn.functional as F

from sidelight.errors import ConfigError
from sidelight.losses import global_alignment, info_nce, local_alignment, spatial_targets

EYE = torch.eye(2, dtype=torch.float64)
TURNED = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
SHARES = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
PAIR = {"targets": spatial_targets(1, 2, dtype=torch.float64), "weights": SHARES}


def near(found, *wanted, tolerance=1e-6):
    values = [float(one) for one in found] if isinstance(found, tuple) else [float(found)]
    assert values == pytest.approx(wanted, abs=tolerance)


def sample(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_global_numbers():
    near(info_nce(EYE, TURNED, temperature=0.1), 0.0092427)
    near(info_nce(TURNED, EYE, temperature=0.1), 0.0634867)
    near(global_alignment(EYE, TURNED), 0.0228037)
    near(global_alignment(EYE, TURNED, balance=1.0), 0.0092427)


def test_local_image_numbers():
    near(local_alignment(EYE[None], EYE[None], **PAIR), 1.335131, 1.335131)
    near(local_alignment(EYE[None], TURNED[None], **PAIR), 0.842305, 1.169944)
    rows = [
        local_alignment(EYE[None], TURNED[None], targets=PAIR["targets"], weights=torch.eye(2)[k][None])
        for k in range(2)
    ]
    near(rows[0], 0.753994, 1.335131)
    near(rows[1], 1.107238, 0.674386)


def test_local_report_numbers_whatever_is_padded():
    near(local_alignment(EYE[None], TURNED[None], weights=SHARES), 0.192266, 0.129882)
    mask = torch.tensor([[True, True, False]])
    for seed in range(3):
        one, other = (torch.cat([x, sample(1, 2, seed=s)])[None] for x, s in ((EYE, seed), (TURNED, seed + 9)))
        weights = torch.cat([SHARES, torch.tensor([[float(seed)]], dtype=torch.float64)], 1)
        near(local_alignment(one, other, weights=weights, mask=mask), 0.192266, 0.129882)


def test_spatial_target_numbers():
    def row(height, width):
        return spatial_targets(height, width, dtype=torch.float64)[0].tolist()

    assert row(1, 2) == pytest.approx([0.609977, 0.390023], abs=1e-6)
    assert row(2, 2) == pytest.approx([0.332126, 0.233215, 0.233215, 0.201444], abs=1e-6)
    corner = [0.220031, 0.173828, 0.137327, 0.173828, 0.157659, 0, 0.137327, 0, 0]
    assert row(3, 3) == pytest.approx(corner, abs=1e-6)


def test_what_the_soft_target_asks_for():
    p = spatial_targets(7, 7, dtype=torch.float64)
    positives = (p > 0).sum(-1)
    assert (positives[0], positives[3], positives[24]) == (22, 33, 49)
    assert float(positives.double().mean()) == pytest.approx(35.0, abs=0.05)
    assert float(p[0, 0]) == pytest.approx(0.060, abs=5e-4)
    assert float(p[24, 24]) == pytest.approx(0.0265, abs=5e-5)
    assert float(p[0, 1] / p[0, 0]) == pytest.approx(0.904, abs=5e-4)
    entropy = -(p * p.clamp_min(1e-300).log()).sum(-1).mean()
    assert float(entropy) == pytest.approx(3.525, abs=5e-4)
    same = torch.ones(2, 49, 4, dtype=torch.float64)
    near(local_alignment(same, same, targets=p), 3.892, 3.892, tolerance=5e-4)
    apart = torch.eye(49, dtype=torch.float64)[None]
    near(local_alignment(apart, apart, targets=p), 4.200, 4.200, tolerance=5e-4)
    five = torch.eye(5, dtype=torch.float64)[None]
    near(local_alignment(five, five), 0.133, 0.133, tolerance=5e-4)


def test_property_1_what_cannot_be_told_apart():
    image, report = sample(1, 4).requires_grad_(), sample(1, 4, seed=1).requires_grad_()
    found = global_alignment(image, report)
    assert float(found.detach()) == 0
    found.backward()
    one, other = sample(3, 1, 4).requires_grad_(), sample(3, 1, 4, seed=1).requires_grad_()
    losses = local_alignment(one, other)
    near(losses, 0, 0, tolerance=1e-12)
    sum(losses).backward()
    assert float(one.grad.abs().max()) < 1e-12
    weights, mask = torch.rand(2, 6, dtype=torch.float64), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    targets = torch.rand(6, 6, dtype=torch.float64)
    same = torch.ones(2, 6, 3, dtype=torch.float64)
    near(local_alignment(same[:1], same[:1], weights=weights[:1], targets=targets), math.log(6), math.log(6))
    near(local_alignment(same[1:], same[1:], weights=weights[1:], mask=mask[1:]), math.log(4), math.log(4))


def test_property_2_limits_of_the_target():
    eye = torch.eye(49, dtype=torch.float64)

    def target(**values):
        return spatial_targets(7, 7, dtype=torch.float64, **values)

    assert float((target(decay=50) - eye).abs().max()) == pytest.approx(0.028, abs=5e-4)
    assert float((target(decay=200) - eye).abs().max()) < 1e-8
    assert torch.equal(target(threshold=1 / 9.9), eye)
    assert torch.equal(target(threshold=0), eye)
    torch.testing.assert_close(target(threshold=1, decay=0), torch.full_like(eye, 1 / 49))
    torch.testing.assert_close(target().sum(-1), torch.ones(49, dtype=torch.float64))
    grid = target().reshape(7, 7, 7, 7)
    torch.testing.assert_close(grid.flip(0, 2), grid)
    torch.testing.assert_close(grid.rot90(1, (0, 1)).rot90(1, (2, 3)), grid)


def test_property_3_symmetries():
    one, other = sample(2, 6, 5), sample(2, 6, 5, seed=1)
    weights, targets = torch.rand(2, 6, dtype=torch.float64), spatial_targets(2, 3, dtype=torch.float64)
    first, second = local_alignment(one, other, weights=weights, targets=targets)
    near(local_alignment(other, one, weights=weights, targets=targets), float(second), float(first))
    near(local_alignment(3 * one, 0.2 * other, weights=7 * weights, targets=targets), float(first), float(second))
    mixed = torch.tensor([3, 1, 5, 0, 2, 4])
    mask = torch.tensor([[True] * 6, [True, True, True, True, False, True]])
    plain = local_alignment(one, other, weights=weights, mask=mask)
    moved = local_alignment(one[:, mixed], other[:, mixed], weights=weights[:, mixed], mask=mask[:, mixed])
    near(moved, float(plain[0]), float(plain[1]))
    moved = local_alignment(one[:, mixed], other[:, mixed], weights=weights[:, mixed], targets=targets)
    assert abs(float(moved[0]) - float(first)) > 1e-4
    turned = [x.reshape(2, 2, 3, -1).flip(2).reshape(2, 6, -1) for x in (one, other, weights[..., None])]
    near(local_alignment(*turned[:2], weights=turned[2][..., 0], targets=targets), float(first), float(second))


def test_property_4_weights_receive_no_gradient():
    one, other = sample(2, 6, 5).requires_grad_(), sample(2, 6, 5, seed=1)
    weights = torch.rand(2, 6, dtype=torch.float64, requires_grad=True)
    sum(local_alignment(one, other, weights=weights)).backward()
    assert weights.grad is None
    assert float(one.grad.abs().max()) > 0


def test_property_8_samples_do_not_meet_unless_they_are_asked_to():
    one, other = sample(3, 4, 5), sample(3, 4, 5, seed=1)
    alone = [local_alignment(one[i : i + 1], other[i : i + 1]) for i in range(3)]
    mean = [float(sum(part[way] for part in alone)) / 3 for way in range(2)]
    near(local_alignment(one, other), *mean)
    wide = local_alignment(one, other, negatives="batch")
    assert float(wide[0]) > mean[0]
    near(local_alignment(one, other, negatives="batch", groups=torch.zeros(3, dtype=torch.long)), *mean)


@pytest.mark.parametrize("chunk", [None, 2])
def test_negatives_of_the_batch_are_one_contrast_over_all_valid_positions(chunk):
    one, other = sample(3, 4, 5), sample(3, 4, 5, seed=1)
    mask = torch.tensor([[True] * 4, [True, False, True, False], [True, True, False, False]])
    flat = [F.normalize(x, dim=-1)[mask] for x in (one, other)]
    similar = flat[0] @ flat[1].T / 0.3
    each = similar.logsumexp(-1) - similar.diagonal()
    owner = torch.nonzero(mask)[:, 0]
    wanted = sum(each[owner == i].mean() for i in range(3)) / 3
    near(local_alignment(one, other, mask=mask, negatives="batch", chunk=chunk)[0], float(wanted))


def test_gradients():
    one, other = sample(2, 3, 4).requires_grad_(), sample(2, 3, 4, seed=1).requires_grad_()
    mask = torch.tensor([[True] * 3, [True, True, False]])
    heat = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, t: local_alignment(a, b, temperature=t, mask=mask), (one, other, heat))
    left, right = one[:, 0].detach().requires_grad_(), other[:, 0].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b, t: global_alignment(a, b, temperature=t), (left, right, heat))


def test_half_precision_is_computed_in_float32():
    one, other = sample(2, 49, 8).bfloat16(), sample(2, 49, 8, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = local_alignment(one, other, targets=spatial_targets(7, 7))
    assert found[0].dtype == torch.float32
    near(
        found, *map(float, local_alignment(one.double(), other.double(), targets=spatial_targets(7, 7))), tolerance=1e-4
    )


def test_what_does_not_fit_is_refused():
    one = torch.zeros(2, 3, 4)
    for values in (
        {"attended": torch.zeros(2, 3, 5)},
        {"mask": torch.ones(2, 3)},
        {"mask": torch.tensor([[True] * 3, [False] * 3])},
        {"weights": torch.ones(3)},
        {"weights": -torch.ones(2, 3)},
        {"targets": torch.ones(2, 2)},
        {"temperature": 0.0},
    ):
        with pytest.raises(ConfigError):
            local_alignment(**{"local": one, "attended": one, **values})
    with pytest.raises(ConfigError, match="balance"):
        global_alignment(one[:, 0], one[:, 0], balance=2.0)
    with pytest.raises(ConfigError, match="at least one cell"):
        spatial_targets(0, 3)


def test_memory_is_linear_in_the_batch():
    """What the graph keeps for the backward pass."""

    def kept(batch):
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        one, other = sample(batch, 49, 16).requires_grad_(), sample(batch, 49, 16, seed=1).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            local_alignment(one, other, targets=spatial_targets(7, 7, dtype=torch.float64))
        return total

    assert kept(32) / kept(8) == pytest.approx(4, rel=0.05)


def test_a_batch_of_one_patient_has_loss_0():
    image, report = sample(3, 4).requires_grad_(), sample(3, 4, seed=1)
    found = global_alignment(image, report, groups=torch.zeros(3, dtype=torch.long))
    assert found.item() == 0
    assert torch.autograd.grad(found, image)[0].abs().max() == 0
