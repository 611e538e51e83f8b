"""Feature maps of a frozen encoder: computed once, stored beside the pixels, read back row by row.

Each level has a folder of its own, so that protocols which read other levels of the same encoder share what both read.
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import Tensor

from sidelight.config import digest
from sidelight.data.pixels.cache import Pixels
from sidelight.files import write_arrays
from sidelight.models.image import Encoder, weights_hash
from sidelight.models.pyramid import Pyramid

ROWS = 32
"""Rows of a file."""
SHARE = 0.25
"""Of the free disk that maps may take; what would take more is computed anew at every step."""
WORTH_SAYING = 100_000_000
"""Bytes of maps from which their size is announced."""
HELD = 1 << 30
"""Bytes: maps that take no more are held in memory."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of the first frame of any row of ``pixels``, as the levels of a pyramid ask for them.

    :ivar folder: where they are kept; None: they are computed whenever they are asked for.
    :ivar whole: all of them fit in memory, so what was read once stays there.
    """

    encoder: Encoder
    pixels: Pixels
    pyramid: Pyramid
    folder: Path | None
    whole: bool = False
    _held: dict[int, list[NDArray[np.float32]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, encoder: Encoder, pixels: Pixels, pyramid: Pyramid, *, keep: bool = True, quiet: bool = False
    ) -> "Maps":
        """The maps of an encoder; a size of 100 MB or more is announced on stderr where they are made.

        :param keep: whether they may be stored.
        """
        if not keep:
            return cls(encoder, pixels, pyramid, None)
        order = pixels.index["item"].tolist()
        folder = (
            pixels.folder
            / "features"
            / "maps"
            / digest([weights_hash(encoder), encoder.image_size, pixels.hash, order])
        )
        sizes = {place: 4 * len(pixels) * side * side * width
                 for place, side, width in zip(pyramid.places, pyramid.held, pyramid.widths, strict=True)}  # fmt: skip
        need = sum(size for place, size in sizes.items() if not (folder / str(place)).is_dir())
        if need:
            free = shutil.disk_usage(pixels.folder).free
            fits = need <= SHARE * free
            told = (
                "kept beside the pixels"
                if fits
                else "more than a quarter of the free disk: computed at every step instead"
            )
            Console(stderr=True, quiet=quiet or need < WORTH_SAYING).print(
                f"Feature maps: at most {need / 1e6:,.0f} MB, {told}", highlight=False
            )
            if not fits:
                return cls(encoder, pixels, pyramid, None)
        return cls(encoder, pixels, pyramid, folder, sum(sizes.values()) <= HELD)

    def __call__(self, rows: Sequence[int]) -> list[Tensor]:
        """Of N rows the map of each level at its own side, float32 [N, C, h, w], on the CPU."""
        if self.folder is None:
            return [torch.from_numpy(level) for level in self._computed(list(rows))]
        read = [self._row(row) for row in rows]
        return [torch.from_numpy(np.stack(level)) for level in zip(*read, strict=True)]

    def _row(self, row: int) -> list[NDArray[np.float32]]:
        """The maps of one row [C, h, w] each."""
        assert self.folder is not None
        number, at = divmod(row, ROWS)
        if number not in self._held:
            paths = [self.folder / str(place) / f"{number:06d}.safetensors" for place in self.pyramid.places]
            if not all(path.is_file() for path in paths):
                rows = list(range(number * ROWS, min((number + 1) * ROWS, len(self.pixels))))
                for path, part in zip(paths, self._computed(rows), strict=True):
                    write_arrays(path, {"map": part})
            if not self.whole:
                return [_read(path, at) for path in paths]
            self._held[number] = [load_file(path)["map"] for path in paths]
        return [level[at] for level in self._held[number]]

    @torch.no_grad()
    def _computed(self, rows: list[int]) -> list[NDArray[np.float32]]:
        was = self.encoder.training
        encoder = self.encoder.eval()
        images = torch.from_numpy(self.pixels.batch(rows, [0] * len(rows)))
        with contextlib.ExitStack() as after:
            after.callback(encoder.train, was)
            maps = encoder.feature_maps(encoder.preprocess(images).to(encoder.mean.device))
            return [level.float().cpu().numpy() for level in self.pyramid.pick(maps)]


def _read(path: Path, at: int) -> NDArray[np.float32]:
    """One map [C, h, w] of a file of several."""
    with safe_open(path, "np") as file:
        found: NDArray[np.float32] = file.get_slice("map")[at]
        return found
