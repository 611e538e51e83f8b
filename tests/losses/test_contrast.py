import doctest
import math
from functools import partial

import pytest
import torch
from torch import Tensor

from sidelight.losses import contrast, info_nce, nt_xent


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def vectors(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


EYE = torch.eye(2, dtype=torch.float64)
SAME = vectors((1, 0), (1, 0))


def by_definition(queries, keys, temperature, positives, negatives):
    """Equation by equation: ``positives`` [N, M] distributions, ``negatives`` [N, M] bool; loss [N]."""
    losses = []
    for query, shares, allowed in zip(queries, positives, negatives, strict=True):
        cosine = [(query @ key / (query.norm() * key.norm())).item() / temperature for key in keys]
        total = sum(math.exp(s) for s, a, t in zip(cosine, allowed, shares, strict=True) if a or t > 0)
        losses.append(-sum(t.item() * (s - math.log(total)) for s, t in zip(cosine, shares, strict=True)))
    return torch.tensor(losses, dtype=torch.float64)


def pairs_by_definition(left, right, temperature, groups):
    views, groups = torch.cat([left, right]), groups.repeat(2)
    partner = torch.eye(len(views), dtype=torch.float64).roll(len(left), 0)
    each = by_definition(views, views, temperature, partner, groups[:, None] != groups)
    return each.view(2, -1).mean(0)


class TestWorkedByHand:
    @pytest.mark.parametrize("weights", [None, (0.5, 0.5), (0.9, 0.1)])
    def test_identical_orthogonal_pairs(self, weights):
        weights = None if weights is None else torch.tensor(weights)
        loss = nt_xent(EYE, EYE, temperature=0.5, weights=weights)
        assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-12)
        assert loss.item() == pytest.approx(0.23954, abs=5e-6)

    def test_each_anchor(self):
        views = torch.cat([EYE, SAME])
        others = ~torch.eye(4, dtype=torch.bool)
        partner = torch.tensor([2, 3, 0, 1])
        each = info_nce(views, views, temperature=0.5, targets=partner, mask=others, reduction="none")
        assert each.tolist() == pytest.approx([0.75863, 1.09861, 0.75863, 2.75863], abs=1e-5)
        near, far = math.log(2 + math.exp(-2)), math.log(1 + 2 * math.exp(2))
        assert each.tolist() == pytest.approx([near, math.log(3), near, far], abs=1e-12)
        pairs = nt_xent(EYE, SAME, temperature=0.5, reduction="none")
        assert pairs.tolist() == pytest.approx(each.view(2, 2).mean(0).tolist(), abs=1e-12)

    @pytest.mark.parametrize(
        ("weights", "expected"), [((0.5, 0.5), 1.34362), ((0.8, 0.2), 0.99262), ((0.4, 0.1), 0.99262)]
    )
    def test_weighted(self, weights, expected):
        loss = nt_xent(EYE, SAME, temperature=0.5, weights=torch.tensor(weights))
        assert loss.item() == pytest.approx(expected, abs=5e-6)

    @pytest.mark.parametrize("pairs", [2, 4, 9])
    def test_collapse_costs_log_of_the_other_views(self, pairs):
        alike = torch.ones(pairs, 3, dtype=torch.float64)
        loss = nt_xent(alike, 2 * alike, temperature=0.1)
        assert loss.item() == pytest.approx(math.log(2 * pairs - 1), abs=1e-12)

    @pytest.mark.parametrize(
        ("temperature", "expected"),
        [
            (1.0, (0.758774, 0.694839, 0.800588, 0.728754, 0.575252, 0.835475)),
            (0.1, (0.069151, 0.041942, 0.708269, 0.017212, 0.000626, 0.244077)),
        ],
    )
    def test_two_modalities(self, temperature, expected):
        d1, d2 = vectors((1, 0), (0, 1)), vectors((0.8, 0.6), (0, 1))
        c1, c2 = vectors((0.6, 0.8), (-0.6, 0.8)), vectors((0.96, 0.28), (-0.28, 0.96))
        pairs = [(d1, d2), (c1, c2), (d1, c1), (d2, c2), (d1, c2), (d2, c1)]
        losses = [nt_xent(a, b, temperature=temperature).item() for a, b in pairs]
        assert losses == pytest.approx(expected, abs=6e-7)
        # Negatives of the own modality take part: the one without them is another number.
        assert info_nce(d1, c1, temperature=temperature).item() != pytest.approx(expected[2], abs=1e-3)

    def test_image_to_metadata(self):
        images, metadata = vectors((1, 0), (0.6, 0.8), (0, 1)), vectors((0.8, 0.6), (0, 1), (-0.6, 0.8))
        patients, records = vectors((0.8, 0.4, 0.4, 0.8), (0, 1, -0.6, 0.8)), vectors((1, 0, 1, 0), (0, 1, 0, 1))

        def both(a, b, temperature):
            return [info_nce(a, b, temperature=temperature).item(), info_nce(b, a, temperature=temperature).item()]

        assert both(images, metadata, 1.0) == pytest.approx([0.886089, 0.896249], abs=6e-7)
        assert both(patients, records, 1.0) == pytest.approx([0.478215, 0.453151], abs=6e-7)
        assert sum(both(images, metadata, 0.1)) / 2 == pytest.approx(1.311158, abs=6e-7)
        assert sum(both(patients, records, 0.1)) / 2 == pytest.approx(0.197377, abs=6e-7)

    def test_equal_keys_cost_log_of_their_number(self):
        loss = info_nce(noise(5, 3), torch.ones(5, 3, dtype=torch.float64), temperature=0.07)
        assert loss.item() == pytest.approx(math.log(5), abs=1e-12)

    def test_floor_of_duplicate_keys(self):
        codes = torch.eye(4, dtype=torch.float64)[[0, 0, 1, 2]]
        loss = info_nce(codes, codes, temperature=0.01)
        assert loss.item() == pytest.approx(2 / 4 * math.log(2), abs=1e-9)
        shared = (codes @ codes.T > 0.5).double()
        each = info_nce(codes, codes, temperature=0.01, targets=shared, reduction="none")
        assert each.tolist() == pytest.approx([math.log(2), math.log(2), 0, 0], abs=1e-9)  # the targets' entropy

    def test_docstring_examples(self):
        found = doctest.testmod(contrast)
        assert found.attempted >= 4
        assert found.failed == 0


