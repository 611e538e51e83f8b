"""What a head reads beside the image: rivals without image, metadata through towers, borrowed metadata (spec T10, T13)."""

import numpy as np
import pandas as pd
import pytest
import torch

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import fit
from sidelight.data.phantoms.skin import LATENTS
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.features import small_pixels
from sidelight.evaluation.inputs.beside import with_context
from sidelight.evaluation.inputs.borrowed import agreement, borrow, borrowed_table
from sidelight.evaluation.protocols.probes import fit_linear
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.within_patients import within_patients
from sidelight.metrics.classification import auroc as auc
from sidelight.metrics.ranking import first_hits
from sidelight.models.table import load_table

TINY = {"encoder": "test_resnet", "image_size": 32, "batch_size": 8, "device": "cpu", "steps": 2, "lesions": 3}
SMALL = {"seeds": 1, "folds": 3, "resamples": 100, "device": "cpu", "merge_duplicates": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    cohort = Cohort.open("phantom:skin?patients=40&size=32&shortcut=0.7")
    table = {"width": 16, "heads": 2, "depth": 1}
    run = sidelight.pretrain("slimp", cohort, root / "run", quiet=True, cache=str(root / "c"), table=table, **TINY)
    return cohort, run, str(root / "c")


def auroc(world, task="malignant", run=None, **settings):
    cohort, made, cache = world
    found = sidelight.evaluate(run or made, cohort, task, cache=cache, **{**SMALL, **settings}).results
    return float(found[(found["metric"] == "auroc") & found["all_labels"]]["value"].iloc[0])


def test_rivals_without_an_image(world):
    """T13: what is blank tells the label where blanks were planted, and metadata tell it anyway."""
    assert auroc(world, inputs={"kind": "nothing"}) == pytest.approx(0.5, abs=0.06)
    assert auroc(world, inputs={"kind": "missing"}) > 0.7
    assert auroc(world, inputs={"kind": "metadata"}) > 0.85


def test_small_pixels_are_area_averages_and_need_no_encoder(world):
    cohort, _, cache = world
    pixels = open_pixels(cohort, 40, EvaluateSettings(cache=cache), quiet=True)
    vectors = small_pixels(pixels)
    assert vectors.shape == (len(pixels), pixels.channels * 256) and 0 <= vectors.min() < vectors.max() <= 1
    whole = pixels.batch([3], [0])[0] / 255
    assert vectors[3].reshape(pixels.channels, 256).mean(axis=1) == pytest.approx(whole.mean(axis=(1, 2)), abs=1e-3)
    assert auroc(world, inputs={"kind": "pixels"}) == auroc(
        world, run="resnet18", random=True, image_size=32, inputs={"kind": "pixels"}
    )


def test_metadata_through_the_towers_of_the_run_or_as_plain_codes(world, tmp_path):
    cohort, run, cache = world
    both = auroc(world, inputs={"kind": "image+metadata"})
    assert both > auroc(world)
    assert auroc(world, inputs={"kind": "image+metadata"}, run=run.encoder()) > 0.8
    with pytest.raises(ConfigError, match="finetune"):
        sidelight.evaluate(run, cohort, "malignant", "finetune", inputs={"kind": "metadata"}, cache=cache, **SMALL)
    with pytest.raises(ConfigError, match="tabular towers"):
        sidelight.evaluate(run.encoder(), cohort, "malignant", inputs={"kind": "image+borrowed"}, cache=cache, **SMALL)


@pytest.mark.parametrize("space", ["image", "metadata"])
def test_borrowed_metadata_say_from_whom(world, tmp_path, space):
    cohort, run, cache = world
    sidelight.evaluate(
        run,
        cohort,
        "malignant",
        out=tmp_path,
        inputs={"kind": "image+borrowed", "borrow_from": space, "borrow_k": 2},
        cache=cache,
        **SMALL,
    )
    table = pd.read_csv(tmp_path / "borrowed.csv", dtype=str, keep_default_na=False)
    assert len(table) == 2 * len(cohort.items)
    hashes = {cohort.item_hash(place): place for place in range(len(cohort.items))}
    for _, row in table.head(40).iterrows():
        mine, theirs = (cohort.items.iloc[hashes[row[name]]] for name in ("item", "from"))
        assert mine["patient"] != theirs["patient"]  # the patient's own are left out
        assert row["site"] == theirs["site"] and row["age"] == theirs["age"]  # verbatim
    right = pd.read_csv(tmp_path / "borrowed_right.csv")
    assert set(right["column"]) >= {"site", "itch", "age"} and right["right"].dropna().between(0, 1).all()


def test_where_own_items_lend_an_image_finds_itself(world, tmp_path):
    cohort, run, cache = world
    sidelight.evaluate(
        run,
        cohort,
        "malignant",
        out=tmp_path,
        inputs={"kind": "image+borrowed", "borrow_own": True},
        cache=cache,
        **SMALL,
    )
    table = pd.read_csv(tmp_path / "borrowed.csv", dtype=str, keep_default_na=False)
    assert (table["item"] == table["from"]).all()
    assert (pd.read_csv(tmp_path / "borrowed_right.csv")["right"].dropna() == 1).all()
    assert not (tmp_path / "model").exists()


def test_another_cohort_lends(world, tmp_path):
    cohort, run, cache = world
    sidelight.evaluate(
        run, cohort, "malignant", out=tmp_path, cache=cache, **SMALL,
        inputs={"kind": "image+borrowed", "reference": "phantom:skin?patients=12&size=32&seed=9"},
    )  # fmt: skip
    there = Cohort.open("phantom:skin?patients=12&size=32&seed=9")
    known = {there.item_hash(place) for place in range(len(there.items))}
    assert set(pd.read_csv(tmp_path / "borrowed.csv", dtype=str)["from"]) <= known


def test_a_reference_image_finds_itself():
    """T10: rank 1 at similarity 1; excluded, it finds another."""
    keys = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    found = borrow(keys, keys, k=1)
    assert found.rows[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(found.similarity[:, 0], 1, atol=1e-6)
    apart = borrow(keys, keys, k=3, excluded=np.eye(6, dtype=bool))
    assert all(row not in lenders for row, lenders in enumerate(apart.rows[:, :3].tolist()))
    np.testing.assert_allclose(apart.weight.sum(1), 1, atol=1e-6)
    assert (np.diff(apart.weight, axis=1) <= 0).all()
    nobody = borrow(keys[:1], keys, k=2, excluded=np.ones((1, 6), bool))
    assert not nobody.weight.any()


def test_agreement_by_hand():
    cohort = Cohort.open("phantom:skin?patients=30&size=16")
    vocabulary = fit(cohort, "lesion", np.arange(len(cohort.items)))
    codes = vocabulary.encode(cohort.items)
    same = borrow(np.eye(len(codes), dtype=np.float32), np.eye(len(codes), dtype=np.float32))
    found = agreement(same, codes, codes, vocabulary.columns).set_index("column")
    assert (found["right"] == 1).all() and (found["by chance"] < 0.85).all()
    assert "symptoms" not in found.index
    table = borrowed_table(same, ["a"] * len(codes), ["b"] * len(codes), cohort.items[["site"]])
    assert table["site"].tolist() == cohort.items["site"].tolist()


def test_context_is_the_difference_from_the_others_of_the_patient():
    vectors = np.array([[1.0], [3.0], [5.0], [7.0]], np.float32)
    found = with_context(vectors, np.array(["a", "a", "a", "b"]))
    assert found.tolist() == [[1, -3], [3, 0], [5, 3], [7, 0]]


def test_company_undoes_what_all_photographs_of_a_patient_share():
    """One camera disturbs all lesions of a patient alike: seen beside the others, the odd one out is found all the same.

    The order within a patient does not need it (a shared disturbance moves all of its scores alike); who is compared
    over all patients does.
    """
    cohort = Cohort.open("phantom:skin?patients=120&ducklings=1&lesions=5&size=16&seed=2")
    items, groups = cohort.items, cohort.items["group"].to_numpy(str)
    number = pd.factorize(items["patient"])[0]
    disturbed = 2.5 * np.random.default_rng(0).standard_normal((number.max() + 1, 4))[number]
    features = items[list(LATENTS)].to_numpy(float) + disturbed
    labels = (items["diagnosis"] == "carcinoma").to_numpy().astype(int)
    train = (items["patient"] < "p0060").to_numpy()
    area, first = {}, {}
    for name, seen in (("alone", features), ("in company", with_context(features, groups))):
        scores = fit_linear(seen[train], labels[train], groups[train], 2)(seen[~train])[:, 1]
        area[name] = auc(labels[~train], scores)
        first[name] = first_hits(labels[~train], scores, groups[~train], 1).mean()
    assert area["in company"] > area["alone"] + 0.1, area
    assert first["in company"] > 0.9, first


def test_within_patient_rows_stand_beside_a_blind_choice(world):
    cohort, run, cache = world
    found = sidelight.evaluate(run, cohort, "malignant", inputs={"kind": "metadata"}, cache=cache, **SMALL).results
    rows = found[found["metric"].str.startswith("top-1")].set_index("metric")
    assert rows.loc["top-1 within patient", "value"] > rows.loc["top-1 within patient, blind", "value"] + 0.1
    assert (found["metric"] == "pauc above 80 % TPR").any()
    patient = sidelight.evaluate(run, cohort, "risk", inputs={"kind": "metadata"}, cache=cache, **SMALL).results
    assert not patient["metric"].str.startswith("top-").any()


def test_towers_read_other_columns_as_missing(world):
    cohort, run, _ = world
    table = load_table(run.folder, "lesion_metadata")
    codes = table.vocabulary.encode(cohort.items.drop(columns=["itch"])).map(torch.from_numpy)
    assert torch.isfinite(table(codes)).all()


def test_fewer_than_ten_patients_have_no_interval():
    table = pd.DataFrame({"label": [0, 1] * 9, "group": np.repeat([f"p{n}" for n in range(9)], 2)})
    table = table.assign(
        encoder="e", task="t", protocol="linear", target="", labels=9, all_labels=True, step="selected", seed=0,
        fold=0, unit=[f"u{n}" for n in range(18)], p1=table["label"] * 1.0, p0=1.0 - table["label"],
    )  # fmt: skip
    rows = within_patients(table, resamples=100).set_index("metric")
    assert rows.loc["top-1 within patient", "value"] == 1
    assert rows[["low", "high"]].isna().all().all() and rows["interval"].eq("none").all()
    assert rows["interval_note"].str.startswith("too few groups: 9").all()
    joined = table.assign(merged=table["group"].isin(["p0", "p1"]))  # two of them, by near-duplicates
    assert (
        within_patients(joined, "lesion", resamples=100).set_index("metric").loc["top-1 within lesion", "groups"] == 7
    )


def test_only_what_reference_where_selects_lends(world, tmp_path):
    cohort, run, cache = world
    asked = {"cache": cache, **SMALL}

    def lent_by(site):
        return {"kind": "image+borrowed", "reference_where": {"site": [site]}}

    sidelight.evaluate(run, cohort, "malignant", out=tmp_path, inputs=lent_by("back"), **asked)
    table = pd.read_csv(tmp_path / "borrowed.csv", dtype=str, keep_default_na=False)
    assert set(table["site"]) == {"back"}
    with pytest.raises(ConfigError, match=r"No item fits inputs\.reference_where"):
        sidelight.evaluate(run, cohort, "malignant", inputs=lent_by("moon"), **asked)
