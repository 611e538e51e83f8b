"""What all methods take over from their base: starts, rates of given weights, frozen parts, rates by layer."""

import pytest
import torch

from sidelight.methods import load_method
from sidelight.methods.base import resolve
from sidelight.methods.simclr import SimCLR
from sidelight.models.shipped import IMAGENET_ENCODER

TINY = {"encoder": "test_resnet", "image_size": 32}


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(
            ("simclr", 5e-4),
            ("byol", 5e-4),
            ("pixelpro", 5e-4),
            ("slimp", 5e-4),
            ("sm3", 3e-4),
            ("sslm", 3e-4),
            ("distil", 3e-4),
        ),
        *(
            ("meta_uscl", 0.01),
            ("lovt", 1e-4),
            ("clip", 1e-4),
            ("convirt", 1e-4),
            ("weak_labels", 1e-4),
            ("local_sigmoid", 1e-4),
        ),
    ],
)
def test_given_weights_are_moved_less_than_random_ones(name, rate):
    """The rates that docs/starts.md lists."""
    kind = load_method(name)
    assert resolve(kind, {"initial": "w.pth"}).lr == rate <= resolve(kind, {}).lr
    assert resolve(kind, {"initial": "w.pth", "lr": 0.3}).lr == 0.3
    under_adamw = [resolve(kind, {**given, "optimizer": "adamw"}).lr for given in ({}, {"initial": "w.pth"})]
    assert under_adamw == ([1e-3, 5e-4] if name == "meta_uscl" else [resolve(kind, {}).lr, rate]), (
        "no rate is another optimiser's"
    )
    if (paper := {"profile": "paper"})["profile"] not in kind.PROFILES:
        return
    assert resolve(kind, {**paper, "initial": "w.pth"}).lr == resolve(kind, paper).lr


def test_a_text_model_is_a_start_too():
    kind = load_method("lovt")
    assert resolve(kind, {"text": {"model": "minilm"}}).lr == 1e-4 < resolve(kind, {}).lr


def test_imagenet_chooses_the_architecture_unless_one_is_named():
    assert resolve(SimCLR, {"initial": "imagenet"}).encoder == IMAGENET_ENCODER
    assert (
        resolve(SimCLR, {"initial": "imagenet", "encoder": "tf_efficientnet_lite1"}).encoder == "tf_efficientnet_lite1"
    )
    assert resolve(SimCLR, {"initial": "w.pth"}).encoder == "resnet18"


def test_the_lower_part_is_frozen_where_the_settings_say_so():
    net = SimCLR(resolve(SimCLR, {**TINY, "train_from": "layer3"}), channels=1)
    trained = {id(p) for group in net.parameter_groups() for p in group.parameters}
    low, high = net.encoder.network.layer2[0].conv1.weight, net.encoder.network.layer3[0].conv1.weight
    assert id(low) not in trained and id(high) in trained
    net.train()
    assert not net.encoder.network.bn1.training and net.encoder.network.layer3[0].bn1.training


def test_layer_decay_gives_each_layer_its_rate():
    net = SimCLR(resolve(SimCLR, {**TINY, "layer_decay": 0.5}), channels=1)
    factor = {id(p): group.lr_factor for group in net.parameter_groups() for p in group.parameters}
    assert {id(p) for p in net.parameters_to_train()} == set(factor)
    network = net.encoder.network
    last, first = network.layer4[-1].conv2.weight, network.conv1[0].weight
    assert factor[id(first)] < factor[id(last)] and factor[id(net.projector[0].weight)] == 1
    assert all(torch.tensor(f).log2().frac() == 0 for f in factor.values())
