"""A study as a method sees it that learns labels of its report: one of its images, augmented, and the labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidelight.data.pixels.cache import Pixels
from sidelight.views.randomness import Ints
from sidelight.views.reports import ShownStudies, Studies, StudyRecipe


@dataclass(frozen=True, eq=False)
class RawLabelled:
    """What leaves the host: pixels [N, C, H, W] (uint8 or uint16), labels, and the numbers that augmentation depends on."""

    pixels: Tensor
    labels: Tensor
    row: Ints
    draw: Ints
    epoch: int
    recipe: StudyRecipe

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """``left`` float [N, C, S, S] in [0, 1], and ``labels`` int64 [N, F]: 0, 1, or negative where unknown."""

    left: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.left)


class LabelledStudies(ShownStudies):
    """Batches of images and labels of their reports, from cached pixels.

    :param labels: int8 [number of studies, F]; other parameters as of :class:`ShownStudies`.
    """

    def __init__(
        self,
        pixels: Pixels,
        studies: Studies,
        labels: NDArray[np.int8],
        recipe: StudyRecipe,
        seed: int,
        *,
        size: int,
        broken: bool = False,
        pool: Ints | None = None,
    ) -> None:
        super().__init__(pixels, studies, recipe, seed, size=size, broken=broken, pool=pool)
        self.labels = labels

    def raw(self, epoch: int, rows: Ints, draws: Ints) -> RawLabelled:
        """One image and the labels of each of ``rows`` [N], the rows that stand for their studies."""
        pixels, _, read, _ = self.picked(epoch, rows, draws)
        labels = torch.from_numpy(self.labels[read].astype(np.int64))
        return RawLabelled(pixels, labels, np.asarray(rows, np.int64), np.asarray(draws, np.int64), epoch, self.recipe)

    def finish(self, raw: RawLabelled, device: torch.device | str) -> LabelledBatch:
        """The batch on ``device``, augmented."""
        views = self.views(raw.pixels, raw.recipe, raw.epoch, raw.row, raw.draw, device)
        return LabelledBatch(views, raw.labels.to(device))
