import json
import multiprocessing
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.pixels import pixels, shards
from sidelight.data.pixels.cache import PixelSettings, build, forget, open_pixels, verify
from sidelight.data.pixels.decoding import at_working_size, equalized, is_grey
from sidelight.data.read import Clip, read_files
from sidelight.errors import ConfigError, DataError, MissingExtra, TooManyBadItems


class Folder:
    """A cohort of image files, one patient per subfolder; counts what is decoded."""

    name, phantom, channels, levels, spec = "folder", None, None, ("patient",), CohortSpec()

    def __init__(self, root, **changes):
        self.root, self.decoded = root, []
        files = sorted(path.relative_to(root).as_posix() for path in root.glob("p*/*"))
        self.items = pd.DataFrame(
            {"item": files, "files": [(file,) for file in files], "group": [file.partition("/")[0] for file in files]}
        )
        self.hash, self.views = "0" * 16, pd.Series([""] * len(files))
        self.__dict__.update(changes)

    key = Cohort.key

    def read(self, position, *, max_frames, **_):
        self.decoded.append(self.items["item"].iloc[position])
        paths = [self.root / name for name in self.items["files"].iloc[position]]
        return read_files(paths, max_frames=max_frames, root=self.root)


def image(seed, shape=(20, 30)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def root(tmp_path):
    for patient in range(3):
        (tmp_path / f"p{patient}").mkdir()
        for shot in range(2):
            Image.fromarray(image(10 * patient + shot)).save(tmp_path / f"p{patient}" / f"{shot}.png")
    return tmp_path


def expected(seed, size=16):
    resized = Image.fromarray(image(seed)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized)[None, None]


def test_pixels_are_the_resized_images_in_the_order_of_the_cohort(root):
    built = build(Folder(root), size=16)
    assert (built.size, built.channels, len(built), len(built.quarantine)) == (16, 1, 6, 0)
    assert built.index["item"].tolist() == [f"p{p}/{s}.png" for p in range(3) for s in range(2)]
    assert built.index["position"].tolist() == list(range(6))
    for row, seed in enumerate([0, 1, 10, 11, 20, 21]):
        np.testing.assert_array_equal(built.read(row, [0]), expected(seed))
        assert (built.frames_of(row), built.times(row).tolist(), built.numbers(row).tolist()) == (1, [0.0], [0])
    np.testing.assert_array_equal(built.batch([5, 0], [0, 0]), np.concatenate([expected(21), expected(0)]))


def test_one_shard_per_group_for_the_owner_only_and_naming_nobody(root):
    built = build(Folder(root), size=16)
    names = sorted(path.name for path in built.folder.glob("*.bin"))
    assert len(names) == 3 == built.index.groupby("group")["shard"].nunique().sum()
    folders = [built.folder, built.folder.parent, root / ".sidelight"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o700] * 3
    assert all(stat.S_IMODE((built.folder / name).stat().st_mode) == 0o600 for name in names)
    written = b"".join(path.read_bytes() for path in built.folder.iterdir() if path.suffix != ".bin")
    assert b"0.png" not in written
    assert b"p1" not in b" ".join(name.encode() for name in names)
    header = json.loads((built.folder / "header.json").read_text())
    assert (header["size"], header["channels"], header["max_frames"]) == (16, 1, 64)


def test_only_what_changed_is_decoded_again(root):
    first = build(Folder(root, channels=1), size=16)
    again = Folder(root, channels=1)
    second = build(again, size=16)
    assert again.decoded == []
    assert second.hash == first.hash
    Image.fromarray(image(99)).save(root / "p1" / "0.png")
    Image.fromarray(image(5)).save(root / "p3.png")
    (root / "p2" / "1.png").unlink()
    changed = Folder(root, channels=1)
    third = build(changed, size=16)
    assert changed.decoded == ["p1/0.png"]
    assert third.hash != first.hash
    np.testing.assert_array_equal(
        third.batch(range(5), [0] * 5), np.concatenate([expected(seed) for seed in (0, 1, 99, 11, 20)])
    )
    # What left the cohort has left the disk.
    assert sum(path.stat().st_size for path in third.folder.glob("*.bin")) == 5 * 16 * 16


def test_an_edited_header_beside_the_pixels_decodes_them_again(tmp_path):
    nib = pytest.importorskip("nibabel", reason="needs the extra 'nifti'")
    values = np.random.default_rng(0).random((6, 6, 3)).astype(np.float32)
    nib.save(nib.Nifti1Pair(values, np.eye(4)), tmp_path / "a.img")
    (tmp_path / "cohort.toml").write_text('files = "{patient}.img"')
    before = build(Cohort.open(tmp_path), size=8, channels=1)
    nib.save(nib.Nifti1Pair(values, np.diag([1, 1, -1, 1])), tmp_path / "b.img")
    (tmp_path / "a.hdr").write_bytes((tmp_path / "b.hdr").read_bytes())
    after = build(Cohort.open(tmp_path), size=8, channels=1)
    assert before.hash != after.hash


def test_twelve_bits_in_sixteen_are_told_and_a_range_brightens_them(tmp_path, capfd):
    values = np.random.default_rng(0).integers(0, 4096, (3, 16, 16)).astype(np.uint16)
    for k, value in enumerate(values):
        Image.fromarray(value).save(tmp_path / f"{k}.png")
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"')
    plain = open_pixels(Cohort.open(tmp_path), 16, PixelSettings(), quiet=False)
    said = " ".join(capfd.readouterr().err.split())
    assert "3 items of 16 bits" in said and "like 12 bits" in said and "range = [0, 4095]" in said
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"\n[images]\nrange = [0, 4095]')
    bright = open_pixels(Cohort.open(tmp_path), 16, PixelSettings(), quiet=False)
    assert "of 16 bits" not in capfd.readouterr().err
    np.testing.assert_allclose(bright.read(0, [0]), plain.read(0, [0]) * (65535 / 4095), atol=1)


def test_a_cache_from_before_sizes_were_written_down_stays(root):
    built = build(Folder(root, channels=1), size=16)
    index = built.folder / shards.INDEX
    pd.read_parquet(index).drop(columns=["height", "width"]).to_parquet(index, index=False)
    again = Folder(root, channels=1)
    older = build(again, size=16)
    assert again.decoded == [] and older.hash == built.hash and not older.index[["height", "width"]].any(axis=None)
    Image.fromarray(image(99, (24, 40))).save(root / "p1" / "0.png")
    mixed = Folder(root, channels=1)
    newer = build(mixed, size=16)
    assert mixed.decoded == ["p1/0.png"]
    assert newer.index[["height", "width"]].to_numpy().tolist() == [[0, 0]] * 2 + [[24, 40]] + [[0, 0]] * 3
    third = Folder(root, channels=1)
    assert build(third, size=16).index["height"].tolist() == [0, 0, 24, 0, 0, 0] and third.decoded == []


def test_frames_that_keep_their_ratio_are_another_cache(root):
    squashed = build(Folder(root), size=16)
    padded = build(Folder(root, spec=CohortSpec(images={"fit": "pad"})), size=16)
    assert padded.folder != squashed.folder and (squashed.fit, padded.fit) == ("squash", "pad")
    frame = padded.read(0, [0])[0, 0]
    resized = Image.fromarray(image(0)).resize((16, 11), Image.Resampling.BICUBIC)
    assert not frame[:2].any() and not frame[13:].any() and np.array_equal(frame[2:13], np.asarray(resized))


def test_a_copy_of_the_data_has_the_same_hash(root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(root, copy)
    assert build(Folder(root), size=16).hash == build(Folder(copy), size=16).hash
    assert build(Folder(root), size=16).hash != build(Folder(root), size=8).hash


def test_forget_deletes_a_patient_from_every_cache_and_what_was_computed_from_it(root):
    small, large = build(Folder(root), size=16), build(Folder(root), size=32)
    (small.folder / "features").mkdir()
    (small.folder / "features" / "f.safetensors").write_bytes(b"vectors")
    gone = set(small.index["shard"][2:4])
    assert forget(root / ".sidelight", "p1") == 2 * (16 * 16 + 32 * 32)
    assert forget(root / ".sidelight", "p1") == 0
    assert not any((small.folder / name).exists() for name in gone)
    assert not (small.folder / "features").exists()
    assert len(pd.read_parquet(large.folder / "index.parquet")) == 4
    remaining = Folder(root)
    remaining.items = remaining.items[remaining.items["group"] != "p1"].reset_index(drop=True)
    assert build(remaining, size=16, channels=1).index["group"].unique().tolist() == ["p0", "p2"]


def test_a_deleted_shard_is_noticed(root):
    built = build(Folder(root), size=16, channels=1)
    (built.folder / built.index["shard"].iloc[2]).unlink()
    with pytest.raises(DataError, match="run the command again"):
        built.read(2, [0])
    cohort = Folder(root)
    np.testing.assert_array_equal(build(cohort, size=16, channels=1).read(2, [0]), expected(10))
    assert sorted(cohort.decoded) == ["p1/0.png", "p1/1.png"]


def test_broken_items_go_to_quarantine_until_they_are_too_many(root):
    (root / "p1" / "0.png").write_bytes(b"")
    built = build(Folder(root), size=16, max_bad_fraction=0.2)
    assert built.quarantine["item"].tolist() == ["p1/0.png"]
    assert "is empty (0 bytes)" in built.quarantine["reason"].iloc[0]
    assert built.index["position"].tolist() == [0, 1, 3, 4, 5]
    with pytest.raises(TooManyBadItems, match=r"1 of 6 items.*max_bad_fraction = 0\.1.*p1/0\.png: is empty"):
        build(Folder(root), size=16)
    (root / "p1" / "1.png").write_bytes(b"")
    with pytest.raises(TooManyBadItems, match=r"p1/0\.png.*; p1/1\.png") as error:
        build(Folder(root), size=16, max_bad_fraction=0.2)
    said = str(error.value)
    assert said.count("leave it out") == 1 and "Or leave such files out by `files` or `where`" in said
    assert "--set max_bad_fraction=0.3 (of `sidelight study`: --set pretrain.max_bad_fraction=0.3 and evaluate." in said
    with pytest.raises(
        TooManyBadItems, match=r"^2 of 2 items cannot be read\. .*leave it out\.$"
    ):  # a larger share is no help
        build(Folder(root, items=Folder(root).items.iloc[2:4].reset_index(drop=True)), size=16, max_bad_fraction=1.0)
    Image.fromarray(image(11)).save(root / "p1" / "1.png")
    Image.fromarray(image(10)).save(root / "p1" / "0.png")
    np.testing.assert_array_equal(build(Folder(root), size=16).read(2, [0]), expected(10))


def test_a_missing_extra_stops_the_build(root):
    def read(position, **_):
        raise MissingExtra("av", "video", "Reading the video")

    with pytest.raises(MissingExtra):
        build(Folder(root, read=read), size=16, channels=1)


def test_what_was_finished_before_an_interruption_is_kept(root):
    cohort = Folder(root, channels=1)
    whole = cohort.read

    def read(position, *, max_frames, **_):
        if position == 4:
            raise KeyboardInterrupt
        return whole(position, max_frames=max_frames)

    with pytest.raises(KeyboardInterrupt):
        build(Folder(root, channels=1, read=read), size=16)
    assert not list((root / ".sidelight").rglob("*.tmp"))
    resumed = Folder(root, channels=1)
    built = build(resumed, size=16)
    assert set(resumed.decoded) == {"p2/0.png", "p2/1.png"}
    shutil.rmtree(root / ".sidelight")
    assert built.hash == build(Folder(root, channels=1), size=16).hash


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_cache
from sidelight.data.pixels import cache, shards
save = shards.save_index
def killing(folder, rows):
    save(folder, rows)
    os.kill(os.getpid(), signal.SIGKILL)
cache.shards.save_index = killing
ticks = iter(range(0, 10**6, 10))
cache.time.monotonic = lambda: next(ticks)
cache.build(test_cache.Folder(Path({root!r}), channels=1), size=16)
"""


def test_a_killed_build_goes_on_where_it_was(root):
    code = KILLED.format(tests=str(Path(__file__).parent), root=str(root))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (next((root / ".sidelight" / "cache").iterdir()) / "left.tmp").write_bytes(b"half a shard")
    resumed = Folder(root, channels=1)
    built = build(resumed, size=16)
    assert resumed.decoded == ["p1/0.png", "p1/1.png", "p2/0.png", "p2/1.png"]
    np.testing.assert_array_equal(built.read(5, [0]), expected(21))
    assert not list(built.folder.glob("*.tmp"))


def _build(root):
    build(Folder(root, channels=1), size=16)


def test_two_processes_at_once_make_one_whole_cache(root):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_build, args=(root,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    after = Folder(root, channels=1)
    built = build(after, size=16)
    assert after.decoded == []
    np.testing.assert_array_equal(built.read(5, [0]), expected(21))


def test_channels_follow_the_data_unless_they_are_said(root):
    assert build(Folder(root), size=16).channels == 1
    for path in root.glob("p*/*.png"):
        Image.fromarray(image(7, (20, 30, 3))).save(path)
    decided = build(Folder(root), size=16)
    assert decided.channels == 3
    assert decided.read(0, [0]).shape == (1, 3, 16, 16)
    assert build(Folder(root, channels=1), size=16).channels == 1
    assert build(Folder(root, channels=1), size=16, channels=3).channels == 3


def test_colour_that_appears_later_is_not_lost(root):
    assert build(Folder(root), size=16).channels == 1
    for path in root.glob("p[12]/*.png"):
        Image.fromarray(image(7, (20, 30, 3))).save(path)
    cohort = Folder(root)
    assert build(cohort, size=16).channels == 3
    assert {"p0/0.png", "p0/1.png"} <= set(cohort.decoded)


def test_a_cache_that_does_not_fit_is_refused_before_writing(root, monkeypatch):
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"needs about 0\.1 GB.*0\.0 GB are free.*--cache FOLDER"):
        build(Folder(root), size=16)
    assert not list((root / ".sidelight").rglob("*.bin"))


def test_a_full_disk_keeps_what_was_finished(root, monkeypatch):
    commit, count = shards.Shard.commit, []

    def full(self):
        count.append(1)
        if len(count) == 3:
            raise OSError(28, "No space left on device")
        return commit(self)

    monkeypatch.setattr(shards.Shard, "commit", full)
    with pytest.raises(DataError, match=r"No space left on device.*what was finished is kept"):
        build(Folder(root, channels=1), size=16)
    cohort = Folder(root, channels=1)
    assert len(build(cohort, size=16)) == 6
    assert len(cohort.decoded) == 2


def test_data_that_cannot_be_written_to_asks_for_another_folder(root, tmp_path_factory):
    (root / ".sidelight").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot be written.*--cache FOLDER"):
        build(Folder(root), size=16)
    elsewhere = tmp_path_factory.mktemp("cache")
    built = build(Folder(root), size=16, folder=elsewhere)
    assert built.folder.parent == elsewhere
    np.testing.assert_array_equal(built.read(0, [0]), expected(0))


def test_read_only_data_is_never_written_to_not_even_by_root(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("cache")
    root.chmod(0o555)
    try:
        with pytest.raises(DataError, match=r"cannot be written.*read-only"):
            build(Folder(root), size=16)
        assert len(build(Folder(root), size=16, folder=elsewhere)) == 6
        assert sorted(path.name for path in root.iterdir()) == ["p0", "p1", "p2"]
    finally:
        root.chmod(0o755)


class Phantom:
    name, channels, hash = "phantom", 1, "f" * 16
    root = Path("phantom")
    phantom = "speckle"
    spec = CohortSpec()
    items = pd.DataFrame({"item": ["a", "b"], "files": [(), ()], "group": ["a", "b"]})
    levels, views, key = (), pd.Series(["", ""]), Cohort.key

    def read(self, position, **_):
        if position:
            frames, times = image(3, (9, 40, 40)).astype(np.uint16) * 100, np.arange(9) / 10
        else:
            frames, times = image(4, (5, 40, 40)), np.arange(5) / 10
        return Clip(frames, times, np.arange(len(frames)) * 2, 2 * len(frames))


def test_phantoms_are_cached_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = build(Phantom(), size=16)
    assert built.folder.parent == tmp_path / "sidelight"
    assert [built.frames_of(0), built.frames_of(1)] == [5, 9]
    np.testing.assert_allclose(built.times(1), np.arange(9) / 10)
    assert built.numbers(1).tolist() == list(range(0, 18, 2))
    assert build(Phantom(), size=16).hash == built.hash


def test_eight_and_sixteen_bits_meet_in_one_batch(tmp_path):
    built = build(Phantom(), size=16, folder=tmp_path)
    assert (built.read(0, [1]).dtype, built.read(1, [1]).dtype) == (np.uint8, np.uint16)
    assert built.batch([0, 0], [1, 2]).dtype == np.uint8
    both = built.batch([0, 1], [4, 8])
    assert both.dtype == np.uint16
    np.testing.assert_array_equal(both[0], built.read(0, [4])[0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(both[1], built.read(1, [8])[0])
    with pytest.raises(IndexError):
        built.read(0, [5])


def test_reading_is_a_copy_survives_pickling_and_holds_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "OPEN_SHARDS", 1)
    built = build(Phantom(), size=16, folder=tmp_path)
    before = built.read(0, [0, 4])
    before[:] = 0
    assert built.read(0, [0, 4]).any()
    copy = pickle.loads(pickle.dumps(built))
    for row in (0, 1, 0):
        np.testing.assert_array_equal(copy.read(row, [0, 3]), built.read(row, [0, 3]))
        assert len(copy._maps) == 1


def test_working_size_in_every_combination():
    colour = image(1, (2, 20, 30, 3))
    one = at_working_size(colour, 10, 1)
    assert (one.shape, one.dtype, one.flags.c_contiguous) == ((2, 1, 10, 10), np.uint8, True)
    three = at_working_size(colour, 10, 3)
    assert (three.shape, three.flags.c_contiguous) == ((2, 3, 10, 10), True)
    np.testing.assert_array_equal(at_working_size(one[:, 0], 10, 3), np.repeat(one, 3, axis=1))
    for frames, channels in ((colour, 3), (colour, 1), (colour[..., 0], 1)):
        deep = at_working_size(frames.astype(np.uint16) * 257, 10, channels)
        assert deep.dtype == np.uint16
        assert np.abs(deep / 257 - at_working_size(frames, 10, channels)).max() <= 2


def test_grey_values_are_spread_evenly():
    """By hand: of four pixels half are 0, a quarter 4, a quarter 9; in 16 bits the same shares."""
    few = np.array([[[0, 0], [4, 9]]], np.uint8)
    assert equalized(few).tolist() == [[[128, 128], [191, 255]]]
    assert equalized(few.astype(np.uint16) * 100).tolist() == [[[32768, 32768], [49151, 65535]]]
    ramp = np.random.default_rng(0).integers(40, 90, (2, 50, 60)).astype(np.uint8)
    spread = equalized(ramp)
    assert spread.dtype == np.uint8 and abs(spread.mean() - 130) < 3 and spread.std() > 70
    np.testing.assert_array_equal(equalized(spread), equalized(equalized(spread)))
    assert equalized(np.stack([ramp] * 3, axis=-1)).shape == ramp.shape


def test_equalized_pixels_are_others_and_known_to_be(tmp_path):
    for place in range(3):
        Image.fromarray(image(place) // 4).save(tmp_path / f"{place}.png")
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"\n[images]\nchannels = 1\n')
    plain = Cohort.open(tmp_path)
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"\n[images]\nchannels = 1\nequalize = true\n')
    spread = Cohort.open(tmp_path)
    first, second = build(plain, size=16), build(spread, size=16)
    assert first.folder != second.folder and plain.hash != spread.hash
    assert first.read(0, [0]).max() < 64 < second.read(0, [0]).max()
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"\n[images]\nequalize = true\n')
    with pytest.raises(ConfigError, match="equalize = true needs channels = 1"):
        Cohort.open(tmp_path)


def test_downscaling_is_antialiased():
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[:, :, ::2] = 255
    inner = at_working_size(stripes, 16, 1)[..., 2:-2]
    assert np.abs(inner.astype(int) - 127).max() < 8


def test_tints_are_grey_and_colour_is_not():
    base = image(2, (1, 20, 20)).astype(int)
    tinted = np.clip(np.stack([base - 10, base, base + 10], axis=-1), 0, 255).astype(np.uint8)
    assert is_grey(tinted)
    doppler = tinted.copy()
    doppler[:, :6, :6] = [200, 20, 20]
    assert not is_grey(doppler)
    assert not is_grey(doppler.astype(np.uint16) * 257)


def test_hints_reach_a_cohort_that_understands_them(root):
    seen = []

    class Hinted(Folder):
        def read(self, position, *, max_frames, channels=None, target=None, ask=None):
            seen.append((max_frames, channels, target))
            return super().read(position, max_frames=max_frames)

    build(Hinted(root, channels=1), size=16, max_frames=5)
    assert seen == [(5, 1, 16)] * 6


def test_progress_announces_the_size(root, capsys):
    build(Folder(root, channels=1), size=16, progress=True)
    assert "Pixel cache: 6 items, about 0 MB in" in " ".join(capsys.readouterr().err.split())


def test_real_clips(real_data, tmp_path):
    source = real_data / "covid19_ultrasound" / "data" / "pocus_videos" / "convex"
    if not source.is_dir():
        pytest.skip(f"no covid19_ultrasound in {real_data}")
    pytest.importorskip("av", reason="needs the extra 'video'")
    for number, name in enumerate(["Pneu-Atlas-pneumonia.gif", "Pneu_liftl_pneu_case3_clip3.mp4"]):
        (tmp_path / f"p{number}").mkdir()
        os.symlink(source / name, tmp_path / f"p{number}" / name)
    built = build(Folder(tmp_path), size=32, max_frames=16)
    assert (built.channels, built.index["length"].tolist(), built.index["frames"].tolist()) == (1, [59, 25], [16, 16])
    assert built.numbers(0)[[0, -1]].tolist() == [0, 58]


def spoilt(home, name="*.bin"):
    """The first shard with its first bytes set to 0."""
    shard = sorted(home.glob(name))[0]
    raw = bytearray(shard.read_bytes())
    raw[:20] = bytes(20)
    shard.write_bytes(raw)
    return shard


def test_pixels_that_are_not_what_was_stored_are_said_and_decoded_again(root, capsys):
    folder = Folder(root)
    first = build(folder, size=16)
    whole = [first.read(row, [0]) for row in range(len(first))]
    spoilt(first.folder)
    folder.decoded.clear()
    again = build(folder, size=16)
    assert "1 items of the pixel cache" in capsys.readouterr().err and len(folder.decoded) == 1
    assert again.hash == first.hash
    np.testing.assert_array_equal([again.read(row, [0]) for row in range(len(again))], whole)
    folder.decoded.clear()
    build(folder, size=16)
    assert not folder.decoded and not capsys.readouterr().err


def test_verify_finds_what_a_disk_did_behind_the_clock(root, capsys):
    """Size and time of the file are what they were, so that only reading all of it tells."""
    folder = Folder(root)
    home = build(folder, size=16).folder
    assert verify(folder) == [f"{home}: 6 items, all as they were stored"]
    stat = sorted(home.glob("*.bin"))[0].stat()
    shard = spoilt(home)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    build(folder, size=16)
    assert not capsys.readouterr().err
    (said,) = verify(folder)
    assert "1 of 6 items damaged; deleted are 1 file" in said and not shard.exists()
    folder.decoded.clear()
    assert len(build(folder, size=16)) == 6 and len(folder.decoded) == 2


@pytest.mark.parametrize(
    "text", ["[1]", "{", "[" * 100_000, '{"salt": "xyz"}', '{"salt": "ab", "channels": 7}', "\xff"]
)
def test_a_damaged_header_of_a_cache_makes_it_anew(root, text):
    folder = Folder(root)
    first = build(folder, size=16)
    (first.folder / "header.json").write_bytes(text.encode("latin-1"))
    assert build(folder, size=16).hash == first.hash
    (first.folder / "header.json").write_bytes(text.encode("latin-1"))
    assert forget(first.folder, "p0") > 0 and not list(first.folder.glob("*.bin"))
