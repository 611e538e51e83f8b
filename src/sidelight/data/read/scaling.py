"""Numbers of any type and range -> uint16 frames; one range for a whole source, so that its frames stay comparable."""

from collections.abc import Iterable

import numpy as np

from sidelight.data.read.clip import Array, unreadable

DEEPEST = 65535
PERCENTILES = (0.5, 99.5)


def full_range(parts: Iterable[Array]) -> tuple[float, float] | None:
    """Least and greatest finite value over all ``parts``; None where there is no finite value."""
    low, high = np.inf, -np.inf
    for part in parts:
        finite = part[np.isfinite(part)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else None


def robust_range(parts: Iterable[Array]) -> tuple[float, float] | None:
    """The percentiles 0.5 and 99.5 of the finite values of all ``parts`` together.

    None where there is no finite value, or so little beside one value that the two are equal.
    """
    finite = [part[np.isfinite(part)] for part in parts]
    if not any(values.size for values in finite):
        return None
    low, high = (float(value) for value in np.percentile(np.concatenate(finite), PERCENTILES))
    return (low, high) if low < high else None


def to_uint16(values: Array, low: float, high: float) -> Array:
    """``low`` .. ``high`` linearly onto 0 .. 65535, rounded, what lies outside cut off; NaN becomes 0; same shape."""
    halves = values.astype(np.float64) / 2  # of the widest range that floats have, only half has a difference
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (halves - low / 2) / (high / 2 - low / 2)
    share = np.nan_to_num(share, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(share, 0, 1) * DEEPEST).astype(np.uint16)


def deep_frames(parts: Iterable[Array], ends: tuple[float, float] | None, name: str) -> Array:
    """``parts`` as one uint16 stack by :func:`to_uint16`; :raises ReadError: where there is no range."""
    if ends is None:
        raise unreadable(name, "holds no finite value")
    return np.stack([to_uint16(part, *ends) for part in parts])
