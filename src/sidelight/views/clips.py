"""Pairs of views of one ultrasound clip: Meta-USCL's positive pair interpolator, USCL's, and plain frames.

Every view is a weighted sum of up to F frames of its clip, so one batch may hold clips of any length and every
fall-back. The host picks frames and weights and reads the pixels (:class:`PairSource`); the device mixes and augments
(:func:`finish`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from sidelight.config import Settings
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError, DataError
from sidelight.views.augment import Augment, augment_and_place, unit_range
from sidelight.views.randomness import Floats, Ints, arcsine, beta35, dirichlet, distinct, integer, uniform

# Streams of random numbers beside those of the views, which count from 0: left, right, shared frames.
_FRAMES, _MIXING, _PARTNER = -1, -2, -3
_SHARED = 2


PairKind = Literal["standard", "inner", "uscl", "two", "single"]
"""How the two views of a pair are made; see :class:`PairRecipe`."""


class PairRecipe(Settings):
    """How two views of one clip are made. A clip whose frames do not suffice falls back to ``two``, then to ``single``.

    ``standard``: each of the outer two frames is pulled towards the middle one with its own Beta(3, 5) weight. ``inner``: two
    random convex combinations. ``uscl``: the first and the third of three frames in random order are mixed with the second by
    one shared Beta(0.5, 0.5) weight.
    """

    pairs: PairKind = Field(
        "standard",
        description="standard: the outer two of three frames, each mixed with the middle one; inner: two random "
        "mixtures; uscl: one shared mixing weight; two: two frames; single: one frame twice",
    )
    max_gap: float | None = Field(
        None, gt=0, description="largest distance between a pair's frames; none is unrestricted"
    )
    gap_unit: Literal["frames", "seconds"] = Field("frames", description="unit of max_gap")
    inner_frames: int = Field(3, ge=2, description="frames that an inner pair mixes")
    aug_first: bool = Field(False, description="augment frames before mixing them, not after")
    truncate: bool = Field(False, description="cut mixtures down to whole grey values, as Meta-USCL's code does")

    @model_validator(mode="after")
    def _truncates_mixtures(self) -> Self:
        if self.truncate and self.aug_first:
            raise ConfigError(
                "truncate with aug_first: mixtures of augmented frames are not cut down", do="Set one of them to false"
            )
        return self

    first_frame: ClassVar[bool] = False
    """Whether ``single`` shows the first frame, and not a random one."""

    @property
    def width(self) -> int:
        """Frames that one view mixes at most, F."""
        return {"standard": 2, "uscl": 2, "inner": self.inner_frames, "two": 1, "single": 1}[self.pairs]


class FirstFrame(PairRecipe):
    """The first frame of a clip twice, as the published meta pairs are."""

    pairs: PairKind = "single"
    first_frame: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Plan:
    """Which frames N pairs show; axis 0 is left, right."""

    frames: Ints
    """[2, N, F], frames of the cached clip; ``weights`` [2, N, F] >= 0 with sum 1 over F, used places first."""
    weights: Floats
    views: Ints
    """[2, N, F]: streams of the augmentation's randomness under ``aug_first``; a shared frame has one."""
    gap: Floats
    """[N]: source frames between the two anchors."""


@dataclass(frozen=True, eq=False)
class RawPairs:
    """A batch as the host ships it; :func:`finish` makes :class:`ClipPairs` of it.

    Axis 0 of the first three is left, right; item, group, draw (int64), gap and max_gap (float32) are [N].
    """

    frames: Tensor
    """uint8 or uint16 [2, N, F, C, W, W]."""
    weights: Tensor
    """float32 [2, N, F]."""
    views: Tensor
    """int64 [2, N, F], see :class:`Plan`."""
    item: Tensor
    group: Tensor
    draw: Tensor
    gap: Tensor
    max_gap: Tensor
    epoch: int
    aug_first: bool
    truncate: bool

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True, eq=False)
class ClipPairs:
    """N pairs of views.

    :param left: float32 [N, C, S, S] in [0, 1]; ``right`` alike.
    :param item: int64 [N], row of the pixel index; ``group``: int64 [N], number of the patient or recording group.
    :param gap: float32 [N], source frames between the two anchors, 0 for one frame twice.
    :param max_gap: float32 [N], the largest gap that the recipe allows in that clip.
    :param corners: float32 [N, 2, 4], where the left and the right view lie in their frame, as
        :func:`sidelight.views.augment.augment_and_place` says it; None where frames were augmented before they were mixed.
    """

    left: Tensor
    right: Tensor
    item: Tensor
    group: Tensor
    gap: Tensor
    max_gap: Tensor
    corners: Tensor | None = None

    def __len__(self) -> int:
        return len(self.item)

    def map(self, f: Callable[[Tensor], Tensor]) -> "ClipPairs":
        """Apply ``f`` to every tensor, such as ``lambda t: t[:8]``."""
        held = {field.name: f(one) for field in fields(self) if (one := getattr(self, field.name)) is not None}
        return ClipPairs(**held)

    def to(self, device: torch.device | str) -> "ClipPairs":
        """The same on ``device``."""
        return self.map(lambda tensor: tensor.to(device))


