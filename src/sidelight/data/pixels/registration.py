"""Do two thumbnails show the same picture? They are laid on each other, and their fine structure is compared.

Registration is affine, by the inverse compositional algorithm (Baker and Matthews, IJCV 2004) on locally normalised
pictures, from coarse to fine. What is compared is the structure term of SSIM (Wang et al., IEEE TIP 2004), the correlation
within a window, of detail of one to three pixels: two patients in one position share coarse shapes and no detail. Its
median over windows does not see a caption or an arrow.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, uniform_filter

from sidelight.data.read.clip import Array

STEPS = {4: 10, 2: 6}
"""How often the position is mended where thumbnails are so many times smaller."""
HOPELESS = {4: 0.5, 2: 0.65}
"""Pairs whose correlation is below it then are given up."""
FINE = (0.8, 2.5)
WINDOW = 13
SURROUND, MARGIN = 0.05, 8
"""Share of the grey values that a black surround has, and how many pixels its edge reaches inwards."""
LEAST_FIELD = 0.3
PROMISING = (0.25, 0.9)
"""Similarities between which the position is mended once more, at full size."""
LAST_STEPS = 3


def similarity(left: Array, right: Array, start: Array, *, thorough: bool = False) -> Array:
    """Structural similarity of registered pairs in [-1, 1], float64 ``[N]``; 0 for those that were given up.

    :param left, right: float32 ``[N, S, S]``, S a multiple of 4; negatives with their sign turned.
    :param start: float64 ``[N, 2, 3]``, where in ``right`` the points of ``left`` are to be looked for.
    :param thorough: give up none.
    """
    found = np.zeros(len(left))
    kept = np.arange(len(left))
    moved, _ = warped(right, start)
    move = np.tile(np.eye(2, 3), (len(left), 1, 1))
    for smaller, steps in STEPS.items():
        one, other = (_normalised(_pooled(images, smaller)) for images in (left[kept], moved[kept]))
        mended = _registered(one, other, move[kept], steps)
        alike = _correlation(one, *warped(other, mended))
        hopeful = (alike >= HOPELESS[smaller]) | thorough
        move[kept] = mended
        kept = kept[hopeful]
        if not len(kept):
            return found
    found[kept] = _structure(left[kept], *warped(right[kept], _chained(start[kept], move[kept])))
    near = kept[(found[kept] > PROMISING[0]) & (found[kept] < PROMISING[1])]
    if len(near):
        one, other = _normalised(left[near]), _normalised(moved[near])
        better = _chained(start[near], _registered(one, other, move[near], LAST_STEPS))
        found[near] = np.maximum(found[near], _structure(left[near], *warped(right[near], better)))
    return found


def _chained(then: Array, first: Array) -> Array:
    """Where points go that ``first`` [N, 2, 3] and then ``then`` [N, 2, 3] moves."""
    whole = then[:, :, :2] @ first
    whole[:, :, 2] += then[:, :, 2]
    return whole


def warped(images: Array, at: Array) -> tuple[Array, Array]:
    """Bilinear values of ``images`` [N, S, S] where ``at`` [N, 2, 3] sends a grid from -1 to 1, and which lie inside."""
    count, side = images.shape[:2]
    y, x = np.moveaxis(at.astype(np.float32) @ _grid(side), 1, 0) * (side / 2) + (side - 1) / 2
    inside = (y >= -0.5) & (y <= side - 0.5) & (x >= -0.5) & (x <= side - 0.5)
    y, x = np.clip(y, 0, side - 1.001), np.clip(x, 0, side - 1.001)
    top, left = y.astype(np.int32), x.astype(np.int32)
    y -= top
    x -= left
    corner = np.arange(count, dtype=np.int32)[:, None] * (side * side) + top * side + left
    flat = images.reshape(-1)
    upper, lower = flat[corner], flat[corner + side]
    upper += (flat[corner + 1] - upper) * x
    lower += (flat[corner + side + 1] - lower) * x
    upper += (lower - upper) * y
    return upper.reshape(images.shape), inside.reshape(images.shape)


@lru_cache(maxsize=8)
def _grid(side: int) -> Array:
    """Rows y, x and 1 of each pixel, float32 ``[3, side * side]``."""
    line = ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([y.ravel(), x.ravel(), np.ones(side * side, np.float32)])


def _registered(one: Array, other: Array, move: Array, steps: int) -> Array:
    """``move`` mended so that ``other`` lies on ``one``."""
    count, side = one.shape[:2]
    slopes = [(np.gradient(one, axis=axis) * (side / 2)).reshape(count, 1, -1) for axis in (1, 2)]
    steepest = np.concatenate([slope * _grid(side) for slope in slopes], axis=1)
    for _ in range(steps):
        there, inside = warped(other, move)
        mask = inside.reshape(count, -1).astype(np.float32)
        here, there = _centred(one, mask), _centred(there, mask)
        gain = np.clip((here * there).sum(1) / np.maximum((there * there).sum(1), 1e-6), 0.3, 3)[:, None]
        seen = steepest * mask[:, None]
        curvature = (seen @ seen.transpose(0, 2, 1)).astype(np.float64)
        curvature += np.eye(6) * (1e-3 * np.trace(curvature, axis1=1, axis2=2) / 6 + 1e-6)[:, None, None]
        error = (seen @ (gain * there - here)[:, :, None]).astype(np.float64)
        step = np.zeros((count, 3, 3))
        step[:, :2] = np.clip(np.linalg.solve(curvature, error)[:, :, 0].reshape(count, 2, 3), -0.1, 0.1)
        move = move @ np.linalg.inv(np.eye(3) + step)
    return move


def _centred(images: Array, mask: Array) -> Array:
    flat = images.reshape(len(images), -1)
    mean = (flat * mask).sum(1, keepdims=True) / np.maximum(mask.sum(1, keepdims=True), 1)
    centred: Array = (flat - mean) * mask
    return centred


def _correlation(one: Array, other: Array, inside: Array) -> Array:
    mask = inside.reshape(len(one), -1).astype(np.float32)
    here, there = _centred(one, mask), _centred(other, mask)
    found: Array = (here * there).sum(1) / np.sqrt((here * here).sum(1) * (there * there).sum(1) + 1e-6)
    return found


def _pooled(images: Array, smaller: int) -> Array:
    side = images.shape[1] // smaller
    pooled: Array = images.reshape(len(images), side, smaller, side, smaller).mean((2, 4))
    return pooled


def _normalised(images: Array) -> Array:
    """Without local mean and contrast, as gamma, windowing and vignettes change them."""
    width = images.shape[1] / 8
    images = gaussian_filter(images, (0, 1, 1))
    images = images - gaussian_filter(images, (0, width, width))
    power = gaussian_filter(images * images, (0, width, width))
    normalised: Array = images / np.sqrt(power + 0.02 * power.mean((1, 2), keepdims=True) + 0.25)
    return normalised


def _structure(left: Array, right: Array, inside: Array) -> Array:
    """The median over windows that hold detail of the correlation of the two pictures' detail, float64 ``[N]``."""
    one, other = (
        gaussian_filter(im, (0, FINE[0], FINE[0])) - gaussian_filter(im, (0, FINE[1], FINE[1])) for im in (left, right)
    )
    field = inside & _field(left) & _field(right)
    small = field.mean((1, 2), keepdims=True) < LEAST_FIELD * inside.mean((1, 2), keepdims=True)
    mask = np.where(small, inside, field).astype(np.float32)  # dark pictures have no field to speak of

    def windows(values: Array) -> Array:
        summed: Array = uniform_filter(values, (0, WINDOW, WINDOW), mode="constant")
        return summed

    power = np.sqrt(np.maximum(windows(one * one * mask), 0) * np.maximum(windows(other * other * mask), 0))
    local = windows(one * other * mask) / (power + 1e-6)
    least = 0.1 * np.percentile(power, 75, axis=(1, 2), keepdims=True) + 1e-4
    held = (windows(mask) > 0.6) & (power > least)
    enough = held.mean((1, 2)) >= 0.15
    return np.array(
        [np.median(values[where]) if ok else 0.0 for values, where, ok in zip(local, held, enough, strict=True)]
    )


def _field(images: Array) -> Array:
    """Where a picture shows something, away from the edge of its field, bool ``[N, S, S]``.

    The round field of one dermatoscope, or the fan of one transducer, is the sharpest detail of all that it sees. The white
    surround of a negative is black again with its sign turned.
    """
    low, high = np.percentile(images[:, ::3, ::3].reshape(len(images), -1), [1, 99], axis=1)[:, :, None, None]
    share = (images - low) / np.maximum(high - low, 1)
    around = uniform_filter((share < SURROUND).astype(np.float32), (0, 9, 9)) > 0.5
    reached: Array = ~maximum_filter(around, (0, 2 * MARGIN + 1, 2 * MARGIN + 1))
    return reached
