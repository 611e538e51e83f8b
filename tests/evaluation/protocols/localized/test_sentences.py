"""Boxes asked for by their sentences: what is one question, what maps they get, and what of it is counted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pointing_toys import Words, untouched
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols.base import HeadSettings
from sidelight.evaluation.protocols.localized.ground import JUDGED, Ground, GroundSettings
from sidelight.evaluation.protocols.localized.sentences import OwnSentences, questions, sentence_rows
from sidelight.evaluation.truth import UNKNOWN, Truth
from sidelight.metrics.heat import POINTING
from sidelight.metrics.overlap import COLUMNS
from sidelight.models.grounding import PhraseMaps
from sidelight.models.joint import Joint

from .test_ground import encoder

AREAS = [COLUMNS.index(name) for name in ("intersection", "found", "true")]
BRIGHT, DARK = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def truth(boxes, labels, sentences):
    made = [np.array(own, np.float32).reshape(-1, 4) for own in boxes]
    return Truth(boxes=made, labels=[np.array(own, np.int64) for own in labels], sentences=sentences)


def test_boxes_of_one_sentence_and_class_are_one_question():
    left, right, both = (0, 0, 2, 4), (2, 0, 4, 4), (0, 0, 4, 1)
    true = truth([[left, right, both, both], [], [left]], [[1, 1, 1, 0], [], [0]], [("a", "b", "a", "a"), (), ("",)])
    found = questions(true, 2, 4)
    assert list(zip(found.image.tolist(), found.label.tolist(), found.sentences, strict=True)) == [
        (0, 1, "a"), (0, 1, "b"), (0, 0, "a"), (1, 0, ""), (2, 0, ""),
    ]  # fmt: skip
    masks = np.stack(found.truth.masks)
    assert [(masks[at, kind] == 1).sum() for at, kind in enumerate(found.label)] == [10, 8, 4, 0, 8]
    assert all((masks[at, 1 - kind] == UNKNOWN).all() for at, kind in enumerate(found.label))
    assert (masks[3] == UNKNOWN).all(), "of an image without boxes nothing is known"


def test_a_box_that_no_pixel_sees_is_no_question():
    """It is smaller than a pixel, or lies beside the image: what is found for it is neither right nor wrong."""
    true = truth([[(0.6, 0.6, 1.4, 1.4)], [(0, 3, 2, 4)]], [[0], [0]], [("a",), ("a",)])
    true = replace(true, inner=[(0, 0, 4, 4), (0, 0, 2, 4)])
    assert all((own == UNKNOWN).all() for own in questions(true, 1, 4).truth.masks)


def test_what_lies_beside_the_image_is_unknown():
    true = replace(truth([[(0, 0, 2, 2)]], [[0]], [("a",)]), inner=[(0, 0, 2, 4)])
    (mask,) = questions(true, 1, 4).truth.masks[0]
    assert (mask[2:] == UNKNOWN).all() and (mask[:2, :2] == 1).all() and (mask[:2, 2:] == 0).all()


def test_each_question_has_the_map_of_its_sentence_or_of_its_class():
    """An image whose left is bright and right dark: the sentences are of either, and a box without one of its class."""
    joint = Joint(encoder(), Words({"bright": BRIGHT, "dark": DARK}), untouched())
    maps = PhraseMaps(joint.alignment, "whole", torch.stack([DARK, BRIGHT]))
    own = OwnSentences(joint, "whole", torch.zeros(2, 1, 1), np.zeros(2))
    last = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[0.6, 0.0]], [[0.8, 1.0]]]])
    box = (0, 0, 1, 1)
    asked = questions(truth([[box, box], [box, box]], [[0, 0], [1, 0]], [("bright", "dark"), ("", "bright")]), 2, 2)
    found = own(maps, last, asked, 2)
    assert found[:, 0].tolist() == [[1, 0], [0, 1], [pytest.approx(0.6), 0], [pytest.approx(0.6), 0]]
    beyond = replace(own, mean=torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]]]))(maps, last, asked, 2)
    assert beyond[:, 0, 0].tolist() == pytest.approx([0.5, 0, 0.1, 0.1])
    assert torch.equal(maps.vectors, torch.stack([DARK, BRIGHT])), "the phrases of classes stay as they are"


def test_rows_are_sums_over_the_sentences_of_an_image():
    heat = np.zeros((4, 4, 4), np.float32)
    heat[0, :, :2], heat[1, :, :2], heat[3] = 1, 1, 1
    sides = [(0, 0, 2, 4), (2, 0, 4, 4)]
    asked = questions(truth([sides, [], sides[:1]], [[1, 1], [], [1]], [("left", "right"), (), ("all",)]), 2, 4)
    rows = sentence_rows(iter([(heat, asked)]), np.array([0.5, 0.5]), 2.0)
    assert rows.known.tolist() == [[False, True], [False, False], [False, True]]
    numbers = rows.numbers[:, 1]
    assert numbers[0, AREAS].tolist() == [8, 16, 16]  # the left is hit, the right missed
    assert POINTING(None, rows.numbers[[0], 1]) == 0.5
    assert numbers[2, AREAS].tolist() == [8, 16, 8]
    split = sentence_rows(iter([(heat[:3], questions(truth([sides, []], [[1, 1], []], [("left", "right"), ()]), 2, 4)),
                                (heat[3:], questions(truth([sides[:1]], [[1]], [("all",)]), 2, 4))]),
                          np.array([0.5, 0.5]), 2.0)  # fmt: skip
    np.testing.assert_array_equal(split.numbers, rows.numbers)
    assert split.drawn == rows.drawn and rows.drawn[0][1] != rows.drawn[1][1]


@pytest.fixture
def sides(world, named):
    """Images whose left or right half is bright, at random, and the other dark; one box is of each half; sentences say which."""
    rng = np.random.default_rng(0)
    left = rng.random(60) < 0.5
    pixels = world.pixels
    pixels.images = np.full((60, 1, 64, 64), 20, np.uint8)
    pixels.images[left, :, :, :32] = 230
    pixels.images[~left, :, :, 32:] = 230
    pixels.hash = "sides"
    halves = [(0, 0, 32, 64), (32, 0, 64, 64)]
    said = [("bright", "dark") if own else ("dark", "bright") for own in left]

    def asked(sentences):
        examples, table, units = world.sides(targets=1)
        true = truth([halves] * 60, [[0, 0]] * 60, sentences)
        examples = replace(
            examples, units=replace(examples.units, truth=true.take(np.arange(len(examples.units.items))))
        )
        return examples, table, replace(units, truth=true.take(np.arange(60 - len(units.items), 60)))

    return asked, said


def judged(examples, table, units, named, ask):
    words = Words({"disc": BRIGHT, "bright": BRIGHT, "dark": DARK})
    ground = Ground(Joint(encoder(), words, untouched()))
    (head,) = ground.fit(encoder(), examples, GroundSettings(ask=ask), HeadSettings(), seed=0, draw=0).values()
    return head, pd.concat(list(ground.outcomes(head, table, units, named(1))), ignore_index=True)


def test_sentences_find_what_a_class_cannot_and_wrong_ones_find_nothing(sides, named):
    asked, said = sides
    by = {
        name: judged(*asked(own), named, ask)[1]
        for name, own, ask in (
            ("own", said, "sentence"), ("class", said, "class"), ("exchanged", [own[::-1] for own in said], "sentence"),
        )
    }  # fmt: skip
    values = {name: own["pointing"].tolist() for name, own in by.items()}
    assert set(values["own"]) == {1} and set(values["exchanged"]) == {0}
    assert set(values["class"]) == {1}, "both halves together are the class's one region: everywhere is right"
    assert by["own"]["true"].tolist() == [64 * 64] * len(by["own"])
    dice = {name: 2 * own["intersection"].sum() / (own["found"] + own["true"]).sum() for name, own in by.items()}
    assert dice["own"] > 0.95 and dice["exchanged"] < 0.7


def test_a_saved_model_asks_by_class(sides, named):
    asked, said = sides
    (head, _), (plain, _) = (judged(*asked(said), named, ask) for ask in ("sentence", "class"))
    assert head.describe() == {**plain.describe(), "judged": JUDGED} and head.thresholds == plain.thresholds


def test_without_sentences_it_is_refused(sides, named):
    asked, said = sides
    examples, table, units = asked(said)
    masks = replace(units, truth=units.truth.filled(1, 64))
    with pytest.raises(ConfigError, match="the tested units have masks"):
        judged(examples, table, masks, named, "sentence")
    few = replace(examples, units=examples.units.take(range(4)))
    blank = replace(few, units=replace(few.units, truth=replace(few.units.truth, sentences=[("", "")] * 4)))
    assert len(judged(blank, table, units, named, "sentence")[1]) == len(table), (
        "few labelled boxes may happen to have none"
    )
    for missing in (None, [("", "")] * 60):
        with pytest.raises(ConfigError, match=r"no labelled box has one.*sentence = COLUMN.*ground.ask"):
            judged(*asked(missing), named, "sentence")
