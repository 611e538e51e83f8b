"""Heads that read metadata become models: a new cohort with the same columns is scored, and what it lacks is said."""

from dataclasses import replace

import numpy as np
import pytest

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError
from sidelight.evaluation.model.model import read_model

TINY = {"encoder": "test_resnet", "image_size": 32, "batch_size": 8, "device": "cpu", "steps": 2, "lesions": 3}
SMALL = {"seeds": 1, "folds": 2, "resamples": 100, "device": "cpu", "merge_duplicates": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    cohort, other = (Cohort.open(f"phantom:skin?patients=40&size=32&seed={seed}") for seed in (0, 7))
    table = {"width": 16, "heads": 2, "depth": 1}
    run = sidelight.pretrain("slimp", cohort, root / "run", quiet=True, cache=str(root / "c"), table=table, **TINY)
    return cohort, other, run, root


def judged(world, name, encoder=None, **settings):
    cohort, _, run, root = world
    given = {**SMALL, "cache": str(root / "c"), **settings}
    return sidelight.evaluate(encoder or run, cohort, "malignant", out=root / name, **given)


def scored(world, name, cohort):
    return sidelight.predict(world[3] / name, cohort, cache=str(world[3] / "c"), device="cpu", quiet=True)


def without(cohort, *names):
    return replace(cohort, items=cohort.items.assign(**dict.fromkeys(names, "")))


@pytest.mark.parametrize("inputs", ["image+metadata", "metadata"])
def test_a_model_reads_the_metadata_of_new_patients(world, inputs):
    other = world[1]
    judged(world, f"towers {inputs}", inputs={"kind": inputs})
    table = scored(world, f"towers {inputs}", other)
    order = other.items.assign(lesion_key=other.items["patient"] + other.items["lesion"])
    assert len(table) == order["lesion_key"].nunique() and table["probability"].between(0, 1).all()
    assert (table["missing"] == "").all()
    shuffled = replace(other, items=other.items[other.items.columns[::-1]])
    np.testing.assert_allclose(
        scored(world, f"towers {inputs}", shuffled)["probability"], table["probability"], atol=1e-6
    )
    bare = scored(world, f"towers {inputs}", without(other, "itch", "bleeds"))
    assert set(bare["missing"]) == {"no itch, bleeds"}
    assert (bare["probability"] - table["probability"]).abs().max() > 1e-3
    columns = [name for names in other.spec.metadata.columns.values() for name in names]
    assert set(scored(world, f"towers {inputs}", without(other, *columns))["missing"]) == {"no metadata"}
    dropped = replace(other, items=other.items.drop(columns=columns))
    assert set(scored(world, f"towers {inputs}", dropped)["missing"]) == {"no metadata"}


def test_what_is_saved_is_what_was_judged(world):
    """The model's own labelled units get the scores that a head on the same vectors gives, by towers or by plain codes."""
    cohort, _, run, root = world
    for name, encoder in (("by towers", None), ("by codes", run.encoder())):
        judged(world, name, encoder, inputs={"kind": "image+metadata", "context": "patient"})
        model = read_model(root / name)
        assert bool(model.metadata.towers) == (encoder is None) and model.facts.context == "patient"
        assert bool(model.facts.vocabularies) == (encoder is not None)
        values = {one for vocabulary in model.metadata.used() for column in vocabulary.columns for one in column.values}
        assert "face" in values
        own = scored(world, name, cohort)
        assert own["distance"].max() < 1e-5  # the labelled units themselves
        card = (root / name / "card.md").read_text()
        assert "image and metadata (columns" in card and "diameter" in card


def test_new_patients_are_told_apart_by_their_metadata(world):
    cohort, other, _, root = world
    found = sidelight.evaluate(
        world[2], cohort, "malignant", test=other, cache=str(root / "c"), inputs={"kind": "image+metadata"}, **SMALL
    ).results
    auroc = found[(found["metric"] == "auroc") & found["all_labels"]].set_index("task")["value"]
    assert auroc.filter(like=" on ").iloc[0] > 0.7, auroc
    plain = sidelight.evaluate(world[2], cohort, "malignant", test=other, cache=str(root / "c"), **SMALL).results
    image = plain[(plain["metric"] == "auroc") & plain["all_labels"]].set_index("task")["value"]
    assert auroc.filter(like=" on ").iloc[0] > image.filter(like=" on ").iloc[0] + 0.05
    lent = sidelight.evaluate(
        world[2], cohort, "malignant", test=other, cache=str(root / "c"), inputs={"kind": "image+borrowed"}, **SMALL
    ).results
    assert lent["task"].nunique() == 2


def test_a_fine_tuned_network_reads_metadata_beside_its_features(world):
    """It tells new patients apart, its saved model too; blanks are named. Borrowed metadata can be read as well."""
    cohort, other, run, root = world
    given = {**SMALL, "cache": str(root / "c"), "finetune": {"steps": 30, "checks": 1, "batch_size": 16}}
    found = sidelight.evaluate(
        run, cohort, "malignant", "finetune", test=other, inputs={"kind": "image+metadata"}, out=root / "tuned", **given
    ).results
    auroc = found[(found["metric"] == "auroc") & found["all_labels"]].set_index("task")["value"]
    assert auroc.filter(like=" on ").iloc[0] > 0.7, auroc
    model = read_model(root / "tuned")
    assert model.head.model.centre.shape[0] == model.metadata(other.items).shape[1]
    table = scored(world, "tuned", other)
    assert table["probability"].between(0, 1).all() and (table["missing"] == "").all()
    bare = scored(world, "tuned", without(other, "itch", "bleeds"))
    assert set(bare["missing"]) == {"no itch, bleeds"}
    assert (bare["probability"] - table["probability"]).abs().max() > 1e-3
    given["finetune"]["steps"] = 1
    lent = sidelight.evaluate(run, cohort, "malignant", "finetune", inputs={"kind": "image+borrowed"}, **given)
    assert lent.results["value"].notna().any()


@pytest.mark.parametrize(
    "given", [{"kind": "metadata"}, {"kind": "image+metadata", "context": "patient"}, {"kind": "nothing"}]
)
def test_what_a_network_cannot_read_beside_its_features_is_refused(world, given):
    with pytest.raises(ConfigError, match="with finetune"):
        sidelight.evaluate(
            world[2], world[0], "malignant", "finetune", cache=str(world[3] / "c"), inputs=given, **SMALL
        )


def test_blanks_and_loans_are_judged_and_not_saved(world):
    for inputs in ("missing", "image+borrowed"):
        judged(world, inputs, inputs={"kind": inputs})
        assert not (world[3] / inputs / "model").exists()
