"""The frames of a cache one by one."""

import numpy as np

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build


def test_each_frame_is_a_row_of_its_own(tmp_path):
    rng = np.random.default_rng(0)
    for name, frames, kind in (("a", 3, np.uint8), ("b", 1, np.uint8), ("c", 2, np.uint16)):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 200, (frames, 16, 16)).astype(kind))
    (tmp_path / "cohort.toml").write_text('files = "{patient}.npy"\nlevels = ["patient"]\n')
    pixels = build(Cohort.open(tmp_path), size=16, channels=1)
    single = pixels.by_frame
    assert len(single) == 6 and single.by_frame is single and pixels.by_frame is single
    every = [pixels.read(row, [at])[0] for row in range(3) for at in range(pixels.frames_of(row))]
    for row, frame in enumerate(every):
        assert single.frames_of(row) == 1
        np.testing.assert_array_equal(single.read(row, [0])[0], frame)
    assert [one.tolist() for one in single.index["numbers"]] == [[0], [1], [2], [0], [0], [1]]
