"""Jigsaw puzzles of slices: nine patches of one slice, moved about by one of a set of permutations.

The slice is cut into 3 x 3 cells; each gives a patch at a random place of its own inside the cell, so that no two neighbours
touch. Position j of the puzzle receives source patch pi(j), and the label is pi's place in the set. Patches are counted row
by row. The host picks slices and permutations (:class:`PuzzleSource`); the device cuts, shuffles, distorts and enlarges
(:func:`finish`). Distortions are drawn for each patch by itself: they are there against shortcuts (edges that go on from one
patch to the next, vignetting), and nothing is asked about them.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sidelight.config import Settings
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError
from sidelight.models.jigsaw import PATCHES, SIDE
from sidelight.views.augment import resize
from sidelight.views.randomness import Ints, integer, uniform

NUMBERS = 8
"""Uniform numbers that one patch needs, beside its noise."""

THREE, ENDS, BRIGHTNESS = (-1.0, 0.0, 1.0), (-1.0, 1.0), (-1.0, -2 / 3, 0.0, 2 / 3, 1.0)
"""What a distortion is drawn from where it has few values, as shares of its greatest: brightness b = 0.15 gives factors of 0.85,
0.9, 1, 1.1 and 1.15."""

# Streams of random numbers beside those of views, which count from 0.
_SLICE, _LABEL, _PATCH, _BROKEN = -11, -12, -13, -14


@lru_cache(maxsize=1)
def _every() -> npt.NDArray[np.int8]:
    """All 9! permutations in lexicographic order, the identity first: int8 [362880, 9]."""
    return np.array(list(permutations(range(PATCHES))), np.int8)


def random_permutations(count: int, seed: int) -> Ints:
    """``count`` different permutations drawn at random, the identity first, as published: int64 [count, 9]."""
    every = _every()
    _check(count, len(every))
    drawn = 1 + np.random.default_rng([seed, 9]).choice(len(every) - 1, count - 1, replace=False)
    return np.asarray(every[np.concatenate([[0], drawn])], np.int64)


@lru_cache(maxsize=4)
def hamming_permutations(count: int) -> Ints:
    """``count`` permutations that differ in as many places as can be, greedily, the identity first: int64 [count, 9].

    Each next one has the largest least distance to those before it; of equals the largest sum of distances, then the
    first in lexicographic order (Noroozi and Favaro, ECCV 2016, algorithm 1, with the least in place of the mean distance).
    """
    every = _every()
    _check(count, len(every))
    chosen = np.zeros(count, np.int64)
    columns = np.ascontiguousarray(every.T)
    least, total = np.full(len(every), PATCHES, np.int8), np.zeros(len(every), np.int32)
    for place in range(1, count):
        distance = np.add.reduce(columns != every[chosen[place - 1]][:, None], axis=0, dtype=np.int8)
        np.minimum(least, distance, out=least)
        total += distance
        best = np.flatnonzero(least == least.max())
        chosen[place] = best[total[best].argmax()]
    return np.asarray(every[chosen], np.int64)


def _check(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ConfigError(f"permutations = {count}", expected=f"1 to {most:,}")


class Distort(Settings):
    """How each patch is changed."""

    rotation: float = Field(15.0, ge=0, description="degrees")
    shift: float = Field(0.1, ge=0, le=0.5, description="share of the patch")
    zoom: float = Field(0.1, ge=0, description="z: enlarged by a factor from 1 to 1 + z")
    brightness: float = Field(0.3, ge=0, description="b: a factor from 1 - b to 1 + b")
    contrast: float = Field(0.3, ge=0, description="c: a factor from 1 - c to 1 + c, about the patch's mean")
    noise: float = Field(0.03, ge=0, description="standard deviation, on grey values from 0 to 1")
    steps: bool = Field(False, description="few fixed values, as published, in place of ranges")
    shared_noise: bool = Field(
        False, description="each position of a puzzle has one field of noise for a whole batch, as published"
    )
    often: float = Field(
        0.5, gt=0, le=1, description="share of patches whose brightness, contrast and noise of their own change"
    )


@dataclass(frozen=True)
class PuzzleRecipe:
    """How a puzzle is cut and distorted.

    :param size: side of the slice in pixels before it is cut; ``patch``: side of a patch, at most a third of it.
    :param jitter: a patch begins uniformly 0 .. jitter pixels from its cell's corner, in each direction.
    :param shown: side of a patch as the encoder sees it: a smaller one is enlarged to it; None is as it was cut.
    """

    size: int = 112
    patch: int = 28
    jitter: int = 9
    distort: Distort = field(default_factory=Distort)
    shown: int | None = None

    def __post_init__(self) -> None:
        cell = self.size // SIDE
        if not 8 <= self.patch <= cell:
            raise ConfigError(f"patch = {self.patch} in cells of {cell} pixels", expected=f"8 to {cell}")
        if not 0 <= self.jitter <= cell - self.patch:
            raise ConfigError(
                f"jitter = {self.jitter}: a patch of {self.patch} would leave its cell of {cell} pixels",
                expected=f"0 to {cell - self.patch}",
            )

    @property
    def side(self) -> int:
        """Of a patch as the encoder sees it."""
        return max(self.patch, self.shown or 0)


@dataclass(frozen=True, eq=False)
class RawPuzzles:
    """A batch as the host ships it: slices uint8 or uint16 [N, C, W, W]; shown int64 [N, 9], source of each position."""

    slices: Tensor
    shown: Tensor
    label: Tensor
    item: Tensor
    draw: Tensor
    epoch: int
    augmented: bool

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True, eq=False)
class Puzzles:
    """N puzzles on the device.

    :ivar left: float32 [N, C, S, S] in [0, 1], the whole slices; ``patches``: float32 [N, 9, C, P, P].
    :ivar label: int64 [N], place of the permutation in the set; ``item``: int64 [N], row of the pixel index.
    """

    left: Tensor
    patches: Tensor
    label: Tensor
    item: Tensor

    def __len__(self) -> int:
        return len(self.item)


class PuzzleSource:
    """The host's part: a pure function of (seed, epoch, rows, draws), whatever the batch, worker or resume.

    :param permutations: int64 [n, 9].
    :param draws: puzzles of a series in an epoch; its slices take turns, so that over the epochs each is seen as often.
    :param broken: the negative control: labels have nothing to do with the arrangement.
    """

    def __init__(
        self,
        pixels: Pixels,
        permutations: Ints,
        recipe: PuzzleRecipe,
        seed: int,
        draws: int,
        *,
        augmented: bool = True,
        broken: bool = False,
    ) -> None:
        self.pixels, self.permutations, self.recipe = pixels, permutations, recipe
        self.seed, self.draws, self.augmented, self.broken = seed, draws, augmented, broken
        self.slices = np.array([pixels.frames_of(row) for row in range(len(pixels))], np.int64)

    def raw(self, epoch: int, rows: Ints, draws: Ints) -> RawPuzzles:
        """One slice and one permutation for each of ``rows`` [N] and ``draws`` [N], on the CPU."""
        rows, draws = np.asarray(rows, np.int64), np.asarray(draws, np.int64)
        slices = self.pixels.batch(rows, self.slice_of(epoch, rows, draws))
        count = len(self.permutations)
        label = integer(uniform(self.seed, epoch, rows, draws, _LABEL, 1)[:, 0], count)
        shown = integer(uniform(self.seed, epoch, rows, draws, _BROKEN, 1)[:, 0], count) if self.broken else label
        return RawPuzzles(
            slices=torch.from_numpy(slices),
            shown=torch.from_numpy(self.permutations[shown]),
            label=torch.from_numpy(label),
            item=torch.from_numpy(rows),
            draw=torch.from_numpy(draws),
            epoch=epoch,
            augmented=self.augmented,
        )

    def finish(self, raw: RawPuzzles, device: torch.device | str) -> Puzzles:
        """:func:`finish` with this source's recipe and seed."""
        return finish(raw, self.recipe, seed=self.seed, device=device)

    def slice_of(self, epoch: int, rows: Ints, draws: Ints) -> Ints:
        """The slice of each row: all slices of a series come once, in an order of their own, before one comes again."""
        turn, place = np.divmod(epoch * self.draws + draws, self.slices[rows])
        chosen = np.empty(len(rows), np.int64)
        for at, (row, cycle, own) in enumerate(zip(rows.tolist(), turn.tolist(), place.tolist(), strict=True)):
            order = uniform(self.seed, cycle, np.array([row]), 0, _SLICE, int(self.slices[row]))[0]
            chosen[at] = np.argsort(order, kind="stable")[own]
        return chosen