class TestDefinition:
    @pytest.mark.parametrize("chunk", [None, 3])
    def test_nt_xent_with_groups_and_weights(self, chunk):
        left, right, weights = noise(7, 4), noise(7, 4), torch.rand(7)
        groups = torch.tensor([5, 5, -1, 9, -1, 5, 2])
        each = pairs_by_definition(left, right, 0.3, groups)
        settings = {"temperature": 0.3, "groups": groups, "chunk": chunk}
        torch.testing.assert_close(nt_xent(left, right, reduction="none", **settings), each)
        torch.testing.assert_close(nt_xent(left, right, **settings), each.mean())
        share = weights.double() / weights.sum()
        torch.testing.assert_close(nt_xent(left, right, weights=weights, **settings), (share * each).sum())
        total = nt_xent(left, right, weights=weights, reduction="sum", **settings)
        torch.testing.assert_close(total, 7 * (share * each).sum())

    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("grouped", [False, True])
    @pytest.mark.parametrize("chunk", [None, 4])
    def test_info_nce(self, soft, masked, grouped, chunk):
        queries, keys = noise(6, 4), noise(8, 4)
        index = torch.tensor([7, 0, 3, 3, 5, 1])
        shares = torch.rand(6, 8, dtype=torch.float64) * (torch.rand(6, 8) < 0.4)
        shares[:, 0] += 0.1
        groups, key_groups = torch.tensor([0, 1, 1, 2, 3, 3]), torch.tensor([1, 1, 0, 2, 2, 3, 4, 0])
        mask = torch.rand(6, 8) < 0.6
        negatives = torch.ones(6, 8, dtype=torch.bool)
        negatives = negatives & mask if masked else negatives
        negatives = negatives & (groups[:, None] != key_groups) if grouped else negatives
        positives = shares / shares.sum(1, keepdim=True) if soft else torch.eye(8)[index].double()
        each = info_nce(
            queries,
            keys,
            temperature=0.2,
            targets=3 * shares if soft else index,
            groups=groups if grouped else None,
            key_groups=key_groups if grouped else None,
            mask=mask if masked else None,
            reduction="none",
            chunk=chunk,
        )
        torch.testing.assert_close(each, by_definition(queries, keys, 0.2, positives, negatives))

    @pytest.mark.parametrize("chunk", [None, 1, 2, 5, 7, 64])
    @pytest.mark.parametrize("soft", [False, True])
    def test_leading_dimensions_are_separate_contrasts(self, chunk, soft):
        queries, keys, weights = noise(2, 3, 4, 5), noise(2, 3, 6, 5), torch.rand(2, 3, 4)
        targets = torch.rand(2, 3, 4, 6) if soft else torch.randint(6, (2, 3, 4))
        groups, mask, six = torch.arange(4), torch.rand(3, 4, 6) < 0.7, torch.arange(6)
        options = {"groups": groups, "temperature": 0.5, "reduction": "none"}
        together = {"targets": targets, "mask": mask, "key_groups": six.expand(2, 3, 6)}
        each = info_nce(queries, keys, chunk=chunk, **together, **options)
        alone = [
            info_nce(queries[a, b], keys[a, b], targets=targets[a, b], mask=mask[b], key_groups=six, **options)
            for a in range(2)
            for b in range(3)
        ]
        torch.testing.assert_close(each, torch.stack(alone).view(2, 3, 4))
        mean = info_nce(queries, keys, weights=weights, **together, **options | {"reduction": "mean"})
        torch.testing.assert_close(mean, (weights.double() * each).sum() / weights.double().sum())

    def test_one_hot_targets_are_indices(self):
        queries, keys, index = noise(5, 3), noise(9, 3), torch.tensor([8, 1, 1, 0, 4])
        hard = info_nce(queries, keys, temperature=0.1, targets=index)
        soft = info_nce(queries, keys, temperature=0.1, targets=torch.eye(9)[index])
        torch.testing.assert_close(hard, soft)

    def test_positive_stays_whatever_mask_and_groups_say(self):
        queries, keys = noise(3, 4), noise(3, 4)
        mask = ~torch.eye(3, dtype=torch.bool)
        plain = info_nce(queries, keys, temperature=0.2)
        torch.testing.assert_close(info_nce(queries, keys, temperature=0.2, mask=mask), plain)
        torch.testing.assert_close(info_nce(queries, keys, temperature=0.2, groups=torch.arange(3)), plain)


