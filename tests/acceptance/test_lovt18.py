"""LoVT's 18 tasks from raw files in the layouts of five data sets, by an encoder that has learnt from the phantom's reports."""

from pathlib import Path

import pandas as pd
import pytest

import sidelight
from radiograph_layouts import SETS, write_layouts, write_ms_cxr, write_padchest_gr
from sidelight.commands.suite import suite
from sidelight.config import load_toml, merge

pytestmark = pytest.mark.slow
FILE = Path(__file__).parents[2] / "studies" / "lovt18.toml"
PLAIN = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "noise": 0.0, "blur": 0.0, "brightness": 0.0, "contrast": 0.0}
LEARN = {
    **{"encoder": "test_byobnet", "image_size": 64, "working_size": 64, "device": "cpu", "precision": "float32"},
    **{"steps": 200, "lr": 3e-3, "warmup": 0.05, "valid_fraction": 0.0, "batch_size": 32, "hidden": 128, "dim": 64},
    **{"text": {"width": 64, "layers": 1, "heads": 4}, "augment": PLAIN, "quiet": True},
    "affine": {"rotation": 0.0, "shift": 0.0, "scale": (1.0, 1.0)},
}
BETTER = [
    ("rsna", "linear_10", "dice"),
    ("rsna", "linear_100", "dice"),
    ("rsna", "yolo_frozen_100", "froc"),
    ("siim", "unet_frozen", "dice"),
]
"""Tasks with findings that a map of 2 x 2 can show, and enough patients; of nodules, of eight findings in 160 radiographs and by
1 % nothing is shown, and a frozen U-Net finds COVID Rural's opacities better on random maps, which have finer levels to read."""


def small(plan):
    """The suite with few steps, subsets of few radiographs, and the random row where both are compared."""
    sets = {}
    for name, one in plan["sets"].items():
        parts, compared = {}, [part for at, part, _ in BETTER if at == name]
        for part, asked in one["study"]["parts"].items():
            (protocol,) = asked["protocols"]
            learns = asked["evaluate"][protocol].get("train") == "all"
            own = {"steps": 6 if learns else 80 if part in compared else 20, "batch_size": 8, "checks": 2, "warmup": 2}
            own["rates"] = [1e-2 if protocol == "segment_linear" else 3e-3]
            parts[part] = {protocol: own | ({"width": 64} if protocol == "detect_yolo" else {})}
        study = {
            "sizes": {"cpu": {"parts": parts}},
            "encoders": {"random": {"parts": compared} if compared else {"weights": ""}},
        }
        sets[name] = {"study": study}
    sets["rsna"]["split"] = {
        "subsets": {"1": {"train": 16, "valid": 20}, "10": {"train": 60, "valid": 20}, "100": {"valid": 20}}
    }
    return sets


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with the data sets, and settings of a suite with a run that has learnt from reports."""
    folder = tmp_path_factory.mktemp("lovt18")
    compared = tuple(dict.fromkeys(name for name, _, _ in BETTER))
    found = write_layouts(folder / "data", 200, sets=compared, size=64)
    write_ms_cxr(folder / "data" / "ms_cxr", found)
    write_padchest_gr(folder / "data" / "padchest_gr", found)
    write_layouts(folder / "data", 60, sets=[name for name in SETS if name not in compared], size=64)
    data = "phantom:chest?patients=320&studies=1&views=1&size=64&difficulty=0"
    run = sidelight.pretrain("lovt", data, folder / "run", cache=str(folder / "cache"), **LEARN)
    common = {
        "pretrain": {"encoder": "test_byobnet"},
        "sizes": {"cpu": {"pretrain": {"image_size": 64}}},
        "encoders": {"imagenet": {"weights": ""}, "yours": {"run": str(run.folder)}},
    }
    return folder, common


@pytest.fixture(scope="module")
def done(world):
    folder, common = world
    data, plan = str(folder / "data"), load_toml(FILE)
    return suite(
        FILE, data=data, out=folder / "out", cache=str(folder / "cache"), quiet=True, common=common, sets=small(plan)
    )


def test_all_18_tasks_run_from_raw_files(done):
    assert done.sentence == "18 of 18 tasks have numbers" and not done.faults
    own = done.table[done.table["encoder"] == "yours"]
    assert len(own) == 18 and own["value"].between(0, 1).all()
    assert own["metric"].tolist() == ["map"] * 6 + ["dice"] * 8 + ["froc"] * 2 + ["dice"] * 2
    page = (done.folder / "report.html").read_text()
    assert "18 of 18 tasks have numbers" in page and "made again by rule" in page and "LoVT, 100 % of MIMIC-CXR" in page


@pytest.mark.parametrize(("name", "part", "metric"), BETTER)
def test_what_has_learnt_from_reports_beats_random_weights_by_interval(done, name, part, metric):
    table = pd.read_parquet(done.folder / name / "differences.parquet")
    rows = table[(table["task"] == part) & (table["metric"] == metric) & ~table["protocol"].str.endswith(", last step")]
    rows = rows[rows["encoder"].eq("random") & rows["rival"].eq("yours")]
    assert len(rows) == 1 and rows["high"].iloc[0] < 0, rows[["difference", "low", "high"]].to_dict("records")


def test_todays_standard_runs_on_the_same_layouts_and_judges_where_phrases_point(world):
    folder, common = world
    own = {"steps": 3, "rates": [1e-3], "checks": 1}
    few = {"evaluate": {"detect": own | {"width": 32}, "segment_unet": own}, "pretrain": {"image_size": 64}}
    common = merge(common, {"sizes": {"cpu": few}, "encoders": {"random": {"weights": ""}}})
    there = ["Cardiomegaly", "Lung Opacity", "Pleural Effusion"]  # those that the phantom has
    run = {"yours, random images": {"run": common["encoders"]["yours"]["run"]}}
    sets = {
        "rsna": {"study": {"evaluate": {"labels": []}}},
        "ms_cxr": {"study": {"cohort": {"task": {"finding_boxes": {"classes": there}}}, "encoders": run}},
        "padchest_gr": {"study": {"encoders": run}},
        **{name: {"folder": "elsewhere"} for name in ("siim", "siim_positives", "object_cxr")},  # time
    }
    done = suite(
        FILE.with_name("cxr-standard.toml"), data=str(folder / "data"), out=folder / "standard", quiet=True,
        cache=str(folder / "cache"), common=common, sets=sets,
    )  # fmt: skip
    assert done.sentence == "11 of 20 tasks have numbers"
    assert done.faults["RSNA, boxes, 1601 labels"] == "no number with 1601 labels of its part"
    assert done.faults["SIIM, all radiographs"] == "absent: there is no folder elsewhere"
    table = done.table.set_index(["task", "encoder"])
    numbers = ("pointing game", "contrast", "mean IoU")
    for task in [f"{name}, {number}" for name in ("MS-CXR", "PadChest-GR") for number in numbers]:
        both = table.loc[task]
        assert set(both.index) == {"yours", "yours, random images"} and (both["low"] < both["high"]).all()
