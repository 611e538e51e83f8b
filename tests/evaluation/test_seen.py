"""What a run has met is read off what it wrote down, copies and other pictures of a patient included."""

import json

import numpy as np
import pytest
from PIL import Image

from planted import opened, table, write
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import build
from sidelight.evaluation.seen import saw
from sidelight.train.run import Run


@pytest.fixture
def place(tmp_path):
    """Eight patients; the first photo of p1 is also among those of p7."""
    root = write(tmp_path / "data", table(8), pictures=True)
    picture = np.asarray(Image.open(root / "photos/p1/1_0.png"))
    Image.fromarray(picture).save(root / "photos/p7/7_1.png")
    cohort = opened(root, name="ward")
    return cohort, build(cohort, size=24, folder=tmp_path / "cache")


def run_of(folder, cohort, items, where=None, **data):
    """What a run folder says of its data, and which items it learnt from; None: the run does not say."""
    folder.mkdir(exist_ok=True)
    said = {"settings": {"where": where or {}, "image_size": 24}, "data": {"name": cohort.alias, "hash": "", **data}}
    (folder / "config.json").write_text(json.dumps(said))
    if items is not None:
        Run(folder).save_split({"train": items}, cohort.key)
    return folder


def positions(cohort, *patients):
    return np.flatnonzero(cohort.items["patient"].isin(patients))


@pytest.mark.parametrize(
    ("learnt", "tested", "met"),
    [
        (["2_0", "3_0"], "p0", False),
        (["2_0", "0_0"], "p0", True),
        (["0_1"], "p0", True),  # another picture of the patient
        (["7_1"], "p1", True),  # a copy under another patient
        (["7_0"], "p1", True),  # another picture of the patient who has the copy
        (["7_0"], "p2", False),
    ],
)
def test_a_patient_is_met_in_any_picture_and_in_any_copy(place, tmp_path, learnt, tested, met):
    cohort, pixels = place
    items = cohort.items.loc[cohort.items["photo"].isin(learnt), "item"]
    run = run_of(tmp_path / "run", cohort, items)
    one = positions(cohort, tested)
    assert saw(run, cohort, one[:1], pixels) is saw(str(run), cohort, one, pixels) is met


def test_what_a_run_does_not_say_is_read_off_its_selection_and_else_taken_for_met(place, tmp_path):
    cohort, pixels = place
    tested = positions(cohort, "p0")
    where = {"patient": ["p2", "p3"]}
    assert not saw(run_of(tmp_path / "selects", cohort, None, where), cohort, tested, pixels)
    assert saw(run_of(tmp_path / "all", cohort, None), cohort, tested, pixels)
    assert saw(run_of(tmp_path / "gone", cohort, None, {"fold_of_then": "!= 0"}), cohort, tested, pixels)
    other_key = run_of(tmp_path / "key", cohort, None, where)
    Run(other_key).save_split({"train": cohort.items["item"]}, bytes(32))
    assert not saw(other_key, cohort, tested, pixels)


def test_other_data_are_other_data_unless_their_pixels_are_these(place, tmp_path):
    cohort, pixels = place
    tested, items = positions(cohort, "p0"), cohort.items["item"]
    assert not saw(run_of(tmp_path / "other", cohort, items, name="elsewhere"), cohort, tested, pixels)
    assert saw(run_of(tmp_path / "same", cohort, items, name="elsewhere", hash=pixels.hash), cohort, tested, pixels)
    for stranger in ("hf-hub:timm/resnet18", tmp_path / "weights.safetensors", object()):
        assert not saw(stranger, cohort, tested, pixels)


def test_a_later_stage_has_met_whom_the_earlier_one_met(place, tmp_path):
    cohort, pixels = place
    items = cohort.items.set_index("photo")["item"]
    first = Run(run_of(tmp_path / "first", cohort, None))
    first.save_split({"train": [items["0_0"]], "valid": [items["4_0"]]}, cohort.key)
    later = Run(run_of(tmp_path / "later", cohort, None))
    later.save_split({"train": [items["2_0"]]}, cohort.key, first.split())
    assert set(later.split()["role"]) == {"train", "earlier"}
    assert later.split().set_index("role").loc["earlier", "item"] == item_hash(items["0_0"], cohort.key)
    assert saw(later.folder, cohort, positions(cohort, "p0"), pixels)
    assert not saw(later.folder, cohort, positions(cohort, "p4"), pixels)
