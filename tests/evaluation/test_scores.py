from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import sidelight
from sidelight.errors import ConfigError, SplitError
from sidelight.evaluation import units as reading
from sidelight.evaluation.labelled import Labelled, make_folds
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.scores import Ready, collect_scores, half_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.metrics.classification import auroc, auroc_within


def table(patients: int = 12, per: int = 3) -> pd.DataFrame:
    count = patients * per
    group = np.repeat(np.arange(patients), per)
    return pd.DataFrame(
        {
            "unit": [f"u{i:03d}" for i in range(count)],
            "group": [f"g{g:02d}" for g in group],
            "label": group % 2,
            "rows": [[i] for i in range(count)],
        }
    )


@pytest.fixture
def vectors(monkeypatch):
    """Stored features in place of an encoder's: the first column is the class, softened."""
    units = table()
    rng = np.random.default_rng(0)
    made = rng.normal(size=(len(units), 8)).astype(np.float32)
    made[:, 0] += 2 * units["label"]
    monkeypatch.setattr(reading, "embed_items", lambda *a, **k: made)
    return units


PIXELS = SimpleNamespace(folder=Path("/nowhere"))
SETTINGS = EvaluateSettings(labels=[4, 8, 500], folds=4)


def scored(task: Labelled, protocol: str, settings: EvaluateSettings, vectors=None):
    return collect_scores(Ready(SimpleNamespace(device="cpu"), PIXELS, task, learned(protocol), settings, vectors), 0)


def test_every_unit_is_scored_once_per_count_and_never_by_its_own_patient(vectors):
    task = make_folds(vectors, {"": ("no", "yes")}, SETTINGS)
    found, notes = scored(task, "linear", SETTINGS)
    for _, part in found.groupby("labels"):
        assert part["unit"].is_unique and len(part) == len(vectors)
    tested = found[["unit", "fold"]].drop_duplicates().merge(vectors, on="unit")
    assert tested.groupby("group")["fold"].nunique().max() == 1
    assert notes == ["labels = 500 was not run: a fold has only 24 labelled units"]
    assert set(found["labels"]) == {4, 8, 27}
    assert found.loc[found["labels"] == 27, "all_labels"].all()


def test_folds_do_not_depend_on_the_order_of_rows_nor_on_the_seed(vectors):
    one = make_folds(vectors, {"": ("no", "yes")}, SETTINGS)
    other = make_folds(vectors.sample(frac=1, random_state=3), {"": ("no", "yes")}, SETTINGS)
    assert one.split_hash == other.split_hash
    assert (
        one.split_hash != make_folds(vectors, {"": ("no", "yes")}, EvaluateSettings(split_seed=1, folds=4)).split_hash
    )


def test_a_class_without_units_is_named(vectors):
    with pytest.raises(SplitError, match="maybe"):
        make_folds(vectors, {"": ("no", "yes", "maybe")}, SETTINGS)


def noise(number, patients=12):
    """Vectors that carry nothing, two units a patient."""
    rng = np.random.default_rng(number)
    units = [f"u{at:02d}" for at in range(2 * patients)]
    table = pd.DataFrame({"unit": units, "group": [f"p{at // 2:02d}" for at in range(2 * patients)]})
    table["label"] = np.arange(2 * patients) // 2 % 2
    return table.assign(rows=[[at] for at in range(len(table))]), rng.standard_normal((len(table), 8)).astype(
        np.float32
    )


def aurocs(folds, number):
    table, vectors = noise(number)
    settings = EvaluateSettings(folds=folds, seeds=1)
    task = make_folds(table, {"": ("no", "yes")}, settings)
    found, _ = scored(task, "linear", settings, vectors)
    return auroc(found["label"], found["p1"]), auroc_within(found["label"], found["p1"], folds=found["fold"])


def test_noise_is_worth_nothing_within_folds_and_less_than_nothing_where_one_patient_is_left_out():
    """Leaving out a positive lowers the share of positives that its head has seen: why it is refused where scores are ranked."""
    alone = [aurocs("one_group_out", number)[0] for number in range(3)]
    assert np.mean(alone) < 0.25
    within = [aurocs(3, number)[1] for number in range(60)]
    assert np.mean(within) == pytest.approx(0.5, abs=3 * np.std(within) / np.sqrt(len(within)))


