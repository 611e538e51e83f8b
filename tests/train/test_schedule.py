import pytest
import torch
from torch import nn

from sidelight.errors import ConfigError
from sidelight.methods.base import ParameterGroup, resolve
from sidelight.methods.meta_uscl import MetaUSCL
from sidelight.methods.simclr import SimCLR
from sidelight.train.schedule import (
    build_optimizer,
    cosine,
    learning_rate,
    ramp_cosine,
    set_learning_rate,
    warmup_steps,
)
from training_toys import settings


@pytest.mark.parametrize(("epoch", "lr"), [(0, 0.01061), (5, 0.03579), (10, 0.1), (155, 0.05), (300, 0.0)])
def test_the_published_ramp_has_its_published_values(epoch, lr):
    assert 0.1 * ramp_cosine(epoch, 300) == pytest.approx(lr, abs=5e-6)


def test_the_ramp_changes_once_per_epoch():
    asked = settings(schedule="ramp_cosine", lr=0.1, epochs=300)
    rates = [learning_rate(asked, step, total=2100, per_epoch=7) for step in range(2100)]
    assert rates[:7] == [rates[0]] * 7
    assert rates[35] == pytest.approx(0.03579, abs=5e-6)
    assert rates[7 * 155] == pytest.approx(0.05)
    assert len(set(rates)) == 300


def test_a_run_shorter_than_the_ramp_still_reaches_the_full_rate_and_comes_down():
    factors = [ramp_cosine(epoch, 8) for epoch in range(9)]
    assert factors[4] == 1
    assert factors[8] == pytest.approx(0)
    assert factors[:5] == sorted(factors[:5])


def test_cosine_warms_up_linearly_and_ends_near_zero():
    factors = [cosine(step, 100, 10) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.001


@pytest.mark.parametrize("per_epoch", [1, 4, 100])
def test_warm_up_is_a_share_of_the_steps_however_many_make_an_epoch(per_epoch):
    asked = settings(warmup=0.1, lr=1.0)
    rates = [learning_rate(asked, step, total=40, per_epoch=per_epoch) for step in range(40)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0] and rates[5] < 1 and warmup_steps(asked, 40) == 4
    assert warmup_steps(settings(schedule="constant"), 40) == 0


def test_epochs_of_warm_up_as_they_once_were_said_are_refused():
    with pytest.raises(ConfigError, match=r"warmup = 5"):
        resolve(SimCLR, {"warmup": 5})


@pytest.mark.parametrize(("optimizer", "decay"), [("adamw", 0.05), ("sgd", 1e-4), ("rmsprop", 0.0)])
def test_an_optimiser_has_the_decay_that_is_usual_under_it(optimizer, decay):
    assert settings(optimizer=optimizer).weight_decay == decay
    assert settings(optimizer=optimizer, weight_decay=0.3).weight_decay == 0.3


def test_a_profile_s_decay_goes_with_the_profile_s_optimiser():
    assert resolve(SimCLR, {"profile": "paper"}).weight_decay == 1e-6
    assert resolve(SimCLR, {"profile": "paper", "optimizer": "adamw"}).weight_decay == 0.05
    assert resolve(MetaUSCL, {}).weight_decay == 1e-4
    assert resolve(MetaUSCL, {"weights": "uniform", "optimizer": "adamw"}).weight_decay == 0.05


def test_120_steps_of_sgd_without_a_gradient_leave_temperatures_and_norms_alone():
    """AdamW's 0.05 under SGD took weights to 0.001 of themselves, and a temperature of 0.07 to 0.997."""
    scale, norm, matrix = nn.Parameter(torch.tensor(2.66)), nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))
    optimizer = build_optimizer([ParameterGroup([scale, norm, matrix])], settings(optimizer="sgd", lr=0.1))
    for _ in range(120):
        for one in (scale, norm, matrix):
            one.grad = torch.zeros_like(one)
        optimizer.step()
    assert scale.item() == pytest.approx(2.66) and norm.tolist() == [1, 1, 1]
    assert 0.98 < matrix[0, 0].item() < 1


def test_constant_is_constant():
    asked = settings(schedule="constant", lr=0.3)
    assert {learning_rate(asked, step, total=9, per_epoch=3) for step in range(9)} == {0.3}


def test_lovts_wave_falls_in_one_epoch_and_rises_in_the_next():
    asked = settings(schedule="cosine_wave", lr=1e-4)
    rates = [learning_rate(asked, step, total=100, per_epoch=4) for step in range(9)]
    wanted = [1e-4, 8.536e-5, 5e-5, 1.464e-5, 0, 1.464e-5, 5e-5, 8.536e-5, 1e-4]
    assert rates == pytest.approx(wanted, abs=5e-9)
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=1e-4)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for rate in rates:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-12)
        optimizer.step()
        theirs.step()


def test_adamw_decays_matrices_and_nothing_else():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = build_optimizer(
        [ParameterGroup([*net.parameters(), nn.Parameter(torch.tensor(0.1))])], settings(weight_decay=0.05)
    )
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert sorted(p.ndim for p in spared["params"]) == [0, 1, 1, 1]


def test_sgd_takes_the_look_ahead_step_of_meta_learning():
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    optimizer = build_optimizer(
        [ParameterGroup([weight])], settings(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.01)
    )
    expected, velocity = weight.detach().clone(), torch.zeros(1, 2)
    for gradient in (torch.tensor([[0.5, 1.0]]), torch.tensor([[-1.0, 0.2]])):
        weight.grad = gradient.clone()
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.01 * expected
        expected = expected - 0.1 * velocity
    assert torch.allclose(weight, expected)


def test_frozen_parameters_are_left_out_and_the_rate_reaches_all_groups():
    net = nn.Linear(3, 4)
    net.weight.requires_grad_(False)
    optimizer = build_optimizer([ParameterGroup(list(net.parameters()))], settings())
    set_learning_rate(optimizer, 0.123)
    assert [group["lr"] for group in optimizer.param_groups] == [0.123]
    assert optimizer.param_groups[0]["params"] == [net.bias]


@pytest.mark.parametrize("kind", ["adamw", "sgd", "rmsprop"])
def test_groups_keep_their_factor_and_their_decay(kind):
    head, deep, frozen = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1))
    groups = [ParameterGroup([head]), ParameterGroup([deep, frozen.requires_grad_(False)], 0.1, weight_decay=0.3)]
    optimizer = build_optimizer(groups, settings(optimizer=kind, weight_decay=0.05))
    for rate in (1.0, 0.5):  # the factor scales every rate anew, not the last one
        set_learning_rate(optimizer, rate)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, 0.1 * rate])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.3]
    assert [group["params"] for group in optimizer.param_groups] == [[head], [deep]]


def test_a_step_moves_each_group_by_its_own_rate():
    head, deep = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    asked = settings(optimizer="sgd", momentum=0.0, weight_decay=0.0)
    optimizer = build_optimizer([ParameterGroup([head]), ParameterGroup([deep], 0.25)], asked)
    set_learning_rate(optimizer, 0.2)
    head.grad, deep.grad = torch.tensor([1.0]), torch.tensor([1.0])
    optimizer.step()
    assert head.item() == pytest.approx(0.8)
    assert deep.item() == pytest.approx(0.95)
