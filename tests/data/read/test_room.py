"""What takes too much memory is refused before it is unpacked, or made smaller as it is read."""

import io
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageOps

from sidelight.data.read import array, read_files, still
from sidelight.data.read.clip import smaller, smaller_by
from sidelight.data.read.room import Ask, Room
from sidelight.data.read.still import upright
from sidelight.errors import ReadError
from sidelight.machine import budget, memory

MB = 1 << 20


def peak(call):
    """Bytes that Python and numpy held at most while ``call`` ran, and what it gave."""
    tracemalloc.start()
    found = call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most, found


def test_averages_over_squares():
    frame = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert smaller_by(frame, 2).tolist() == [[4, 6, 8], [16, 18, 20]]  # (0+1+6+7)/4 = 3.5, rounded up
    assert smaller_by(np.full((5, 5, 3), 65535, np.uint16), 2).tolist() == np.full((2, 2, 3), 65535).tolist()
    assert smaller(frame, 2) is frame and smaller(np.zeros((40, 80), np.uint8), 5).shape == (10, 20)


def test_room_is_refused_or_waited_for():
    room = Room(100 * MB, readers=4)
    with pytest.raises(ReadError, match=r"a\.png: takes 0\.1 GB.*max_memory"), room.item() as ask:
        ask(60 * MB, "a.png")
    order, inside = [], threading.Event()

    def large():
        with room.item() as ask:
            ask(40 * MB, "b.png")
            order.append("second")

    with room.item() as ask:
        ask(40 * MB, "a.png")
        ask(45 * MB, "a.png")  # asking for more does not wait for itself
        other = threading.Thread(target=large)
        other.start()
        with room.item() as small:
            small(10 * MB, "c.png")  # a small one goes on
        inside.wait(0.05)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_the_budget_is_a_quarter_of_what_the_process_may_use():
    assert 1 << 28 < memory() < 1 << 48 and budget() == memory() // 4


def animation(path, side, frames=64):
    first, *rest = (Image.fromarray(np.full((side, side), 3 * n, np.uint8)) for n in range(frames))
    first.putpixel((0, 0), 255)
    first.save(path, save_all=True, append_images=rest)
    return path


def test_an_animation_is_made_smaller_as_it_is_read(tmp_path, monkeypatch):
    """64 frames of 600 px are 23 MB as they are, twice that as they are stacked."""
    path = animation(tmp_path / "a.gif", 600)
    monkeypatch.setattr(still, "HELD", 10 * MB)
    # what the first reading imports is not the picture's
    read_files([animation(tmp_path / "first.gif", 8)], max_frames=2)
    most, clip = peak(lambda: read_files([path], max_frames=64, target=64, channels=1))
    assert most < 8 * MB and clip.frames.shape == (64, 150, 150)
    assert [int(frame[50, 50]) for frame in clip.frames[:3]] == [0, 3, 6]
    with pytest.raises(ReadError, match=r"a\.gif: takes 0\.1 GB"):
        read_files([path], max_frames=64, ask=Ask(Room(100 * MB)))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16", "P"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_are_the_picture_and_every_orientation_is_upright(mode, orientation, monkeypatch):
    rng = np.random.default_rng(0)
    shape = {"L": (96, 64), "P": (96, 64), "I;16": (96, 64), "RGB": (96, 64, 3), "RGBA": (96, 64, 4), "LA": (96, 64, 2)}
    kind = np.uint16 if mode == "I;16" else np.uint8
    image = Image.fromarray(rng.integers(0, 255, shape[mode]).astype(kind))
    image = image.convert("P") if mode == "P" else image
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    image.save(file, "TIFF" if mode in ("LA", "I;16") else "PNG", exif=exif)
    whole = upright(Image.open(file), None)
    turned = ImageOps.exif_transpose(Image.open(file))
    assert whole.shape[:2] == turned.size[::-1]
    if mode in ("L", "RGB", "I;16"):
        np.testing.assert_array_equal(whole, np.asarray(turned))
    monkeypatch.setattr(still, "HELD", 0)
    monkeypatch.setattr(still, "STRIP", 300)
    found = still.decode_image(file, "a", max_frames=1, target=8).frames[0]
    assert found.shape[:2] == (whole.shape[0] // 4, whole.shape[1] // 4)
    np.testing.assert_allclose(found, smaller_by(whole, 4), atol=1)


def test_alpha_is_rounded_as_it_always_was():
    values = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).astype(np.uint8)
    right = ((values[..., 0].astype(int) * values[..., 1] + 127) // 255).astype(np.uint8)
    np.testing.assert_array_equal(upright(Image.fromarray(values, "LA"), None), right)
    four = np.concatenate([np.repeat(values[..., :1], 3, -1), values[..., 1:]], -1)
    np.testing.assert_array_equal(upright(Image.fromarray(four, "RGBA"), None), np.repeat(right[..., None], 3, -1))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_arrays_are_made_smaller_as_they_are_read(tmp_path, kind, monkeypatch):
    values = np.random.default_rng(0).integers(0, 200, (6, 200, 400)).astype(kind)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values)
    plain = read_files([tmp_path / "a.npy"], max_frames=4, target=10).frames
    assert plain.shape == (4, 200, 400)
    monkeypatch.setattr(array, "HELD", 1000)
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        found = read_files([path], max_frames=4, target=10).frames
        assert found.shape == (4, 20, 40)
        np.testing.assert_array_equal(found, np.stack([smaller(frame, 10) for frame in plain]))
        with pytest.raises(ReadError, match="GB of memory"):
            read_files([path], max_frames=4, ask=Ask(Room(100_000)))


def test_an_empty_store_of_4_gb_is_one_frame_at_a_time(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (64, 4000, 4000), "u1", chunks=(1, 500, 500))[3, :8, :8] = 255
    most, clip = peak(lambda: read_files([tmp_path / "a.h5"], max_frames=64, target=64))
    assert most < 100 * MB and clip.frames.shape == (64, 129, 129) and clip.frames[3, 0, 0] > 0
    with pytest.raises(ReadError, match="GB of memory"):
        read_files([tmp_path / "a.h5"], max_frames=64, ask=Ask(Room(1 << 30)))