class PairSource:
    """The host's part: a pure function of (seed, epoch, rows, draws), whatever the batch, worker or resume.

    :param pixels: the cache; ``rows`` below are rows of its index.
    :param broken: the negative control: the right view shows a clip of another group, all else is unchanged.
    :param pool: rows [M] from which ``broken`` takes those clips; None is all.
    :raises DataError: when a clip has no frames, or when ``broken`` finds only one group.
    """

    def __init__(
        self,
        pixels: Pixels,
        recipe: PairRecipe,
        augment: Augment | tuple[Augment, Augment],
        seed: int,
        *,
        size: int,
        broken: bool = False,
        pool: Ints | None = None,
    ) -> None:
        self.pixels, self.recipe, self.augment, self.seed, self.broken = pixels, recipe, augment, seed, broken
        self.size = size
        if recipe.aug_first and isinstance(augment, tuple):
            raise ConfigError("aug_first with two augmentations", expected="one: the views share a frame")
        empty = [row for row in range(len(pixels)) if pixels.frames_of(row) < 1]
        if empty:
            raise DataError(
                f"{len(empty)} clips have no frames", expected="at least one", do="Leave them out of the cache"
            )
        self.last = np.array([pixels.frames_of(row) - 1 for row in range(len(pixels))], np.int64)
        self.numbers = [np.asarray(pixels.numbers(row), np.float64) for row in range(len(pixels))]
        self.reach = np.array([self._reach_of(row) for row in range(len(pixels))], np.int64)
        self.max_gap = np.array([_spread(n, r) for n, r in zip(self.numbers, self.reach, strict=True)], np.float64)
        self.group = np.unique(pixels.index["group"].astype(str), return_inverse=True)[1].astype(np.int64)
        pool = np.arange(len(pixels)) if pool is None else np.asarray(pool, np.int64)
        self.pool = pool[np.argsort(self.group[pool], kind="stable")]
        if broken and len(np.unique(self.group[pool])) < 2:
            raise DataError(
                "Pairs cannot be broken: all clips belong to one group", expected="clips of two groups or more"
            )

    def raw(self, epoch: int, rows: Ints, draws: Ints) -> RawPairs:
        """Frames and mixing weights of one pair for each of ``rows`` [N] and ``draws`` [N], on the CPU."""
        rows, draws = np.asarray(rows, np.int64), np.asarray(draws, np.int64)
        plan, source = self.plan(epoch, rows, draws), np.stack([rows, rows])
        frames, weights, views = plan.frames, plan.weights, plan.views
        if self.broken:
            source[1] = self.partners(epoch, rows, draws)
            other = self.plan(epoch, source[1], draws)
            mine = np.array([True, False])[:, None, None]
            frames = np.where(mine, frames, other.frames)
            weights, views = np.where(mine, weights, other.weights), np.where(mine, views, other.views)
        width = int(np.flatnonzero(weights.any((0, 1)))[-1]) + 1
        frames, weights, views = frames[..., :width], weights[..., :width], views[..., :width]
        pixels = self.pixels.batch(np.repeat(source.ravel(), width), frames.ravel())
        return RawPairs(
            frames=torch.from_numpy(pixels.reshape(2, len(rows), width, *pixels.shape[1:])),
            weights=torch.from_numpy(weights.astype(np.float32)),
            views=torch.from_numpy(np.ascontiguousarray(views)),
            item=torch.from_numpy(rows),
            group=torch.from_numpy(self.group[rows]),
            draw=torch.from_numpy(draws),
            gap=torch.from_numpy(plan.gap.astype(np.float32)),
            max_gap=torch.from_numpy(self.max_gap[rows].astype(np.float32)),
            epoch=epoch,
            aug_first=self.recipe.aug_first,
            truncate=self.recipe.truncate,
        )

    def finish(self, raw: RawPairs, device: torch.device | str) -> ClipPairs:
        """:func:`finish` with this source's augmentation and seed."""
        return finish(raw, self.augment, seed=self.seed, epoch=raw.epoch, device=device, size=self.size)

    def partners(self, epoch: int, rows: Ints, draws: Ints) -> Ints:
        """For each row [N] a random row of the pool that belongs to another group."""
        groups = self.group[self.pool]
        first, after = np.searchsorted(groups, self.group[rows]), np.searchsorted(groups, self.group[rows], "right")
        own = after - first
        u = uniform(self.seed, epoch, rows, draws, _PARTNER, 1)[:, 0]
        return np.asarray(self.pool[(after + integer(u, len(self.pool) - own)) % len(self.pool)])

    def plan(self, epoch: int, rows: Ints, draws: Ints) -> Plan:
        """Frames and weights of one pair for each of ``rows`` [N] and ``draws`` [N]."""
        reach, last = self.reach[rows], self.last[rows]
        u = uniform(self.seed, epoch, rows, draws, _FRAMES, 2 + int(self.reach.max(initial=1)) + 1)
        mix = uniform(self.seed, epoch, rows, draws, _MIXING, max(14, 2 * self.recipe.width))
        plan = _two(self.recipe, reach, last, u)
        long = reach >= 2
        if self.recipe.width > 1 and long.any():
            mixed = {"standard": _standard, "inner": _inner, "uscl": _uscl}[self.recipe.pairs](
                self.recipe, reach, last, u, mix
            )
            plan = tuple(np.where(long[:, None], new, old) for new, old in zip(mixed, plan, strict=True))
        frames, weights, views, anchors = plan
        gap = [abs(self.numbers[row][c] - self.numbers[row][a]) for row, (a, c) in zip(rows, anchors, strict=True)]
        return Plan(frames, weights, views, np.array(gap, np.float64))

    def _reach_of(self, row: int) -> int:
        """The largest number of cached frames between two that are never farther apart than the recipe allows."""
        last, limit = int(self.last[row]), self.recipe.max_gap
        if self.recipe.pairs == "single" or limit is None:
            return 0 if self.recipe.pairs == "single" else last
        axis = self.numbers[row] if self.recipe.gap_unit == "frames" else self.pixels.times(row)
        reach = 0
        while reach < last and _spread(axis, reach + 1) <= limit + 1e-9:
            reach += 1
        return reach


