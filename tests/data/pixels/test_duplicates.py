import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.pixels.cache import build
from sidelight.data.pixels.duplicates import (
    LEAST,
    MOST,
    copies_across,
    duplicate_items,
    least_similarity,
    merge_groups,
    merging,
)
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


SCENES = np.stack([scene(seed) for seed in range(24)])
COPIES = {
    "jpeg 20": lambda a: jpeg(a, 20),
    "half size": lambda a: resize(a, 64),
    "contrast": lambda a: (a * 0.7 + 20).astype(np.uint8),
    "gamma": lambda a: (255 * (a / 255) ** 1.6).astype(np.uint8),
    "mirrored": lambda a: a[:, ::-1],
    "turned": lambda a: np.rot90(a),
    "turned and mirrored": lambda a: np.rot90(a, 3)[:, ::-1],
    "negative": lambda a: 255 - a,
    "border": lambda a: np.pad(a, 10, constant_values=255),
    "cropped": lambda a: a[12:-12, 12:-12],
    "mirrored, cropped, jpeg": lambda a: jpeg(np.ascontiguousarray(a[6:-6, -7:6:-1]), 60),
}


class Clips:
    """Item k shows scenes ``shown[k]``."""

    name, channels, hash, phantom = "clips", 1, "0" * 16, "scenes"

    def __init__(self, root, shown, groups=None):
        self.root, self.shown = root, shown
        names = [f"i{k}" for k in range(len(shown))]
        self.items = pd.DataFrame({"item": names, "files": [()] * len(shown), "group": groups or names})
        self.spec, self.levels, self.views = CohortSpec(), (), pd.Series([""] * len(shown))

    key = Cohort.key

    def read(self, position, **_):
        frames = np.stack([np.asarray(one, np.uint8) for one in self.shown[position]])
        return Clip(frames, np.arange(len(frames)) / 25, np.arange(len(frames)), len(frames))


def pixels_of(folder, shown, size=96, groups=None, **more):
    return build(Clips(folder, shown, groups), size=size, folder=folder, **more)


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found_and_nothing_else(tmp_path, kind):
    shown = [[one] for one in [*SCENES, *map(COPIES[kind], SCENES[:8])]]
    assert duplicate_items(pixels_of(tmp_path, shown)) == [(k, k + 24) for k in range(8)]


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
        pixels = pixels_of(tmp_path, shown, channels=channels)
        assert duplicate_items(pixels) == [(0, 1), (0, 2), (1, 2), (5, 6)]


def test_within_a_group_only_equal_pixels_count(tmp_path):
    shown = [[SCENES[0]], [jpeg(SCENES[0], 50)], [SCENES[0]], [SCENES[1]]]
    pixels = pixels_of(tmp_path, shown, groups=["a", "a", "a", "b"])
    assert duplicate_items(pixels) == [(0, 2)]


def test_equal_pixels_count_even_where_frames_are_blank(tmp_path):
    faint = np.zeros((64, 64))
    faint[5, 5] = 9
    assert duplicate_items(pixels_of(tmp_path, [[faint], [SCENES[0]], [faint]], size=64)) == [(0, 2)]


def test_the_answer_is_kept_beside_the_pixels(tmp_path):
    pixels = pixels_of(tmp_path, [[SCENES[0]], [SCENES[0][:, ::-1]], [SCENES[1]]])
    found = duplicate_items(pixels)
    kept = list((pixels.folder / "copies").iterdir())
    assert len(kept) == 1 and duplicate_items(pixels) == found == [(0, 1)]


def test_copies_of_another_cohort(tmp_path):
    here = pixels_of(tmp_path / "a", [[one] for one in SCENES[:12]])
    there = pixels_of(tmp_path / "b", [[SCENES[12]], [jpeg(SCENES[3], 90)], [SCENES[5]], [SCENES[13]], [SCENES[13]]])
    assert copies_across(here, there) == [(3, 1), (5, 2)]  # and not the pair within the other cohort


