"""Counter-based random numbers: each is a pure function of (seed, epoch, item, draw, view).

There is no generator whose state could depend on the batch, the worker or the step at which a run was resumed.
The hash is splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output of splitmix64 for each state, uint64 of any shape; state ``s + gamma * j`` is the j-th of stream s."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(seed: int, epoch: int, item: Ints, draw: Ints | int, view: Ints | int, k: int) -> Floats:
    """``k`` uniform numbers per item.

    :param item: int64 [N], the stable row of the item; ``draw`` and ``view`` are int64 [N] or one number for all.
    :returns: float64 [N, k] in [0, 1); a row depends on nothing but its own (seed, epoch, item, draw, view), and its
        first numbers do not depend on ``k``.
    """
    key = np.zeros(np.shape(item), np.uint64)
    for part in (seed, epoch, item, draw, view):
        key = splitmix64((key ^ np.asarray(part, np.int64).astype(np.uint64)) + _GAMMA)
    counters = np.arange(1, k + 1, dtype=np.uint64) * _GAMMA
    bits = splitmix64(key[:, None] + counters)
    result: Floats = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return result


def integer(u: Floats, count: Ints | int) -> Ints:
    """Uniform numbers [...] in [0, 1) -> uniform integers int64 [...] in 0 .. count - 1; ``count`` >= 1."""
    result: Ints = np.minimum((u * count).astype(np.int64), np.asarray(count, np.int64) - 1)
    return result


def beta35(u: Floats) -> Floats:
    """Beta(3, 5) from seven uniforms, [..., 7] -> [...]: the third smallest of them has exactly that law."""
    result: Floats = np.partition(u, 2, axis=-1)[..., 2]
    return result


def arcsine(u: Floats) -> Floats:
    """Beta(0.5, 0.5) from one uniform, [...] -> [...]: sin^2(pi u / 2)."""
    result: Floats = np.sin(np.pi / 2 * u) ** 2
    return result


def dirichlet(u: Floats, valid: npt.NDArray[np.bool_]) -> Floats:
    """Dirichlet(1, ..., 1) over the ``valid`` parts of the last axis, [..., n] -> [..., n], 0 elsewhere, sum 1."""
    parts = np.where(valid, -np.log1p(-u), 0.0)
    result: Floats = parts / parts.sum(-1, keepdims=True)
    return result


def distinct(u: Floats, count: Ints, k: int) -> Ints:
    """Per row ``k`` distinct integers of 0 .. count - 1 in random order, int64 [N, k].

    :param u: [N, M], M >= every count and M >= k; ``count`` [N]. Places beyond a row's count hold -1, last.
    """
    place = np.arange(u.shape[1])
    order = np.argsort(np.where(place < count[:, None], u, 2.0), axis=1, kind="stable")[:, :k]
    result: Ints = np.where(np.arange(k) < count[:, None], order, -1)
    return result
