import numpy as np
import pytest
from PIL import Image

from sidelight.data.read import read_files
from sidelight.data.read.clip import spaced_indices
from sidelight.data.read.still import read_image
from sidelight.errors import ReadError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (13, 17), np.uint8)
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)


def read(path, **hints):
    return read_files([path], max_frames=8, **hints)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "pgm", "webp"])
def test_lossless_formats_keep_grey_and_colour(tmp_path, suffix):
    for array in (GREY, RGB):
        if array.ndim == 3 and suffix == "pgm":
            continue
        frames = read(save(tmp_path / f"a.{suffix}", array, lossless=True)).frames
        expected = array if suffix != "webp" or array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
        np.testing.assert_array_equal(frames, expected[None])
        assert frames.dtype == np.uint8


def test_a_still_is_one_frame_at_time_zero(tmp_path):
    clip = read(save(tmp_path / "a.png", GREY))
    assert (clip.times.tolist(), clip.indices.tolist(), clip.length) == ([0.0], [0], 1)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2")])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, suffix, kind):
    deep = RNG.integers(0, 65536, (9, 7), np.uint16)
    path = save(tmp_path / f"deep.{suffix}", deep.astype(kind))
    frames = read(path).frames
    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames[0], deep)


def test_32_bit_integers_are_read_up_to_65535_and_refused_beyond(tmp_path):
    wide = np.array([[0, 65535], [1, 2]], np.int32)
    np.testing.assert_array_equal(read(save(tmp_path / "ok.tif", wide)).frames[0], wide)
    with pytest.raises(ReadError, match=r"over\.tif.*65536 do not fit in 16 bits"):
        read(save(tmp_path / "over.tif", wide + 1))
    with pytest.raises(ReadError, match=r"^float\.tif: its floating-point pixels .*\. Save them as 8 or 16 bit\.$"):
        read(save(tmp_path / "float.tif", wide.astype(np.float32)))


def test_palette_one_bit_and_cmyk(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png").frames[0], np.asarray(image.convert("RGB")))
    save(tmp_path / "bit.png", GREY > 127)
    np.testing.assert_array_equal(read(tmp_path / "bit.png").frames[0], np.where(GREY > 127, 255, 0))
    cmyk = Image.fromarray(RGB).convert("CMYK")
    cmyk.save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read(tmp_path / "c.tif").frames[0], np.asarray(cmyk.convert("RGB")))


