"""Mask R-CNN on an encoder's maps: instances are parts of masks, and both masks and boxes are judged."""

import numpy as np
import pytest
import torch

from sidelight.evaluation.outcomes import BOXES, MASK
from sidelight.evaluation.protocols.base import HeadSettings
from sidelight.evaluation.protocols.localized.instances import InstanceNet, Instances, InstanceSettings, instances
from sidelight.metrics.detection import AP50
from sidelight.metrics.overlap import POOLED_DICE


def test_instances_are_connected_parts():
    masks = np.zeros((2, 6, 8), np.uint8)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[1, 2:5, 6] = 1  # one by its corner, and one of another target
    masks[0, 4:6, 3:5], masks[1, 0] = 1, 255
    parts, boxes, kinds = instances(masks)
    assert boxes.tolist() == [[0, 0, 2, 2], [3, 4, 5, 6], [6, 2, 7, 5]] and kinds.tolist() == [0, 0, 1]
    assert parts.sum((1, 2)).tolist() == [2, 4, 3] and np.array_equal(parts[:2].any(0), masks[0] == 1)
    assert [part.shape for part in instances(masks * 0)] == [(0, 6, 8), (0, 4), (0,)]


def test_the_encoder_that_shows_where_things_are_wins(world, named, seeing, blind):
    examples, table, units = world.sides(1)
    own = InstanceSettings(steps=20, rates=(1e-3,), batch_size=4, checks=2, width=32, proposals=50, sampled=16)
    each = []
    for encoder in (seeing, blind):
        head = Instances().fit(encoder, examples, own, HeadSettings(), seed=0, draw=0)["selected"]
        frames = list(Instances().outcomes(head, table, units, named(1)))
        assert [frame["outcome"].iloc[0] for frame in frames] == ["mask", "boxes"]
        each.append((POOLED_DICE(None, MASK.read(frames[0], None)), AP50(None, BOXES.read(frames[1], None))))
    assert each[0][0] > each[1][0] + 0.2 and each[0][1] > each[1][1] + 0.2


def test_the_surest_instance_or_all_that_are_sure_enough_are_shown(seeing):
    made = {"width": 32, "proposals": 8, "sampled": 8}
    each = torch.zeros(3, 1, 64, 64)
    each[0, 0, :8], each[1, 0, 8:16], each[2, 0, 16:24] = 0.9, 0.8, 0.7
    detected = [
        {"masks": each, "scores": torch.tensor([0.9, 0.6, 0.4]), "labels": torch.tensor([1, 1, 2])},
        {"masks": each[:0], "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)},
    ]
    surest, every = (
        InstanceNet.make(seeing, 2, InstanceSettings(shown=shown, **made), learns=False).masks(detected, 64)
        for shown in ("surest", "all")
    )
    assert surest[0, 0].max(1).values[[0, 8, 16]].tolist() == pytest.approx([0.9, 0, 0])
    assert every[0, 0].max(1).values[[0, 8, 16]].tolist() == pytest.approx([0.9, 0.8, 0])
    assert surest[0, 1, 16, 0].item() == pytest.approx(0.7) and every[0, 1].max() == 0  # 0.4 is not sure enough
    assert surest[1].max() == 0 == every[1].max()