def finish(
    raw: RawPairs,
    recipe: Augment | tuple[Augment, Augment],
    *,
    seed: int,
    epoch: int,
    device: torch.device | str,
    size: int,
) -> ClipPairs:
    """Mix and augment on ``device``; a pair's result does not depend on the others of its batch.

    :param recipe: the augmentation, or those of the left and of the right view; ``size``: side of the views in pixels.
    :param epoch: the one that ``raw`` was made for.
    """
    frames, weights = raw.frames.to(device, non_blocking=True), raw.weights.to(device, non_blocking=True)
    item, draw = raw.item.numpy(), raw.draw.numpy()

    def change(images: Tensor, one: Augment, views: Ints) -> tuple[Tensor, Tensor]:
        """Images [M, C, H, W] whose randomness has the streams ``views`` [1 or 2, N, ...], M in all; and their corners [M, 4]."""
        shape = (1, -1, *(1,) * (views.ndim - 2))
        own = [np.broadcast_to(part.reshape(shape), views.shape).ravel() for part in (item, draw)]
        numbers = uniform(seed, epoch, own[0], own[1], views.ravel(), one.numbers).astype(np.float32)
        return augment_and_place(images, one, torch.from_numpy(numbers), size=size)

    left, right = recipe if isinstance(recipe, tuple) else (recipe, recipe)
    corners = None
    if raw.aug_first:
        single, _ = change(frames.flatten(0, 2), left, raw.views.numpy())
        sides = _mix(single.reshape(*frames.shape[:3], *single.shape[1:]), weights)
    else:
        mixed = _mix(frames, weights)
        if raw.truncate:  # the small number keeps grey values whole that are whole but for rounding
            mixed = (mixed * 255 + 1e-3).floor() / 255
        both = np.broadcast_to(np.array([[0], [1]]), mixed.shape[:2])
        if left == right:
            views, places = change(mixed.flatten(0, 1), left, both)
        else:
            each = change(mixed[0], left, both[:1]), change(mixed[1], right, both[1:])
            views, places = (torch.cat(parts) for parts in zip(*each, strict=True))
        sides = views.reshape(*mixed.shape[:2], *views.shape[1:])
        corners = places.reshape(2, -1, 4).transpose(0, 1)
    rest = {name: getattr(raw, name).to(device) for name in ("item", "group", "gap", "max_gap")}
    return ClipPairs(left=sides[0], right=sides[1], **rest, corners=corners)


