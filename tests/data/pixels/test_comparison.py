"""Copies are the same whatever the working size, and small sources are compared by equal pixels alone."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

import sidelight
from sidelight.data.pixels.cache import build, caches
from sidelight.data.pixels.comparison import copies_between, copies_within


def scene(seed: int, size: int = 140) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).filter(ImageFilter.BoxBlur(1))
    return Image.blend(coarse, fine, 0.4)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twelve scenes; the last two are the first again, as JPEG, and the second, mirrored. The same twice, of 40 pixels."""
    root = tmp_path_factory.mktemp("scenes")
    shown = [scene(seed) for seed in range(10)]
    for number, image in enumerate([*shown, shown[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT)]):
        image.save(root / f"{number:02}.png")
    shown[0].save(root / "11.jpg", quality=60)
    small = shown[2].resize((40, 40))
    small.save(root / "12.png")
    small.save(root / "13.png")
    small.filter(ImageFilter.GaussianBlur(0.3)).save(root / "14.png")
    (root / "cohort.toml").write_text('files = "{n}.*"')
    return sidelight.Cohort.open(root)


def test_two_working_sizes_have_the_same_copies(cohort, tmp_path):
    found = [copies_within(cohort, build(cohort, size=size, folder=tmp_path)) for size in (16, 80)]
    assert found[0] == found[1] == [(0, 11, False), (1, 10, False), (12, 13, True)]
    assert [one.size for one in caches(cohort, tmp_path)] == [16, 80, 128]


def test_copies_between_two_cohorts_lie_in_their_own_caches(cohort, tmp_path):
    scene(3).save(tmp_path / "0.png")
    scene(99).save(tmp_path / "1.png")
    (tmp_path / "cohort.toml").write_text('files = "{n}.png"')
    other = sidelight.Cohort.open(tmp_path)
    here, there = build(cohort, size=16, folder=tmp_path / "cache"), build(other, size=16)
    assert copies_between(cohort, here, other, there) == [("03.png", "0.png", True)]
    assert [one.size for one in caches(other)] == [16, 128]
