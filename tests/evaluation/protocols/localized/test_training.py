"""What chooses: which units are kept back, the rate and the step; and what a mirrored image's truth is."""

import numpy as np
import pytest
import torch
from torch import nn

from sidelight.errors import RunError
from sidelight.evaluation.protocols.localized.net import Batch, Images, Localizer, mirrored
from sidelight.evaluation.protocols.localized.training import LocalizedSettings, sides, train
from sidelight.evaluation.truth import Truth
from sidelight.evaluation.units import Units
from sidelight.models.pyramid import Pyramid


def test_a_fifth_of_the_patients_chooses_where_both_sides_hold_something():
    groups = np.repeat([f"p{at:02d}" for at in range(20)], 2)
    holding = np.arange(40) % 3 == 0
    learn, valid = sides(groups, holding, None, 0)
    assert sorted([*learn, *valid]) == list(range(40)) and not set(groups[learn]) & set(groups[valid])
    assert len(set(groups[valid])) == 4 and holding[learn].any() and holding[valid].any()
    given = np.arange(40) < 5
    assert [len(part) for part in sides(groups, holding, given, 0)] == [35, 5]
    assert [len(part) for part in sides(groups[:18], holding[:18], None, 0)] == [18, 0]
    assert [len(part) for part in sides(groups, np.arange(40) == 3, None, 0)] == [40, 0]


class Slope(Localizer):
    """One number that follows the sign of its gradient; the loss falls with it forever."""

    def loss(self, batch: Batch):
        return -self.decoder.weight.sum() + 0 * sum(len(own) for own in batch.truth.boxes)

    @classmethod
    def levels_of(cls, encoder, own):
        return Pyramid.of(encoder)

    @classmethod
    def make(cls, encoder, classes, own, *, learns):
        return cls(encoder, Pyramid.of(encoder), nn.Linear(1, 1), learns=learns)


@pytest.fixture
def run(world, seeing):
    images = Images.of(Units(world.pixels, [[row] for row in range(60)], truth=world.truth(kind="boxes")))

    def make():
        decoder = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(decoder.weight)
        return Slope(seeing, Pyramid.of(seeing), decoder, learns=False)

    def run(score, **changes):
        own = LocalizedSettings(steps=20, checks=20, batch_size=4, weight_decay=0.0, **changes)
        best, last = train(make, images, np.arange(40), own, score, seed=0)
        return round(best.decoder.weight.item(), 3), round(last.decoder.weight.item(), 3)

    return run


def test_the_rate_and_the_step_that_validation_likes_are_taken(run):
    near = {"rates": (0.01, 0.1), "patience": None}
    assert run(lambda net: -abs(net.decoder.weight.item() - 0.7), **near) == (0.7, 2.0)
    assert run(lambda net: -abs(net.decoder.weight.item() - 0.05), **near) == (0.05, 0.2)
    assert run(None, **near) == (0.2, 0.2)  # nobody chooses: the first rate, the last step


def test_training_ends_when_it_has_not_been_better_for_a_while(run):
    assert run(lambda net: -abs(net.decoder.weight.item() - 0.3), rates=(0.1,), patience=4) == (0.3, 0.7)


def test_units_come_in_an_order_of_the_seed_each_once_an_epoch(world, seeing):
    images, seen = Images.of(Units(world.pixels, [[row] for row in range(60)])), []

    class Watch(Slope):
        def loss(self, batch):
            seen.append(batch.images[:, 0, 0, 0].tolist())
            return self.decoder.weight.sum()

    def orders(seed):
        seen.clear()
        own = LocalizedSettings(steps=20, batch_size=4, rates=(0.1,))
        train(
            lambda: Watch(seeing, Pyramid.of(seeing), nn.Linear(1, 1), learns=False),
            images,
            np.arange(40),
            own,
            None,
            seed=seed,
        )
        return np.array(seen).reshape(2, 40)

    one, other = orders(0), orders(1)
    assert np.allclose(np.sort(one[0]), np.sort(one[1])) and not np.allclose(one[0], one[1])
    assert np.allclose(one, orders(0)) and not np.allclose(one, other)


def test_a_mirrored_image_has_mirrored_masks_and_boxes(world, seeing):
    truth = Truth(masks=list(world.masks), boxes=world.boxes, labels=world.labels)
    turned = mirrored(truth, np.arange(60) % 2 == 1, 64)
    assert np.array_equal(turned.masks[1], world.masks[1][:, :, ::-1]) and np.array_equal(
        turned.masks[2], world.masks[2]
    )
    assert np.array_equal(turned.boxes[2], world.boxes[2])
    for box, kind in zip(turned.boxes[1], world.labels[1], strict=True):
        there = np.nonzero(turned.masks[1][kind])
        assert box.tolist() == [there[1].min(), there[0].min(), there[1].max() + 1, there[0].max() + 1]
    net = Slope(seeing, Pyramid.of(seeing), nn.Linear(1, 1), learns=False)
    images = Images.of(Units(world.pixels, [[row] for row in range(60)], truth=truth))
    plain, half = (images.batch([0, 1], net, np.array(turn)) for turn in ([False, False], [False, True]))
    assert torch.equal(half.images[0], plain.images[0]) and torch.equal(half.images[1], plain.images[1].flip(2))


def test_a_rate_at_which_training_diverges_is_passed_over_and_all_such_rates_stop(world, seeing):
    images = Images.of(Units(world.pixels, [[row] for row in range(60)]))

    class Steep(Slope):
        def loss(self, batch):
            return (
                -(self.decoder.weight.sum() + self.decoder.bias.sum())
                if self.decoder.weight < 5
                else self.decoder.weight.sum() * np.nan
            )

    def best(rates):
        own = LocalizedSettings(steps=10, checks=1, batch_size=4, rates=rates)
        return train(
            lambda: Steep.make(seeing, 1, own, learns=False), images, np.arange(40), own, lambda net: 0.0, seed=0
        )

    assert best((3.0, 0.1))[1].decoder.weight < 5
    with pytest.raises(RunError, match=r"diverged at step \d with the learning rate 3"):
        best((3.0,))
