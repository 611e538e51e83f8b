"""Units as heads read them: the cache rows of each, and for frozen protocols its vector.

A unit is the mean over its images; read by a :class:`sidelight.models.pair.PhotoPair`, the mean over its first beside the mean
over its second photographs, NaN where it has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.pixels.cache import Pixels
from sidelight.evaluation.features import embed_items, pool_units
from sidelight.evaluation.truth import Truth
from sidelight.models.image import Encoder
from sidelight.models.pair import PhotoPair

Reader = Encoder | PhotoPair
Shown = Literal["both", "first", "second"]
SLOTS = ("first", "second")
Slots = list[tuple[list[int], list[int]]]


@dataclass(frozen=True, eq=False)
class Units:
    """What a head reads.

    :ivar items: for each of N units its rows in ``pixels``.
    :ivar vectors: float32 ``[N, D]``, or None where a protocol reads pixels.
    :ivar beside: float32 ``[N, M]``, what a head of a network that is trained reads beside its features; None: nothing.
    :ivar truth: masks or boxes of each unit, for tasks that ask where; None: nothing.
    """

    pixels: Pixels
    items: list[list[int]]
    vectors: NDArray[np.float32] | None = None
    beside: NDArray[np.float32] | None = None
    truth: Truth | None = None

    def take(self, chosen: Sequence[int] | NDArray[np.int64]) -> "Units":
        """The units at these places."""
        places = np.asarray(chosen, dtype=np.int64)
        vectors, beside = (None if part is None else part[places] for part in (self.vectors, self.beside))
        truth = None if self.truth is None else self.truth.take(places)
        return replace(self, items=[self.items[place] for place in chosen], vectors=vectors, beside=beside, truth=truth)

    def joined(self, other: "Units") -> "Units":
        """These and then ``other``, of the same pixels."""

        def both(one: NDArray[np.float32] | None, two: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
            return None if one is None or two is None else np.concatenate([one, two])

        vectors, beside = both(self.vectors, other.vectors), both(self.beside, other.beside)
        truth = None if self.truth is None or other.truth is None else self.truth.joined(other.truth)
        return replace(self, items=[*self.items, *other.items], vectors=vectors, beside=beside, truth=truth)

    def only(self, shown: Shown, reader: Reader) -> "Units":
        """The same units as if they had only their first or only their second photographs; ``both`` changes nothing."""
        if shown == "both" or not isinstance(reader, PhotoPair):
            return self
        slot = SLOTS.index(shown)
        items = [pair[slot] for pair in slots(self.pixels, self.items, reader.views)]
        vectors = self.vectors
        if vectors is not None:
            vectors = vectors.copy()
            vectors[:, _columns(reader, 1 - slot)] = np.nan
        return replace(self, items=items, vectors=vectors)

    def across(self, shown: Shown, reader: PhotoPair, learn: "Units | None") -> "Units":
        """The same units as if they had only the photographs ``shown``, in the place of the others, which a head has learnt.

        :param learn: units with both kinds, by whose means and spreads each number is brought from one kind to the other; None
            leaves it as it is.
        """
        seen, slot = self.only(shown, reader), SLOTS.index(shown)
        assert seen.vectors is not None
        own: NDArray[np.floating] = seen.vectors[:, _columns(reader, slot)]
        if learn is not None:
            assert learn.vectors is not None
            (here, spread), (there, usual) = (
                moments(learn.vectors[:, _columns(reader, one)]) for one in (slot, 1 - slot)
            )
            own = (own - here) / np.where(spread > 0, spread, 1) * usual + there
        vectors = np.full_like(seen.vectors, np.nan)
        vectors[:, _columns(reader, 1 - slot)] = own
        return replace(seen, vectors=vectors)


def _columns(reader: PhotoPair, slot: int) -> slice:
    """Where the features of the first (0) or the second (1) photographs stand."""
    return slice(reader.first.dim) if slot == 0 else slice(reader.first.dim, None)


def slots(pixels: Pixels, items: list[list[int]], views: Sequence[str]) -> Slots:
    """The first and the second photographs of each unit: those of the first and the second of ``views``.

    Without views the unit's first photograph and its second.
    """
    if not views:
        return [(rows[:1], rows[1:2]) for rows in items]
    seen, (one, two) = pixels.index["view"].tolist(), views
    return [([row for row in rows if seen[row] == one], [row for row in rows if seen[row] == two]) for rows in items]


def read_units(
    reader: Reader, pixels: Pixels, items: list[list[int]], *, frames: int, keep: bool = True, quiet: bool = True
) -> Units:
    """Units with the vectors of frozen encoders; ``keep`` stores those of the items."""
    folder = pixels.folder / "features" if keep else None
    if not isinstance(reader, PhotoPair):
        vectors = embed_items(reader, pixels, frames=frames, folder=folder, quiet=quiet)
        return Units(pixels, items, pool_units(vectors, items))
    pairs, parts = slots(pixels, items, reader.views), []
    first = embed_items(reader.first, pixels, frames=frames, folder=folder, quiet=quiet)
    second = first if reader.shared else embed_items(reader.second, pixels, frames=frames, folder=folder, quiet=quiet)
    for slot, vectors in enumerate((first, second)):
        nothing = np.full(vectors.shape[1], np.nan, np.float32)
        parts.append(np.stack([vectors[pair[slot]].mean(axis=0) if pair[slot] else nothing for pair in pairs]))
    return Units(pixels, items, np.concatenate(parts, axis=1))


def codes(table: pd.DataFrame) -> NDArray[np.int64]:
    """The labels of a table of units: int64 [N, targets], -1 where unknown."""
    return np.array(table["label"].tolist(), dtype=np.int64).reshape(len(table), -1)


def mean_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean [D] of vectors [N, D] over the units that have each number; 0 where none has."""
    there = ~np.isnan(vectors)
    total = np.where(there, vectors, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(total / there.sum(axis=0).clip(min=1), np.float32)


def filled(vectors: NDArray[np.float32], fill: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors [N, D] whose absent numbers are those of ``fill`` [D]."""
    return np.where(np.isnan(vectors), fill, vectors).astype(np.float32)


def moments(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation [D] of vectors [N, D] over the units that have each number; 0 where none has."""
    mean = mean_of(vectors)
    return mean, np.sqrt(mean_of((vectors - mean) ** 2))
