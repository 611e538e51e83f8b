import pytest
import torch
from torch import nn

from sidelight.config import build
from sidelight.methods.byol import BYOL, BYOLSettings
from sidelight.views.clips import ClipPairs

TINY = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "hidden": 16, "batch_size": 4}


@pytest.fixture
def method():
    return BYOL(build(BYOLSettings, TINY), channels=1)


def batch(pairs=4):
    left, right = torch.rand(2, pairs, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    number = torch.arange(pairs)
    return ClipPairs(left, right, item=number, group=number, gap=number.float(), max_gap=torch.full((pairs,), 9.0))


class Same(nn.Module):
    """The first two pixels of an image, as they are."""

    def forward(self, images):
        return images.flatten(1)[:, :2]


def test_the_loss_by_hand(method):
    """q(z) = z; views (1, 0) and (3, 4): cos = 0.6, so 2 - 1.2 either way; (1, 1) twice: 0. A mean of 0.4 either way."""
    method.encoder, method.projector, method.predictor, method.target = Same(), *(nn.Identity(),) * 2, Same()
    left = torch.zeros(2, 1, 1, 2, dtype=torch.float64)
    right = left.clone()
    left[:, 0, 0], right[:, 0, 0] = torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([[3.0, 4], [1, 1]])
    pair = ClipPairs(left, right, *[torch.zeros(2)] * 4)
    assert method.loss(pair).item() == pytest.approx(2 - 1.2, abs=1e-6)


@pytest.mark.parametrize(("step", "tau"), [(0, 0.99), (50, 0.995), (100, 1.0)])
def test_the_target_follows_more_and_more_slowly(method, step, tau):
    before = [p.clone() for p in method.target.parameters()]
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter.add_(1.0)
    assert method.after_step(step, 100)["tau"] == pytest.approx(tau)
    for old, new in zip(before, method.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + (1 - tau))


def test_no_gradient_reaches_the_target_and_every_other_weight_gets_one(method):
    method.train()
    method.loss(batch()).backward()
    assert not any(p.requires_grad for p in method.target.parameters())
    assert all(p.grad is not None for p in method.parameters_to_train())
    assert set(method.towers()) == {"image"}


def test_the_target_starts_as_the_online_network_and_is_frozen_where_that_is():
    method = BYOL(build(BYOLSettings, TINY | {"train_from": "layer3"}), channels=1)
    for mine, theirs in zip(method.target.state_dict().values(), method.online.state_dict().values(), strict=True):
        assert mine.equal(theirs)
    method.train()
    assert not method.target[0].network.bn1.training and method.target[1].training