def test_from_which_similarity_on_follows_the_cohort():
    rng = np.random.default_rng(0)
    far, near = np.tanh(rng.normal(0.1, 0.1, 300)), np.tanh(rng.normal(1.0, 0.13, 300))
    assert least_similarity(far) == LEAST == least_similarity(near[:5])
    # median 1.0 and 5 x 0.13 on Fisher's z
    assert least_similarity(near) == pytest.approx(np.tanh(1.65), abs=0.02)
    assert least_similarity(np.concatenate([near, np.full(60, 0.99)])) == pytest.approx(np.tanh(1.8), abs=0.03)
    assert least_similarity(np.full(300, 0.99)) == MOST


def test_merged_groups_take_the_smallest_name():
    groups = ["c", "a", "b", "c", "d", "e"]
    assert merge_groups(groups, []) == groups
    assert merge_groups(groups, [(0, 2)]) == ["b", "a", "b", "b", "d", "e"]
    assert merge_groups(groups, [(4, 5), (3, 2), (2, 1)]) == ["a", "a", "a", "a", "d", "d"]
    assert merge_groups(groups, [(2, 1), (4, 5), (0, 3), (3, 2)]) == ["a", "a", "a", "a", "d", "d"]


def test_merging_that_joins_many_is_suspicious():
    groups = [f"{k:03}" for k in range(100)]
    for pairs, expected in [
        ([], (100, 100, 1, False)),
        ([(0, 1)], (100, 99, 2, False)),
        ([(0, 1), (1, 2)], (100, 98, 3, False)),
        ([(0, 1), (1, 2), (2, 3)], (100, 97, 4, True)),
        ([(0, 1), (2, 3), (4, 5)], (100, 97, 2, True)),
    ]:
        found = merging(groups, merge_groups(groups, pairs))
        assert (found.before, found.after, found.largest, found.suspicious) == expected
    assert not merging(["a", "b", "a"], ["a", "a", "a"]).suspicious  # one pair of few groups


def test_a_clean_cohort_of_standardised_views_keeps_its_groups(tmp_path):
    """Films of 30 phantom patients in one position; one mirrored JPEG copy and its copy join their three groups, no more."""
    cohort = Cohort.open("phantom:chest?patients=30")
    firsts = [cohort.read(int(k), max_frames=1).frames[:1] for k in cohort.items.drop_duplicates("group").index]
    assert duplicate_items(pixels_of(tmp_path, firsts)) == []
    copy = jpeg(np.ascontiguousarray(firsts[7][0][:, ::-1]), 90)
    chain = pixels_of(tmp_path, [*firsts, [copy], [jpeg(copy, 70)]])
    merged = merge_groups([str(k) for k in range(32)], duplicate_items(chain))
    assert merged[7] == merged[30] == merged[31] and len(set(merged)) == 30


def test_the_edge_of_a_round_field_makes_no_copies(tmp_path):
    """Smooth skin with another lesion each, seen through one dermatoscope: its edge is the sharpest thing in all of them."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    field, shown = np.hypot(x, y) < 0.97, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        skin = np.asarray(
            Image.fromarray(rng.integers(0, 256, (128, 128), np.uint8)).filter(ImageFilter.GaussianBlur(2))
        )
        lesion = 90 * (np.hypot(x - rng.uniform(-0.1, 0.1), y) < rng.uniform(0.15, 0.25))
        shown.append([(field * (130 + 0.25 * skin - lesion)).astype(np.uint8)])
    assert duplicate_items(pixels_of(tmp_path, [*shown, [jpeg(shown[0][0], 80)]])) == [(0, 12)]


def test_the_still_saved_under_two_patients_is_found(tmp_path, real_data):
    root = real_data / "covid19_ultrasound" / "data" / "pocus_images" / "convex"
    if not root.is_dir():
        pytest.skip(f"no covid19_ultrasound in {real_data}")
    from sidelight.data.read import read_files

    paths = sorted(root.iterdir())
    pixels = pixels_of(tmp_path, [read_files([path], max_frames=1, channels=1).frames for path in paths])
    found = {(paths[i].name, paths[j].name) for i, j in duplicate_items(pixels)}
    assert ("Pneu_northumbria_0409_set4_img2.jpg", "Pneu_northumbria_0409_set6_img6.jpg") in found
