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
    if channels == 1 and frames.ndim == 4:
        frames = grey(frames)
    planes = frames[:, None] if frames.ndim == 3 else np.moveaxis(frames, -1, 1)
    small = np.empty((*planes.shape[:2], size, size), frames.dtype)
    for target, source in zip(small.reshape(-1, size, size), planes.reshape(-1, *planes.shape[2:]), strict=True):
        target[:] = _squash(source, size)
    return np.repeat(small, 3, axis=1) if channels == 3 and small.shape[1] == 1 else small


def _squash(plane: Array, size: int) -> Array:
    if plane.shape == (size, size):
        return plane
    if plane.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    deep = Image.fromarray(plane.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    rounded: Array = np.clip(np.rint(np.asarray(deep)), 0, 65535).astype(np.uint16)
    return rounded
