"""Memory of the search for candidates grows with the number of frames, not with its square."""

import tracemalloc

import numpy as np

from sidelight.data.pixels.candidates import nearest_frames
from sidelight.data.pixels.thumbnails import CROPS, WAVES, Frames


def peak(count: int) -> int:
    rng = np.random.default_rng(count)
    waves = rng.normal(size=(len(CROPS), count, WAVES, WAVES)).astype(np.float32)
    empty = np.zeros(count, np.int64)
    frames = Frames((), empty, empty, empty, np.arange(count), waves)
    tracemalloc.start()
    found = nearest_frames(frames, np.arange(count) // 2, block=64)
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.left) >= count
    return top


def test_memory_is_linear_in_the_number_of_frames():
    peak(64)  # what is computed once
    assert peak(2400) < 6 * peak(600)  # 4 times is linear, 16 times would be pairs of all with all
