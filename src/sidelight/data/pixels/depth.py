"""Images of 16 bits that use 10, 12 or 14 of them: shown over the whole range they are dark."""

import numpy as np

from sidelight.data.cells import counted
from sidelight.data.pixels.pixels import Pixels

BITS = (10, 12, 14)
MOST_SEEN = 500


def shallow(pixels: Pixels) -> str:
    """A sentence that says how many deep items use a part of their range, and the line that mends it; "" for none."""
    deep = np.flatnonzero(pixels.index["dtype"].to_numpy() == "uint16")
    deep = deep[:: max(1, len(deep) // MOST_SEEN)]
    tops = np.array([pixels.read(row, [pixels.frames_of(row) // 2]).max() for row in deep.tolist()], np.int64)
    bits = next((one for one in BITS if tops.size and np.percentile(tops, 99) < 1 << one), 0)
    if not bits:
        return ""
    share = tops.max() / 65535
    return (
        f"{counted(len(deep), 'item')} of 16 bits use values up to {tops.max():,} alone, {share:.0%} of the range: they look "
        f"like {bits} bits and are shown that dark. If they are, say so: under [images] range = [0, {(1 << bits) - 1}]"
    )
