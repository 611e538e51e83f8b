"""Near-duplicates: one picture under two names, in two groups, is a leak that no patient-wise split can see.

A picture is reduced to 256 bits: the signs, against their median, of its 16 x 16 lowest DCT frequencies after area
averaging to 64 x 64 (the perceptual hash of Zauner, 2010, with four times its bits). Re-compression, resizing and a
change of contrast move few bits; another scene moves about half of them.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from sidelight.data.pixels.pixels import Pixels
from sidelight.data.read.clip import Array, grey

SIDE, WAVES = 64, 16
MAX_BITS = 28
FLAT = 2.0


def perceptual_hash(images: Array) -> Array:
    """256 bits that survive re-encoding.

    :param images: ``[N, H, W]``, uint8 (any real dtype does: scale and offset do not matter).
    :returns: uint8 ``[N, 32]``.
    """
    down, across = _projection(images.shape[1]), _projection(images.shape[2])
    blocks = [images[start : start + 256] for start in range(0, len(images), 256)]
    waves = [(down @ block.astype(np.float32) @ across.T).reshape(len(block), -1) for block in blocks]
    bits = [wave > np.median(wave, axis=1, keepdims=True) for wave in waves]
    return np.packbits(np.concatenate(bits), axis=1) if bits else np.empty((0, WAVES * WAVES // 8), np.uint8)


@lru_cache(maxsize=16)
def _projection(length: int) -> Array:
    """Area averaging of ``length`` pixels to ``SIDE``, then the lowest DCT-II frequencies: ``[WAVES, length]``."""
    edges, pixels = np.linspace(0, length, SIDE + 1), np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    cosines = np.cos(np.pi * (np.arange(SIDE) + 0.5) * np.arange(WAVES)[:, None] / SIDE)
    projection: Array = (cosines @ np.clip(overlap, 0, None) / length).astype(np.float32)
    return projection


def near_duplicates(hashes: Array, max_bits: int = MAX_BITS, *, block: int = 1024) -> list[tuple[int, int]]:
    """Pairs ``(i, j)``, ``i < j``, whose hashes differ in at most ``max_bits`` bits; memory O(``block`` x N).

    The default was chosen on 145 public lung ultrasound clips and stills (first, middle and last frames at 112 px). Of
    66,770 pairs of frames from different recording groups one differs in 8 bits: one still, saved under two patients.
    The next closest, at 52 and 60, are alike but not the same; those of other clips of one recording begin at 42.
    Re-compression (JPEG quality 20; halved and quality 75) moves at most 25 bits in 99 % of frames. 28 lies between.

    :param hashes: uint8 ``[N, 32]``.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(words), block):
        part = words[start : start + block]
        distance = np.zeros((len(part), len(words) - start), np.uint16)
        for word in range(words.shape[1]):
            distance += np.bitwise_count(part[:, None, word] ^ words[None, start:, word])
        left, right = np.nonzero(np.triu(distance <= max_bits, k=1))
        pairs += zip((left + start).tolist(), (right + start).tolist(), strict=True)
    return pairs


def duplicate_items(pixels: Pixels, max_bits: int = MAX_BITS) -> list[tuple[int, int]]:
    """Pairs of rows of ``pixels.index`` that show the same: equal pixels, or one frame of each nearly the same.

    Of a clip its first, middle and last frame are compared, each with each of the other's. Frames that are almost blank
    (standard deviation below 2 of 255, as in a fade) are evidence of nothing and left out.

    :returns: sorted, the first row of a pair below the second.
    """
    found: set[tuple[int, int]] = set()
    first: dict[str, int] = {}
    for row, content in enumerate(pixels.index["digest"]):
        if content in first:
            found.add((first[content], row))
        first.setdefault(content, row)
    hashes, owners = [], []
    for row in range(len(pixels)):
        last = pixels.frames_of(row) - 1
        frames = pixels.read(row, sorted({0, (last + 1) // 2, last}))
        planes = grey(np.moveaxis(frames, 1, -1)) if pixels.channels == 3 else frames[:, 0]
        seen = planes[planes.std(axis=(1, 2)) >= FLAT * (257 if planes.dtype == np.uint16 else 1)]
        hashes.append(perceptual_hash(seen))
        owners += [row] * len(seen)
    if owners:
        pairs = near_duplicates(np.concatenate(hashes), max_bits)
        found |= {(owners[i], owners[j]) for i, j in pairs if owners[i] != owners[j]}
    return sorted(found)


def merge_groups(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Groups such that both items of every pair are in one; a merged group has the smallest of its names.

    :param groups: one name per item.
    :param pairs: positions in ``groups``.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for i, j in pairs:
        low, high = sorted((root(groups[i]), root(groups[j])))
        parent[high] = low
    return [root(group) for group in groups]
