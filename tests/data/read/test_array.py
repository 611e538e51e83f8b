import io
import zipfile

import numpy as np
import pytest

from sidelight.data.read import read_files
from sidelight.data.read.array import read_npy, read_npz
from sidelight.data.read.clip import grey
from sidelight.errors import ReadError

RNG = np.random.default_rng(0)
CLIP = RNG.integers(0, 256, (9, 13, 17), np.uint8)
COLOUR = RNG.integers(0, 256, (9, 13, 17, 3), np.uint8)


def read(path, **hints):
    return read_files([path], **{"max_frames": 100, **hints})


def save(path, array, **arrays):
    np.savez_compressed(path, **arrays) if arrays else np.save(path, array)
    return path


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize(
    ("array", "frames"),
    [
        (CLIP[0], CLIP[:1]),
        (CLIP, CLIP),
        (CLIP[..., None], CLIP),
        (CLIP[0, ..., None], CLIP[:1]),
        (COLOUR[0], COLOUR[:1]),
        (COLOUR, COLOUR),
        (CLIP.astype(">u2") * 257, CLIP.astype(np.uint16) * 257),
        (np.asfortranarray(CLIP), CLIP),
        (np.moveaxis(COLOUR[0], -1, 0), COLOUR[:1]),
        (np.moveaxis(COLOUR, -1, 1), COLOUR),
        (CLIP[:3, ..., None], CLIP[:3]),
        (np.dstack([COLOUR[0], np.full((13, 17), 255, np.uint8)]), COLOUR[:1]),
    ],
)
def test_the_shape_says_what_an_array_is(tmp_path, suffix, array, frames):
    path = tmp_path / f"a.{suffix}"
    clip = read(save(path, array) if suffix == "npy" else save(path, None, image=array))
    np.testing.assert_array_equal(clip.frames, frames)
    assert (clip.frames.dtype, clip.length) == (frames.dtype, len(frames))
    assert clip.times.tolist() == [k / 25 for k in range(len(frames))]
    if frames.ndim == 4:
        first = array.shape[0] == 3 and array.ndim == 3  # said to be grey, these are three frames
        np.testing.assert_array_equal(read(path, channels=1).frames, array if first else grey(frames))


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i4", "i8", "u4", "f2", ">f4", "f8"])
def test_other_numbers_are_spread_over_16_bits_by_the_whole_array(tmp_path, kind):
    array = RNG.normal(scale=50, size=(9, 5, 4)).clip(-120, 120)
    array = (array + 120 if kind == "u4" else array).astype(kind)
    low, high = array.min().astype(float), array.max().astype(float)
    path = save(tmp_path / "a.npy", array)
    frames = read(path).frames
    assert frames.dtype == np.uint16
    assert np.abs(frames / 65535 * (high - low) + low - array).max() <= (high - low) / 65535 * 0.502
    few = read(path, max_frames=3)
    np.testing.assert_array_equal(few.frames, frames[few.indices])


def test_nan_infinity_and_the_widest_range(tmp_path):
    array = np.array([[np.nan, np.inf], [-np.inf, 2.0], [1.0, 3.0]])
    assert read(save(tmp_path / "a.npy", array)).frames[0].tolist() == [[0, 65535], [0, 32768], [0, 65535]]
    wide = np.array([[-1.7e308, 0.0], [0.0, 1.7e308]])
    assert read(save(tmp_path / "b.npy", wide)).frames[0].tolist() == [[0, 32768], [32768, 65535]]
    assert read(save(tmp_path / "c.npy", np.eye(3, dtype=bool))).frames[0].tolist() == (65535 * np.eye(3)).tolist()
    with pytest.raises(ReadError, match="no finite value"):
        read(save(tmp_path / "d.npy", np.full((3, 3), np.nan)))


def test_an_npy_of_bytes_is_read_only_where_it_is_kept(tmp_path):
    path = save(tmp_path / "a.npy", CLIP)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + (1 << 33))  # sparse: read as a whole it would not fit in the limit
        file.seek(0)
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (9 + (1 << 33) // 221 - 4, 13, 17)}
        )
    with pytest.raises(ReadError, match="more than the limit of 100,000"):  # frames, not bytes
        read(path)
    assert read_npy(save(tmp_path / "b.npy", CLIP), "b", max_frames=3, most_bytes=3 * 221).length == 9
    with pytest.raises(ReadError, match="663 bytes to read, more than the limit of 662"):
        read_npy(tmp_path / "b.npy", "b", max_frames=3, most_bytes=662)


