"""Slices of series: which ones a head sees, and what a frozen encoder makes of each, once."""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sidelight.config import digest
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.features import last_maps
from sidelight.files import write_arrays
from sidelight.models.image import Encoder, weights_hash

MOST_BYTES = 8 << 30
PARTS = 5
"""Each end of a series is a fifth of it."""


def select_slices(length: int, count: int, rng: np.random.Generator | None = None) -> NDArray[np.int64]:
    """``min(length, count)`` slices in order; of 16 in a longer series 3 of the first fifth, 10 of the middle, 3 of the last.

    :param rng: draws them without replacement, as published (``evaluate.py``); without it they are evenly spread in each part.
    """
    if length <= count:
        return np.arange(length, dtype=np.int64)
    end, few = length // PARTS, count // PARTS
    few = min(few, end)
    middle = min(count - 2 * few, length - 2 * end)
    few_last = count - few - middle
    parts = [(0, end, few), (end, length - end, middle), (length - end, length, few_last)]
    chosen = [_some(start, stop, number, rng) for start, stop, number in parts]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _some(start: int, stop: int, number: int, rng: np.random.Generator | None) -> NDArray[np.int64]:
    if rng is not None:
        return start + rng.permutation(stop - start)[:number]
    return start + ((np.arange(number) + 0.5) * (stop - start) / max(number, 1)).astype(np.int64)


def slice_features(
    encoder: Encoder, pixels: Pixels, rows: list[int], *, maps: bool = False, batch: int = 64, keep: bool = True
) -> dict[int, NDArray[np.float32]]:
    """What ``encoder`` makes of every slice of every series: by row [S, D], or the last map [S, C, H, W].

    Vectors of all rows are stored beside the pixels and read back; maps are made anew.

    :raises ConfigError: for maps that would take more than ``MOST_BYTES``.
    """
    stored = None
    if keep and not maps:
        key = digest([weights_hash(encoder), encoder.image_size, pixels.hash, "slices", pixels.index["item"].tolist()])
        stored = pixels.folder / "features" / f"{key}.safetensors"
        if stored.is_file():
            return _split(pixels, load_file(stored)["slices"])
        rows = list(range(len(pixels)))
    places = [(row, at) for row in rows for at in range(pixels.frames_of(row))]
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(places), batch):
        own = places[start : start + batch]
        images = torch.from_numpy(pixels.batch([row for row, _ in own], [at for _, at in own]))
        part = last_maps(encoder, images) if maps else encoder.embed(images)
        if not parts and part[0].numel() * 4 * len(places) > MOST_BYTES:
            size = part[0].numel() * 4 * len(places) / 2**30
            raise ConfigError(
                f"The maps of {len(places)} slices would take {size:.0f} GiB",
                do="Set series.aggregator=attention or max",
            )
        parts.append(part.numpy())
    flat = np.concatenate(parts)
    if stored is not None:
        write_arrays(stored, {"slices": flat})
        return _split(pixels, flat)
    ends = np.cumsum([pixels.frames_of(row) for row in rows])
    return dict(zip(rows, np.split(flat, ends[:-1]), strict=True))


def _split(pixels: Pixels, flat: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    ends = np.cumsum([pixels.frames_of(row) for row in range(len(pixels))])
    return dict(enumerate(np.split(flat, ends[:-1])))
