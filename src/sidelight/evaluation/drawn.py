"""What was found in a unit, as bytes of a table's cell."""

import zlib

import numpy as np
from numpy.typing import NDArray

DRAWN = "drawn"
"""The column: of rows of masks :func:`packed`, of boxes :func:`packed_boxes`, both :func:`framed`."""
PLACES = ("best", "median", "worst")
"""Cases that are shown."""
MOST_BOXES = 20


def framed(frame: int, data: bytes) -> bytes:
    """What was found, and in which frame of the unit."""
    return frame.to_bytes(4, "little") + data


def frame_of(cell: bytes) -> tuple[int, bytes]:
    """The frame and what was found of :func:`framed`."""
    return int.from_bytes(cell[:4], "little"), cell[4:]


def packed(mask: NDArray[np.bool_]) -> bytes:
    """A mask [S, S], compressed."""
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def unpacked(data: bytes, side: int) -> NDArray[np.bool_]:
    """The mask [side, side] of :func:`packed`."""
    bits = np.frombuffer(zlib.decompress(data), np.uint8)
    return np.unpackbits(bits, count=side * side).astype(bool).reshape(side, side)


def packed_boxes(corners: NDArray[np.floating], scores: NDArray[np.floating] | None = None) -> bytes:
    """Boxes [n, 4] with their scores [n], 1 where there are none; the surest :data:`MOST_BOXES`."""
    sure = np.ones(len(corners)) if scores is None else scores
    order = np.argsort(-sure, kind="stable")[:MOST_BOXES]
    return np.concatenate([corners[order], sure[order, None]], axis=1).astype("<f4").tobytes()


def unpacked_boxes(data: bytes) -> NDArray[np.float32]:
    """Float32 [n, 5]: x1, y1, x2, y2, score."""
    return np.frombuffer(data, "<f4").reshape(-1, 5)
