"""Masks and boxes in pixels of the source and of the cache: borders, both fits, series of which some frames are kept."""

import json

import numpy as np
import pytest
from PIL import Image

from sidelight.data.annotations import Misdrawn, annotations_of
from sidelight.data.annotations.drawn import Shape
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.errors import ConfigError, DataError, ReadError

HEIGHT, WIDTH = 60, 100
TOML = """
files  = "images/{image}.png"
[images]
channels = 1
%s
[task.spot]
mask = "masks/{stem}.png"
[task.box]
boxes = "coco.json"
"""


@pytest.fixture
def folder(tmp_path):
    """Dark images with one bright rectangle each, its mask and its box."""
    rng, said = np.random.default_rng(0), {"images": [], "categories": [{"id": 1, "name": "spot"}], "annotations": []}
    for number in range(3):
        x, y, w, h = 15 + 20 * number, 10 + 5 * number, 20, 25
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y : y + h, x : x + w] = 255
        values = np.where(mask > 0, 230, 20) + rng.integers(0, 20, mask.shape)
        for place, array in (("images", values.astype(np.uint8)), ("masks", mask)):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / place / f"{number}.png")
        said["images"].append({"id": number, "file_name": f"{number}.png"})
        said["annotations"].append({"image_id": number, "category_id": 1, "bbox": [x, y, w, h]})
    (tmp_path / "coco.json").write_text(json.dumps(said))
    return tmp_path


def opened(folder, images=""):
    (folder / "cohort.toml").write_text(TOML % images)
    cohort = Cohort.open(folder)
    pixels = build(cohort, size=64, folder=folder / "cache")
    return cohort, pixels


@pytest.mark.parametrize("images", ["", 'fit = "pad"', "crop = 5", 'crop = 5\nfit = "pad"'])
def test_masks_and_boxes_lie_on_what_the_cache_shows(folder, images):
    cohort, pixels = opened(folder, images)
    masks, boxes = annotations_of(cohort, "spot"), annotations_of(cohort, "box")
    for row in range(3):
        shown = pixels.read(row, [0])[0, 0] > 128
        mask = masks.masks_in(pixels, row)
        assert mask.shape == (1, 1, 64, 64)
        assert (shown & mask[0, 0]).sum() / (shown | mask[0, 0]).sum() > 0.85
        box = boxes.boxes_in(pixels, row)
        rows, columns = np.nonzero(shown)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.label.tolist() == [0] and box.corners[0].tolist() == pytest.approx(seen, abs=1)
        place, border = boxes.placement(pixels, row), 5 * ("crop" in images)
        assert place.boxes_out(box.corners)[0] == pytest.approx(
            np.array([15 + 20 * row, 10 + 5 * row, 35 + 20 * row, 35 + 5 * row]) - border
        )
        assert place.source == (HEIGHT - 2 * border, WIDTH - 2 * border)
        assert masks.masks(row).shape == (1, 1, *place.source)


def test_the_index_knows_sizes_and_an_older_one_does_not(folder):
    cohort, pixels = opened(folder)
    assert pixels.index[["height", "width"]].to_numpy().tolist() == [[HEIGHT, WIDTH]] * 3
    known = annotations_of(cohort, "spot").masks_in(pixels, 0)
    pixels.index.loc[:, ["height", "width"]] = 0
    assert np.array_equal(annotations_of(cohort, "spot").masks_in(pixels, 0), known)
    with pytest.raises(DataError, match="before it knew how large"):
        pixels.placement(0)


def test_a_file_that_is_decoded_coarsely_has_the_size_of_its_source(tmp_path):
    ramp = np.tile(np.arange(1200, dtype=np.float64) / 5, (900, 1)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    image = Image.fromarray(ramp)
    image.save(tmp_path / "images" / "a.jpg")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "images" / "b.jpg", exif=exif)
    (tmp_path / "cohort.toml").write_text('files = "images/{image}.jpg"')
    cohort = Cohort.open(tmp_path)
    assert cohort.read(0, max_frames=1, target=64).frames.shape[1] < 900
    pixels = build(cohort, size=64, channels=1, folder=tmp_path / "cache")
    assert pixels.index[["height", "width"]].to_numpy().tolist() == [[900, 1200], [1200, 900]]


