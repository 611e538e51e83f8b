"""A U-Net on a frozen encoder and on one that learns."""

import pandas as pd
import torch

from sidelight.evaluation.outcomes import MASK
from sidelight.evaluation.protocols.base import HeadSettings
from sidelight.evaluation.protocols.localized.segment_unet import SegmentUnet, SegmentUnetSettings
from sidelight.metrics.overlap import POOLED_DICE

OWN = SegmentUnetSettings(steps=40, rates=(3e-3,), batch_size=8, checks=4)


def fitted(encoder, examples, **changes):
    return SegmentUnet().fit(encoder, examples, OWN.model_copy(update=changes), HeadSettings(), seed=0, draw=0)


def state(encoder):
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def test_discs_are_found_and_a_frozen_encoder_stays_as_it_was(world, named, seeing):
    examples, table, units = world.sides(1)
    before = state(seeing)
    head = fitted(seeing, examples)["selected"]
    found = pd.concat(list(SegmentUnet().outcomes(head, table, units, named(1))))
    assert POOLED_DICE(None, MASK.read(found, None)) > 0.8
    assert head.reader is None and all(torch.equal(before[name], value) for name, value in state(seeing).items())


def test_an_encoder_learns_after_the_head_has_warmed_up(world, seeing):
    examples, _, _ = world.sides(1)
    before = state(seeing)
    changes = {"train": "all", "steps": 4, "checks": 4, "patience": None}
    warm = fitted(seeing, examples, warmup=4, **changes)["last"]
    learnt = fitted(seeing, examples, warmup=2, **changes)["last"]
    assert all(torch.equal(before[name], value) for name, value in state(warm.net.encoder).items())
    assert learnt.reader is not seeing and not torch.equal(
        learnt.reader.network.mix.weight, before["network.mix.weight"]
    )
    assert not torch.equal(learnt.reader.network.norm.running_mean, before["network.norm.running_mean"])
    assert all(torch.equal(before[name], value) for name, value in state(seeing).items())
    assert SegmentUnet().steps_from_scratch(OWN) is None
    assert SegmentUnet().steps_from_scratch(OWN.model_copy(update={"train": "all"})) == 40
