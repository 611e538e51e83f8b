"""Masks and boxes of a cohort in an evaluation: what is true of each unit, and numbers with intervals by patient."""

from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.data.pixels.placement import placed
from sidelight.data.read.spacing import Spacing
from sidelight.errors import ConfigError, DataError, ReadError
from sidelight.evaluation.labelled import label_units, unit_table
from sidelight.evaluation.located import COLUMN, targets_of, truth_of, unknown_beside
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.metrics import METRICS
from sidelight.reporting.study.labels import label_table

PHANTOM = "phantom:chest?patients=16&size=48"
QUICK = {"seeds": 1, "folds": 2, "resamples": 100, "device": "cpu", "image_size": 32}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    cohort = Cohort.open(PHANTOM)
    cache = str(tmp_path_factory.mktemp("located"))
    return cohort, open_pixels(cohort, 40, EvaluateSettings(cache=cache), quiet=True), cache


def test_masks_lie_where_the_phantom_drew_them(world):
    cohort, pixels, _ = world
    task = cohort.tasks["finding_masks"]
    table, _ = unit_table(cohort, pixels, "finding_masks", EvaluateSettings(merge_duplicates=False))
    truth = truth_of(table)
    assert len(truth.masks) == len(table) and truth.masks[0].shape == (len(task.classes), 40, 40)
    for at, items in enumerate(table["items"]):
        for place, name in enumerate(task.classes):
            drawn = cohort.phantom.mask(items[0], name)
            assert truth.masks[at][place].mean() == pytest.approx(drawn.mean(), abs=0.02)
            if drawn.mean() > 0.02:
                found, there = (np.argwhere(one).mean(axis=0) / one.shape for one in (truth.masks[at][place], drawn))
                np.testing.assert_allclose(found, there, atol=0.03)


def test_labels_say_which_classes_a_unit_holds_and_folds_do_not_need_them(world):
    cohort, pixels, _ = world
    labelled, _ = label_units(cohort, pixels, "finding_boxes", EvaluateSettings(folds=2))
    assert list(labelled.targets) == list(cohort.tasks["finding_boxes"].classes)
    assert {one.kind for one in labelled.heads} == {"boxes"}
    boxes = truth_of(labelled.table)
    held = np.array([[int((own == k).any()) for k in range(4)] for own in boxes.labels])
    np.testing.assert_array_equal(np.array(labelled.table["label"].tolist()), held)
    assert 0 < held.mean() < 1


def test_what_lies_beside_the_image_is_unknown():
    masks = np.ones((2, 8, 8), np.uint8)
    wide = unknown_beside(masks, placed(10, 20, 8, "pad"))  # rows 2 to 5 hold the image
    assert (wide[:, 2:6] == 1).all() and (wide[:, [0, 1, 6, 7]] == 255).all()
    assert (unknown_beside(masks, placed(10, 20, 8, "squash")) == 1).all()


def test_distances_are_in_mm_where_every_unit_says_the_size_of_a_pixel(tmp_path, monkeypatch):
    for name in ("a", "b"):
        for kind in ("image", "mask"):
            values = np.random.default_rng(len(name)).integers(0, 200, (16, 16, 2)).astype(np.uint8)
            values = (values > 100).astype(np.uint8) if kind == "mask" else values
            volume = nibabel.Nifti1Image(values, np.diag([0.5, 0.5, 3, 1]))
            nibabel.save(volume, tmp_path / f"{name}_{kind}.nii.gz")
    (tmp_path / "cohort.toml").write_text(
        'files = "{patient}_image.nii.gz"\n[task.organ]\nmask = "{patient}_mask.nii.gz"\nclasses = ["organ"]'
    )
    cohort, settings = Cohort.open(tmp_path), EvaluateSettings(cache=str(tmp_path / "cache"), merge_duplicates=False)
    pixels = open_pixels(cohort, 32, settings, quiet=True)
    table, notes = unit_table(cohort, pixels, "organ", settings)
    assert truth_of(table).spacing == [(0.25, 0.25)] * 2 and notes[-1] == "organ: distances are in mm"
    sizes = iter([Spacing(1, 1), None])
    monkeypatch.setattr("sidelight.evaluation.located.spacing_of", lambda *_: next(sizes))
    table, notes = unit_table(cohort, pixels, "organ", settings)
    assert truth_of(table).spacing is None and "known of 1 of 2 units" in notes[-1]


