"""Where phrases point beside the masks of a task."""

import numpy as np

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import PixelSettings, open_pixels
from sidelight.explaining.content import Question
from sidelight.explaining.phrases import known_masks


def test_the_masks_of_a_series_are_those_of_the_slice_that_is_shown(tmp_path):
    """The disc moves to the right, slice by slice."""
    rows, columns = np.mgrid[:32, :32]
    masks = np.stack([(rows - 16) ** 2 + (columns - 8 - 5 * at) ** 2 <= 16 for at in range(4)])
    for kind, values in (("images", masks * 170 + columns), ("masks", masks)):
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "p0.npy", values.astype(np.uint8))
    (tmp_path / "cohort.toml").write_text(
        'files = "images/{patient}.npy"\nlevels = ["patient"]\n[task.disc]\nmask = "masks/{patient}.npy"\n'
    )
    cohort = Cohort.open(tmp_path)
    pixels = open_pixels(cohort, 32, PixelSettings(cache=str(tmp_path / "cache")), quiet=True)
    found = known_masks(Question(None, cohort, pixels, np.arange(1), ("a",)), cohort.tasks["disc"])
    assert list(found) == [0] and found[0].shape == (1, 32, 32)
    np.testing.assert_array_equal(found[0][0] == 1, masks[2])
