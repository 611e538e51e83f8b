"""Two photographs of each lesion: which are shown, that a lesion does not depend on its batch, and broken pairs."""

import numpy as np
import pytest
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.errors import DataError
from sidelight.views.augment import Augment
from sidelight.views.photos import ABSENT, PhotoLesions, PhotoSource

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return build(
        Cohort.open("phantom:derm?cases=8&size=32"), size=32, folder=tmp_path_factory.mktemp("cache"), progress=False
    )


def lesions(*slots, named=True, groups=None):
    rows = np.array([min([*first, *second]) for first, second in slots], np.int64)
    return PhotoLesions(rows, tuple(slots), np.arange(len(slots)) if groups is None else np.array(groups), named)


NAMED = lesions(((0, 1, 2), (3,)), ((4,), (5, 6)), ((7,), ()), ((), (8,)))


def shown(source, epoch=0, draw=0):
    rows = source.lesions.rows
    return source.raw(epoch, rows, np.full(len(rows), draw)).shown.numpy()


def test_named_photographs_keep_their_slot_and_draws_go_through_them(pixels):
    source = PhotoSource(pixels, NAMED, Augment.none(), 0, size=16)
    seen = [shown(source, epoch) for epoch in range(40)]
    for slot in (0, 1):
        for place, own in enumerate(NAMED.slots):
            assert {int(one[slot, place]) for one in seen} == set(own[slot] or (ABSENT,))


def test_unnamed_photographs_come_in_pairs_of_two_in_any_order(pixels):
    source = PhotoSource(pixels, lesions(((0, 1, 2), ()), ((3,), ()), named=False), Augment.none(), 0, size=16)
    seen = [shown(source, epoch) for epoch in range(60)]
    assert {tuple(one[:, 0]) for one in seen} == {(a, b) for a in (0, 1, 2) for b in (0, 1, 2) if a != b}
    assert {tuple(one[:, 1]) for one in seen} == {(3, ABSENT), (ABSENT, 3)}


def test_a_lesion_does_not_depend_on_its_batch(pixels):
    source = PhotoSource(pixels, NAMED, Augment(), 3, size=16)
    whole = source.finish(source.raw(2, NAMED.rows, np.array([0, 1, 0, 1])), CPU)
    alone = source.finish(source.raw(2, NAMED.rows[1:2], np.array([1])), CPU)
    torch.testing.assert_close(whole.images[:, :, 1:2], alone.images)
    assert whole.images.shape == (2, 2, 4, 3, 16, 16)
    assert whole.present.tolist() == [[True, True, True, False], [True, True, False, True]]
    assert (whole.images[0, 0, 0] != whole.images[0, 1, 0]).any()
    assert whole.left.shape == (3, 3, 16, 16)
    again = source.finish(source.raw(3, NAMED.rows, np.array([0, 1, 0, 1])), CPU)
    assert (again.images[:, :, 1] != whole.images[:, :, 1]).any()


def test_one_plain_view(pixels):
    source = PhotoSource(pixels, NAMED, Augment(), 0, size=16, views=0)
    batch = source.finish(source.raw(0, NAMED.rows, np.zeros(4, np.int64)), CPU)
    assert batch.images.shape == (2, 1, 4, 3, 16, 16)
    row = int(source.raw(0, NAMED.rows, np.zeros(4, np.int64)).shown[0, 1])
    expected = torch.from_numpy(pixels.batch([row], [0])).float() / 255
    expected = torch.nn.functional.interpolate(expected, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(batch.images[0, 0, 1:2], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("named", [True, False])
def test_broken_pairs_show_another_patients_second_photograph(pixels, named):
    slots = [((2 * k,), (2 * k + 1,)) if named else ((2 * k, 2 * k + 1), ()) for k in range(6)]
    groups = [0, 0, 1, 1, 2, 2]
    some = lesions(*slots, named=named, groups=groups)
    source = PhotoSource(pixels, some, Augment.none(), 0, size=16, broken=True)
    for epoch in range(20):
        first, second = shown(source, epoch)
        assert all(first[k] // 2 == k for k in range(6))
        assert all(groups[second[k] // 2] != groups[k] for k in range(6))
        assert not named or (second % 2 == 1).all()
    with pytest.raises(DataError, match="Pairs cannot be broken"):
        PhotoSource(pixels, lesions(*slots, named=named, groups=[0] * 6), Augment.none(), 0, size=16, broken=True)
