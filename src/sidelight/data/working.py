"""Decoded frames -> the square working size: pure functions.

Frames are squashed to ``size`` x ``size``, the aspect ratio given up, so that every crop recipe sees the whole field of
view. The filter is Pillow's antialiased bicubic (its support grows with the factor), the one of most timm weights;
8-bit frames stay in 8 bits, 16-bit ones are filtered in float32 and rounded once.
"""

import numpy as np
from PIL import Image

from sidelight.data.read.clip import Array, grey

TINT = 32  # of 255: screens that tint their grey map stay below, Doppler colour and skin do not
COLOURED = 0.05


def is_grey(frames: Array) -> bool:
    """No colour in ``[T, H, W]`` or ``[T, H, W, 3]``: channels differ by over ``TINT`` in under 5 % of pixels."""
    if frames.ndim == 3:
        return True
    spread = frames.max(axis=-1) - frames.min(axis=-1)
    return bool((spread > TINT * (257 if frames.dtype == np.uint16 else 1)).mean() < COLOURED)


def working(frames: Array, size: int, channels: int) -> Array:
    """``[T, H, W]`` or ``[T, H, W, 3]`` -> ``[T, channels, size, size]``, contiguous, same dtype (uint8 or uint16).

    Colour becomes grey by luma; grey becomes three equal channels.
    """
    squash = _squash_8 if frames.dtype == np.uint8 else _squash_16
    small = np.stack([squash(frame, size, channels) for frame in frames])
    if small.ndim == 4:
        return np.ascontiguousarray(np.moveaxis(small, -1, 1))
    return np.repeat(small[:, None], channels, axis=1)


def _squash_8(frame: Array, size: int, channels: int) -> Array:
    image = Image.fromarray(frame)
    if channels == 1 and image.mode != "L":
        image = image.convert("L")
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def _squash_16(frame: Array, size: int, channels: int) -> Array:
    if frame.ndim == 3 and channels == 1:
        frame = grey(frame)
    if frame.ndim == 3:
        return np.stack([_squash_16(frame[..., c], size, 1) for c in range(3)], axis=-1)
    deep = Image.fromarray(frame.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    rounded: Array = np.clip(np.rint(np.asarray(deep)), 0, 65535).astype(np.uint16)
    return rounded
