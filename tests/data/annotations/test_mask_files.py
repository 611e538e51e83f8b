import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sidelight.data.annotations.drawn import Misdrawn, Shape
from sidelight.data.annotations.mask_files import MaskFile, foreground, plane_of, read_values
from sidelight.errors import ReadError

MAP = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)


def saved(folder, values, name="m.png", mode=None):
    Image.fromarray(values, mode).save(folder / name) if mode else Image.fromarray(values).save(folder / name)
    return folder / name


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_values_stay_what_they_are(tmp_path, kind):
    path = saved(tmp_path, MAP.astype(kind))
    assert read_values(path, "m.png").tolist() == [MAP.tolist()]


def test_palette_grey_colour_and_one_bit(tmp_path):
    palette = Image.fromarray(MAP, "P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(tmp_path / "p.png")
    assert read_values(tmp_path / "p.png", "p.png").tolist() == [MAP.tolist()]
    grey = np.repeat(MAP[..., None], 3, axis=2)
    assert read_values(saved(tmp_path, grey), "m.png").tolist() == [MAP.tolist()]
    Image.fromarray(MAP > 0).save(tmp_path / "b.png")
    assert foreground(read_values(tmp_path / "b.png", "b.png"), "b.png").tolist() == [(MAP > 0).tolist()]
    with pytest.raises(Misdrawn, match="colour picture") as error:
        read_values(saved(tmp_path, grey * np.array([1, 2, 3], np.uint8)), "m.png")
    assert error.value.fault == "values"


def test_arrays_of_series(tmp_path):
    stack = np.pad(np.stack([MAP, MAP + 1]), ((0, 0), (0, 0), (0, 2)))  # a last axis of 3 is colour, also of images
    np.save(tmp_path / "m.npy", stack.astype(np.int64))
    np.savez_compressed(tmp_path / "m.npz", image=stack, label=stack.astype(float))
    assert read_values(tmp_path / "m.npy", "m.npy").tolist() == stack.tolist()
    assert read_values(tmp_path / "m.npz::label", "m.npz").tolist() == stack.tolist()
    np.save(tmp_path / "h.npy", stack / 2)
    with pytest.raises(Misdrawn, match="not whole"):
        read_values(tmp_path / "h.npy", "h.npy")


def test_a_volume_lies_as_its_image_does(tmp_path):
    """The mask of the brightest voxels of a volume whose axes are turned, against the volume as it is read."""
    nibabel = pytest.importorskip("nibabel")
    from sidelight.data.read import read_files

    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (6, 5, 4)).astype(np.uint8)
    affine = np.array([[0, 0, -3.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values * 200, affine), tmp_path / "i.nii.gz")
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), tmp_path / "m.nii.gz")
    for plane in ("", "coronal"):
        item = tmp_path / (f"i.nii.gz::{plane}" if plane else "i.nii.gz")
        shown = read_files([item], max_frames=99).frames
        mask = read_values(tmp_path / "m.nii.gz", "m", plane=plane_of(str(item)))
        assert np.array_equal(mask == 1, shown == 200) and 0 < mask.mean() < 1


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([[0, 1]], [[0, 1]]),
        ([[0, 255]], [[0, 1]]),
        ([[0, 0]], [[0, 0]]),
        ([[255, 255]], [[1, 1]]),
        ([[0, 3, 127, 128, 250]], [[0, 0, 0, 1, 1]]),
    ],
)
def test_what_is_foreground(values, wanted):
    assert foreground(np.array([values], np.uint8), "m")[0].astype(int).tolist() == wanted


@pytest.mark.parametrize("values", [[0, 1, 2], [1, 2], [0, 1, 2, 3]])
def test_several_things_are_not_one(values):
    with pytest.raises(Misdrawn, match=r"m: holds the values.*classes ="):
        foreground(np.array([[values]], np.uint8), "m")


STILL = Shape(1, 2, 3)


def planes(part, shape=STILL, frames=(0,)):
    return [(label, plane.astype(int).tolist()) for label, plane in part.planes(shape, np.array(frames))]


def test_by_value(tmp_path):
    saved(tmp_path, MAP)
    part = MaskFile(tmp_path, ("m.png",), {1: 0, 2: 1, 3: 0})
    assert planes(part) == [(0, [[[0, 1, 0], [0, 0, 1]]]), (1, [[[0, 0, 1], [0, 0, 0]]]), (0, [[[0, 0, 0], [1, 0, 0]]])]
    with pytest.raises(Misdrawn, match=r"m\.png: holds 2, 3, which is no class"):
        planes(MaskFile(tmp_path, ("m.png",), {1: 0}))
    assert len(planes(MaskFile(tmp_path, ("m.png",), {1: 0}, frozenset([2, 3])))) == 1


def test_another_size_and_other_slices(tmp_path):
    saved(tmp_path, MAP)
    part = MaskFile(tmp_path, ("m.png",), {1: 0, 2: 1, 3: 2})
    with pytest.raises(Misdrawn, match=r"is 3 x 2 pixels.*3 x 4") as error:
        planes(part, Shape(1, 4, 3))
    assert error.value.fault == "size"
    with pytest.raises(Misdrawn, match=r"has 1 slices.*5, as its item") as error:
        planes(part, Shape(5, 2, 3))
    assert error.value.fault == "slices"


def test_a_file_of_each_frame(tmp_path):
    saved(tmp_path, (MAP == 1).astype(np.uint8), "0.png")
    saved(tmp_path, (MAP == 3).astype(np.uint8), "2.png")
    found = planes(MaskFile(tmp_path, ("0.png", None, "2.png"), 4), Shape(3, 2, 3), (2, 1))
    assert np.any([plane for label, plane in found if label == 4], axis=0).astype(int).tolist() == [
        (MAP == 3).astype(int).tolist(),
        np.zeros_like(MAP).tolist(),
    ]


def test_a_mask_of_a_hundred_thousand_pixels_by_as_many(tmp_path):
    """70 bytes that would be 10 GB."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b"")]
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ReadError, match=r"m\.png: has more pixels than the limit of 170,000,000"):
        read_values(tmp_path / "m.png", "m.png")


def test_limits_before_decoding(tmp_path, monkeypatch):
    saved(tmp_path, np.random.default_rng(0).integers(0, 2, (40, 40)).astype(np.uint8))
    (tmp_path / "broken.png").write_bytes((tmp_path / "m.png").read_bytes()[:120])
    with pytest.raises(ReadError, match=r"broken.png: is truncated"):
        read_values(tmp_path / "broken.png", "broken.png")
    monkeypatch.setattr("sidelight.data.annotations.mask_files.MOST_PIXELS", 1000)
    with pytest.raises(ReadError, match="1 x 40 x 40 pixels, more than the limit"):
        read_values(tmp_path / "m.png", "m.png")
    (tmp_path / "t.txt").write_text("mask")
    with pytest.raises(ReadError, match="of no known format"):
        read_values(tmp_path / "t.txt", "t.txt")
    with pytest.raises(ReadError, match="cannot be opened"):
        read_values(tmp_path / "gone.png", "gone.png")