def test_an_npz_names_its_arrays(tmp_path):
    path = save(tmp_path / "a.npz", None, image=CLIP, label=CLIP // 200)
    np.testing.assert_array_equal(read(tmp_path / "a.npz::label").frames, CLIP // 200)
    with pytest.raises(ReadError, match=r"a\.npz: holds 2 arrays \('image', 'label'\)\. .*\Wa\.npz::image\W"):
        read(path)
    with pytest.raises(ReadError, match=r"a\.npz::imge: the file holds no 'imge'\. Did you mean 'image'"):
        read(tmp_path / "a.npz::imge")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_pickled_objects_are_refused_unopened(tmp_path, suffix):
    trap = np.array([[Trap(), 1], [2, 3]], object)
    path = tmp_path / f"a.{suffix}"
    save(path, trap) if suffix == "npy" else save(path, None, image=trap)
    with pytest.raises(ReadError, match=rf"a\.{suffix}: holds Python objects \(a pickle\), which run code.*np\.save"):
        read(path)


def header(shape, descr="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_an_npz_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    zeros = np.zeros((40, 1000, 1000), np.uint8)
    save(tmp_path / "bomb.npz", None, image=zeros)
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipExtFile, "read", limited(zipfile.ZipExtFile.read, 10_000))
    with pytest.raises(ReadError, match="40,000,000 bytes to read, more than the limit of 1,000,000"):
        read_npz(tmp_path / "bomb.npz", "bomb", max_frames=1, most_bytes=1_000_000)


def limited(real, most):
    def read(self, count=-1):
        assert 0 <= count <= most
        return real(self, count)

    return read


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header((2, 7, 4, 5)) + bytes(280), r"shape \[2, 7, 4, 5\] and type uint8\. Expected: \[H, W\]"),
        (header((5,)) + bytes(5), r"shape \[5\]"),
        (header((0, 3, 3)), r"shape \[0, 3, 3\]"),
        (header((3, 3), "<c8") + bytes(72), "values of type complex64"),
        (header((3, 3), "<U3") + bytes(108), "values of type <U3"),
        (header((9, 1000, 1000)) + b"abc", "truncated or broken"),
        (header((20_000, 20_000)) + b"abc", "20000 x 20000 pixels, more than the limit"),
        (header((3, 3))[:40], "truncated or broken"),
        (b"\x93NUMPY\x09\x00", "is an array of records|truncated or broken"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path, content, words):
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("image.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ReadError, match=rf"^{name}: .*({words}|cut short)") as caught:
            read(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_zips_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", "well")
    with pytest.raises(ReadError, match=r"a\.npz: holds no array"):
        read(tmp_path / "a.npz")
    raw = save(tmp_path / "b.npz", None, image=CLIP).read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ReadError, match=r"cut\.npz: is truncated or broken"):
        read(tmp_path / "cut.npz")


def test_arrays_of_one_stack(tmp_path):
    paths = [save(tmp_path / f"{k}.npy", CLIP[k]) for k in range(9)]
    np.testing.assert_array_equal(read_files(paths, max_frames=100).frames, CLIP)


def test_real_heart_slices(real_data):
    path = real_data / "acdc" / "patient001_frame01.npz"
    if not path.is_file():
        pytest.skip(f"no acdc in {real_data}")
    whole = np.load(path)
    for key in ("image", "label"):
        clip = read_files([path.with_name(f"{path.name}::{key}")], max_frames=4)
        np.testing.assert_array_equal(clip.frames, whole[key][clip.indices])
        assert clip.length == len(whole[key])


def test_transparency_is_put_on_black(tmp_path):
    half = np.dstack([COLOUR[0], np.full((13, 17), 128, np.uint8)])
    found = read(save(tmp_path / "a.npy", half)).frames[0]
    np.testing.assert_array_equal(found, (COLOUR[0].astype(int) * 128 + 127) // 255)
    np.testing.assert_array_equal(read(save(tmp_path / "b.npy", np.moveaxis(half, -1, 0))).frames[0], found)


@pytest.mark.parametrize("shape", [(13, 17, 2), (2, 13, 17, 5), (1, 2, 3, 4, 5)])
def test_arrays_that_are_no_picture_say_what_would_be(tmp_path, shape):
    with pytest.raises(ReadError, match=r"is an array of shape .*\[3, H, W\]"):
        read(save(tmp_path / "a.npy", np.zeros(shape, np.uint8)))