def test_of_a_series_the_masks_of_the_kept_slices(tmp_path):
    rng = np.random.default_rng(0)
    label = np.zeros((9, 20, 30), np.uint8)
    for at in range(9):
        label[at, :, : 2 + at] = 1 + at % 2
    np.savez(tmp_path / "p1.npz", image=rng.integers(0, 255, label.shape).astype(np.uint8), label=label)
    (tmp_path / "cohort.toml").write_text(
        'files = "{patient}.npz::image"\n[task.organ]\nmask = "{patient}.npz::label"\nclasses = {1 = "even", 2 = "odd"}'
    )
    cohort = Cohort.open(tmp_path)
    pixels = build(cohort, size=40, channels=1, max_frames=3, folder=tmp_path / "cache")
    found = annotations_of(cohort, "organ")
    assert found.masks(0).shape == (9, 2, 20, 30) and found.shape(0) == Shape(9, 20, 30)
    assert pixels.numbers(0).tolist() == [0, 4, 8]
    kept = found.masks_in(pixels, 0)
    assert kept.shape == (3, 2, 40, 40) and not kept[:, 1].any()
    assert kept[:, 0].mean((1, 2)) == pytest.approx(np.array([2, 6, 10]) / 30, abs=0.03)
    assert np.array_equal(found.masks_in(pixels, 0, [2]), kept[2:])


def test_a_phantom_knows_its_truth(tmp_path):
    cohort = Cohort.open("phantom:chest?patients=6&size=48")
    masks, boxes = annotations_of(cohort, "finding_masks"), annotations_of(cohort, "finding_boxes")
    assert masks.positions == list(range(len(cohort.items)))
    seen = 0
    for position in masks.positions:
        truth, found = masks.masks(position)[0], boxes.boxes(position)
        assert truth.shape == (4, 48, 48)
        assert set(np.flatnonzero(truth.any((1, 2)))) == set(found.label.tolist())
        for label, (x0, y0, x1, y1) in zip(found.label, found.corners.astype(int), strict=True):
            assert truth[label, y0:y1, x0:x1].any((0,)).all() or truth[label, y0:y1, x0:x1].any((1,)).all()
            seen += 1
    assert seen > 3


def test_what_is_not_known_and_what_is_no_mask(folder):
    (folder / "masks" / "1.png").unlink()
    cohort, _ = opened(folder)
    found = annotations_of(cohort, "spot")
    assert found.positions == [0, 2]
    with pytest.raises(ReadError, match="does not know what is drawn"):
        found.masks(1)
    with pytest.raises(ConfigError, match="asks for classes"):
        annotations_of(Cohort.open("phantom:chest?patients=2&size=32"), "diagnosis")


def test_limits_before_a_mask_is_made(folder, monkeypatch):
    cohort, _ = opened(folder)
    monkeypatch.setattr("sidelight.data.annotations.annotations.MOST_BYTES", 1000)
    with pytest.raises(Misdrawn, match="masks of 6,000 bytes, more than the limit of 1,000"):
        annotations_of(cohort, "spot").masks(0)


def test_another_fit_is_another_cache_and_another_cohort(folder):
    squashed, padded = opened(folder), opened(folder, 'fit = "pad"')
    assert squashed[1].folder != padded[1].folder and squashed[0].hash != padded[0].hash
    assert (squashed[1].fit, padded[1].fit) == ("squash", "pad")
    frame = padded[1].read(0, [0])[0, 0]
    assert not frame[:13].any() and not frame[-13:].any() and frame[13:51].any(axis=1).all()
