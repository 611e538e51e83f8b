"""A model of masks or boxes applied to new images: rows, and files in pixels of the sources."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import sidelight
from sidelight.commands.predict_files import FoundFiles
from sidelight.data.annotations import annotations_of
from sidelight.data.annotations.coco import coco_of, read_coco
from sidelight.data.annotations.mask_files import read_values
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.errors import ConfigError, DataError, RunError, SidelightError
from sidelight.evaluation.model.model import Model, read_model
from sidelight.evaluation.model.where import Found
from sidelight.evaluation.units import Units
from sidelight.train.device import place

QUICK = {"seeds": 1, "folds": 2, "resamples": 100, "device": "cpu", "image_size": 32, "random": True, "quiet": True}
UNET = {"steps": 30, "rates": [3e-3], "batch_size": 4, "checks": 1, "patience": None}
HEIGHT, WIDTH = 36, 48


def write_discs(folder, patients, *, seed, frames=1):
    """Bright discs with their masks: PNG of stills, arrays of series, whose last frame has none."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(patients):
        middle = rng.integers(10, HEIGHT - 10), rng.integers(10, WIDTH - 10)
        mask = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= 64
        masks = np.stack([mask] * (frames - 1) + [mask & (frames == 1)])
        images = (rng.uniform(0, 60, masks.shape) + 170 * masks).astype(np.uint8)
        for kind, values in (("images", images), ("masks", masks.astype(np.uint8))):
            path = folder / kind / f"p{number:02d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if frames == 1:
                Image.fromarray(values[0] * (1 if kind == "images" else 255)).save(f"{path}.png")
            else:
                np.save(path, values)
    suffix = "png" if frames == 1 else "npy"
    (folder / "cohort.toml").write_text(
        f'files = "images/{{patient}}.{suffix}"\nlevels = ["patient"]\n[images]\nfit = "pad"\n'
        f'[task.disc]\nmask = "masks/{{patient}}.{suffix}"\n'
    )
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The folder, the results, and the model as it was before it was saved."""
    here, out, kept = write_discs(tmp_path_factory.mktemp("here"), 12, seed=0), tmp_path_factory.mktemp("out"), []
    plain = Model.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "save", lambda model, folder: (kept.append(model), plain(model, folder))[1])
        results = sidelight.evaluate("test_resnet", here, "disc", "segment_unet", out=out, segment_unet=UNET, **QUICK)
    return out, results, kept[0]


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("new"), 3, seed=1)


def predicted(model, data, *more, **given):
    return sidelight.predict(model, data, *more, device="cpu", quiet=True, other_kind=True, **given)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_masks_meet_the_truth_in_pixels_of_the_source_and_the_table_counts_them(judged, new, tmp_path):
    table = predicted(judged[0], new, tmp_path / "s.csv", masks=tmp_path / "m", names=True)
    assert list(table.columns[:5]) == ["unit", "name", "item", "pixels", "count"] and (table["count"] == 1).all()
    for number, pixels in enumerate(table["pixels"]):
        mask = read_values(tmp_path / "m" / "images" / f"p{number:02d}.png", "mask")[0] > 0
        truth = read_values(new / "masks" / f"p{number:02d}.png", "mask")[0] > 0
        # a shift of a whole pixel of the working size, 1.2 of the source's, leaves an IoU of 0.83 of a disc with a radius of 8
        assert mask.shape == (HEIGHT, WIDTH) and mask.sum() == pixels and iou(mask, truth) > 0.7
    again = predicted(judged[0], new, tmp_path / "s.csv", masks=tmp_path / "h")
    assert {path.stem for path in (tmp_path / "h").glob("*.png")} == set(again["unit"])
    assert "p0" not in (tmp_path / "s.csv").read_text() and not [*tmp_path.glob(".*")]


def test_what_was_saved_finds_the_same_bit_by_bit(judged, new):
    before, after = judged[2], read_model(judged[0])
    place(after.encoder, torch.device("cpu"))
    assert replace(before.facts, results=[]) == replace(after.facts, results=[])
    pixels = build(Cohort.open(new, labels=False), size=after.facts.where.size, channels=1)
    units = Units(pixels, [[row] for row in range(3)])
    first, second = (np.stack([one.masks for one in model.head.predicted(units)]) for model in (before, after))
    np.testing.assert_array_equal(first, second)
    assert np.ptp(first) > 0.5


def test_the_card_says_dice_with_its_interval(judged):
    card = (judged[0] / "card.md").read_text()
    rows = judged[1].results
    dice = rows[(rows["metric"] == "dice") & (rows["selected_on"] == "validation")].iloc[0]
    assert f"| disc | dice | {dice['value']:.3f} | {dice['low']:.3f} to {dice['high']:.3f} |" in card
    assert "masks of disc" in card and "A pixel belongs to a mask from a probability of 0.5 on" in card
    assert "Temperature" not in card and "at 40 x 40 pixels" in card


def test_an_image_that_cannot_be_read_has_a_row_and_no_mask(judged, new, tmp_path):
    folder = shutil.copytree(new, tmp_path / "data", ignore=shutil.ignore_patterns(".sidelight"))
    (folder / "images" / "p01.png").write_bytes(b"broken")
    table = predicted(judged[0], folder, masks=tmp_path / "m")
    assert table["pixels"].isna().tolist() == [False, True, False] and table["missing"].iloc[1] == "no readable image"
    assert len([*(tmp_path / "m").glob("*.png")]) == 2


def test_what_does_not_fit_is_refused_before_anything_is_written(judged, new, tmp_path):
    with pytest.raises(ConfigError, match=r"--boxes of a model that finds masks.*--masks FOLDER"):
        predicted(judged[0], new, boxes=tmp_path / "b.json")
    with pytest.raises(ConfigError, match=r"3 of 3 items of .* are no DICOM files"):
        predicted(judged[0], new, tmp_path / "s.csv", masks=tmp_path / "m", mask_format="dicom-seg")
    with pytest.raises(ConfigError, match=r"--mask-format 'pgn'.*png"):
        predicted(judged[0], new, masks=tmp_path / "m", mask_format="pgn")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("")
    with pytest.raises(ConfigError, match=r"m is not empty.*--force"):
        predicted(judged[0], new, masks=tmp_path / "m")
    predicted(judged[0], new, masks=tmp_path / "m", force=True)
    assert len([*(tmp_path / "m").glob("[!.]*")]) == 4
    many = write_discs(tmp_path / "many", 5, seed=4)
    predicted(judged[0], many, masks=tmp_path / "again", names=True)
    assert len([*(tmp_path / "again").rglob("*.png")]) == 5
    predicted(judged[0], new, masks=tmp_path / "again", force=True)  # none of the earlier ones stays
    assert len([*(tmp_path / "again").rglob("*.png")]) == 3 and not (tmp_path / "again" / "images").exists()
    squashed = tmp_path / "cohort.toml"
    squashed.write_text((new / "cohort.toml").read_text().replace("pad", "squash"))
    with pytest.raises(DataError, match="fit = 'squash', the model learnt from those with 'pad'"):
        sidelight.predict(judged[0], new, cohort_file=squashed, device="cpu", quiet=True)


def test_segmentation_objects_of_dicom_files_are_read_back_as_what_the_png_say(judged, tmp_path):
    pytest.importorskip("highdicom", reason="needs the extra seg")
    from pydicom.uid import generate_uid

    from dicom_writing import write

    source = write_discs(tmp_path / "png", 2, seed=3)
    for path in sorted((source / "images").iterdir()):
        ids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientID": path.stem}
        size = {"PixelSpacing": [0.5, 2]}
        values = np.asarray(Image.open(path))
        write(tmp_path / "dcm" / "img" / f"{path.stem}.dcm", values, modality="DX", **ids, **size)
    text = 'files = "img/*.dcm"\n[images]\nfit = "pad"\n'
    (tmp_path / "dcm" / "cohort.toml").write_text(text)
    table = predicted(judged[0], tmp_path / "dcm", masks=tmp_path / "dcm" / "seg", mask_format="dicom-seg")
    np.testing.assert_allclose(table["mm2"], table["pixels"].astype(float))
    plain = predicted(judged[0], tmp_path / "dcm", masks=tmp_path / "plain")
    (tmp_path / "dcm" / "cohort.toml").write_text(text + '[task.found]\nmask = "seg/*.dcm"\n')
    found = annotations_of(Cohort.open(tmp_path / "dcm"), "found")
    assert found.classes == ("disc",) and len(found.positions) == 2
    for position, unit in enumerate(plain["unit"]):
        mask = read_values(tmp_path / "plain" / f"{unit}.png", "m")[0] > 0
        np.testing.assert_array_equal(found.masks(position)[0, 0], mask)
        assert mask.any()


@pytest.mark.parametrize("name", ["model.json", "head.safetensors", "towers/image.safetensors"])
def test_damage_of_each_file_is_one_sentence(judged, tmp_path, name):
    folder = shutil.copytree(judged[0] / "model", tmp_path / "model")
    content = bytearray((folder / name).read_bytes())
    content[-9] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RunError) as error:
        read_model(folder)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("change", ["classes", "kind", "decoder"])
def test_parts_that_do_not_fit_each_other_are_one_sentence_without_hashes_too(judged, tmp_path, change):
    folder = shutil.copytree(judged[0] / "model", tmp_path / "model")
    said = json.loads((folder / "model.json").read_text())
    del said["seal"], said["files"]
    if change == "decoder":
        tensors = load_file(folder / "head.safetensors")
        name = next(one for one in tensors if one.startswith("decoder."))
        save_file({key: value for key, value in tensors.items() if key != name}, folder / "head.safetensors")
    else:
        said["where"] |= {"classes": ["a", "b"]} if change == "classes" else {"kind": "boxes"}
    (folder / "model.json").write_text(json.dumps(said))
    with pytest.raises(SidelightError) as error:
        read_model(folder)
    assert len(str(error.value).splitlines()) == 1


def test_a_series_is_judged_as_a_volume_and_has_a_mask_of_each_slice(tmp_path):
    here = write_discs(tmp_path / "here", 4, seed=2, frames=4)
    own = {**UNET, "steps": 12, "batch_size": 6}
    results = sidelight.evaluate(
        "test_resnet", here, "disc", "segment_unet", out=tmp_path / "out", segment_unet=own, **QUICK
    )
    scores = results.scores[results.scores["step"] == "selected"]
    assert len(scores) == 4
    size = read_model(tmp_path / "out").facts.where.size
    areas = [3 * 197 * (size / WIDTH) ** 2] * 4  # three discs of 197 pixels in a square of the longer side
    np.testing.assert_allclose(scores["true"], areas, rtol=0.1)
    table = predicted(tmp_path / "out", here, masks=tmp_path / "m", mask_format="png", names=True)
    files = sorted((tmp_path / "m" / "images" / "p00").iterdir())
    assert [one.name for one in files] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert sum(int((read_values(one, "m") > 0).sum()) for one in files) == table["pixels"].iloc[0]


def test_boxes_are_one_coco_file_that_is_read_back(tmp_path):
    data = Cohort.open("phantom:chest?patients=6&studies=1&size=48")
    own = {"steps": 6, "rates": [1e-3], "checks": 1, "batch_size": 4, "width": 8}
    more = {"cache": str(tmp_path / "cache"), "out": tmp_path / "out"}
    sidelight.evaluate("test_resnet", data, "finding_boxes", "detect_yolo", detect_yolo=own, **more, **QUICK)
    model = read_model(tmp_path / "out")
    assert model.facts.where.classes == data.tasks["finding_boxes"].classes
    file = tmp_path / "boxes.json"
    with pytest.raises(ConfigError, match=r"boxes are no CSV file\. Expected: a name that ends in \.json"):
        predicted(tmp_path / "out", data, boxes=tmp_path / "boxes.csv", cache=str(tmp_path / "cache"))
    table = predicted(tmp_path / "out", data, boxes=file, names=True, cache=str(tmp_path / "cache"))
    said = json.loads(file.read_text())
    counts = [name for name in table if name.startswith("count")]
    assert len(said["annotations"]) == table[counts].sum().sum() and len(said["images"]) == len(table)
    assert [one["name"] for one in said["categories"]] == list(model.facts.where.classes)
    for image in said["images"]:
        image["file_name"] = f"{image['file_name'].replace('/', '-')}.png"
        pixels = np.arange(image["width"] * image["height"]).reshape(image["height"], image["width"]) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / image["file_name"])
    file.write_text(json.dumps(said))
    (tmp_path / "cohort.toml").write_text('files = "{patient}.png"\n[task.found]\nboxes = "boxes.json"\n')
    cohort = Cohort.open(tmp_path)
    if said["annotations"]:
        found = annotations_of(cohort, "found")
        read = pd.concat([pd.DataFrame(found.boxes(at).corners) for at in found.positions])
        assert len(read) == len(said["annotations"]) and read.to_numpy().min() >= 0 and read.to_numpy().max() <= 48


def test_a_model_of_instances_gives_masks_and_the_boxes_around_them(new, tmp_path):
    here = write_discs(tmp_path / "here", 12, seed=0)
    own = {"train": "all", "warmup": 0, "steps": 30, "rates": [3e-3], "batch_size": 4, "checks": 1, "patience": None}
    own |= {"width": 32, "proposals": 30, "sampled": 16}
    more = {"cache": str(tmp_path / "cache"), "out": tmp_path / "out"}
    sidelight.evaluate("test_resnet", here, "disc", "instances", instances=own, **more, **QUICK)
    places = {"masks": tmp_path / "m", "boxes": tmp_path / "b.json"}
    table = predicted(tmp_path / "out", new, tmp_path / "t.csv", names=True, cache=str(tmp_path / "cache"), **places)
    assert list(table.columns[3:5]) == ["pixels", "count"]  # rows are those of masks
    said = json.loads(places["boxes"].read_text())
    assert [(one["width"], one["height"]) for one in said["images"]] == [(WIDTH, HEIGHT)] * 3
    overlaps = []
    for image in said["images"]:
        name = image["file_name"].rpartition("/")[2]
        rows, columns = np.nonzero(np.asarray(Image.open(new / "masks" / name)))
        true = np.zeros((HEIGHT, WIDTH), bool)
        true[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        boxes = [one for one in said["annotations"] if one["image_id"] == image["id"]]
        assert all(one["score"] >= 0.5 for one in boxes)
        for x, y, width, height in (max(boxes, key=lambda one: one["score"])["bbox"],) if boxes else ():
            found = np.zeros_like(true)
            found[round(y) : round(y + height), round(x) : round(x + width)] = True
            overlaps.append(iou(found, true))
    assert len(overlaps) == 3 and min(overlaps) > 0.5, overlaps


def test_boxes_of_a_series_name_each_frame_once_and_are_read_again(tmp_path):
    """A series in one file, one of a file per frame, and both by their hash."""
    for number in range(3):
        (tmp_path / "slices" / "p0").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(8, dtype=np.uint8) + number).save(tmp_path / "slices" / "p0" / f"{number}.png")
    (tmp_path / "slices" / "cohort.toml").write_text('files = "{patient}/{n}.png"\nstack = "n"\nlevels = ["patient"]\n')
    whole = write_discs(tmp_path / "whole", 1, seed=0, frames=3)
    boxes, numbers = [np.array([[1.0, 2, 3, 4]])] * 3, [np.array([0])] * 3
    found = Found((3, 8, 8), boxes=boxes, scores=[one + 0.5 for one in numbers], labels=numbers)
    cases = [
        (tmp_path / "slices", True, ["p0/0.png", "p0/1.png", "p0/2.png"]),
        (whole, True, [f"images/p00.npy#000{frame}" for frame in range(3)]),
        (whole, False, [f"hash#000{frame}" for frame in range(3)]),
    ]
    for folder, named, expected in cases:
        files = FoundFiles(None, "png", tmp_path / "b.json", named)
        files.add(Cohort.open(folder), 0, "hash", ("disc",), found)
        (tmp_path / "b.json").write_text(json.dumps(coco_of(files._images, ("disc",), {})))
        again = read_coco(tmp_path / "b.json", "b.json").images
        assert list(again) == expected and all(marks[0].box == (1, 2, 2, 2) for marks in again.values())
