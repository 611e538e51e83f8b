import sys

import numpy as np
import pytest

from sidelight.data.read import read_files
from sidelight.data.read.clip import grey
from sidelight.data.read.video import read_video
from sidelight.errors import MissingExtra, ReadError

av = pytest.importorskip("av", reason="needs the extra 'video'")
from fractions import Fraction  # noqa: E402

# A frame carries its own number: as many of its 32 columns are white.
FRAMES = [
    np.repeat(np.where(np.arange(32) <= k, 235, 20)[None, :, None], 16, 0).repeat(3, 2).astype(np.uint8)
    for k in range(24)
]


def write(path, frames=FRAMES, codec="mpeg4", pts=None, rate=25):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(frames):
    luma = grey(frames) if frames.ndim == 4 else frames
    return ((luma > 128).mean(axis=1).sum(axis=1).round() - 1).astype(int).tolist()


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("b.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.mov", "mpeg4"), ("a.mpeg", "mpeg2video")],
)
def test_every_container_is_frame_exact(tmp_path, name, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV was built without {codec}, whose frames are stored out of order")
    clip = read_files([write(tmp_path / name, codec=codec)], max_frames=100)
    assert clip.length == len(FRAMES)
    assert numbers(clip.frames) == clip.indices.tolist() == list(range(24))
    np.testing.assert_allclose(clip.times, np.arange(24) / 25, atol=1e-3)


def test_uniform_choice_includes_first_and_last(tmp_path):
    clip = read_files([write(tmp_path / "a.mp4")], max_frames=5)
    assert numbers(clip.frames) == clip.indices.tolist() == [0, 6, 12, 17, 23]
    assert clip.length == 24
    np.testing.assert_allclose(clip.times, clip.indices / 25, atol=1e-3)


def test_a_long_video_is_decoded_twice_with_the_same_result(tmp_path):
    path = write(tmp_path / "a.mp4")
    held = read_video(path, "a", max_frames=7)
    again = read_video(path, "a", max_frames=7, held_bytes=5000)
    np.testing.assert_array_equal(held.frames, again.frames)
    assert (held.length, held.indices.tolist()) == (again.length, again.indices.tolist())


def test_a_variable_rate_gives_true_times_from_zero(tmp_path):
    pts = [500 + 40 * k + 300 * (k > 10) for k in range(24)]
    clip = read_files([write(tmp_path / "a.mkv", pts=pts)], max_frames=100)
    np.testing.assert_allclose(clip.times, (np.array(pts) - 500) / 1000, atol=2e-3)
    assert clip.timed


def test_a_video_that_ends_early_keeps_what_decoded(tmp_path):
    raw = write(tmp_path / "a.mpeg", codec="mpeg2video").read_bytes()
    (tmp_path / "cut.mpeg").write_bytes(raw[: len(raw) * 6 // 10])
    clip = read_files([tmp_path / "cut.mpeg"], max_frames=100)
    assert 2 <= clip.length < 24
    assert numbers(clip.frames[:-1]) == list(range(clip.length - 1))


def test_one_channel_is_the_luma_of_three(tmp_path):
    path = write(tmp_path / "a.mp4")
    colour, one = read_files([path], max_frames=4), read_files([path], max_frames=4, channels=1)
    assert colour.frames.shape == (4, 16, 32, 3)
    assert one.frames.shape == (4, 16, 32)
    assert np.abs(one.frames.astype(int) - grey(colour.frames)).max() <= 3


def test_much_larger_frames_are_averaged_for_a_small_target(tmp_path):
    large = [np.kron(frame[..., 0], np.ones((8, 8), np.uint8))[..., None].repeat(3, 2) for frame in FRAMES[:3]]
    clip = read_files([write(tmp_path / "a.mp4", large)], max_frames=3, channels=1, target=16)
    assert clip.frames.shape == (3, 32, 64)
    exact = np.stack(large)[..., 0].reshape(3, 32, 4, 64, 4).mean(axis=(2, 4))
    assert np.abs(clip.frames - exact).mean() < 6


def test_rotation_of_the_file_is_applied(tmp_path):
    raw = write(tmp_path / "a.mp4").read_bytes()
    one = (1 << 16).to_bytes(4, "big")
    zero, minus, last = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True), (1 << 30).to_bytes(4, "big")
    upright = one + zero + zero + zero + one + zero + zero + zero + last
    clockwise = zero + one + zero + minus + zero + zero + zero + zero + last
    at = raw.index(upright, raw.index(b"tkhd"))
    (tmp_path / "turned.mp4").write_bytes(raw[:at] + clockwise + raw[at + len(upright) :])
    plain, turned = (read_files([tmp_path / name], max_frames=4).frames for name in ("a.mp4", "turned.mp4"))
    np.testing.assert_array_equal(turned, np.rot90(plain, -1, axes=(1, 2)))


def test_limits(tmp_path):
    path = write(tmp_path / "a.mp4")
    with pytest.raises(ReadError, match=r"v: more than 10 frames.*Cut it"):
        read_video(path, "v", max_frames=4, most_frames=10)
    with pytest.raises(ReadError, match="frames of 32 x 16 pixels, more than the limit of 100"):
        read_video(path, "v", max_frames=4, most_pixels=100)


def test_what_is_no_video_is_refused_without_the_full_path(tmp_path):
    whole = write(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the table of frames stands at its end
    (tmp_path / "list.mp4").write_bytes(b"#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/a.ts\n")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    for name, found in [("cut", "cut off"), ("list", "not a video"), ("sound", "no video stream")]:
        path = next(tmp_path.glob(f"{name}.*"))
        with pytest.raises(ReadError, match=rf"^{path.name}: .*{found}") as caught:
            read_files([path], max_frames=4)
        assert str(tmp_path) not in str(caught.value)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sidelight\[video\]'"):
        read_files([path], max_frames=4)


def test_real_clips_decode_whole(real_data):
    root = real_data / "covid19_ultrasound" / "data" / "pocus_videos"
    if not root.is_dir():
        pytest.skip(f"no covid19_ultrasound in {real_data}")
    # Counts by OpenCV 4 with its own FFmpeg; the header of the MPEG says 0.
    counts = {
        "convex/Pneu-Atlas-pneumonia.gif": 59,
        "convex/Reg_pat1Image_133410.mpeg": 183,
        "convex/Pneu_liftl_pneu_case3_clip3.mp4": 25,
        "convex/Pneu_northumbria_0409_set2_vid4.avi": 79,
        "convex/Reg_recommendations_alines_mov1.mov": 180,
    }
    for name, count in counts.items():
        clip = read_files([root / name], max_frames=4, channels=1)
        assert (clip.length, clip.indices[-1], len(clip.frames)) == (count, count - 1, 4)
        assert (np.diff(clip.times) > 0).all()
