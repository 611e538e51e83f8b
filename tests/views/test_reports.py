"""What a study looks like: one of its views, its sentences in another order, another patient's report in the control."""

import numpy as np
import pytest
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.errors import ConfigError, DataError
from sidelight.models.text import Tokenizer
from sidelight.models.wordpiece import SPECIAL, word_tokenizer
from sidelight.views.affine import Affine, affine
from sidelight.views.augment import Augment
from sidelight.views.reports import Studies, StudyRecipe, StudySource

PLAIN = StudyRecipe(Augment.none(), Affine.none())


def moved(**values) -> Affine:
    return Affine(**{**Affine.none().model_dump(), **values})


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    cohort = Cohort.open("phantom:chest?patients=12&size=32")
    return build(cohort, size=32, folder=tmp_path_factory.mktemp("cache"))


def source(pixels, recipe=PLAIN, **values):
    """Every patient's first study has the sentences 10 n, 10 n + 1, ... of one piece each."""
    index = pixels.index.assign(study=pixels.index["item"].str.rsplit("/", n=1).str[0])
    rows = tuple(part.index.to_numpy() for _, part in index.groupby("study", sort=False))
    pieces = tuple(tuple((10 * n + k,) for k in range(1 + n % 5)) for n in range(len(rows)))
    group = np.array([int(pixels.index["group"].iloc[own[0]][1:]) for own in rows], np.int64)
    tokenizer = Tokenizer.of(word_tokenizer(SPECIAL))
    return StudySource(pixels, Studies(rows, pieces, group), tokenizer, recipe, 0, size=32, budget=510, **values)


def said(raw):
    return [ids[owner >= 0].tolist() for ids, owner in zip(raw.tokens.ids, raw.tokens.sentence, strict=True)]


def many(made, epochs=200):
    rows = made.studies.first
    zeros = np.zeros(len(rows), np.int64)
    return [made.raw(epoch, rows, zeros) for epoch in range(epochs)]


def test_a_batch_is_a_pure_function_of_seed_epoch_and_study(pixels):
    made, rows = (
        source(pixels, StudyRecipe(Augment(), moved(rotation=10), 0.6)),
        source(pixels).studies.first,
    )
    whole = made.finish(made.raw(3, rows, np.zeros(len(rows), np.int64)), "cpu")
    alone = made.finish(made.raw(3, rows[5:6], np.zeros(1, np.int64)), "cpu")
    torch.testing.assert_close(alone.left[0], whole.left[5])
    assert (
        said(made.raw(3, rows[5:6], np.zeros(1, np.int64)))[0]
        == said(made.raw(3, rows, np.zeros(len(rows), np.int64)))[5]
    )
    other = made.finish(made.raw(4, rows[5:6], np.zeros(1, np.int64)), "cpu")
    assert not torch.equal(other.left, alone.left)
    assert (len(whole), whole.left.shape, whole.part(2, 5).left.shape) == (24, (24, 1, 32, 32), (3, 1, 32, 32))


def test_views_are_drawn_evenly(pixels):
    made = source(pixels)
    place = next(n for n, rows in enumerate(made.studies.rows) if len(rows) == 2)
    own = [pixels.read(int(row), [0])[0] for row in made.studies.rows[place]]
    drawn = [raw.pixels[place].numpy() for raw in many(made)]
    first = sum(np.array_equal(image, own[0]) for image in drawn)
    assert first + sum(np.array_equal(image, own[1]) for image in drawn) == 200
    assert 70 < first < 130


def test_swaps_keep_the_sentences_and_are_as_many_as_asked(pixels):
    made = source(pixels, StudyRecipe(Augment.none(), Affine.none(), swaps=0.6))
    orders = [said(raw)[4] for raw in many(made)]
    assert all(sorted(order) == [40, 41, 42, 43, 44] for order in orders)
    still = sum(order == [40, 41, 42, 43, 44] for order in orders) / 200
    assert 0.4 < still < 0.6  # none with 0.4; a swap with itself or back is possible too
    assert all(said(raw)[4] == [40, 41, 42, 43, 44] for raw in many(source(pixels), 5))


def test_one_sentence_at_random(pixels):
    made = source(pixels, StudyRecipe(Augment.none(), Affine.none(), sentences="one"))
    drawn = [said(raw)[4] for raw in many(made)]
    assert {len(one) for one in drawn} == {1}
    assert {one[0] for one in drawn} == {40, 41, 42, 43, 44}


def test_broken_pairs_never_show_a_patients_own_report(pixels):
    pool = np.arange(0, 24, 2)
    made = source(pixels, broken=True, pool=pool)
    for raw in many(made, 20):
        for place, words in enumerate(said(raw)):
            other = words[0] // 10
            assert other in pool
            assert made.studies.group[other] != made.studies.group[place]
    told = {said(raw)[0][0] for raw in many(made, 60)}
    assert len(told) == 11
    with pytest.raises(DataError, match="one patient"):
        source(pixels, broken=True, pool=np.array([0, 1]))


def test_affine_turns_shifts_and_scales():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 7] = 1
    half = torch.full((1, 4), 0.5)

    def peak(recipe, numbers):
        return divmod(int(affine(image, recipe, numbers).flatten().argmax()), 9)

    assert affine(image, Affine.none(), half) is image
    torch.testing.assert_close(affine(image, moved(rotation=90), half), image)
    ends = half.clone()
    ends[0, 0] = 1.0
    assert peak(moved(rotation=90), ends) in ((7, 4), (1, 4))
    shifted = half.clone()
    shifted[0, 2:] = torch.tensor([0.0, 1.0])
    assert peak(Affine(shift=2 / 9), shifted) == (6, 5)
    larger = half.clone()
    larger[0, 1] = 0.0
    assert peak(Affine(scale=(1 / 3, 1.0)), larger) == (4, 5)
    with pytest.raises(ConfigError, match="angle up to 180"):
        moved(rotation=200)


@pytest.mark.parametrize("rare", [{"jittered": 0.5}, {"blurred": 0.5}])
def test_some_views_may_keep_their_colours_or_stay_sharp(pixels, rare):
    made = source(pixels, StudyRecipe(Augment(**rare), Affine.none()))
    rows = made.studies.first
    views = made.finish(made.raw(0, rows, np.zeros(len(rows), np.int64)), "cpu").left
    assert views.shape == (len(rows), 1, 32, 32) and views.min() >= 0 and views.max() <= 1
