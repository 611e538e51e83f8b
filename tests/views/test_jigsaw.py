"""B9 of the specification: permutations, windows, puzzles."""

import numpy as np
import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.views.jigsaw import (
    PATCHES,
    Distort,
    PuzzleRecipe,
    PuzzleSource,
    RawPuzzles,
    assemble,
    cut,
    enlarge,
    finish,
    hamming_permutations,
    random_permutations,
    windows,
)

PAPER = PuzzleRecipe(size=256, patch=64, jitter=9)
STILL = {"rotation": 0.0, "shift": 0.0, "zoom": 0.0, "brightness": 0.0, "contrast": 0.0, "noise": 0.0}


def least_distance(chosen):
    different = (chosen[:, None] != chosen[None]).sum(-1)
    return (different + PATCHES * np.eye(len(chosen), dtype=int)).min()


class Series:
    """Pixels of series whose slices hold their own number."""

    def __init__(self, lengths, size=48):
        self.lengths, self.size = lengths, size

    def __len__(self):
        return len(self.lengths)

    def frames_of(self, row):
        return self.lengths[row]

    def batch(self, rows, at):
        ramp = np.arange(self.size * self.size, dtype=np.uint16).reshape(1, self.size, self.size)
        return np.stack([ramp + 40 * int(frame) + int(row) for row, frame in zip(rows, at, strict=True)])


def raw(puzzles: int = 4, permutations=None, augmented: bool = False, size: int = 96) -> RawPuzzles:
    known = hamming_permutations(24) if permutations is None else permutations
    label = torch.arange(puzzles) * 5 % len(known)
    slices = torch.rand(puzzles, 1, size, size, generator=torch.Generator().manual_seed(0))
    number = torch.arange(puzzles)
    return RawPuzzles(slices, torch.from_numpy(known)[label], label, number, number * 0, 0, augmented)


@pytest.mark.parametrize("made", [random_permutations(1000, 3), hamming_permutations(200)], ids=["random", "hamming"])
def test_permutations_are_different_and_begin_with_the_identity(made) -> None:
    assert made[0].tolist() == list(range(9))
    assert len(np.unique(made, axis=0)) == len(made)
    assert (np.sort(made, axis=1) == np.arange(9)).all()


def test_permutations_are_a_function_of_the_seed() -> None:
    assert (random_permutations(50, 1) == random_permutations(50, 1)).all()
    assert (random_permutations(50, 1) != random_permutations(50, 2)).any()
    with pytest.raises(ConfigError, match=r"1 to 362,880"):
        random_permutations(362_881, 0)


def test_hamming_sets_are_farther_apart_than_random_ones() -> None:
    """Nine rows of a Latin square differ everywhere; a hundred still differ in six places, random ones in three."""
    assert least_distance(hamming_permutations(9)) == 9
    assert least_distance(hamming_permutations(100)) >= 6 > least_distance(random_permutations(100, 0))


