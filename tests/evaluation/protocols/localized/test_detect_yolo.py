"""YOLOv3's head: the encoder that shows where things are wins."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sidelight.evaluation.outcomes import BOXES
from sidelight.evaluation.protocols.base import HeadSettings, Saved
from sidelight.evaluation.protocols.localized.detect_yolo import DetectYolo, DetectYoloSettings
from sidelight.metrics.boxes import stacked
from sidelight.metrics.detection import AP50, FROC, MAP
from sidelight.metrics.differences import paired_difference

OWN = DetectYoloSettings(steps=100, rates=(1e-2,), batch_size=8, checks=2, width=16)


def fitted(encoder, examples, **changes):
    return DetectYolo().fit(encoder, examples, OWN.model_copy(update=changes), HeadSettings(), seed=0, draw=0)


def rows(head, table, units, targets):
    return pd.concat(list(DetectYolo().outcomes(head, table, units, targets)), ignore_index=True)


def test_the_encoder_that_shows_where_things_are_wins(world, named, seeing, blind):
    examples, table, units = world.sides(1, "boxes")
    heads = [fitted(one, examples)["selected"] for one in (seeing, blind)]
    ours, theirs = (rows(head, table, units, named(1)) for head in heads)
    width = max(BOXES.width(ours), BOXES.width(theirs))
    one, other = (BOXES.read(part, width) for part in (ours, theirs))
    gap = paired_difference(ours["label"], one, other, ours["group"], AP50)
    assert gap.low > 0, gap
    assert ours["boxes"].tolist() == [
        float(len(own[kinds == 0])) for own, kinds in zip(world.boxes[40:], world.labels[40:], strict=True)
    ]
    saved = Saved(Path(), seeing, "t", named(1), 8, heads[0].describe(), heads[0].tensors())
    again = rows(DetectYolo().head(saved), table, units, named(1))
    assert np.allclose(BOXES.read(again, width), one, equal_nan=True, atol=1e-5)
    scores = heads[0](units)
    assert scores.shape == (20, 2) and ((scores >= 0) & (scores <= 1)).all()


def test_validation_may_choose_by_the_metric_that_is_reported(world, seeing):
    """Of one head both are read from the same boxes: equal to what the metrics give."""
    examples, _, units = world.sides(1, "boxes")
    head = fitted(seeing, examples, steps=40)["last"]
    stack = stacked([own[0] for own in head.rows(units)[0]])
    for monitor, metric in (("map", MAP), ("froc", FROC)):
        asked = replace(head, own=head.own.model_copy(update={"monitor": monitor}))
        assert asked.judged(units) == metric(np.zeros(len(stack)), stack)
    assert MAP(np.zeros(len(stack)), stack) != FROC(np.zeros(len(stack)), stack)
