"""RetinaNet and FCOS on an encoder's maps."""

import pandas as pd
import pytest

from sidelight.evaluation.outcomes import BOXES
from sidelight.evaluation.protocols.base import HeadSettings
from sidelight.evaluation.protocols.localized.detect import Detect, DetectSettings
from sidelight.metrics.detection import AP50
from sidelight.metrics.differences import paired_difference


def rows(encoder, sides, targets, **changes):
    examples, table, units = sides
    own = DetectSettings(steps=40, rates=(3e-3,), batch_size=8, checks=2, width=32, **changes)
    head = Detect().fit(encoder, examples, own, HeadSettings(), seed=0, draw=0)["selected"]
    return pd.concat(list(Detect().outcomes(head, table, units, targets)), ignore_index=True)


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
def test_the_encoder_that_shows_where_things_are_wins(world, named, seeing, blind, kind):
    sides = world.sides(1, "boxes")
    ours, theirs = (rows(one, sides, named(1), detector=kind) for one in (seeing, blind))
    width = max(BOXES.width(ours), BOXES.width(theirs))
    one, other = (BOXES.read(part, width) for part in (ours, theirs))
    gap = paired_difference(ours["label"], one, other, ours["group"], AP50)
    assert gap.low > 0, gap
