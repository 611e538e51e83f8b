"""A study as a method sees it: one of its images, augmented, and the sentences of its report as tokens.

The host picks image, frame and sentences and reads the pixels (:class:`StudySource`); the device augments. All of it is a pure
function of (seed, epoch, study, draw).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sidelight.data.pixels.cache import Pixels
from sidelight.errors import DataError
from sidelight.models.text import Tokenizer, Tokens, within
from sidelight.views import affine as turns
from sidelight.views.affine import Affine, affine
from sidelight.views.augment import Augment, augment
from sidelight.views.randomness import Floats, Ints, integer, uniform

_PICK, _SWAP, _PARTNER, _LOOK, _TURN = -1, -2, -3, 0, 1  # streams of random numbers
MOST_SWAPS = 16


@dataclass(frozen=True, eq=False)
class Studies:
    """All studies that can be learnt from, by number.

    :ivar rows: of each study the rows of the pixel index that show it; the first stands for the study.
    :ivar pieces: of each study its sentences in piece numbers.
    :ivar group: int64 [number of studies], the patient.
    """

    rows: tuple[Ints, ...]
    pieces: tuple[tuple[tuple[int, ...], ...], ...]
    group: Ints

    @property
    def first(self) -> Ints:
        """int64, the row that stands for each study."""
        return np.array([rows[0] for rows in self.rows], np.int64)


@dataclass(frozen=True)
class StudyRecipe:
    """How an image and its report are shown.

    :param swaps: chance of a further exchange of two sentences, so that swaps / (1 - swaps) are made on average.
    :param sentences: "all" of a report, or "one" at random.
    """

    augment: Augment
    affine: Affine
    swaps: float = 0.0
    sentences: Literal["all", "one"] = "all"


@dataclass(frozen=True, eq=False)
class RawStudies:
    """What leaves the host: pixels [N, C, H, W] (uint8 or uint16), tokens, and the numbers that augmentation depends on."""

    pixels: Tensor
    tokens: Tokens
    row: Ints
    draw: Ints
    group: Tensor
    epoch: int
    recipe: StudyRecipe

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class StudyBatch:
    """``left`` float [N, C, S, S] in [0, 1], ``tokens``, ``study`` and ``group`` int64 [N]."""

    left: Tensor
    tokens: Tokens
    study: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.left)

    def part(self, start: int, stop: int) -> "StudyBatch":
        """Some studies of the batch."""
        tokens = Tokens(self.tokens.ids[start:stop], self.tokens.sentence[start:stop])
        return StudyBatch(self.left[start:stop], tokens, self.study[start:stop], self.group[start:stop])


class ShownStudies:
    """The images of studies, whatever is read beside them: which image and frame a draw shows, whose report, and the views.

    :param recipe: how its studies are shown; ``size``: side of the views in pixels.
    :param broken: the negative control: each image gets the report of another patient, drawn anew in every epoch.
    :param pool: studies from which ``broken`` takes reports; None is all.
    :raises DataError: when ``broken`` finds a pool of one patient.
    """

    def __init__(
        self,
        pixels: Pixels,
        studies: Studies,
        recipe: StudyRecipe,
        seed: int,
        *,
        size: int,
        broken: bool = False,
        pool: Ints | None = None,
    ) -> None:
        self.pixels, self.studies, self.recipe = pixels, studies, recipe
        self.seed, self.size, self.broken = seed, size, broken
        pool = np.arange(len(studies.group)) if pool is None else pool
        self.pool = pool[np.argsort(studies.group[pool], kind="stable")]
        self.number = {int(row): number for number, row in enumerate(studies.first)}
        if broken and len(np.unique(studies.group[pool])) < 2:
            raise DataError("Pairs cannot be broken: all reports are of one patient", expected="two patients or more")

    def picked(self, epoch: int, rows: Ints, draws: Ints) -> tuple[Tensor, Ints, Ints, Floats]:
        """Of each of ``rows`` [N], which stand for their studies: pixels [N, C, H, W], the study, the one whose report it gets,
        and a number from which a sentence may be drawn.
        """
        studies = np.array([self.number[int(row)] for row in rows], np.int64)
        u = uniform(self.seed, epoch, rows, draws, _PICK, 3)
        shown = [self.studies.rows[number] for number in studies]
        image = np.array([own[at] for own, at in zip(shown, integer(u[:, 0], _lengths(shown)), strict=True)], np.int64)
        frames = np.array([self.pixels.frames_of(int(row)) for row in image], np.int64)
        pixels = self.pixels.batch(image, integer(u[:, 1], frames))
        read = self.partners(epoch, studies, rows, draws) if self.broken else studies
        return torch.from_numpy(pixels), studies, read, u[:, 2]

    def views(
        self, pixels: Tensor, recipe: StudyRecipe, epoch: int, rows: Ints, draws: Ints, device: torch.device | str
    ) -> Tensor:
        """The views of picked pixels on ``device``, augmented: float [N, C, S, S]."""
        look, turn = (
            torch.from_numpy(uniform(self.seed, epoch, rows, draws, stream, count).astype(np.float32))
            for stream, count in ((_LOOK, recipe.augment.numbers), (_TURN, turns.NUMBERS))
        )
        views = augment(pixels.to(device, non_blocking=True), recipe.augment, look, size=self.size)
        return affine(views, recipe.affine, turn)

    def partners(self, epoch: int, studies: Ints, rows: Ints, draws: Ints) -> Ints:
        """For each study [N] a random one of the pool that is of another patient."""
        pool = self.pool
        groups, own = self.studies.group[pool], self.studies.group[studies]
        first, after = np.searchsorted(groups, own), np.searchsorted(groups, own, "right")
        u = uniform(self.seed, epoch, rows, draws, _PARTNER, 1)[:, 0]
        return np.asarray(pool[(after + integer(u, len(pool) - (after - first))) % len(pool)])


class StudySource(ShownStudies):
    """Batches of images and the sentences of their reports, from cached pixels. Parameters as of :class:`ShownStudies`."""

    def __init__(
        self,
        pixels: Pixels,
        studies: Studies,
        tokenizer: Tokenizer,
        recipe: StudyRecipe,
        seed: int,
        *,
        size: int,
        budget: int,
        broken: bool = False,
        pool: Ints | None = None,
    ) -> None:
        super().__init__(pixels, studies, recipe, seed, size=size, broken=broken, pool=pool)
        self.tokenizer, self.budget = tokenizer, budget

    def raw(self, epoch: int, rows: Ints, draws: Ints) -> RawStudies:
        """One image and the sentences of each of ``rows`` [N], the rows that stand for their studies."""
        pixels, studies, read, pick = self.picked(epoch, rows, draws)
        swap = uniform(self.seed, epoch, rows, draws, _SWAP, 1 + 2 * MOST_SWAPS)
        said = [self._said(int(number), pick[at], swap[at]) for at, number in enumerate(read)]
        return RawStudies(
            pixels,
            self.tokenizer.join(said, self.budget),
            np.asarray(rows, np.int64),
            np.asarray(draws, np.int64),
            torch.from_numpy(self.studies.group[studies]),
            epoch,
            self.recipe,
        )

    def finish(self, raw: RawStudies, device: torch.device | str) -> StudyBatch:
        """The batch on ``device``, augmented."""
        views = self.views(raw.pixels, raw.recipe, raw.epoch, raw.row, raw.draw, device)
        study = torch.from_numpy(raw.row).to(device)
        return StudyBatch(views, raw.tokens.to(device), study, raw.group.to(device))

    def _said(self, number: int, pick: float, swap: Floats) -> Sequence[Sequence[int]]:
        """The sentences of a study as the recipe shows them."""
        recipe = self.recipe
        sentences = list(within(self.studies.pieces[number], self.budget))
        if recipe.sentences == "one":
            return [sentences[min(int(pick * len(sentences)), len(sentences) - 1)]]
        if recipe.swaps and len(sentences) > 1:
            count = int(np.log(max(1 - swap[0], 1e-300)) / np.log(recipe.swaps))
            for one, other in swap[1:].reshape(-1, 2)[: min(count, MOST_SWAPS)]:
                a, b = int(one * len(sentences)), int(other * len(sentences))
                sentences[a], sentences[b] = sentences[b], sentences[a]
        return sentences


def _lengths(lists: Sequence[Ints]) -> Ints:
    return np.array([len(one) for one in lists], np.int64)
