"""Phrases that point: an encoder whose maps are known, thresholds of the labelled units alone, and boxes as masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pointing_toys import Words, untouched
from sidelight.errors import ConfigError
from sidelight.evaluation.outcomes import MASK
from sidelight.evaluation.protocols import check_text, find
from sidelight.evaluation.protocols.base import HeadSettings, Saved
from sidelight.evaluation.protocols.localized.ground import (
    NOWHERE,
    Ground,
    GroundHead,
    GroundSettings,
    best_thresholds,
    redrawn,
)
from sidelight.evaluation.truth import Truth
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.heat import POINTING
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.overlap import POOLED_DICE
from sidelight.models.image import Encoder, create_encoder, weights_hash
from sidelight.models.joint import Joint
from sidelight.models.towers import save_tower

OWN = GroundSettings()


class Cells(nn.Module):
    """Cells of 8 x 8 pixels: how bright they are, and how dark; ``blind``: as bright as the whole image."""

    num_features = 2

    def __init__(self, blind=False):
        super().__init__()
        self.register_buffer("blind", torch.tensor(blind))

    def forward_intermediates(self, images, intermediates_only=False):
        cells = nn.functional.avg_pool2d(images, 8)
        cells = cells.mean((2, 3), keepdim=True).expand(cells.shape) if self.blind else cells
        return [torch.cat([cells, 1 - cells], 1)]


def encoder(blind=False):
    return Encoder(Cells(blind), name="cells", channels=1, image_size=64, mean=[0.0], std=[1.0]).eval()


@pytest.fixture
def ground():
    words = Words({"disc": torch.tensor([1.0, 0.0]), "square": torch.tensor([0.6, 0.4])})
    return Ground(Joint(encoder(), words, untouched()))


def fitted(ground, reader, examples, own=OWN, seed=0):
    heads = ground.fit(reader, examples, own, HeadSettings(), seed=seed, draw=seed)
    assert set(heads) == {"selected"}
    return heads["selected"]


def rows(ground, head, table, units, targets):
    return pd.concat(list(ground.outcomes(head, table, units, targets)), ignore_index=True)


def test_a_phrase_points_where_the_map_says_and_a_blind_one_as_often_as_chance(world, named, ground):
    examples, table, units = world.sides(targets=1)
    ours, theirs = (
        rows(ground, fitted(ground, one, examples), table, units, named(1)) for one in (encoder(), encoder(blind=True))
    )
    assert set(ours["outcome"]) == {"mask"} and len(ours) == len(table)
    assert (
        ours["pointing"].isna().tolist() == (ours["true"] == 0).tolist()
    )  # an image without a disc has no place to hit
    label, groups, pairs = ours["label"], ours["group"], [MASK.read(one, None) for one in (ours, theirs)]
    assert POINTING(None, pairs[0]) == 1 and POOLED_DICE(None, pairs[0]) > 0.6
    for metric in (POINTING, POOLED_DICE):
        assert paired_difference(label, *pairs, groups, metric).low > 0
    chance = clustered_interval(label, pairs[1], groups, POINTING)
    held = ours[ours["true"] > 0]
    assert chance.value == pytest.approx(
        (held["true"] / 64**2).mean(), abs=0.02
    )  # everywhere alike: its share of the image


def test_no_region_one_and_many(world, named, ground):
    masks = np.zeros((3, 1, 64, 64), np.uint8)
    masks[1, 0, 8:16, 8:16] = masks[2, 0, 8:16, 8:16] = masks[2, 0, 40:48, 40:48] = 1
    examples, _, units = world.sides(targets=1)
    pixels = world.pixels
    pixels.images = np.zeros((3, 1, 64, 64), np.uint8)
    pixels.images[1:, 0, 8:16, 8:16] = 200
    pixels.images[2, 0, 40:48, 40:48] = 250
    pixels.index = pixels.index[:3]
    pixels.hash = "three"
    units = replace(units, items=[[0], [1], [2]], truth=Truth(masks=list(masks)))
    examples = replace(examples, units=units)
    table = pd.DataFrame({"unit": list("abc"), "group": list("abc")})
    found = rows(ground, fitted(ground, encoder(), examples), table, units, named(1))
    assert found["label"].tolist() == [0, 1, 1] and found["true"].tolist() == [0, 64, 128]
    assert np.isnan(found["pointing"][0]) and found["pointing"].tolist()[1:] == [1, 1]  # either of two is a hit
    assert found["found"][0] == 0 and (found["intersection"][1:] > 0).all()


def test_the_threshold_is_the_best_of_the_labelled_units():
    rng = np.random.default_rng(0)
    masks = rng.choice([0, 1, 255], (6, 2, 5, 5), p=[0.6, 0.3, 0.1]).astype(np.uint8)
    masks[:, 1][masks[:, 1] == 1] = 0
    heat = (rng.uniform(-1, 1, masks.shape).round(3) + 0.4 * (masks == 1)).astype(np.float32)
    parts = [(heat[:4], Truth(masks=list(masks[:4]))), (heat[4:], Truth(masks=list(masks[4:])))]
    found = best_thresholds(iter(parts), 2)
    own, there, known = heat[:, 0], masks[:, 0] == 1, masks[:, 0] != 255

    def dice(at):
        return 2 * ((own >= at) & there).sum() / (((own >= at) & known).sum() + there.sum())

    assert dice(found[0]) == pytest.approx(max(dice(at) for at in np.unique(own[known])))
    assert found[1] == NOWHERE and not (heat >= NOWHERE).any()  # nothing says what this class looks like


def test_the_tested_units_choose_nothing(world, named, ground):
    examples, table, units = world.sides(targets=1)
    head = fitted(ground, encoder(), examples)
    wrong = replace(units, truth=Truth(masks=[1 - own for own in units.truth.masks]))
    one, other = (rows(ground, head, table, of, named(1)) for of in (units, wrong))
    assert one["found"].tolist() == other["found"].tolist()
    few = replace(examples, units=examples.units.take(range(4)))
    assert fitted(ground, encoder(), few).thresholds != pytest.approx(head.thresholds)


def test_boxes_are_masks_of_their_area(world, named, ground):
    examples, table, units = world.sides(kind="boxes")
    as_masks, _, filled = world.sides(truth=world.truth(kind="boxes").filled(2, 64))
    one, other = (fitted(ground, encoder(), of) for of in (examples, as_masks))
    pd.testing.assert_frame_equal(rows(ground, one, table, units, named()), rows(ground, other, table, filled, named()))


def test_beyond_the_mean_image_nothing_is_left_of_what_is_alike_everywhere(world, ground):
    examples, _, units = world.sides(targets=1)
    head = fitted(ground, encoder(), examples, GroundSettings(regions="beyond_mean"))
    learnt = [heat for heat, _ in head.shown(examples.units)]
    assert np.abs(np.concatenate(learnt).mean(axis=0)).max() < 1e-5
    plain = np.concatenate([heat for heat, _ in fitted(ground, encoder(), examples).shown(units)])
    assert np.concatenate([heat for heat, _ in head.shown(units)]).std() > 0.5 * plain.std()


def test_a_saved_head_gives_the_same_rows_and_scores(world, named, ground, tmp_path):
    examples, table, units = world.sides(targets=1)
    head = fitted(ground, encoder(), examples)
    for role, tower in head.towers().items():
        save_tower(tower, tmp_path / "towers", role)
    saved = Saved(tmp_path, encoder(), "t", named(1), 8, head.describe(), head.tensors())
    again = ground.head(saved)
    assert isinstance(again, GroundHead)
    pd.testing.assert_frame_equal(*(rows(ground, one, table, units, named(1)) for one in (again, head)))
    scores = head(units)
    assert scores.shape == (20, 2) and np.allclose(scores.sum(axis=1), 1)
    there = world.masks[40:, 0].any(axis=(1, 2))
    assert scores[there, 1].min() > scores[~there, 1].max() > 0


def test_random_weights_are_drawn_by_the_seed_alone():
    given = create_encoder("test_resnet", channels=1, image_size=32, mean=0.3, std=0.2)
    before = torch.get_rng_state()
    one, same, other = (redrawn(given, seed) for seed in (0, 0, 1))
    assert weights_hash(one) == weights_hash(same) != weights_hash(other) != weights_hash(given)
    assert torch.equal(before, torch.get_rng_state())
    assert one.describe() == given.describe() and not one.training


def test_an_encoder_without_text_is_refused_in_one_sentence(tmp_path):
    for folder, name in ((None, "The encoder"), (tmp_path / "simclr", "simclr"), (Path("resnet18"), "resnet18")):
        with pytest.raises(
            ConfigError, match=f"{name} has no text.*lovt, local_sigmoid, clip or convirt.*ground.image=random"
        ):
            find("ground").of_run(folder)
    with pytest.raises(ConfigError, match="The row 'random' has no text"):
        check_text(find("ground"), "The row 'random'", text=False)
    check_text(find("linear"), "The row 'random'", text=False)
    assert find("linear").of_run(None) is find("linear")