def test_one_class_has_no_name(world):
    task = replace(world[0].tasks["finding_masks"], classes=("opacity",))
    targets, heads = targets_of(task)
    assert targets == {"": ("no", "yes")} and [(one.name, one.kind) for one in heads] == [("finding_masks", "mask")]
    assert heads[0].phrases == ("opacity",)
    said = replace(world[0].tasks["finding_masks"], phrases={"nodule": ("a nodule", "a round opacity")})
    assert targets_of(said)[1][1].phrases == ("a nodule", "a round opacity")


def test_filled_boxes_hold_the_masks_that_they_are_drawn_around(world):
    cohort, pixels, _ = world
    settings = EvaluateSettings(merge_duplicates=False)
    masks, boxes = (truth_of(unit_table(cohort, pixels, f"finding_{one}", settings)[0]) for one in ("masks", "boxes"))
    filled = np.stack(boxes.filled(4, 40).masks)
    there = np.stack(masks.masks) == 1
    assert (filled[there] == 1).mean() > 0.98 and there.sum() < (filled == 1).sum() < 2 * there.sum()
    assert set(boxes.inner) == {(0, 0, 40, 40)}


def test_boxes_in_several_frames_are_refused_and_unreadable_masks_are_counted(world, monkeypatch):
    cohort, pixels, _ = world
    index = pixels.index.assign(frames=np.where(np.arange(len(pixels)) % 3 == 0, 2, 1))
    clips, settings = replace(pixels, index=index), EvaluateSettings(merge_duplicates=False)
    with pytest.raises(DataError, match="17 of 50 units of finding_boxes have several frames"):
        unit_table(cohort, clips, "finding_boxes", settings)
    plain, phantom = type(cohort.phantom).mask, cohort.phantom

    def mask(self, position, name):
        if position == 3:
            raise ReadError("gone")
        return plain(self, position, name)

    monkeypatch.setattr(type(phantom), "mask", mask)
    table, notes = unit_table(cohort, pixels, "finding_masks", settings)
    assert len(table) == 49 and "1 units of finding_masks are left out; the first: gone." in notes


@pytest.mark.parametrize(
    ("task", "protocol", "metric"),
    [("finding_masks", "segment_linear", "dice"), ("finding_boxes", "detect_yolo", "map")],
)
def test_an_evaluation_has_numbers_by_class_with_intervals_by_patient(world, task, protocol, metric):
    cohort, _, cache = world
    own = {protocol: {"steps": 4, "rates": [1e-3], "checks": 1}}
    found = sidelight.evaluate("test_resnet", cohort, task, protocol, random=True, cache=cache, **QUICK, **own)
    rows = found.results[found.results["metric"] == metric]
    assert set(rows["target"]) == {"", *cohort.tasks[task].classes} and len(set(rows["labels"])) == 1
    assert (rows["groups"] == 16).all() and (rows["units"] == 50).all()
    assert isinstance(found.scores, pd.DataFrame) and COLUMN not in found.scores
    shown = label_table(found.results[found.results["target"] != ""])
    assert METRICS[metric].label in shown.header and len(shown.rows) == 4


def test_protocols_and_tasks_that_do_not_fit_name_each_other(world):
    cohort, _, cache = world
    with pytest.raises(ConfigError, match=r"asks for masks, and the protocol linear learns classes.*segment_linear"):
        sidelight.evaluate("test_resnet", cohort, "finding_masks", random=True, cache=cache, **QUICK)
    with pytest.raises(ConfigError, match="learns"):
        sidelight.evaluate("test_resnet", cohort, "diagnosis", "segment_linear", random=True, cache=cache, **QUICK)
