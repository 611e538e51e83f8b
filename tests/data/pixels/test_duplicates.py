import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.pixels.cache import build
from sidelight.data.pixels.duplicates import duplicate_items, merge_groups, near_duplicates, perceptual_hash
from sidelight.data.read import Clip


def scene(seed, size=128):
    """Smooth structure, speckle, and the fan that all convex ultrasound shares."""
    rng = np.random.default_rng(seed)
    tissue = Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    speckle = np.asarray(Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).filter(ImageFilter.BoxBlur(1)))
    y, x = np.mgrid[0:size, 0:size] / size
    fan = np.abs(x - 0.5) < 0.2 + 0.3 * y
    return (fan * (0.7 * np.asarray(tissue) + 0.3 * speckle)).astype(np.uint8)


def jpeg(array, quality):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resize(array, size):
    return np.asarray(Image.fromarray(array).resize((size, size), Image.Resampling.BICUBIC))


def bits(left, right):
    pair = np.concatenate([perceptual_hash(left[None]), perceptual_hash(right[None])])
    return int(np.bitwise_count(pair[0] ^ pair[1]).sum())


SCENES = np.stack([scene(seed) for seed in range(40)])


def test_the_hash_is_256_bits_and_forgets_scale_and_offset():
    hashes = perceptual_hash(SCENES)
    assert (hashes.shape, hashes.dtype) == ((40, 32), np.uint8)
    np.testing.assert_array_equal(perceptual_hash(SCENES.astype(np.uint16) * 257), hashes)
    assert perceptual_hash(SCENES[:0]).shape == (0, 32)


def test_a_cosine_sets_the_bit_of_its_frequency():
    y, x = np.mgrid[0:64, 0:64] + 0.5
    wave = np.cos(np.pi * 3 * y / 64) * np.cos(np.pi * 5 * x / 64)
    for sign in (1, -1):
        bits = np.unpackbits(perceptual_hash(128 + sign * 100 * wave[None])).reshape(16, 16)
        assert bits[3, 5] == (sign == 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a,
        lambda a: jpeg(a, 60),
        lambda a: resize(a, 90),
        lambda a: jpeg(resize(a, 64), 75),
        lambda a: (a * 0.7 + 20).astype(np.uint8),
    ],
    ids=["copy", "jpeg", "resized", "halved and jpeg", "contrast"],
)
def test_copies_are_near_and_other_scenes_are_far(change):
    changed = np.concatenate([perceptual_hash(change(image)[None]) for image in SCENES])
    pairs = near_duplicates(np.concatenate([perceptual_hash(SCENES), changed]))
    assert pairs == [(k, k + 40) for k in range(40)]


def test_near_duplicates_agrees_with_counting_bits_in_any_block():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (50, 32), np.uint8)
    hashes[7] = hashes[31] ^ np.eye(1, 32, 3, dtype=np.uint8)[0]
    by_hand = [
        (i, j) for i in range(50) for j in range(i + 1, 50) if np.bitwise_count(hashes[i] ^ hashes[j]).sum() <= 120
    ]
    assert (7, 31) in by_hand
    assert len(by_hand) > 10
    for block in (1, 7, 1024):
        assert near_duplicates(hashes, 120, block=block) == by_hand
    assert near_duplicates(hashes, 1) == [(7, 31)]
    assert near_duplicates(hashes, 0) == []


class Clips:
    """Item k shows scenes ``shown[k]``."""

    name, channels, hash, phantom = "clips", 1, "0" * 16, "scenes"

    def __init__(self, root, shown):
        self.root, self.shown = root, shown
        names = [f"i{k}" for k in range(len(shown))]
        self.items = pd.DataFrame({"item": names, "files": [()] * len(shown), "group": names})
        self.spec, self.levels, self.views = CohortSpec(), (), pd.Series([""] * len(shown))

    key = Cohort.key

    def read(self, position, **_):
        frames = np.stack([np.asarray(one, np.uint8) for one in self.shown[position]])
        return Clip(frames, np.arange(len(frames)) / 25, np.arange(len(frames)), len(frames))


def test_items_are_compared_by_pixels_and_by_first_middle_and_last_frame(tmp_path):
    black = np.zeros((128, 128))
    shown = [
        [SCENES[0], SCENES[1], SCENES[2]],
        [SCENES[3], SCENES[4], jpeg(SCENES[1], 70)],  # its last is the middle of the first
        [SCENES[0], SCENES[1], SCENES[2]],  # the first again
        [black, SCENES[5], SCENES[6]],  # a fade
        [black, SCENES[7], black + (np.arange(128) == 0)],  # another: not evidence
        [SCENES[8]],
        [resize(SCENES[8], 100)],
    ]
    for channels in (1, 3):
        pixels = build(Clips(tmp_path, shown), size=64, channels=channels, folder=tmp_path)
        assert duplicate_items(pixels) == [(0, 1), (0, 2), (1, 2), (5, 6)]


def test_equal_pixels_count_even_where_frames_are_blank(tmp_path):
    faint = np.zeros((64, 64))
    faint[5, 5] = 9
    pixels = build(Clips(tmp_path, [[faint], [SCENES[0]], [faint]]), size=64, folder=tmp_path)
    assert duplicate_items(pixels) == [(0, 2)]


def test_merged_groups_take_the_smallest_name():
    groups = ["c", "a", "b", "c", "d", "e"]
    assert merge_groups(groups, []) == groups
    assert merge_groups(groups, [(0, 2)]) == ["b", "a", "b", "b", "d", "e"]
    assert merge_groups(groups, [(4, 5), (3, 2), (2, 1)]) == ["a", "a", "a", "a", "d", "d"]
    assert merge_groups(groups, [(2, 1), (4, 5), (0, 3), (3, 2)]) == ["a", "a", "a", "a", "d", "d"]


def test_frames_of_different_phantoms_are_no_duplicates():
    from sidelight.data.cohort.cohort import Cohort

    cohort = Cohort.open("phantom:ultrasound?patients=8&seed=1")
    firsts = cohort.items.drop_duplicates("group").index
    frames = np.stack([cohort.read(int(k), max_frames=1).frames[0] for k in firsts])
    assert near_duplicates(perceptual_hash(frames)) == []


def test_the_still_saved_under_two_patients_is_found(real_data):
    root = real_data / "covid19_ultrasound" / "data" / "pocus_images" / "convex"
    if not root.is_dir():
        pytest.skip(f"no covid19_ultrasound in {real_data}")
    from sidelight.data.read import read_files

    paths = sorted(root.iterdir())
    hashes = [perceptual_hash(read_files([path], max_frames=1, channels=1, target=112).frames) for path in paths]
    found = {(paths[i].name, paths[j].name) for i, j in near_duplicates(np.concatenate(hashes))}
    assert ("Pneu_northumbria_0409_set4_img2.jpg", "Pneu_northumbria_0409_set6_img6.jpg") in found