def test_alpha_is_composited_on_black(tmp_path):
    rgba = np.dstack([RGB, np.full(GREY.shape, 51, np.uint8)])  # a fifth
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", rgba)).frames[0], np.rint(RGB / 5).astype(np.uint8))
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(np.full_like(GREY, 51))])
    la.save(tmp_path / "la.png")
    np.testing.assert_array_equal(read(tmp_path / "la.png").frames[0], np.rint(GREY / 5).astype(np.uint8))
    clear = Image.fromarray(GREY)
    clear.save(tmp_path / "key.png", transparency=int(GREY[0, 0]))
    assert (read(tmp_path / "key.png").frames[0] == np.where(GREY[0, 0] == GREY, 0, GREY)).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_rotation_is_applied(tmp_path, suffix, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for array in (RGB, GREY, GREY.astype(np.uint16) * 200):
        path = save(tmp_path / f"r.{suffix}", array, exif=exif)
        np.testing.assert_array_equal(read(path).frames[0], upright(array))


def test_channels_one_is_luma(tmp_path):
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", RGB), channels=1).frames[0], expected)
    rgba = np.dstack([RGB, np.full(GREY.shape, 255, np.uint8)])
    np.testing.assert_array_equal(read(save(tmp_path / "b.png", rgba), channels=1).frames[0], expected)


def test_a_large_jpeg_is_decoded_coarsely_for_a_small_target(tmp_path):
    smooth = np.asarray(Image.fromarray(GREY).resize((640, 800), Image.Resampling.BICUBIC))
    path = save(tmp_path / "a.jpg", smooth, quality=95)
    assert read(path).frames.shape == (1, 800, 640)
    coarse = read(path, target=40).frames[0]
    assert coarse.shape == (100, 80)
    np.testing.assert_allclose(coarse, smooth.reshape(100, 8, 80, 8).mean(axis=(1, 3)), atol=6)


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_animations_are_clips_with_their_own_clock(tmp_path, suffix, options):
    frames = [np.full((8, 8), 20 * k, np.uint8) for k in range(6)]
    frames = [np.where(np.arange(8) == k, 255, f).astype(np.uint8) for k, f in enumerate(frames)]
    first, *rest = (Image.fromarray(f) for f in frames)
    path = tmp_path / f"a.{suffix}"
    first.save(path, save_all=True, append_images=rest, duration=[100, 50, 200, 100, 100, 100], **options)
    clip = read_files([path], max_frames=3)
    assert (clip.length, clip.indices.tolist(), clip.timed) == (6, spaced_indices(6, 3).tolist(), True)
    whole = read(path, channels=1)
    np.testing.assert_allclose(whole.times, [0, 0.1, 0.15, 0.35, 0.45, 0.55])
    np.testing.assert_array_equal(whole.frames, np.stack(frames))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("gif", {}), ("png", {}), ("webp", {"lossless": True}), ("tif", {}), ("tif", {"compression": "tiff_lzw"})],
)
def test_an_animation_that_ends_early_is_refused_as_a_still_is(tmp_path, suffix, options):
    noise = [Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8)) for _ in range(4)]
    clock = {} if suffix == "tif" else {"duration": 100}
    noise[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=noise[1:], **clock, **options)
    assert read(tmp_path / f"a.{suffix}").length == 4
    raw = (tmp_path / f"a.{suffix}").read_bytes()
    for place in range(len(raw) // 3, len(raw) - 24, len(raw) // 23):
        (tmp_path / f"cut.{suffix}").write_bytes(raw[:place])
        with pytest.raises(ReadError, match=rf"cut.{suffix}: is truncated or broken"):
            read(tmp_path / f"cut.{suffix}")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_that_counts_from_white_is_turned_round(tmp_path, kind):
    values = RNG.integers(0, np.iinfo(kind).max, (8, 8), kind)
    stored = values if kind == np.uint8 else 65535 - values  # Pillow turns 8 bits round as it writes
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0
    np.testing.assert_array_equal(read(tmp_path / "a.tif").frames[0], values)


def test_pages_of_a_tiff_are_frames_without_a_clock(tmp_path):
    pages = [Image.fromarray(np.roll(GREY, k)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    clip = read(tmp_path / "a.tif")
    assert (clip.length, clip.timed, clip.times.tolist()) == (3, False, [0.0, 1 / 25, 2 / 25])
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[1].resize((5, 5))])
    with pytest.raises(ReadError, match=r"b\.tif: its pages differ in size"):
        read(tmp_path / "b.tif")


def test_a_stack_reads_only_the_frames_it_keeps(tmp_path):
    paths = [save(tmp_path / f"{k}.png", np.roll(GREY, k)) for k in range(9)]
    paths[1].write_bytes(b"broken")  # not among 0, 4, 8
    clip = read_files(paths, max_frames=3)
    assert (clip.indices.tolist(), clip.length, clip.timed) == ([0, 4, 8], 9, False)
    np.testing.assert_array_equal(clip.frames, np.stack([np.roll(GREY, k) for k in (0, 4, 8)]))
    np.testing.assert_allclose(clip.times, np.array([0, 4, 8]) / 25)


def test_a_stack_widens_grey_among_colour_and_refuses_two_sizes(tmp_path):
    grey, colour = save(tmp_path / "g.png", GREY), save(tmp_path / "c.png", RGB)
    frames = read_files([grey, colour], max_frames=8).frames
    np.testing.assert_array_equal(frames, np.stack([np.repeat(GREY[..., None], 3, axis=2), RGB]))
    other = save(tmp_path / "sub.png", GREY[:5])
    with pytest.raises(ReadError, match=r"sub\.png: is 17 x 5 uint8, but g\.png of the same stack is 17 x 13"):
        read_files([grey, other], max_frames=8)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("zero.png", b"", r"zero\.png: is empty \(0 bytes\)"),
        ("page.jpg", b"<!DOCTYPE html><p>404", r"page\.jpg: is a web page or XML file"),
        ("a.zip", b"PK\x03\x04....", r"a\.zip: is a ZIP archive"),
        ("slice", b"\0" * 128 + b"DICM", r"slice: is a DICOM file without pixels"),
        ("notes.txt", b"Patient was well", r"notes\.txt: is not an image or video that sidelight knows"),
        ("head.png", b"\x89PNG\r\n\x1a\n", r"head\.png: is truncated or broken"),
    ],
)
def test_what_is_no_image_is_named_and_explained(tmp_path, name, content, found):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=found) as caught:
        read(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.do


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_truncated_images_are_refused(tmp_path, suffix):
    noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    raw = save(tmp_path / f"a.{suffix}", noise).read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ReadError, match=rf"cut\.{suffix}: is truncated or broken") as caught:
        read(tmp_path / f"cut.{suffix}")
    assert str(tmp_path) not in str(caught.value)


def test_a_constant_image_teaches_nothing(tmp_path):
    for array in (np.full((9, 9), 7, np.uint8), np.full((9, 9, 3), [1, 2, 3], np.uint8)):
        with pytest.raises(ReadError, match=r"flat\.png: all pixels are equal: nothing to learn from"):
            read(save(tmp_path / "flat.png", array))


def test_limits_hold_before_anything_is_decoded(tmp_path):
    path = save(tmp_path / "a.png", GREY)
    path.write_bytes(path.read_bytes()[:50])  # header only: decoding would fail in another way
    with pytest.raises(ReadError, match="17 x 13 pixels, more than the limit of 200"):
        read_image(path, "a.png", max_frames=1, most_pixels=200)
    with pytest.raises(ReadError, match="50 bytes, more than the limit of 20"):
        read_image(path, "a.png", max_frames=1, most_bytes=20)


def test_errors_name_the_file_relative_to_the_root(tmp_path):
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "a.png").write_bytes(b"")
    with pytest.raises(ReadError, match=r"^p1/a\.png: is empty"):
        read(tmp_path / "p1" / "a.png", root=tmp_path)
    with pytest.raises(ReadError, match=r"^gone\.png: cannot be opened \(No such file"):
        read(tmp_path / "gone.png")


def test_spaced_includes_both_ends():
    assert spaced_indices(10, 4).tolist() == [0, 3, 6, 9]
    assert spaced_indices(3, 8).tolist() == [0, 1, 2]
    assert spaced_indices(9, 1).tolist() == [4]
    for length in range(1, 40):
        for count in range(2, 12):
            chosen = spaced_indices(length, count)
            assert len(set(chosen.tolist())) == min(length, count)
            assert (chosen[0], chosen[-1]) == (0, length - 1)
