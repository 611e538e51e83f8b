"""Retrieval: who is asked, what is found, and what the tables say of it."""

import numpy as np
import pandas as pd
import pytest

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError, RunError, SplitError
from sidelight.evaluation.results import Results
from sidelight.evaluation.tables.retrieval import recalls

PHANTOM = "phantom:skin?patients=40&size=32"
TINY = {"encoder": "test_resnet", "image_size": 32, "batch_size": 8, "device": "cpu", "steps": 2, "lesions": 3}
TINY |= {"table": {"width": 16, "heads": 2, "depth": 1}, "valid_fraction": 0.4, "quiet": True, "least_patients": 1}
SMALL = {"resamples": 100, "device": "cpu", "merge_duplicates": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("retrieval")
    cohort = Cohort.open(PHANTOM)
    return cohort, sidelight.pretrain("slimp", cohort, root / "run", cache=str(root / "c"), **TINY), str(root / "c")


def searched(world, cohort=None, **settings):
    home, run, cache = world
    given = {**SMALL, "cache": cache, **settings}
    return sidelight.evaluate(run, cohort or home, "malignant", "retrieval", **given)


def test_recalls_by_hand():
    """Two runs kept two patients back each, one of them both: ranks pool, chance is the mean of both galleries."""
    ranks = pd.DataFrame(
        {
            "encoder": "e", "task": "t", "protocol": "retrieval", "step": "retrieval", "target": "image -> metadata",
            "seed": [0, 0, 0, 1, 1],
            "unit": list("abcad"), "group": ["p", "p", "q", "p", "r"], "rank": [1.0, 4.0, 2.0, 1.0, 7.5],
            "among": [3, 3, 3, 10, 10],
        }
    )  # fmt: skip
    found = recalls(ranks).set_index("metric")
    assert found.loc["recall at 1, image -> metadata", "value"] == 2 / 5
    assert found.loc["recall at 5, image -> metadata", "value"] == 4 / 5
    assert found.loc["median rank, image -> metadata", "value"] == 2
    assert found.loc["recall at 5, by chance", "value"] == pytest.approx((3 + 2 * 0.5) / 5)
    assert found.loc["recall at 1, image -> metadata", "seed_sd"] == pytest.approx(np.std([1 / 3, 1 / 2], ddof=1))
    row = found.loc["recall at 1, image -> metadata"]
    assert row["groups"] == 3 and row["units"] == 4 and np.isnan(row["low"])  # three patients carry no interval


def test_patients_count_and_not_lesions():
    """Ten lesions of a patient that are right or wrong together make the interval of a few patients, not of many lesions."""
    patients = np.repeat(np.arange(40), 10)
    rank = np.where(patients % 2, 1.0, 20.0)
    base = {
        "encoder": "e",
        "task": "t",
        "protocol": "retrieval",
        "step": "retrieval",
        "target": "a -> b",
        "seed": 0,
        "among": 400,
    }
    table = pd.DataFrame({**base, "unit": np.arange(400).astype(str), "rank": rank})
    widths = []
    for groups in (patients.astype(str), np.arange(400).astype(str)):
        row = recalls(table.assign(group=groups), resamples=400).iloc[0]
        assert row["low"] < 0.5 < row["high"]
        widths.append(row["high"] - row["low"])
    assert widths[0] > 2.5 * widths[1]


def test_only_patients_that_the_run_kept_back_are_asked(world):
    cohort, run, _ = world
    said = run.split()
    assert set(said["role"]) == {"train", "valid"} and len(said) == len(cohort.items)
    kept = cohort.items[
        [cohort.item_hash(at) in set(said.loc[said["role"] == "valid", "item"]) for at in range(len(said))]
    ]
    rows = searched(world).results.set_index("metric")
    assert set(rows["groups"]) == {kept["patient"].nunique()} and set(rows["units"]) == {len(kept)}
    assert not rows["transductive"].any() and set(rows["selected_on"]) == {"none"}
    for direction in ("image -> metadata", "metadata -> image"):
        assert rows.loc[f"recall at 10, {direction}", ["low", "high"]].notna().all()
        assert rows.loc[f"recall at 1, {direction}", "value"] <= rows.loc[f"recall at 10, {direction}", "value"]
    assert rows.loc["recall at 1, by chance", "value"] == pytest.approx(1 / len(kept))


def test_of_another_cohort_all_are_asked(world, tmp_path):
    other = Cohort.open("phantom:skin?patients=12&size=32&seed=4")
    found = searched(world, other, out=tmp_path)
    assert set(found.results["units"]) == {len(other.items)}
    page = sidelight.report(tmp_path, tmp_path / "page.html").read_text()
    assert "Retrieval" in page and "metadata -&gt; image" in page and "by chance" in page
    text = sidelight.report(tmp_path, tmp_path / "page.md").read_text()
    assert "## Retrieval" in text and "| by chance |" in text
    assert Results.load(tmp_path).results["protocol"].unique().tolist() == ["retrieval"]
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_asked_is_said(world, tmp_path):
    cohort, run, cache = world
    with pytest.raises(ConfigError, match="an encoder alone"):
        sidelight.evaluate(run.encoder(), cohort, "malignant", "retrieval", cache=cache, **SMALL)
    few = {name: value for name, value in TINY.items() if name not in ("table", "lesions", "least_patients")}
    other = sidelight.pretrain("simclr", cohort, tmp_path / "simclr", cache=cache, **few)
    with pytest.raises(ConfigError, match=r"nothing that images could find.*image"):
        sidelight.evaluate(other, cohort, "malignant", "retrieval", cache=cache, **SMALL)
    all_seen = sidelight.pretrain("slimp", cohort, tmp_path / "all", cache=cache, **{**TINY, "valid_fraction": 0.0})
    with pytest.raises(SplitError, match="has seen the patients of all but 0"):
        sidelight.evaluate(all_seen, cohort, "malignant", "retrieval", cache=cache, **SMALL)
    (all_seen.folder / "split.csv").unlink()
    with pytest.raises(RunError, match="does not say which patients"):
        sidelight.evaluate(all_seen, cohort, "malignant", "retrieval", cache=cache, **SMALL)
    sidelight.pretrain("slimp", cohort, tmp_path / "all", cache=cache, **{**TINY, "valid_fraction": 0.0})
    assert all_seen.split() is not None  # the command once more describes the run, and trains nothing
    (all_seen.folder / "split.csv").write_text("item,role\n0123456789abcdef,train\n")
    with pytest.raises(RunError, match="another key"):
        sidelight.evaluate(all_seen, cohort, "malignant", "retrieval", cache=cache, **SMALL)


def test_reports_are_found_by_the_same_protocol(tmp_path):
    given = {
        "encoder": "test_resnet",
        "image_size": 32,
        "steps": 2,
        "batch_size": 8,
        "hidden": 16,
        "dim": 8,
        "quiet": True,
    }
    text = {"width": 16, "layers": 1, "heads": 2, "vocabulary": 200}
    cache, cohort = str(tmp_path / "c"), "phantom:chest?patients=30&size=32"
    run = sidelight.pretrain(
        "lovt", cohort, tmp_path / "run", cache=cache, device="cpu", text=text, valid_fraction=0.4, **given
    )
    rows = sidelight.evaluate(run, cohort, "diagnosis", "retrieval", cache=cache, **SMALL).results.set_index("metric")
    assert {"recall at 5, image -> report", "recall at 5, report -> image"} <= set(rows.index)
    assert 0 < rows["groups"].iloc[0] <= 12
