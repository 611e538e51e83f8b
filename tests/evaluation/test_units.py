"""Which photographs of a unit a head reads, and in whose place."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sidelight.evaluation.units import Units, moments
from sidelight.models.pair import PhotoPair

NAN = np.float32(np.nan)


@pytest.fixture
def pair():
    """Two encoders of two numbers each."""
    first, second = (SimpleNamespace(dim=2) for _ in range(2))
    reader = PhotoPair.__new__(PhotoPair)
    object.__setattr__(reader, "__dict__", {"first": first, "second": second, "views": ("a", "b")})
    return reader


def units(*vectors):
    """Units with a first and a second photograph each."""
    index = pd.DataFrame({"view": ["a", "b"] * len(vectors)})
    items = [[2 * place, 2 * place + 1] for place in range(len(vectors))]
    return Units(SimpleNamespace(index=index), items, np.array(vectors, np.float32))


def test_one_kind_alone_hides_the_other(pair):
    seen = units([1, 2, 3, 4]).only("second", pair)
    np.testing.assert_array_equal(seen.vectors, [[NAN, NAN, 3, 4]])
    assert seen.items == [[1]]


def test_the_other_kind_stands_in_the_place_of_the_one_that_was_learnt(pair):
    test = units([1, 2, 3, 4])
    second = test.across("second", pair, None)
    np.testing.assert_array_equal(second.vectors, [[3, 4, NAN, NAN]])
    assert second.items == [[1]]
    np.testing.assert_array_equal(test.across("first", pair, None).vectors, [[NAN, NAN, 1, 2]])


def test_moments_bring_the_other_kind_to_the_mean_and_spread_of_the_learnt_one(pair):
    # first: means 2 and 10, spreads sqrt(2/3) and 0; second: means 6 and 5, spreads 2 and 3; one unit has no second photograph
    learn = units([1, 10, 4, 2], [3, 10, 8, 8], [2, 10, NAN, NAN])
    found = units([0, 0, 8, 5], [0, 0, NAN, NAN]).across("second", pair, learn)
    np.testing.assert_allclose(found.vectors, [[2 + np.sqrt(2 / 3), 10, NAN, NAN], [NAN, NAN, NAN, NAN]], rtol=1e-6)
    back = units([3, 12, 0, 0]).across("first", pair, learn)
    np.testing.assert_allclose(back.vectors, [[NAN, NAN, 6 + 2 * 1 / np.sqrt(2 / 3), 5 + 3 * 2]], rtol=1e-5)


def test_moments_pass_over_what_is_not_there():
    mean, spread = moments(np.array([[1, NAN], [3, NAN]], np.float32))
    np.testing.assert_array_equal([mean, spread], [[2, 0], [1, 0]])
