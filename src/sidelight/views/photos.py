"""Two photographs of one lesion, each augmented on its own: what SM3 sees.

The host picks which photographs of a lesion are shown and reads their pixels (:class:`PhotoSource`); the device augments.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidelight.data.pixels.cache import Pixels
from sidelight.errors import DataError
from sidelight.views.augment import Augment, augment, resize
from sidelight.views.randomness import Ints, integer, uniform

ABSENT = -1
_PICK, _PARTNER = -1, -2  # streams of random numbers beside those of the views, which count from 0


@dataclass(frozen=True, eq=False)
class PhotoLesions:
    """Which photographs each lesion has. The first readable one names it: its row of ``pixels.index`` is the lesion's.

    :ivar rows: int64 [L], rising.
    :ivar slots: for each lesion its rows as first and as second photograph; where no views are named, ``slots[l][1]`` is
        empty and any two of ``slots[l][0]`` are shown.
    :ivar groups: int64 [L], number of the patient.
    """

    rows: Ints
    slots: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    groups: Ints
    named: bool

    @property
    def paired(self) -> NDArray[np.bool_]:
        """bool [L], which have both photographs."""
        return np.array([all(slots) if self.named else len(slots[0]) > 1 for slots in self.slots], bool)

    def take(self, chosen: Ints) -> "PhotoLesions":
        """Those at these places."""
        return PhotoLesions(
            self.rows[chosen], tuple(self.slots[one] for one in chosen), self.groups[chosen], self.named
        )


@dataclass(frozen=True, eq=False)
class RawPhotos:
    """A batch as the host ships it: ``images`` uint8 or uint16 [2, N, C, W, W], 0 where absent; int64 ``shown`` [2, N]
    (row of the pixels, -1 where absent), ``lesion``, ``group`` and ``draw`` [N].
    """

    images: Tensor
    shown: Tensor
    lesion: Tensor
    group: Tensor
    draw: Tensor
    epoch: int

    def __len__(self) -> int:
        return len(self.lesion)


@dataclass(frozen=True, eq=False)
class Photos:
    """N lesions.

    :ivar images: float32 [2, V, N, C, S, S] in [0, 1]: photograph, view, lesion.
    :ivar present: bool [2, N]; the images of absent photographs mean nothing.
    :ivar lesion: int64 [N], row of the pixel index that names the lesion; ``group`` int64 [N], number of the patient.
    """

    images: Tensor
    present: Tensor
    lesion: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.lesion)

    @property
    def left(self) -> Tensor:
        """The first view of the first photographs that there are, [n, C, S, S]; of the second where none is there."""
        slot = 0 if bool(self.present[0].any()) else 1
        return self.images[slot, 0, self.present[slot]]


class PhotoSource:
    """The host's part: a pure function of (seed, epoch, rows, draws), whatever the batch, worker or resume.

    :param lesions: those that may be shown.
    :param size: side of the views in pixels.
    :param views: augmented views of each photograph; 0 is one view that is only resized.
    :param broken: the negative control: the second photograph is of a lesion of another patient, all else is unchanged.
    :raises DataError: when ``broken`` finds no lesion of another patient with a second photograph.
    """

    def __init__(
        self,
        pixels: Pixels,
        lesions: PhotoLesions,
        recipe: Augment,
        seed: int,
        *,
        size: int,
        views: int = 2,
        broken: bool = False,
    ) -> None:
        self.pixels, self.lesions, self.recipe, self.seed = pixels, lesions, recipe, seed
        self.size, self.views, self.broken = size, views, broken
        second = [bool(slots[1]) if lesions.named else len(slots[0]) > 1 for slots in lesions.slots]
        places = np.flatnonzero(second)
        self.pool = places[np.argsort(lesions.groups[places], kind="stable")]
        if broken and len(np.unique(lesions.groups[places])) < 2:
            raise DataError("Pairs cannot be broken: fewer than two patients have two photographs of a lesion")

    def raw(self, epoch: int, rows: Ints, draws: Ints) -> RawPhotos:
        """Two photographs of each lesion ``rows`` [N] at ``draws`` [N], on the CPU."""
        rows, draws = np.asarray(rows, np.int64), np.asarray(draws, np.int64)
        places = np.searchsorted(self.lesions.rows, rows)
        shown = self.pick(epoch, places, draws)
        if self.broken:
            other = self.pick(epoch, self.partners(epoch, places, draws), draws)
            # A partner without names shows its two photographs in either order: both are of another patient.
            shown = np.where(np.array([[False], [True]]) & (shown[1] != ABSENT), other, shown)
        there = shown != ABSENT
        images = self.pixels.batch(shown.ravel(), [self.pixels.frames_of(row) // 2 for row in shown.ravel().tolist()])
        images = images.reshape(2, len(rows), *images.shape[1:])
        images[~there] = 0
        return RawPhotos(
            images=torch.from_numpy(images),
            shown=torch.from_numpy(shown),
            lesion=torch.from_numpy(rows),
            group=torch.from_numpy(self.lesions.groups[places]),
            draw=torch.from_numpy(draws),
            epoch=epoch,
        )

    def pick(self, epoch: int, places: Ints, draws: Ints) -> Ints:
        """Rows [2, N] of the photographs to show, -1 where a lesion has none."""
        u = uniform(self.seed, epoch, self.lesions.rows[places], draws, _PICK, 3)
        shown = np.full((2, len(places)), ABSENT, np.int64)
        for at, place in enumerate(places):
            first, second = self.lesions.slots[place]
            if self.lesions.named:
                for slot, rows in enumerate((first, second)):
                    if rows:
                        shown[slot, at] = rows[int(integer(u[at, slot], len(rows)))]
            else:
                one = int(integer(u[at, 0], len(first)))
                turn = int(u[at, 2] < 0.5) if len(first) == 1 else 0
                shown[turn, at] = first[one]
                if len(first) > 1:
                    shown[1, at] = first[(one + 1 + int(integer(u[at, 1], len(first) - 1))) % len(first)]
        return shown

    def partners(self, epoch: int, places: Ints, draws: Ints) -> Ints:
        """For each place [N] a random place with a second photograph that belongs to another patient."""
        groups, own = self.lesions.groups[self.pool], self.lesions.groups[places]
        first, after = np.searchsorted(groups, own), np.searchsorted(groups, own, "right")
        u = uniform(self.seed, epoch, self.lesions.rows[places], draws, _PARTNER, 1)[:, 0]
        return np.asarray(self.pool[(after + integer(u, len(self.pool) - (after - first))) % len(self.pool)])

    def finish(self, raw: RawPhotos, device: torch.device | str) -> Photos:
        """The batch on ``device``, augmented; a lesion's result does not depend on the others of its batch."""
        shown, draw = raw.shown.numpy(), raw.draw.numpy()
        both = raw.images.to(device, non_blocking=True).flatten(0, 1)
        parts = [resize(both, self.size)] if not self.views else []
        for view in range(self.views):
            item, draws = shown.ravel(), np.tile(draw, 2)
            u = uniform(self.seed, raw.epoch, item, draws, view, self.recipe.numbers).astype(np.float32)
            parts.append(augment(both, self.recipe, torch.from_numpy(u), size=self.size))
        images = torch.stack(parts)
        images = images.reshape(len(parts), 2, len(raw), *images.shape[2:]).transpose(0, 1)
        present = torch.from_numpy(shown != ABSENT).to(device)
        return Photos(images, present, raw.lesion.to(device), raw.group.to(device))