class TestProperties:
    def test_scale_of_weights_and_vectors(self):
        left, right, weights = noise(6, 4), noise(6, 4), torch.rand(6, dtype=torch.float64)
        loss = nt_xent(left, right, temperature=0.2, weights=weights)
        torch.testing.assert_close(nt_xent(left, right, temperature=0.2, weights=1e-3 * weights), loss)
        torch.testing.assert_close(nt_xent(1e3 * left, right / 1e3, temperature=0.2, weights=weights), loss)

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("loss", [nt_xent, info_nce])
    def test_equal_weights_are_none(self, loss, reduction):
        left, right = noise(5, 4), noise(5, 4)
        plain = loss(left, right, temperature=0.2, reduction=reduction)
        equal = loss(left, right, temperature=0.2, reduction=reduction, weights=torch.full((5,), 0.3))
        torch.testing.assert_close(equal, plain)

    def test_weight_zero_is_no_anchor_but_a_negative(self):
        left, right = noise(4, 3), noise(4, 3)
        each = nt_xent(left, right, temperature=0.2, reduction="none")
        without = nt_xent(left, right, temperature=0.2, weights=torch.tensor([1, 0, 1, 1]))
        torch.testing.assert_close(without, each[[0, 2, 3]].mean())
        fewer = nt_xent(left[[0, 2, 3]], right[[0, 2, 3]], temperature=0.2)
        assert without > fewer + 1e-3

    def test_gradient_of_weights(self):
        left, right = noise(5, 3), noise(5, 3)
        weights = torch.rand(5, dtype=torch.float64, requires_grad=True)
        loss = nt_xent(left, right, temperature=0.5, weights=weights)
        loss.backward()
        each = nt_xent(left, right, temperature=0.5, reduction="none")
        torch.testing.assert_close(weights.grad, (each - loss.detach()) / weights.detach().sum())

    @pytest.mark.parametrize("loss", [nt_xent, info_nce])
    def test_permutation_equivariance(self, loss):
        left, right = noise(6, 4).requires_grad_(), noise(6, 4)
        groups, weights, order = torch.tensor([0, 0, 1, 2, 2, 3]), torch.rand(6), torch.randperm(6)
        settings = {"temperature": 0.3, "reduction": "none"}
        each = loss(left, right, groups=groups, weights=weights, **settings)
        moved = left.detach()[order].requires_grad_()
        other = loss(moved, right[order], groups=groups[order], weights=weights[order], **settings)
        torch.testing.assert_close(other, each[order])
        each.sum().backward()
        other.sum().backward()
        torch.testing.assert_close(moved.grad, left.grad[order])

    def test_views_may_be_swapped(self):
        left, right = noise(5, 3), noise(5, 3)
        torch.testing.assert_close(nt_xent(left, right, temperature=0.1), nt_xent(right, left, temperature=0.1))

    @pytest.mark.parametrize("loss", [nt_xent, info_nce])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tiny_temperature_is_finite(self, loss, dtype):
        left, right = noise(6, 3).to(dtype).requires_grad_(), noise(6, 3).to(dtype)
        value = loss(left, right, temperature=1e-3)
        value.backward()
        assert value.isfinite()
        assert left.grad.isfinite().all()
        assert value.item() == pytest.approx(loss(left.double(), right.double(), temperature=1e-3).item(), rel=1e-4)

    def test_small_losses_keep_their_digits(self):
        float32 = nt_xent(EYE.float(), EYE.float(), temperature=0.05).item()
        assert float32 == pytest.approx(math.log1p(2 * math.exp(-20)), rel=1e-5, abs=0)

    @pytest.mark.parametrize("loss", [nt_xent, info_nce])
    @pytest.mark.parametrize("chunk", [None, 2])
    def test_nan_comes_out(self, loss, chunk):
        left, right = noise(4, 3), noise(4, 3)
        left[1, 2] = torch.nan
        assert loss(left, right, temperature=0.1, chunk=chunk).isnan()
        assert loss(left, right, temperature=0.1, groups=torch.tensor([0, 0, 1, 1]), chunk=chunk).isnan()


