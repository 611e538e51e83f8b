import sys

import numpy as np
import pytest
from PIL import Image

from sidelight.data.read import read_files
from sidelight.data.read.heic import read_heic
from sidelight.errors import MissingExtra, ReadError

pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra 'heic'")

ROWS, COLUMNS = np.mgrid[0:64, 0:96]
PHOTO = np.stack([ROWS * 4, COLUMNS * 2, np.full_like(ROWS, 90)], axis=-1).astype(np.uint8)


def save(path, array=PHOTO, **options):
    pillow_heif.from_pillow(Image.fromarray(array)).save(path, quality=95, **options)
    return path


def test_a_photograph_is_one_frame(tmp_path):
    clip = read_files([save(tmp_path / "a.heic")], max_frames=5)
    assert (clip.frames.shape, clip.frames.dtype, clip.length) == ((1, 64, 96, 3), np.uint8, 1)
    assert np.abs(clip.frames[0].astype(int) - PHOTO).mean() < 3
    one = read_files([tmp_path / "a.heic"], max_frames=5, channels=1)
    assert np.abs(one.frames[0].astype(int) - np.asarray(Image.fromarray(PHOTO).convert("L"))).mean() < 3


def test_rotation_is_applied_once(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.heic", exif=exif.tobytes())
    frame = read_files([path], max_frames=1).frames[0]
    assert frame.shape == (96, 64, 3)
    assert np.abs(frame.astype(int) - np.rot90(PHOTO, -1)).mean() < 3


def test_broken_and_large_files_are_refused(tmp_path):
    raw = save(tmp_path / "a.heic").read_bytes()
    (tmp_path / "cut.heic").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ReadError, match=r"^cut\.heic: is truncated or broken") as caught:
        read_files([tmp_path / "cut.heic"], max_frames=1)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ReadError, match="96 x 64 pixels, more than the limit of 100"):
        read_heic(tmp_path / "a.heic", "a", most_pixels=100)


def test_without_pillow_heif_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sidelight\[heic\]'"):
        read_files([path], max_frames=1)
