"""The frames of items that are compared with each other: small, without uniform edges, and as a few cosine waves.

Of a clip its first, middle and last frame are taken. Frames that are almost blank (standard deviation below 2 of 255, as
in a fade) are evidence of nothing and left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sidelight.data.pixels.pixels import Pixels
from sidelight.data.read.clip import Array, grey

MOST_SIDE = 96
LEAST_SIDE = 64
"""Smaller pictures hold no detail by which copies are told from pictures that are alike: only equal pixels count."""
FLAT = 2.0
EDGE = 0.04
"""Rows and columns at the edges whose grey values span less than this share of the frame's are no part of the picture."""
WAVES = 12
CROPS = (0.0, 0.05, 0.1)
"""Shares that are cut off each side before waves are taken: a cropped copy looks like the inner part of its original."""
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one cohort or several that are compared.

    :ivar parts: where they lie, all of one size.
    :ivar part: int64 ``[F]``, of each frame the number of its part; ``row`` its row there, ``at`` its place in the clip.
    :ivar item: int64 ``[F]``, the number of its item, counted through all parts.
    :ivar waves: float32 ``[len(CROPS), F, WAVES, WAVES]``, its lowest DCT-II frequencies, without each of ``CROPS``.
    """

    parts: tuple[Pixels, ...]
    part: Array
    row: Array
    at: Array
    item: Array
    waves: Array

    def thumbnails(self, chosen: Sequence[int] | Array) -> Array:
        """Frames without their uniform edges: float32 ``[k, S, S]`` in [0, 255], S at most ``MOST_SIDE``."""
        planes = [
            _plane(self.parts[self.part[one]], int(self.row[one]), [int(self.at[one])]) for one in np.asarray(chosen)
        ]
        return trimmed(np.concatenate(planes))


def compared_frames(parts: Sequence[Pixels]) -> Frames:
    """All frames of ``parts`` that are compared."""
    places, waves, first = [], [], 0
    for number, pixels in enumerate(parts):
        for planes, rows, shown in _planes(pixels):
            seen = planes.std(axis=(1, 2)) >= FLAT
            places.append(np.stack([np.full(len(rows), number), rows, shown, rows + first], axis=1)[seen])
            waves.append(lowest_waves(trimmed(planes[seen])))
        first += len(pixels)
    empty = np.empty((len(CROPS), 0, WAVES, WAVES), np.float32)
    part, row, at, item = np.concatenate([np.empty((0, 4), np.int64), *places]).T
    return Frames(tuple(parts), part, row, at, item, np.concatenate([empty, *waves], axis=1))


def _planes(pixels: Pixels) -> Iterator[tuple[Array, Array, Array]]:
    """Grey frames, their rows and their places in the clips, a block at a time; none of pictures below ``LEAST_SIDE``."""
    sides = pixels.index[["height", "width"]].to_numpy().min(axis=1)
    large = np.flatnonzero(((sides >= LEAST_SIDE) | (sides == 0)) & (pixels.size >= LEAST_SIDE)).tolist()
    lasts = {row: pixels.frames_of(row) - 1 for row in large}
    places = [(row, at) for row, last in lasts.items() for at in sorted({0, (last + 1) // 2, last})]
    for start in range(0, len(places), BLOCK):
        rows, at = np.array(places[start : start + BLOCK], np.int64).T
        yield (
            np.concatenate([_plane(pixels, int(row), [int(one)]) for row, one in zip(rows, at, strict=True)]),
            rows,
            at,
        )


def _plane(pixels: Pixels, row: int, at: Sequence[int]) -> Array:
    """Frames of one item as grey, float32 ``[k, H, W]`` in [0, 255]."""
    frames = pixels.read(row, at)
    planes = grey(np.moveaxis(frames, 1, -1)) if pixels.channels == 3 else frames[:, 0]
    return planes.astype(np.float32) / (257 if planes.dtype == np.uint16 else 1)


def trimmed(planes: Array) -> Array:
    """Frames without their uniform edges, area-averaged to a square: float32 ``[N, S, S]``.

    :param planes: float32 ``[N, H, W]`` in [0, 255].
    """
    height, width = planes.shape[1:]
    side = min(MOST_SIDE, max(height // 8, 1) * 8)
    low, high = np.percentile(planes[:, ::2, ::2].reshape(len(planes), -1), [2, 98], axis=1) if len(planes) else (0, 0)
    least = np.maximum(EDGE * (np.asarray(high) - low), 4)
    tops, lefts = _inside(planes, 2, least), _inside(planes, 1, least)
    out = np.empty((len(planes), side, side), np.float32)
    for number, plane in enumerate(planes):
        down, across = _averaging(height, *tops[number], side), _averaging(width, *lefts[number], side)
        out[number] = down @ plane @ across.T
    return out


def _inside(planes: Array, axis: int, least: Array) -> list[tuple[int, int]]:
    """From where to where each frame shows something; the whole where under a third would be left."""
    if not len(planes):
        return []
    low, high = np.percentile(planes, [5, 95], axis=axis)
    shows = high - low > np.reshape(least, (-1, 1))
    first, last = shows.argmax(axis=1), shows.shape[1] - shows[:, ::-1].argmax(axis=1)
    small = ~shows.any(axis=1) | (last - first < shows.shape[1] // 3)
    return [(0, shows.shape[1]) if whole else (int(a), int(b)) for whole, a, b in zip(small, first, last, strict=True)]


@lru_cache(maxsize=4096)
def _averaging(length: int, first: float, last: float, side: int) -> Array:
    """Area averaging of ``length`` pixels, from ``first`` to ``last``, to ``side``: float32 ``[side, length]``."""
    edges, pixels = np.linspace(first, last, side + 1), np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    averaging: Array = (np.clip(overlap, 0, None) * side / (last - first)).astype(np.float32)
    return averaging


def lowest_waves(thumbnails: Array) -> Array:
    """The lowest DCT-II frequencies, without each of ``CROPS``: float32 ``[len(CROPS), N, WAVES, WAVES]``."""
    transforms = [_cosines(thumbnails.shape[1], crop) for crop in CROPS]
    return np.stack([one @ thumbnails @ one.T for one in transforms])


@lru_cache(maxsize=16)
def _cosines(side: int, crop: float) -> Array:
    averaging = _averaging(side, crop * side, (1 - crop) * side, 64)
    cosines = np.cos(np.pi * (np.arange(64) + 0.5) * np.arange(WAVES)[:, None] / 64)
    return (cosines @ averaging).astype(np.float32)