def _mix(frames: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [2, N, C, H, W] float32 of frames [2, N, F, C, H, W]; term by term, so that zeros change no bit."""
    total = unit_range(frames[:, :, 0]) * weights[:, :, 0, None, None, None]
    for place in range(1, frames.shape[2]):
        total = total + unit_range(frames[:, :, place]) * weights[:, :, place, None, None, None]
    return total


def _spread(axis: Any, steps: int) -> float:
    """The largest distance on ``axis`` [T] of two frames that lie ``steps`` apart."""
    return float((axis[steps:] - axis[: len(axis) - steps]).max())


Parts = tuple[Any, Any, Any, Any]  # frames, weights, views [2, n, F] and anchors [n, 2]


def _two(recipe: PairRecipe, reach: Ints, last: Ints, u: Floats) -> Parts:
    """Two frames at a uniform distance, the earlier one left; where the reach is 0, one frame twice."""
    distance = np.where(reach > 0, 1 + integer(u[:, 0], np.maximum(reach, 1)), 0)
    start = integer(u[:, 1], last - distance + 1)
    if recipe.pairs == "single" and recipe.first_frame:
        start = np.zeros_like(start)
    anchors = np.stack([start, start + distance], 1)
    frames = np.repeat(anchors.T[:, :, None], recipe.width, 2)
    weights = np.zeros(frames.shape)
    weights[..., 0] = 1
    return frames, weights, _streams(frames.shape), anchors


def _standard(recipe: PairRecipe, reach: Ints, last: Ints, u: Floats, mix: Floats) -> Parts:
    """Distances d1 < d2 of {1 .. reach}; (1 - alpha) a + alpha m, (1 - beta) c + beta m; alpha, beta ~ Beta(3, 5)."""
    distance = np.sort(1 + distinct(u[:, 2:], reach, 2), axis=1)
    start = integer(u[:, 1], np.maximum(last - distance[:, 1] + 1, 1))
    first, middle, final = start, start + distance[:, 0], start + distance[:, 1]
    frames = np.stack([np.stack([first, middle], 1), np.stack([final, middle], 1)])
    towards = np.stack([beta35(mix[:, :7]), beta35(mix[:, 7:14])])
    return frames, np.stack([1 - towards, towards], 2), _streams(frames.shape), np.stack([first, final], 1)


def _uscl(recipe: PairRecipe, reach: Ints, last: Ints, u: Floats, mix: Floats) -> Parts:
    """Three frames of a window in random order; l f1 + (1 - l) f2 and l f3 + (1 - l) f2, l ~ Beta(0.5, 0.5)."""
    start = integer(u[:, 1], last - reach + 1)[:, None]
    one, two, three = (start + distinct(u[:, 2:], reach + 1, 3)).T
    frames = np.stack([np.stack([one, two], 1), np.stack([three, two], 1)])
    share = np.broadcast_to(arcsine(mix[:, 0]), (2, len(mix)))
    return frames, np.stack([share, 1 - share], 2), _streams(frames.shape), np.stack([one, three], 1)


def _inner(recipe: PairRecipe, reach: Ints, last: Ints, u: Floats, mix: Floats) -> Parts:
    """A start and sorted distances, as many as the clip has; two independent points of their convex hull."""
    drawn = distinct(u[:, 2:], reach, recipe.inner_frames - 1)
    steps = np.sort(np.where(drawn < 0, len(u[0]), drawn + 1), axis=1)
    valid = np.pad(steps <= reach[:, None], ((0, 0), (1, 0)), constant_values=True)
    distance = np.where(valid, np.pad(steps, ((0, 0), (1, 0))), 0)
    farthest = distance.max(1)
    start = integer(u[:, 1], np.maximum(last - farthest + 1, 1))
    frames = np.repeat((start[:, None] + distance)[None], 2, 0)
    parts = mix[:, : 2 * recipe.inner_frames].reshape(len(mix), 2, -1).transpose(1, 0, 2)
    views = np.broadcast_to(_SHARED + np.arange(recipe.inner_frames), frames.shape)
    return frames, dirichlet(parts, valid), views, np.stack([start, start + farthest], 1)


def _streams(shape: tuple[int, ...]) -> Ints:
    """Views of augmentation [2, n, F]: an anchor of its own for left (0) and right (1), the shared frames from 2 on."""
    views = np.broadcast_to(_SHARED - 1 + np.arange(shape[2]), shape).copy()
    views[0, :, 0], views[1, :, 0] = 0, 1
    return views
