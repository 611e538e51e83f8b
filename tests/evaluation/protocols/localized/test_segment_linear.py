"""A linear mask: the encoder that shows where things are wins, it reads each image once, and what is unknown counts nowhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sidelight.errors import ConfigError
from sidelight.evaluation.outcomes import MASK
from sidelight.evaluation.protocols.base import HeadSettings, Saved
from sidelight.evaluation.protocols.localized.segment_linear import (
    SegmentLinear,
    SegmentLinearHead,
    SegmentLinearSettings,
)
from sidelight.evaluation.truth import Truth
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.overlap import POOLED_DICE
from sidelight.models.pyramid import Pyramid

OWN = SegmentLinearSettings(levels=4, steps=60, rates=(0.1, 0.03), batch_size=8, checks=6)


def fitted(encoder, examples, own=OWN, draw=0):
    return SegmentLinear().fit(encoder, examples, own, HeadSettings(), seed=0, draw=draw)


def rows(head, table, units, targets):
    return pd.concat(list(SegmentLinear().outcomes(head, table, units, targets)), ignore_index=True)


def test_the_encoder_that_shows_where_things_are_wins(world, named, seeing, blind):
    examples, table, units = world.sides()
    ours, theirs = (rows(fitted(one, examples)["selected"], table, units, named()) for one in (seeing, blind))
    assert set(ours["outcome"]) == {"mask"} and len(ours) == 2 * len(table)
    for name in named():
        one, other = (part[part["target"] == name] for part in (ours, theirs))
        assert one["label"].tolist() == (one["true"] > 0).astype(int).tolist()
        gap = paired_difference(one["label"], MASK.read(one, None), MASK.read(other, None), one["group"], POOLED_DICE)
        assert gap.low > 0, (name, gap)
    discs = ours[ours["target"] == "disc"]
    assert POOLED_DICE(None, MASK.read(discs, None)) > 0.75


def test_masks_of_other_units_teach_nothing(world, named, seeing, blind):
    shuffled = Truth(masks=list(world.masks[np.random.default_rng(1).permutation(len(world.masks))]))
    examples, table, units = world.sides(truth=shuffled)
    ours, theirs = (rows(fitted(one, examples)["selected"], table, units, named()) for one in (seeing, blind))
    one, other = (part[part["target"] == "disc"] for part in (ours, theirs))
    gap = paired_difference(one["label"], MASK.read(one, None), MASK.read(other, None), one["group"], POOLED_DICE)
    assert not gap.low > 0 and POOLED_DICE(None, MASK.read(one, None)) < 0.35


def test_the_encoder_reads_each_image_once_however_many_steps_there_are(world, named, seeing):
    examples, table, units = world.sides()
    heads = fitted(seeing, examples)
    rows(heads["selected"], table, units, named())
    (last,) = Pyramid.of(seeing).places
    before = seeing.network.calls
    files = sorted(path.name for path in (world.pixels.folder / "features" / "maps").glob(f"*/{last}/*.safetensors"))
    assert files == ["000000.safetensors", "000001.safetensors"]  # 60 rows, 32 a file
    fitted(seeing, examples, draw=1)
    rows(heads["last"], table, units, named())
    rates, shapes = len(OWN.rates), seeing.network.calls - before
    assert shapes == 2 * rates + 1  # blank images, to learn the shapes of maps


def test_the_seed_decides_and_nothing_else_does(world, named, seeing):
    examples, table, units = world.sides()
    own = OWN.model_copy(update={"steps": 10, "checks": 1})
    one, same, other = (rows(fitted(seeing, examples, own, draw)["last"], table, units, named()) for draw in (0, 0, 1))
    pd.testing.assert_frame_equal(one, same)
    assert (one["found"] != other["found"]).any()


def test_a_saved_head_gives_the_same_masks(world, named, seeing):
    examples, table, units = world.sides()
    head = fitted(seeing, examples)["selected"]
    tensors = {**head.tensors(), "reference": np.zeros(3)}
    saved = Saved(Path(), seeing, "t", named(), 8, head.describe(), tensors)
    again = SegmentLinear().head(saved)
    assert isinstance(again, SegmentLinearHead)
    pd.testing.assert_frame_equal(rows(again, table, units, named()), rows(head, table, units, named()))
    scores = head(units)
    assert scores.shape == (20, 4) and np.allclose(scores[:, :2].sum(axis=1), 1)
    there = world.masks[40:, 0].any(axis=(1, 2))
    assert scores[there, 1].min() > scores[~there, 1].max() > 0


def test_what_is_unknown_counts_nowhere(world, named, seeing):
    masks = world.masks.copy()
    masks[:, :, :, 40:] = 255
    masks[41, 1] = 255
    wrong = masks.copy()
    head = fitted(seeing, world.sides(truth=Truth(masks=list(masks)))[0])["last"]
    _, table, units = world.sides(truth=Truth(masks=list(wrong)))
    found = rows(head, table, units, named())
    assert len(found) == 2 * len(table) - 1
    assert not ((found["unit"] == "u41") & (found["target"] == "square")).any()
    assert found[found["target"] == "disc"]["true"].tolist() == (world.masks[40:, 0, :, :40]).sum((1, 2)).tolist()


def test_distances_are_in_millimetres_where_pixels_have_a_size(world, named, seeing):
    examples, table, units = world.sides()
    head = fitted(seeing, examples)["selected"]
    plain = rows(head, table, units, named())
    _, table, sized = world.sides(truth=Truth(masks=list(world.masks), spacing=[(0.5, 0.5)] * len(world.masks)))
    small = rows(head, table, sized, named())
    assert (
        np.allclose(small["hd95"], plain["hd95"] / 2, equal_nan=True)
        and (small["surface_dice"].fillna(2) >= plain["surface_dice"].fillna(2)).all()
    )


def test_units_of_several_images_are_refused(world, seeing):
    examples, _, _ = world.sides()
    examples.units.items[0] = [0, 1]
    with pytest.raises(ConfigError, match="A unit has 2 images, and a mask or a box is of one image or series"):
        fitted(seeing, examples)
