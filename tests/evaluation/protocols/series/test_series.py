"""Series of slices to labels: selector, aggregators, fusion (B9 of the specification)."""

import math

import numpy as np
import pytest
import torch

from sidelight.evaluation.protocols.series.series import fuse, fusion_weights
from sidelight.evaluation.protocols.series.slices import select_slices
from sidelight.losses.labels import inverse_frequency, label_loss
from sidelight.models.series import ConvLSTM, ConvLSTMCell, GatedAttention, MaskedMax, hard_sigmoid, make_aggregator

PAPER = np.array([[0.883, 0.750, 0.642], [0.867, 0.708, 0.692], [0.850, 0.825, 0.650]])  # sagittal, coronal, axial


@pytest.mark.parametrize("length", [1, 5, 10, 16, 17, 30, 60])
@pytest.mark.parametrize("drawn", [True, False])
def test_the_selector_takes_slices_in_order(length, drawn) -> None:
    for seed in range(20):
        chosen = select_slices(length, 16, np.random.default_rng(seed) if drawn else None)
        assert len(chosen) == len(set(chosen.tolist())) == min(length, 16)
        assert (np.diff(chosen) > 0).all() and chosen.min() >= 0 and chosen.max() < length
        if length >= 16:
            end = length // 5
            parts = [
                (chosen < end).sum(),
                ((chosen >= end) & (chosen < length - end)).sum(),
                (chosen >= length - end).sum(),
            ]
            assert parts == [3, 10, 3]


def test_the_selector_draws_anew() -> None:
    a, b = (select_slices(40, 16, np.random.default_rng(seed)) for seed in (0, 1))
    assert (a != b).any() and (select_slices(40, 16) == select_slices(40, 16)).all()


def test_fusion_weights_are_the_published_ones() -> None:
    weights = fusion_weights(PAPER)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    np.testing.assert_allclose(
        weights.T, [[0.359, 0.333, 0.308], [0.311, 0.251, 0.439], [0.290, 0.402, 0.308]], atol=6e-4
    )


def test_a_plane_at_chance_counts_nothing() -> None:
    np.testing.assert_allclose(fusion_weights(np.array([[0.5], [0.8], [0.3]]))[:, 0], [0, 1, 0])
    np.testing.assert_allclose(fusion_weights(np.array([[0.4], [0.5]]))[:, 0], [0.5, 0.5])
    np.testing.assert_allclose(fusion_weights(np.array([[np.nan], [np.nan]]))[:, 0], [0.5, 0.5])
    assert np.isfinite(fusion_weights(np.array([[1.0], [0.9]]))).all()


def test_fused_planes() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((5, 3))
    everywhere = np.ones((3, 5), bool)
    np.testing.assert_allclose(
        fuse(np.stack([one] * 3), fusion_weights(PAPER), everywhere), one
    )  # equal planes are the plane
    many, there = rng.random((3, 5, 3)), everywhere.copy()
    there[1:, 0] = False
    there[:, 4] = False
    found = fuse(many, fusion_weights(PAPER), there)
    np.testing.assert_allclose(found[0], many[0, 0])
    np.testing.assert_allclose(found[1], (many[:, 1] * fusion_weights(PAPER)).sum(axis=0))
    assert np.isnan(found[4]).all()
    weightless = fuse(many, np.array([[0.0] * 3, [1.0] * 3, [0.0] * 3]), ~everywhere | (np.arange(3) != 1)[:, None])
    np.testing.assert_allclose(weightless, (many[0] + many[2]) / 2)


def test_class_weights_and_the_weighted_loss_by_hand() -> None:
    """Positives 913, 208, 397 of 1,130: (1, 4.20737), (4.43269, 1), (1.84635, 1); y = (1, 0, 1), q = 0.5 each: 2.66608."""
    weights = np.stack([inverse_frequency(np.repeat([0, 1], [1130 - n, n]), 2) for n in (913, 208, 397)])
    np.testing.assert_allclose(weights[:, ::-1], [[1, 4.20737], [4.43269, 1], [1.84635, 1]], atol=5e-6)
    labels, balance = torch.tensor([[1, 0, 1]]), torch.from_numpy(weights)
    own = balance[torch.arange(3), labels[0]]
    mean = label_loss(torch.zeros(1, 3, dtype=torch.float64), labels, balance)
    assert float(mean) == pytest.approx(math.log(2))  # a weighted mean of equal losses
    assert float(mean * own.sum()) == pytest.approx(2.66608, abs=5e-6)  # the paper's sum


