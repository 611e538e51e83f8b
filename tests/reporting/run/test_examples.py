from pathlib import Path

import numpy as np
import pytest

from sidelight.errors import RunError
from sidelight.reporting.run import examples


def test_pairs_are_read_as_they_were_stored(tmp_path: Path, store):
    left = np.arange(3 * 1 * 4 * 4, dtype=np.uint8).reshape(3, 1, 4, 4)
    numbers = np.array([0.1, 0.5, 0.9])
    path = tmp_path / examples.EXAMPLES
    store(path, left=left, right=left[::-1], similarity=numbers, weight=numbers**2, gap=[0, 3, 7])
    found = examples.load_examples(path)
    np.testing.assert_array_equal(found.left, left)
    np.testing.assert_array_equal(found.right, left[::-1])
    np.testing.assert_allclose(found.weight, numbers**2, rtol=1e-6)
    assert (found.gap.dtype, found.gap.tolist()) == (np.float32, [0, 3, 7])


def test_strips_and_weights_are_read_as_they_were_stored(tmp_path: Path, store):
    frames = np.full((2, 3, 4, 4), 7, np.uint8)
    store(tmp_path / "s", frames=frames, similarity=[1, 0.5], weight=[1, 0.2])
    np.testing.assert_array_equal(examples.load_strip(tmp_path / "s").frames, frames)
    store(tmp_path / "w", weight=[0.1, 0.2])
    np.testing.assert_allclose(examples.load_weights(tmp_path / "w"), [0.1, 0.2], rtol=1e-6)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, store):
    picture, numbers = np.zeros((2, 1, 4, 4), np.uint8), [0.0, 1.0]
    store(tmp_path / "short", frames=picture, similarity=numbers, weight=[0.0])
    with pytest.raises(RunError, match="do not fit together"):
        examples.load_strip(tmp_path / "short")
    store(tmp_path / "floats", frames=picture.astype(float), similarity=numbers, weight=numbers)
    with pytest.raises(RunError, match="uint8"):
        examples.load_strip(tmp_path / "floats")
    store(tmp_path / "tables", weight=np.ones((2, 2)))
    with pytest.raises(RunError, match="one number per pair"):
        examples.load_weights(tmp_path / "tables")


def test_a_foreign_file_is_named(tmp_path: Path, store):
    (tmp_path / "bad").write_bytes(b"not safetensors")
    with pytest.raises(RunError, match="cannot be read"):
        examples.load_examples(tmp_path / "bad")
    store(tmp_path / "w", weight=[1.0])
    with pytest.raises(RunError, match="has no 'left'"):
        examples.load_examples(tmp_path / "w")