def test_one_group_out_is_refused_where_scores_are_ranked():
    with pytest.raises(ConfigError, match="--set folds=5"):
        sidelight.evaluate(
            "test_resnet", "phantom:ultrasound?patients=12", "diagnosis", random=True, folds="one_group_out"
        )


def test_labels_of_test_units_cannot_reach_the_probe(vectors):
    """Turning round the labels of one fold's units leaves their own scores as they were."""
    task = make_folds(vectors, {"": ("no", "yes")}, SETTINGS)
    before, _ = scored(task, "linear", EvaluateSettings(folds=4))
    hidden = set(task.folds[0])
    turned = task.table.copy()
    turned.loc[turned["unit"].isin(hidden), "label"] ^= 1
    spoilt = Labelled(turned, task.targets, task.folds)
    after, _ = scored(spoilt, "linear", EvaluateSettings(folds=4))
    mine = before["unit"].isin(hidden)
    np.testing.assert_array_equal(before.loc[mine, "p1"], after.loc[after["unit"].isin(hidden), "p1"])
    assert not np.array_equal(before.loc[~mine, "p1"], after.loc[~after["unit"].isin(hidden), "p1"])


SIGNS = ("no", "yes")
FEW = EvaluateSettings(labels=[8], folds=3)


def several(units: pd.DataFrame) -> pd.DataFrame:
    """A second label, of every third patient and unknown of every fourth unit, beside the one that the vectors carry."""
    patient = units["group"].str[1:].astype(int)
    second = np.where(np.arange(len(units)) % 4 == 0, -1, patient % 3 == 0)
    return units.assign(label=list(zip(units["label"].tolist(), second.tolist(), strict=True)))


@pytest.mark.parametrize("protocol", ["knn", "linear"])
def test_of_several_labels_each_has_rows_where_it_is_known(vectors, protocol):
    units = several(vectors)
    task = make_folds(units, {"easy": SIGNS, "hard": SIGNS}, FEW, require_classes=False)
    found, _ = scored(task, protocol, FEW)
    known = units.assign(hard=units["label"].str[1]).query("hard >= 0")
    for (target, _), part in found.groupby(["target", "labels"]):
        assert (
            set(part["unit"]) == set(vectors["unit"] if target == "easy" else known["unit"]) and part["unit"].is_unique
        )
        np.testing.assert_allclose(part["p0"] + part["p1"], 1)
    alone = make_folds(units.assign(label=vectors["label"]), {"": SIGNS}, FEW)
    same = Labelled(alone.table, alone.targets, task.folds)
    whole = EvaluateSettings(folds=3)
    one, _ = scored(same, protocol, whole)
    easy = found[found["all_labels"] & (found["target"] == "easy")]
    np.testing.assert_array_equal(easy["p1"], one["p1"])


def test_a_label_learns_nothing_from_units_that_do_not_know_it(vectors, monkeypatch):
    task = make_folds(several(vectors), {"easy": SIGNS, "hard": SIGNS}, FEW, require_classes=False)
    before, _ = scored(task, "linear", EvaluateSettings(folds=3))
    unknown = np.flatnonzero(task.table["label"].str[1] == -1)
    moved = reading.embed_items(None, None).copy()
    moved[unknown] += 5.0
    monkeypatch.setattr(reading, "embed_items", lambda *a, **k: moved)
    after, _ = scored(task, "linear", EvaluateSettings(folds=3))
    hard, easy = (before["target"] == name for name in ("hard", "easy"))
    np.testing.assert_array_equal(before.loc[hard, "p1"], after.loc[hard, "p1"])
    assert not np.allclose(before.loc[easy, "p1"], after.loc[easy, "p1"])


def test_halves_stand_at_the_label_count_of_all_labels_in_each_fold_alone_too():
    """Where folds are not equally large, halves of one fold were kept under another count, and no comparison found them."""
    table, vectors = noise(0, patients=13)
    settings = EvaluateSettings(folds=3, seeds=1, draws=2)
    task = make_folds(table, {"": ("no", "yes")}, settings)
    assert len({len(fold) for fold in task.folds}) > 1
    ready = Ready(SimpleNamespace(device="cpu"), PIXELS, task, learned("linear"), settings, vectors)
    for number in range(3):
        whole, _ = collect_scores(ready, 0, number)
        halves = pd.concat(half_scores(ready, 0, number))
        assert set(halves["labels"]) == set(whole["labels"]) and set(halves["fold"]) == {number}
        assert set(halves["unit"]) <= set(task.folds[number])
