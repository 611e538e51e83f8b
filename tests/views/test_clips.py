"""Pairs of frames: which frames, which weights, fall-backs, and independence of the batch."""

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from sidelight.config import build
from sidelight.errors import ConfigError, DataError
from sidelight.views.augment import Augment, resize
from sidelight.views.clips import ClipPairs, FirstFrame, PairRecipe, PairSource, finish

PLAIN = Augment.none()
LENGTHS = (30, 1, 2, 3, 12)


@dataclass
class Store:
    """A cache in memory: frame t of row r has grey value 40 r + t everywhere but in a corner."""

    lengths: tuple[int, ...] = LENGTHS
    per_group: int = 1
    seconds: float = 0.1
    deep: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        group = [f"g{row // self.per_group}" for row in range(len(self.lengths))]
        self.index = pd.DataFrame({"item": range(len(self.lengths)), "group": group, "frames": self.lengths})

    def __len__(self) -> int:
        return len(self.lengths)

    def frames_of(self, row: int) -> int:
        return self.lengths[row]

    def times(self, row: int) -> np.ndarray:
        return np.arange(self.lengths[row]) * self.seconds

    def numbers(self, row: int) -> np.ndarray:
        return np.arange(self.lengths[row])

    def batch(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        assert all(0 <= frame < self.lengths[row] for row, frame in zip(rows, at, strict=True))
        grey = np.asarray([40 * row + frame for row, frame in zip(rows, at, strict=True)])
        frames = np.broadcast_to(grey[:, None, None, None], (len(rows), 1, 8, 8)).copy()
        frames[:, :, 0, 0] = 255 - frames[:, :, 0, 0]
        wide = set(self.deep) & {int(row) for row in rows}
        return (frames * 257).astype(np.uint16) if wide else frames.astype(np.uint8)


def source(
    store: Store | None = None, seed: int = 3, broken: bool = False, pool=None, recipe=None, **pairs
) -> PairSource:
    return PairSource(store or Store(), recipe or PairRecipe(**pairs), PLAIN, seed, size=8, broken=broken, pool=pool)


def many(row: int, count: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, row), np.arange(count)


def test_standard_pulls_the_outer_frames_towards_the_middle_one() -> None:
    plan = source().plan(0, *many(0))
    (first, middle), (final, shared) = plan.frames[0].T, plan.frames[1].T
    assert (first < middle).all()
    assert (middle < final).all()
    assert (middle == shared).all()
    assert first.min() == 0
    assert final.max() == 29
    np.testing.assert_array_equal(plan.gap, final - first)
    towards = plan.weights[..., 1]
    assert towards.mean() == pytest.approx(0.375, abs=0.005)
    assert abs(np.corrcoef(towards)[0, 1]) < 0.05
    np.testing.assert_allclose(plan.weights.sum(2), 1)


def test_standard_distances_are_a_uniform_pair_without_replacement() -> None:
    """For L = 4: {1,2}, {1,3}, {2,3} equally often; the start is uniform, 0 or 1 where d2 = 2."""
    plan = source(Store((4,))).plan(0, *many(0))
    distances = np.stack([plan.frames[0, :, 1] - plan.frames[0, :, 0], plan.frames[1, :, 0] - plan.frames[0, :, 0]], 1)
    share = {d: float((distances == d).all(1).mean()) for d in ((1, 2), (1, 3), (2, 3))}
    assert share == pytest.approx({(1, 2): 1 / 3, (1, 3): 1 / 3, (2, 3): 1 / 3}, abs=0.02)
    short = distances[:, 1] == 2
    assert plan.frames[0, short, 0].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("mode", ["standard", "inner", "uscl", "two"])
@pytest.mark.parametrize(("gap", "unit"), [(5, "frames"), (0.5, "seconds")])
def test_no_pair_is_wider_than_max_gap(mode: str, gap: float, unit: str) -> None:
    made = source(pairs=mode, max_gap=gap, gap_unit=unit)
    plan = made.plan(0, *many(0, 2000))
    used = np.where(plan.weights > 0, plan.frames, plan.frames[:1, :, :1])
    assert (used.max((0, 2)) - used.min((0, 2))).max() == 5
    assert plan.gap.max() == 5
    assert made.max_gap[0] == 5


def test_uscl_shares_one_weight_and_any_order() -> None:
    plan = source(pairs="uscl").plan(0, *many(0))
    one, two, three = plan.frames[0, :, 0], plan.frames[0, :, 1], plan.frames[1, :, 0]
    np.testing.assert_array_equal(plan.weights[0], plan.weights[1])
    np.testing.assert_array_equal(two, plan.frames[1, :, 1])
    assert ((one != two) & (two != three) & (one != three)).all()
    assert (one < two).mean() == pytest.approx(0.5, abs=0.02)
    assert ((one < two) & (two < three)).mean() == pytest.approx(1 / 6, abs=0.02)
    assert plan.weights[0, :, 0].var() == pytest.approx(0.125, abs=0.005)


def test_inner_takes_two_points_of_the_convex_hull() -> None:
    plan = source(pairs="inner", inner_frames=4).plan(0, *many(0, 4000))
    assert (np.diff(plan.frames, axis=2) > 0).all()
    np.testing.assert_array_equal(plan.frames[0], plan.frames[1])
    np.testing.assert_allclose(plan.weights.sum(2), 1)
    np.testing.assert_allclose(plan.weights.mean((0, 1)), 0.25, atol=0.01)
    assert abs(np.corrcoef(plan.weights[0, :, 0], plan.weights[1, :, 0])[0, 1]) < 0.1
    three = source(pairs="inner", inner_frames=4).plan(0, *many(3, 50))  # a clip of three frames mixes three
    assert (np.sort(three.frames[0, :, :3]) == [0, 1, 2]).all()
    assert not three.weights[..., 3].any()


@pytest.mark.parametrize("mode", ["standard", "inner", "uscl", "two"])
def test_short_clips_fall_back(mode: str) -> None:
    made = source(pairs=mode)
    one, two = made.plan(0, *many(1, 50)), made.plan(0, *many(2, 50))
    assert not one.frames.any()
    assert not one.gap.any()
    assert (two.frames[0, :, 0] == 0).all()
    assert (two.frames[1, :, 0] == 1).all()
    assert (two.weights[..., 0] == 1).all()
    assert made.raw(0, np.array([1, 2]), np.array([0, 0])).frames.shape == (2, 2, 1, 1, 8, 8)


def test_single_shows_one_frame_twice_the_first_as_published() -> None:
    random, first = (
        source(pairs="single").plan(0, *many(0)),
        source(recipe=FirstFrame()).plan(0, *many(0)),
    )
    np.testing.assert_array_equal(random.frames[0], random.frames[1])
    assert set(random.frames.ravel()) == set(range(30))
    assert not first.frames.any()
    assert not random.gap.any()


def test_a_distance_between_frames_that_cannot_be_reached_gives_single() -> None:
    plan = source(pairs="two", max_gap=0.05, gap_unit="seconds").plan(0, *many(0, 50))
    np.testing.assert_array_equal(plan.frames[0], plan.frames[1])


def test_pixels_are_the_weighted_sum() -> None:
    made = source()
    raw = made.raw(0, *many(4, 40))
    pairs = made.finish(raw, "cpu")
    grey = raw.frames[..., 0, 5, 5].double()  # [2, N, F]
    expected = (grey * raw.weights).sum(2) / 255
    for side, view in enumerate((pairs.left, pairs.right)):
        torch.testing.assert_close(view[:, 0, 5, 5].double(), expected[side], atol=1e-6, rtol=0)
        low, high = raw.frames[side].amin(1) / 255, raw.frames[side].amax(1) / 255
        assert ((view >= low - 1e-6) & (view <= high + 1e-6)).all()
    assert pairs.left.shape == (40, 1, 8, 8)
    assert (pairs.gap <= pairs.max_gap).all()
    assert pairs.max_gap[0] == 11


def test_truncation_gives_whole_grey_values() -> None:
    rows, draws = many(0, 40)
    plain, cut = (source(truncate=t).finish(source(truncate=t).raw(0, rows, draws), "cpu").left for t in (False, True))
    levels = cut * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert ((plain - cut) > -1e-5).all()
    assert (plain - cut).max() * 255 > 0.5
    assert (plain - cut).max() * 255 < 1.001


def test_augmenting_first_mixes_augmented_frames() -> None:
    """Every frame has its own view number; the middle frame is augmented once for both sides."""
    made = source(aug_first=True)
    raw = made.raw(0, *many(0, 4))
    assert raw.views[0].tolist() == [[0, 2]] * 4
    assert raw.views[1].tolist() == [[1, 2]] * 4
    half = PLAIN.model_copy(update={"brightness": 0.5})
    views = finish(raw, half, seed=3, epoch=0, device="cpu", size=8)
    middle = finish(
        replace(raw, weights=torch.tensor([0.0, 1.0]).expand(2, 4, 2)), half, seed=3, epoch=0, device="cpu", size=8
    )
    torch.testing.assert_close(middle.left, middle.right)
    left = finish(
        replace(raw, weights=torch.tensor([1.0, 0.0]).expand(2, 4, 2)), half, seed=3, epoch=0, device="cpu", size=8
    )
    share = raw.weights[0, :, 1, None, None, None]
    torch.testing.assert_close(views.left, (1 - share) * left.left + share * middle.left)


def test_without_mixing_a_frame_seen_twice_is_augmented_independently() -> None:
    recipe = Augment()
    made = PairSource(Store(), PairRecipe(pairs="single"), recipe, 0, size=8)
    pairs = made.finish(made.raw(0, *many(0, 8)), "cpu")
    assert all((left - right).abs().max() > 0.01 for left, right in zip(pairs.left, pairs.right, strict=True))


def test_a_pair_says_where_its_views_lie_unless_frames_were_augmented_before_they_were_mixed() -> None:
    """Frames of 8 x 8: whole ones, or crops inside them, each view's own; the same numbers of randomness as ever."""
    recipe = Augment(scale=(0.3, 0.6), flip=0.5)
    sources = {
        name: PairSource(Store(), PairRecipe(pairs="single", aug_first=name == "first"), augment, 0, size=8)
        for name, augment in (("whole", PLAIN), ("crops", recipe), ("both", (recipe, PLAIN)), ("first", recipe))
    }
    made = {name: one.finish(one.raw(0, *many(0, 8)), "cpu") for name, one in sources.items()}
    assert made["first"].corners is None and made["first"].map(lambda tensor: tensor[:2]).corners is None
    assert made["whole"].corners.tolist() == [[[0, 0, 8, 8]] * 2] * 8
    left, right = made["crops"].corners.unbind(1)
    assert left.shape == (8, 4) and not torch.isclose(left, right).all(1).any()
    area = (left[:, 2] - left[:, 0]) * (left[:, 3] - left[:, 1]).abs()
    assert float(area.min()) >= 0.3 * 64 - 1e-3 and float(area.max()) <= 0.6 * 64 + 1e-3
    assert made["both"].corners[:, 0].equal(left) and made["both"].corners[:, 1].tolist() == [[0, 0, 8, 8]] * 8
    assert made["crops"].map(lambda tensor: tensor[:2]).corners.equal(made["crops"].corners[:2])


def test_each_view_may_have_an_augmentation_of_its_own() -> None:
    plain, bright = Augment.none(), Augment.none().model_copy(update={"brightness": 0.8, "jittered": 0.9})
    asked = {
        name: PairSource(Store(), PairRecipe(pairs="single"), augment, 0, size=8)
        for name, augment in (("plain", plain), ("bright", bright), ("both", (plain, bright)))
    }
    made = {name: source.finish(source.raw(0, *many(0, 8)), "cpu") for name, source in asked.items()}
    torch.testing.assert_close(made["both"].left, made["plain"].left)
    torch.testing.assert_close(made["both"].right, made["bright"].right)
    assert (made["both"].left - made["both"].right).abs().max() > 0.05
    with pytest.raises(ConfigError, match="aug_first with two augmentations"):
        PairSource(Store(), PairRecipe(aug_first=True), (plain, bright), 0, size=8)


@pytest.mark.parametrize("mode", ["standard", "inner", "uscl", "single"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_pair_does_not_depend_on_its_batch(mode: str, broken: bool) -> None:
    store = Store(deep=(4,))
    made = PairSource(store, PairRecipe(pairs=mode), Augment(), 7, size=8, broken=broken)
    rows, draws = np.array([0, 1, 2, 3, 4, 0]), np.array([0, 0, 0, 0, 0, 1])
    whole = made.finish(made.raw(2, rows, draws), "cpu")
    again = pickle.loads(pickle.dumps(made))
    for place in range(6):
        alone = again.finish(again.raw(2, rows[[place]], draws[[place]]), "cpu")
        for name in ("left", "right", "item", "group", "gap", "max_gap"):
            expected = getattr(whole, name)[[place]]
            torch.testing.assert_close(getattr(alone, name), expected, atol=1e-6, rtol=0)
    assert not torch.equal(whole.left[0], whole.left[5])
    other = made.finish(made.raw(3, rows, draws), "cpu")
    assert not torch.equal(whole.left[0], other.left[0])


def test_broken_pairs_join_two_groups_and_change_nothing_else() -> None:
    store = Store((6,) * 5, per_group=2)
    rows, draws = np.repeat(np.arange(5), 200), np.tile(np.arange(200), 5)
    whole, broken = source(store), source(store, broken=True)
    a, b = whole.finish(whole.raw(0, rows, draws), "cpu"), broken.finish(broken.raw(0, rows, draws), "cpu")
    for name in ("left", "item", "group", "gap", "max_gap"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    shown = (b.right[:, 0, 5, 5] * 255 / 40 + 1e-3).floor().long()
    assert (shown // 2 != b.group).all()
    for row in range(5):
        others = [other for other in range(5) if other // 2 != row // 2]
        counts = torch.bincount(shown[rows == row], minlength=5)[others]
        assert counts.min() > 0.6 * 200 / len(others)


def test_broken_pairs_stay_in_their_pool() -> None:
    made = source(Store((6,) * 6, per_group=2), broken=True, pool=np.array([0, 2, 3]))
    partners = made.partners(0, np.repeat([0, 2], 50), np.arange(100))
    assert set(partners[:50]) == {2, 3}
    assert set(partners[50:]) == {0}


def test_errors() -> None:
    with pytest.raises(DataError, match="no frames"):
        source(Store((3, 0)))
    with pytest.raises(DataError, match="one group"):
        source(Store((3, 3), per_group=2), broken=True)
    with pytest.raises(ConfigError, match="max_gap"):
        build(PairRecipe, {"max_gap": 0})
    with pytest.raises(ConfigError, match="inner_frames"):
        build(PairRecipe, {"inner_frames": 1})


def test_pairs_map_and_move() -> None:
    made = source()
    pairs = made.finish(made.raw(0, *many(0, 6)), torch.device("cpu"))
    part = pairs.map(lambda tensor: tensor[:2]).to("cpu")
    assert isinstance(part, ClipPairs)
    assert len(part) == 2
    assert torch.equal(part.left, pairs.left[:2])
    assert torch.equal(resize(part.left, 8), part.left)


def test_mixtures_of_augmented_frames_are_not_cut_down():
    with pytest.raises(ConfigError, match="truncate with aug_first"):
        PairRecipe(truncate=True, aug_first=True)