@pytest.mark.parametrize("recipe", [PAPER, PuzzleRecipe(size=100, patch=20, jitter=13)])
def test_windows_lie_in_their_cells_and_neighbours_never_overlap(recipe: PuzzleRecipe) -> None:
    cell = recipe.size // 3
    ends = [torch.zeros(1, 9, 2), torch.full((1, 9, 2), 0.999999), torch.rand(500, 9, 2)]
    corners = windows(torch.cat(ends), recipe)
    place = torch.arange(9)
    inside = corners - torch.stack([place // 3, place % 3], dim=1) * cell
    assert inside.min() == 0 and inside.max() == recipe.jitter
    assert inside.max() + recipe.patch <= cell
    for a, b, axis in ((0, 1, 1), (4, 5, 1), (0, 3, 0), (5, 8, 0)):
        assert (corners[:, b, axis] >= corners[:, a, axis] + recipe.patch).all()
    assert abs(inside[2:].float().mean() - recipe.jitter / 2) < 0.5


def test_a_patch_that_would_leave_its_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"jitter = 22.*cell of 85.*0 to 21"):
        PuzzleRecipe(size=256, patch=64, jitter=22)
    with pytest.raises(ConfigError, match=r"patch = 40 in cells of 32"):
        PuzzleRecipe(size=96, patch=40, jitter=0)


def test_a_patch_is_its_window() -> None:
    picture = torch.arange(96 * 96.0).reshape(1, 1, 96, 96)
    corners = torch.tensor([[(row * 32 + 3, column * 32 + 5) for row in range(3) for column in range(3)]])
    patches = cut(picture, corners, 24)
    assert patches.shape == (1, 9, 1, 24, 24)
    for place in range(9):
        top, left = corners[0, place]
        assert torch.equal(patches[0, place, 0], picture[0, 0, top : top + 24, left : left + 24])


def test_undoing_the_permutation_restores_the_slice() -> None:
    recipe, known = PuzzleRecipe(size=96, patch=32, jitter=0, distort=Distort(**STILL)), hamming_permutations(24)
    puzzles = finish(raw(), recipe, seed=0, device="cpu")
    for patches, label, whole in zip(puzzles.patches, puzzles.label, puzzles.left, strict=True):
        back = torch.empty_like(patches)
        back[known[label]] = patches
        torch.testing.assert_close(assemble(back[None])[0], whole)
        torch.testing.assert_close(patches[0], back[known[label][0]])  # position j receives source patch pi(j)


def test_a_puzzle_does_not_depend_on_its_company() -> None:
    recipe, whole = PuzzleRecipe(size=96, patch=24, jitter=8), raw(augmented=True)
    one = RawPuzzles(**{k: v[2:3] if isinstance(v, torch.Tensor) else v for k, v in vars(whole).items()})
    many, alone = finish(whole, recipe, seed=1, device="cpu"), finish(one, recipe, seed=1, device="cpu")
    torch.testing.assert_close(many.patches[2], alone.patches[0])
    assert many.patches.min() >= 0 and many.patches.max() <= 1
    other = finish(whole, recipe, seed=2, device="cpu")
    assert (other.patches - many.patches).abs().max() > 0.1


def test_distortions_are_each_patchs_own() -> None:
    flat = raw(augmented=True)
    flat = RawPuzzles(**{**vars(flat), "slices": torch.full_like(flat.slices, 0.5)})
    recipe = PuzzleRecipe(size=96, patch=24, jitter=8, distort=Distort(noise=0.0, often=1.0))
    means = finish(flat, recipe, seed=0, device="cpu").patches.mean((2, 3, 4))
    assert (means.std(dim=1) > 0.02).all()
    assert means.min() >= 0.5 * 0.7 - 1e-6 and means.max() <= 0.5 * 1.3 + 1e-6


def test_published_distortions_take_few_values() -> None:
    flat = raw(puzzles=40, augmented=True)
    flat = RawPuzzles(**{**vars(flat), "slices": torch.full_like(flat.slices, 0.5)})
    few = Distort(noise=0.0, brightness=0.15, contrast=0.0, steps=True)
    recipe = PuzzleRecipe(size=96, patch=24, jitter=8, distort=few)
    means = finish(flat, recipe, seed=0, device="cpu").patches.mean((2, 3, 4))
    factors = sorted({round(float(mean) / 0.5, 3) for mean in means.flatten()})
    assert factors == [0.85, 0.9, 1.0, 1.1, 1.15]


def test_published_noise_is_each_positions_own_and_in_all_patches_of_a_batch() -> None:
    """Grey slices: what is left of a patch is its field of noise, the same at position j whichever patch stands there."""
    grey = raw(puzzles=12, augmented=True)
    grey = RawPuzzles(**{**vars(grey), "slices": torch.full_like(grey.slices, 0.5)})
    distort = Distort(**{**STILL, "noise": 0.05}, steps=True, shared_noise=True)
    made = finish(grey, PuzzleRecipe(size=96, patch=24, jitter=8, distort=distort), seed=0, device="cpu").patches
    torch.testing.assert_close(made, made[:1].expand_as(made))
    assert abs(float(made.std()) - 0.05) < 0.002 and (made[0, 0] - made[0, 1]).abs().max() > 0.1
    own = distort.model_copy(update={"shared_noise": False})
    made = finish(grey, PuzzleRecipe(size=96, patch=24, jitter=8, distort=own), seed=0, device="cpu").patches
    still = made.flatten(2).std(dim=2) == 0
    assert 0.3 < float(still.float().mean()) < 0.7  # of its own noise, half of the patches have some


def test_small_patches_are_enlarged_and_large_ones_stay() -> None:
    row = torch.tensor([0.0, 1.0]).expand(1, 9, 1, 2, 2)
    torch.testing.assert_close(enlarge(row, 4)[0, 0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    cut_as, shown = (PuzzleRecipe(size=96, patch=24, jitter=8, shown=side) for side in (None, 40))
    small, large = (finish(raw(), recipe, seed=0, device="cpu").patches for recipe in (cut_as, shown))
    assert small.shape[-1] == 24 and large.shape[-1] == 40
    torch.testing.assert_close(large, enlarge(small, 40))
    assert PuzzleRecipe(size=96, patch=32, jitter=0, shown=16).side == 32


def test_every_series_and_slice_takes_its_turn() -> None:
    lengths, draws = [5, 1, 8, 3], 2
    source = PuzzleSource(Series(lengths), hamming_permutations(24), PAPER, seed=0, draws=draws)
    rows = np.repeat(np.arange(4), draws)
    draw = np.tile(np.arange(draws), 4)
    seen = {row: [] for row in range(4)}
    for epoch in range(20):
        for row, frame in zip(rows, source.slice_of(epoch, rows, draw), strict=True):
            seen[int(row)].append(int(frame))
    for row, length in enumerate(lengths):
        assert sorted(seen[row][:length]) == list(range(length))  # once each before any comes again
        counts = np.bincount(seen[row], minlength=length)
        assert counts.max() - counts.min() <= 1


def test_all_nine_patches_come_from_one_slice_and_labels_are_uniform() -> None:
    source = PuzzleSource(Series([6] * 3), hamming_permutations(24), PAPER, seed=0, draws=4)
    rows, draws = np.repeat(np.arange(3), 400), np.tile(np.arange(400), 3)
    made = source.raw(0, rows, draws)
    counts = torch.bincount(made.label, minlength=24)
    assert ((counts - 50).abs() < 35).all()  # five standard deviations
    assert torch.equal(made.shown, torch.from_numpy(hamming_permutations(24))[made.label])
    part = RawPuzzles(**{k: v[:8] if isinstance(v, torch.Tensor) else v for k, v in vars(made).items()})
    puzzles = finish(part, PuzzleRecipe(size=48, patch=16, jitter=0, distort=Distort(**STILL)), seed=0, device="cpu")
    values = np.sort(puzzles.patches.flatten(1).numpy(), axis=1)
    np.testing.assert_allclose(values, np.sort(puzzles.left.flatten(1).numpy(), axis=1), atol=1e-6)


def test_broken_puzzles_have_labels_of_nothing() -> None:
    source = PuzzleSource(Series([6] * 3), hamming_permutations(24), PAPER, seed=0, draws=4, broken=True)
    made = source.raw(0, np.repeat(np.arange(3), 200), np.tile(np.arange(200), 3))
    right = (made.shown == torch.from_numpy(hamming_permutations(24))[made.label]).all(dim=1).float().mean()
    assert right < 0.1