def test_the_published_convlstm_on_the_meta_device() -> None:
    with torch.device("meta"):
        net = ConvLSTM(4096, 3, 512, 16)
        assert sum(parameter.numel() for parameter in net.parameters()) == 103_814_659
        maps, mask = torch.empty(1, 2, 4096, 16, 16), torch.ones(1, 2, dtype=torch.bool)
        first = net.first(maps, mask)
        assert first.shape == (1, 2, 512, 14, 14)
        assert net.second(first, mask).shape == (1, 2, 512, 12, 12)
        assert net(maps, mask).shape == (1, 3)


@pytest.mark.parametrize("kind", ["max", "attention", "convlstm"])
def test_padding_changes_nothing_and_order_matters_to_the_convlstm_alone(kind) -> None:
    torch.manual_seed(0)
    shape = (6, 7, 7) if kind == "convlstm" else (6,)
    net = make_aggregator(kind, shape, 3, 4).eval()
    slices, mask = torch.randn(2, 5, *shape), torch.ones(2, 5, dtype=torch.bool)
    plain = net(slices, mask)
    padded = torch.cat([slices, torch.full((2, 3, *shape), 9.0)], dim=1)
    longer = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(net(padded, longer), plain)
    turned = net(slices.flip(1), mask)
    assert torch.allclose(turned, plain, atol=1e-5) == (kind != "convlstm")


def test_the_gates_are_those_of_keras() -> None:
    """clip(0.2 x + 0.5, 0, 1): torch's hardsigmoid has 2/3 at 1 and is still open at -2.5."""
    x = torch.tensor([-3.0, -2.5, -1.0, 0.0, 1.0, 2.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(hard_sigmoid(x), torch.tensor([0.0, 0.0, 0.3, 0.5, 0.7, 1.0, 1.0], dtype=torch.float64))


def test_a_convlstm_by_hand() -> None:
    """One place, one channel, kernels that only look at the middle: 0.5 x + 0.25 h in every gate, and 1 in forget's.

    x = 1: z = 0.5: in = out = 0.6, c = 0.6 tanh 0.5, h = 0.6 tanh c. x = -2: z = -1 + h / 4: forget = 0.2 (z + 1) + 0.5,
    in = out = 0.2 z + 0.5. x = 30: z > 2.5: all gates are 1.
    """
    cell = ConvLSTMCell(1, 1, padding=1).double()
    with torch.no_grad():
        for layer, value in ((cell.read, 0.5), (cell.keep, 0.25)):
            layer.weight.zero_()
            layer.weight[:, :, 1, 1] = value
        cell.read.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    first = 0.6 * math.tanh(0.5)
    h = [0.6 * math.tanh(first)]
    z = -1 + h[0] / 4
    second = (0.2 * (z + 1) + 0.5) * first + (0.2 * z + 0.5) * math.tanh(z)
    h.append((0.2 * z + 0.5) * math.tanh(second))
    h.append(math.tanh(second + math.tanh(15 + h[1] / 4)))
    x = torch.tensor([1.0, -2.0, 30.0], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
    found = cell(x, torch.ones(1, 3, dtype=torch.bool)).flatten()
    torch.testing.assert_close(found, torch.tensor(h, dtype=torch.float64))


def test_attention_sums_to_one_and_the_greatest_is_the_greatest() -> None:
    torch.manual_seed(0)
    slices, mask = torch.randn(2, 4, 6), torch.tensor([[True, True, False, True], [True, False, False, False]])
    weights = GatedAttention(6, 3, 8).attention(slices, mask)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 3))
    assert (weights[0, 2] == 0).all() and torch.allclose(weights[1, 0], torch.ones(3))
    net = MaskedMax(6, 3)
    torch.testing.assert_close(net(slices, mask)[1], net.head(slices[1, 0]))