def finish(raw: RawPuzzles, recipe: PuzzleRecipe, *, seed: int, device: torch.device | str) -> Puzzles:
    """Cut, shuffle, distort and enlarge on ``device``; without ``shared_noise`` a puzzle does not depend on its batch."""
    slices = resize(raw.slices.to(device, non_blocking=True), recipe.size)
    count = len(raw)
    item, draw = (np.repeat(part.numpy(), PATCHES) for part in (raw.item, raw.draw))
    view = np.tile(np.arange(PATCHES), count)
    numbers = uniform(seed, raw.epoch, item, draw, _PATCH - view, NUMBERS)
    u = torch.from_numpy(numbers.astype(np.float32)).to(device).reshape(count, PATCHES, NUMBERS)
    if not raw.augmented:
        u = torch.full_like(u, 0.5)
    patches = cut(slices, windows(u[..., :2], recipe), recipe.patch)
    patches = patches[torch.arange(count, device=device)[:, None], raw.shown.to(device)]
    if raw.augmented:
        patches = distort(patches, recipe.distort, u[..., 2:], _noise_seeds(raw, seed))
    return Puzzles(slices, enlarge(patches, recipe.side), raw.label.to(device), raw.item.to(device))


def windows(u: Tensor, recipe: PuzzleRecipe) -> Tensor:
    """Top and left corner of each source patch from uniforms [N, 9, 2] in [0, 1): int64 [N, 9, 2], each inside its cell."""
    cell = recipe.size // SIDE
    place = torch.arange(PATCHES, device=u.device)
    corner = torch.stack([place // SIDE, place % SIDE], dim=1) * cell
    return corner + (u * (recipe.jitter + 1)).long().clamp(max=recipe.jitter)


def cut(slices: Tensor, corners: Tensor, patch: int) -> Tensor:
    """Windows of [N, C, S, S] at ``corners`` int64 [N, 9, 2]: [N, 9, C, patch, patch]."""
    reach = torch.arange(patch, device=slices.device)
    rows, columns = corners[..., 0, None] + reach, corners[..., 1, None] + reach
    which = torch.arange(len(slices), device=slices.device)[:, None, None, None]
    return slices.permute(0, 2, 3, 1)[which, rows[..., :, None], columns[..., None, :]].movedim(-1, 2)


def enlarge(patches: Tensor, side: int) -> Tensor:
    """Patches [N, 9, C, P, P] at ``side`` pixels, bilinearly."""
    if side == patches.shape[-1]:
        return patches
    flat = functional.interpolate(patches.flatten(0, 1), (side, side), mode="bilinear", antialias=True)
    return flat.reshape(*patches.shape[:-2], side, side)


def distort(patches: Tensor, recipe: Distort, u: Tensor, noise: Ints) -> Tensor:
    """Turn, move, enlarge, brighten and blur with noise, each patch by itself; edges are continued.

    Noise of a patch's own goes with its brightness and contrast, ``often``; a shared field is in all patches of its position.

    :param patches: float32 [N, 9, C, P, P] in [0, 1], by position; ``u``: uniforms [N, 9, 6]; ``noise``: seeds [N].
    """
    flat, numbers = patches.flatten(0, 1), u.flatten(0, 1)
    side = patches.shape[-1]
    angle = torch.deg2rad(_signed(numbers[:, 0], THREE, recipe) * recipe.rotation)
    moved = (
        torch.stack([_signed(numbers[:, k], THREE, recipe) for k in (1, 2)], dim=1) * (recipe.shift * side) * 2 / side
    )
    shrink = 1 / (1 + recipe.zoom * (_signed(numbers[:, 3], ENDS, recipe) + 1) / 2)
    cos, sin = angle.cos() * shrink, angle.sin() * shrink
    matrix = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = functional.affine_grid(torch.cat([matrix, moved[:, :, None]], 2), list(flat.shape), align_corners=False)
    flat = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    change = (numbers[:, 5] < recipe.often).float()[:, None, None, None]
    factor = 1 + change * recipe.brightness * _signed(numbers[:, 4], BRIGHTNESS, recipe)[:, None, None, None]
    flat = flat * factor
    if recipe.contrast:
        mean = flat.mean((1, 2, 3), keepdim=True)
        strength = 2 * (numbers[:, 5] / max(recipe.often, 1e-9)) - 1  # uniform in [-1, 1] where it is used
        flat = mean + (flat - mean) * (1 + change * recipe.contrast * strength[:, None, None, None])
    patches = flat.clamp(0, 1).reshape(patches.shape)
    if recipe.noise:
        own = 1.0 if recipe.shared_noise else change.reshape(*patches.shape[:2], 1, 1, 1)
        patches = (patches + recipe.noise * own * _noise(noise, patches, recipe)).clamp(0, 1)
    return patches


def _signed(u: Tensor, values: tuple[float, ...], recipe: Distort) -> Tensor:
    """Uniform in [-1, 1], or one of ``values``."""
    if recipe.steps:
        return u.new_tensor(values)[(u * len(values)).long().clamp(max=len(values) - 1)]
    return 2 * u - 1


def _noise_seeds(raw: RawPuzzles, seed: int) -> Ints:
    """A seed of each puzzle's noise."""
    numbers = uniform(seed, raw.epoch, raw.item.numpy(), raw.draw.numpy(), _PATCH - PATCHES, 1)[:, 0]
    return (numbers * 2**31).astype(np.int64)


def _noise(seeds: Ints, like: Tensor, recipe: Distort) -> Tensor:
    """Standard normal noise of the shape of ``like`` [N, 9, C, P, P], or [1, 9, C, P, P]; on the host, so that all devices see
    the same."""
    shape = like.shape[1:]
    if recipe.shared_noise:
        return torch.randn(shape, generator=torch.Generator().manual_seed(int(seeds[0]))).to(like)[None]
    fields = [torch.randn(shape, generator=torch.Generator().manual_seed(int(one))) for one in seeds]
    return torch.stack(fields).to(like)


def assemble(patches: Tensor) -> Tensor:
    """Patches [N, 9, C, P, P] as pictures [N, C, 3 P, 3 P], row by row."""
    count, _, channels, side, _ = patches.shape
    grid = patches.reshape(count, SIDE, SIDE, channels, side, side)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, SIDE * side, SIDE * side)
