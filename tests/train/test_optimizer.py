import torch
from torch import nn
from training_toys import settings

from sidelight.train.optimizer import build_optimizer, set_learning_rate


def test_adamw_decays_matrices_and_nothing_else():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = build_optimizer([*net.parameters(), nn.Parameter(torch.tensor(0.1))], settings(weight_decay=0.05))
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert sorted(p.ndim for p in spared["params"]) == [0, 1, 1, 1]


def test_sgd_takes_the_look_ahead_step_of_meta_learning():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = build_optimizer([weight], settings(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.01))
    expected, velocity = weight.detach().clone(), torch.zeros(2)
    for gradient in (torch.tensor([0.5, 1.0]), torch.tensor([-1.0, 0.2])):
        weight.grad = gradient.clone()
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.01 * expected
        expected = expected - 0.1 * velocity
    assert torch.allclose(weight, expected)


def test_frozen_parameters_are_left_out_and_the_rate_reaches_all_groups():
    net = nn.Linear(3, 4)
    net.weight.requires_grad_(False)
    optimizer = build_optimizer(net.parameters(), settings())
    set_learning_rate(optimizer, 0.123)
    assert [group["lr"] for group in optimizer.param_groups] == [0.123]
    assert optimizer.param_groups[0]["params"] == [net.bias]
