"""The sigmoid loss of regions and sentences: attention and answers worked by hand in float64, and what follows from them."""

import math

import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.losses.local_sigmoid import attended_cosines, pair_sigmoid

EYE = torch.eye(2, dtype=torch.float64)
OWN = torch.arange(2)
LOG3 = math.log(3)
"""At a scale of log 3 the answers to cosines 1, 0 and -1 are 3/4, 1/2 and 1/4."""


def sample(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loss(cosines, owners=OWN, scale=LOG3, bias=0.0, known=None):
    return pair_sigmoid(
        torch.as_tensor(cosines, dtype=torch.float64), owners, scale=scale, bias=bias, known=known
    ).item()


def test_attention_by_hand():
    """Weights 3/4 and 1/4 of (1, 0) and (0, 1): cosine with (1, 0) is 0.75 / sqrt(0.625); lengths do not matter."""
    regions = torch.tensor([[[5.0, 0.0], [0.0, 0.1]], [[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    said = torch.tensor([[2.0, 0.0], [0.0, 7.0]], dtype=torch.float64)
    found = attended_cosines(regions, said, temperature=1 / LOG3)
    assert found.tolist()[0] == pytest.approx([0.75 / math.sqrt(0.625)] * 2)
    assert found.tolist()[1] == pytest.approx([0.0, 1.0])
    sharp, even = (attended_cosines(regions, said, temperature=t)[0, 0].item() for t in (1e-3, 1e6))
    assert (sharp, even) == pytest.approx((1.0, math.sqrt(0.5)), abs=1e-6)


def test_the_sigmoid_loss_by_hand():
    """Of cosines 1 and 0, own and other: 2 (log 4/3 + log 2) over two sentences; turned round 2 (log 2 + log 4) over two."""
    assert loss(EYE) == pytest.approx(math.log(4 / 3) + math.log(2))
    assert loss(1 - EYE) == pytest.approx(math.log(2) + math.log(4))
    assert loss(2 * EYE - 1) == pytest.approx(2 * math.log(4 / 3))
    # with b = -log 3: own 1 - 1 = 0, other 0 - 1: 1/2 and 3/4
    assert loss(EYE, bias=-LOG3) == pytest.approx(math.log(2) + math.log(4 / 3))
    # as it begins: t = 10, b = -10; own cosine 1, other 0
    wanted = math.log(2) + math.log1p(math.exp(-10))
    assert loss(EYE, scale=10.0, bias=-10.0) == pytest.approx(wanted)


def test_several_sentences_of_an_image_and_an_image_without():
    """Three sentences, two of image 1 and one of image 0; image 2 has none. Own: 3/4 each; of the six others one has cosine 1."""
    cosines = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.float64)
    wanted = (3 * math.log(4 / 3) + 5 * math.log(2) + math.log(4)) / 3
    assert loss(cosines, torch.tensor([0, 1, 1])) == pytest.approx(wanted)


def test_what_is_not_asked_costs_nothing_and_the_own_pair_always_is():
    cosines = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    known = torch.tensor([[False, False], [True, True]])
    assert loss(cosines, known=known) == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 2)
    given = cosines.requires_grad_()
    pair_sigmoid(given, OWN, scale=LOG3, bias=0.0, known=known).backward()
    assert given.grad[0, 1] == 0 and (given.grad[[0, 1, 1], [0, 0, 1]] != 0).all()


def test_gradients_order_and_chunks():
    regions, said, owners = sample(5, 3, 4), sample(7, 4, seed=1), torch.tensor([0, 1, 1, 2, 4, 4, 4])
    scale, bias = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (3.0, -1.0))
    known = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.7

    def whole(r, s, t, b, chunk=None):
        return pair_sigmoid(attended_cosines(r, s, temperature=0.3, chunk=chunk), owners, scale=t, bias=b, known=known)

    inputs = [regions.requires_grad_(), said.requires_grad_(), scale, bias]
    assert torch.autograd.gradcheck(whole, inputs)
    plain = torch.autograd.grad(whole(*inputs), inputs)
    for one, other in zip(plain, torch.autograd.grad(whole(*inputs, chunk=2), inputs), strict=True):
        torch.testing.assert_close(one, other)
    value = whole(*inputs)
    turned = torch.tensor([3, 0, 4, 2, 6, 1, 5])
    cosines = attended_cosines(regions, said[turned], temperature=0.3)
    moved = pair_sigmoid(cosines, owners[turned], scale=scale, bias=bias, known=known[:, turned])
    torch.testing.assert_close(moved, value)
    back = torch.tensor([4, 3, 2, 1, 0])
    cosines = attended_cosines(regions.flip(0).flip(1), said, temperature=0.3)
    torch.testing.assert_close(pair_sigmoid(cosines, back[owners], scale=scale, bias=bias, known=known.flip(0)), value)
    with torch.no_grad():
        torch.testing.assert_close(whole(*inputs, chunk=2), value)


def test_half_precision_is_computed_in_full():
    regions, said = sample(3, 4, 8).float(), sample(5, 8, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = attended_cosines(regions.bfloat16(), said.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, attended_cosines(regions.bfloat16().float(), said.bfloat16().float()))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: attended_cosines(sample(2, 3, 4), sample(2, 5)), r"\[N, K, D\] and \[T, D\]"),
        (lambda: attended_cosines(sample(2, 4), sample(2, 4)), "regions is"),
        (lambda: attended_cosines(sample(2, 3, 4), sample(2, 4), temperature=0.0), "temperature=0.0"),
        (lambda: loss(EYE, torch.tensor([0, 2])), "0 to 1"),
        (lambda: loss(EYE, torch.tensor([0.0, 1.0])), "integers"),
        (lambda: loss(EYE, known=torch.ones(2, 2)), "known is float32"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ConfigError, match=says):
        call()