class TestLonelyAnchors:
    @pytest.mark.parametrize("chunk", [None, 2])
    def test_loss_and_gradient_zero(self, chunk):
        queries, keys = noise(3, 4).requires_grad_(), noise(3, 4)
        mask = torch.tensor([[True] * 3, [False] * 3, [True] * 3])
        each = info_nce(queries, keys, temperature=0.01, mask=mask, reduction="none", chunk=chunk)
        assert each[1] == 0
        each.sum().backward()
        assert (queries.grad[1] == 0).all()
        assert queries.grad.isfinite().all()
        mean = info_nce(queries, keys, temperature=0.01, mask=mask, chunk=chunk)
        torch.testing.assert_close(mean, each.sum() / 3)

    def test_with_distributions(self):
        targets = torch.eye(64)
        targets[0, :2] = 0.5
        mask = torch.zeros(64, 64, dtype=torch.bool)
        queries, keys = torch.randn(64, 16), torch.randn(64, 16)
        each = info_nce(queries, keys, temperature=0.03, targets=targets, mask=mask, reduction="none")
        assert (each[1:] == 0).all()
        assert each[0] >= math.log(2)  # two positives compete with each other

    @pytest.mark.parametrize("chunk", [None, 2])
    def test_a_batch_of_nothing_else_has_loss_0_and_gradient_0(self, chunk):
        x, y = noise(3, 2).requires_grad_(), noise(3, 2)
        nothing = torch.zeros(3, 3, dtype=torch.bool)
        calls = [
            partial(nt_xent, x[:1], y[:1]),
            partial(nt_xent, x, y, groups=torch.full((3,), 7)),
            partial(info_nce, x[:1], y[:1]),
            partial(info_nce, x, y, groups=torch.full((3,), 7)),
            partial(info_nce, x, y, mask=nothing),
            partial(info_nce, x, y, mask=nothing, targets=torch.eye(3)),
        ]
        for call in calls:
            loss = call(temperature=0.5, chunk=chunk)
            assert loss.item() == 0
            (gradient,) = torch.autograd.grad(loss, x)
            assert torch.equal(gradient, torch.zeros_like(x))


class TestTypes:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("loss", [nt_xent, info_nce])
    def test_half_precision_inputs_give_float32(self, loss, dtype):
        left, right = torch.randn(6, 8).to(dtype).requires_grad_(), torch.randn(6, 8).to(dtype)
        value = loss(left, right, temperature=0.05, weights=torch.rand(6).to(dtype))
        assert value.dtype == torch.float32
        value.backward()
        assert left.grad.dtype == dtype

    @pytest.mark.parametrize("chunk", [None, 4])
    @pytest.mark.parametrize("loss", [nt_xent, info_nce, partial(info_nce, targets=torch.rand(3, 3))])
    def test_autocast_changes_nothing(self, loss, chunk):
        left, right = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8)
        if loss is nt_xent:
            left, right = torch.randn(6, 8, requires_grad=True), torch.randn(6, 8)
        plain = loss(left, right, temperature=0.05, chunk=chunk)
        (gradient,) = torch.autograd.grad(plain, left)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(left, right, temperature=0.05, chunk=chunk)
        assert torch.equal(value, plain)
        assert torch.equal(torch.autograd.grad(value, left)[0], gradient)
        assert value.item() == pytest.approx(loss(left.double(), right.double(), temperature=0.05).item(), rel=1e-6)

    def test_temperature_tensor(self):
        temperature = torch.tensor(0.2, requires_grad=True)
        left, right = torch.randn(6, 8), torch.randn(6, 8)
        value = nt_xent(left, right, temperature=temperature)
        value.backward()
        assert value.item() == pytest.approx(nt_xent(left, right, temperature=0.2).item(), rel=1e-6)
        step = 1e-6
        high, low = (nt_xent(left.double(), right.double(), temperature=0.2 + s) for s in (step, -step))
        assert temperature.grad.item() == pytest.approx((high - low).item() / (2 * step), rel=1e-4)
