"""The pixel cache as training sees it: read-only memory maps at the working size."""

import mmap
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.pixels.placement import Fit, Placement, placed
from sidelight.data.read.clip import Array
from sidelight.errors import DataError

OPEN_SHARDS = 256


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded frames of the readable items of a cohort. Picklable: a worker process opens the files anew.

    :param size: side of a frame in pixels.
    :param channels: 1 or 3.
    :param folder: where the shards lie.
    :param index: one row per readable item in the order of the cohort: ``position`` (in ``cohort.items``), ``item``,
        ``group`` (by its lasting name, see ``stable_names.py``), ``view``, ``shard`` (file), ``offset`` (bytes), ``frames`` (T),
        ``dtype`` ("uint8" or "uint16"), ``digest`` (of the pixels), ``length`` (frames of the source), ``timed``, ``times``
        (float64 ``[T]``) and ``numbers`` (int64 ``[T]``, frame numbers in the source), ``height`` and ``width`` of the source
        without the border that is cut off (0 in older caches).
    :param quarantine: items that could not be read: ``item``, ``reason``.
    :param hash: of size, channels, item ids and pixels, 16 hex digits; a copy of the data has the same.
    """

    size: int
    channels: int
    folder: Path
    index: pd.DataFrame
    quarantine: pd.DataFrame
    hash: str
    fit: Fit = "squash"
    """How a frame fills its square; see ``placement.py``."""
    _places: list[tuple[str, int, int, str]] = field(init=False, repr=False)
    _maps: OrderedDict[str, mmap.mmap] = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        columns = (self.index[name].tolist() for name in ("shard", "offset", "frames", "dtype"))
        object.__setattr__(self, "_places", list(zip(*columns, strict=True)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self._places)

    def frames_of(self, row: int) -> int:
        """Number of frames of the item in ``row`` of the index."""
        return self._places[row][2]

    def rows_of(self, units: Iterable[Sequence[int]]) -> list[list[int]]:
        """Of each unit, given as positions of its items in ``cohort.items``, the rows of those that can be read."""
        row_of = dict(zip(self.index["position"].tolist(), range(len(self)), strict=True))
        return [[row_of[item] for item in items if item in row_of] for items in units]

    @cached_property
    def by_frame(self) -> "Pixels":
        """The same frames as rows of one frame each: those of the first row, then those of the second, and so on."""
        frames = self.index["frames"].to_numpy(dtype=np.int64)
        if (frames == 1).all():
            return self
        whole = self.index.iloc[np.repeat(np.arange(len(frames)), frames)].reset_index(drop=True)
        at = np.concatenate([np.arange(count) for count in frames])
        each = whole["dtype"].map(lambda kind: np.dtype(kind).itemsize) * self.channels * self.size**2
        own = {
            name: [of[place : place + 1] for of, place in zip(whole[name], at, strict=True)]
            for name in ("times", "numbers")
        }
        return replace(self, index=whole.assign(frames=1, offset=whole["offset"] + at * each, **own))

    def times(self, row: int) -> Array:
        """Seconds since the first frame of the source, float64 ``[T]``."""
        return np.asarray(self.index["times"].iloc[row], np.float64)

    def numbers(self, row: int) -> Array:
        """Frame numbers in the source, int64 ``[T]``."""
        return np.asarray(self.index["numbers"].iloc[row], np.int64)

    def placement(self, row: int, source: tuple[int, int] | None = None) -> Placement:
        """Where the item in ``row`` lies in its square.

        :param source: its rows and columns, where the index does not know them.
        :raises DataError: where neither does.
        """
        height, width = source or (int(self.index["height"].iloc[row]), int(self.index["width"].iloc[row]))
        if not height:
            raise DataError("The pixel cache is from before it knew how large images are", do="Delete it and run again")
        return placed(height, width, self.size, self.fit)

    def read(self, row: int, at: Sequence[int] | Array) -> Array:
        """Copies of the frames ``at`` of one item: ``[k, C, size, size]``, uint8 or uint16.

        :raises IndexError: where the item has no such frame.
        """
        return self._view(row)[np.asarray(at, np.int64)]

    def batch(self, rows: Sequence[int] | Array, at: Sequence[int] | Array) -> Array:
        """One frame of each of N items: ``[N, C, size, size]``, uint8 if all are, else uint16 (uint8 times 257).

        :param rows: rows of the index, N.
        :param at: which frame of each, N.
        """
        views = [self._view(int(row)) for row in rows]
        kind = np.uint8 if all(view.dtype == np.uint8 for view in views) else np.uint16
        out = np.empty((len(views), self.channels, self.size, self.size), kind)
        for place, view, frame in zip(out, views, at, strict=True):
            if view.dtype == kind:
                place[:] = view[frame]
            else:
                np.multiply(view[frame], 257, out=place, dtype=np.uint16)
        return out

    def _view(self, row: int) -> Array:
        shard, offset, frames, dtype = self._places[row]
        shape = (frames, self.channels, self.size, self.size)
        return np.ndarray(shape, dtype, buffer=self._open(shard), offset=offset)

    def _open(self, shard: str) -> mmap.mmap:
        """The shard's memory map; the least recently used of too many is let go."""
        if shard in self._maps:
            self._maps.move_to_end(shard)
            return self._maps[shard]
        try:
            with (self.folder / shard).open("rb") as file:
                opened = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(
                f"The cache file {shard} in {self.folder} cannot be opened ({error.strerror})",
                do="Another process rebuilt or deleted it; run the command again",
            ) from None
        if len(self._maps) >= OPEN_SHARDS:
            self._maps.popitem(last=False)
        self._maps[shard] = opened
        return opened
