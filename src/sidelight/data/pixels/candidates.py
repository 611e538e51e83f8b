"""For each frame the frames of other groups that look most like it, in any of the eight ways to mirror and turn it.

A frame is compared by its lowest DCT frequencies, as the perceptual hash of Zauner (2010) is, but by their cosine and not
by their signs. Mirroring changes the sign of odd frequencies, turning swaps the axes, a negative changes every sign:
none of them costs another transform. A cropped copy is like the inner part of its original.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sidelight.data.pixels.thumbnails import CROPS, WAVES, Frames
from sidelight.data.read.clip import Array

NEAREST = 3
"""Candidates of each frame; see ``benchmarks/copies.py`` for what is found among them."""
LEAST_COSINE = 0.3
FORMS = tuple((turned, down, across) for turned in (False, True) for down in (1, -1) for across in (1, -1))
"""Whether the axes are swapped, and then the signs of the vertical and the horizontal one."""
_LOW = (np.add.outer(np.arange(WAVES), np.arange(WAVES)) < WAVES) & (np.arange(WAVES**2).reshape(WAVES, WAVES) > 0)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of frames to be looked at, each once.

    :ivar left, right: int64 ``[C]``, frames.
    :ivar rank: int64 ``[C]``, 0 where ``right`` is the likest of ``left``.
    :ivar start: float64 ``[C, 2, 3]``, where in ``right`` each point (y, x) of ``left`` is to be looked for, both from -1 to 1.
    :ivar sign: float32 ``[C]``, -1 where one is the other's negative.
    """

    left: Array
    right: Array
    rank: Array
    start: Array
    sign: Array


def nearest_frames(
    frames: Frames, group: Array, *, watch: Callable[[range], Iterable[int]] = iter, block: int = 256
) -> Candidates:
    """The ``NEAREST`` frames of other groups of each frame; memory O(``block`` x F).

    :param group: int64 ``[F]``, of each frame; frames of one group are no candidates of each other.
    :param watch: yields the blocks, and may draw a bar.
    """
    looked_for = [_directions(waves) for waves in frames.waves]
    found = []
    for start in watch(range(0, len(group), block)):
        part = slice(start, start + block)
        forms = [_directions(one) for one in _formed(frames.waves[0][part])]
        best = np.full((len(group[part]), len(group)), -1, np.float32)
        code = np.zeros(best.shape, np.int8)
        for number, (crop, form) in enumerate((c, f) for c in range(len(CROPS)) for f in range(len(FORMS))):
            cosine = forms[form] @ looked_for[crop].T
            likeness = np.abs(cosine)
            nearer = likeness > best
            code[nearer] = np.where(cosine[nearer] < 0, -1, 1) * (number + 1)
            np.maximum(best, likeness, out=best)
        best[group[part, None] == group[None]] = -1
        near = np.argpartition(-best, min(NEAREST, len(group) - 1), axis=1)[:, :NEAREST]
        likeness = np.take_along_axis(best, near, axis=1)
        order = np.argsort(-likeness, axis=1, kind="stable")
        near, likeness = np.take_along_axis(near, order, axis=1), np.take_along_axis(likeness, order, axis=1)
        left, rank = np.nonzero(likeness >= LEAST_COSINE)
        right = near[left, rank]
        found.append(np.column_stack([left + start, right, rank, code[left, right], likeness[left, rank]]))
    return _once(np.concatenate([np.empty((0, 5)), *found]))


def _once(found: Array) -> Candidates:
    """Each pair once, from the side from which it is liker."""
    found = found[np.argsort(-found[:, 4], kind="stable")]
    pair = np.sort(found[:, :2], axis=1)
    _, first = np.unique(pair, axis=0, return_index=True)
    left, right, rank, code = found[np.sort(first), :4].astype(np.int64).T
    crop, form = np.divmod(np.abs(code) - 1, len(FORMS))
    start = np.zeros((len(code), 2, 3))
    start[:, :, :2] = np.array([_back(*one) for one in FORMS])[form] * (1 - 2 * np.array(CROPS))[crop, None, None]
    return Candidates(left, right, rank, start, np.sign(code).astype(np.float32))


def _directions(waves: Array) -> Array:
    """Frequencies but for the mean, of length 1: float32 ``[N, K]``."""
    kept = waves[:, _LOW]
    directions: Array = kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-6)
    return directions


def _formed(waves: Array) -> list[Array]:
    """The frequencies of each frame in every form: mirrored and turned pictures without touching a pixel."""
    odd = np.where(np.arange(WAVES) % 2, -1, 1).astype(np.float32)
    signs = {1: np.ones(WAVES, np.float32), -1: odd}
    return [
        (waves.transpose(0, 2, 1) if turned else waves) * signs[down][:, None] * signs[across]
        for turned, down, across in FORMS
    ]


def _back(turned: bool, down: int, across: int) -> Array:
    """Where a point (y, x) of a picture lies in its form: float64 ``[2, 2]``."""
    forth = np.array([[0, across], [down, 0]] if turned else [[down, 0], [0, across]], np.float64)
    return np.linalg.inv(forth)
