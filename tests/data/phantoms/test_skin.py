"""The skin phantom: its metadata and photographs follow its latents, and what is planted is there."""

import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import fit
from sidelight.data.cohort.units import units
from sidelight.data.phantoms.skin import KINDS, LATENTS, phantom
from sidelight.errors import ConfigError


def probe(features, items):
    """Macro AUROC of a logistic regression, five folds by patient."""
    truth = items["diagnosis"].map({kind: place for place, kind in enumerate(KINDS)}).to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.01))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, truth, groups=items["patient"], cv=folds, method="predict_proba")
    return float(roc_auc_score(truth, scores, multi_class="ovr"))


def test_difficulty_is_that_of_a_useful_phantom():
    source = phantom(patients=100)
    images = np.stack([source.render(position) for position in range(len(source.items))])
    torch.manual_seed(0)
    encoder = timm.create_model("resnet18", num_classes=0).eval()
    with torch.no_grad():
        seen = encoder(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()
    assert 0.55 <= probe(seen, source.items) <= 0.8
    assert probe(source.items[list(LATENTS)].to_numpy(), source.items) >= 0.95


def test_lesion_data_follow_the_lesion_and_patient_data_the_mean_of_the_lesions():
    items = phantom(patients=300).items
    lesion = lambda name, latent: np.corrcoef(items[name] == "yes", items[latent])[0, 1]  # noqa: E731
    assert lesion("itch", "scale") > 0.5 and lesion("bleeds", "redness") > 0.5
    assert np.corrcoef(items["diameter"].astype(float), items["border"])[0, 1] > 0.5
    mean = items.groupby("patient")[list(LATENTS)].mean()
    first = items.groupby("patient").first()
    assert np.corrcoef(first["age"].astype(float), mean["scale"])[0, 1] > 0.5
    assert np.corrcoef(first["family_history"] == "yes", mean["border"])[0, 1] > 0.5
    assert items.groupby("patient").nunique()["age"].eq(1).all()


def test_a_photograph_is_a_function_of_seed_and_position():
    one, again, other = phantom(patients=5), phantom(patients=5), phantom(patients=5, seed=1)
    assert np.array_equal(one.render(3), again.render(3))
    assert not np.array_equal(one.render(3), other.render(3))
    assert np.abs(one.render(3, 0.0).astype(int) - one.render(3, 1.0)).mean() > 5


def test_what_is_planted():
    source = phantom(patients=60, ducklings=0.5, shortcut=0.6, conflicts=4, missing=0.1)
    items = source.items
    carriers = items[items["duckling"] == "yes"]
    assert 15 <= len(carriers) <= 45
    others = items[items["patient"].isin(carriers["patient"]) & (items["duckling"] == "")]
    assert (others["diagnosis"] == "nevus").all()
    blank = (items[["diameter", "itch", "bleeds", "elevation"]] == "").all(axis=1)
    assert blank.sum() > 30 and (items["diagnosis"][blank] != "carcinoma").mean() > 0.95
    copies = items.index[items["copy_of"] >= 0]
    assert len(copies) == 4
    for place in copies:
        origin = int(items["copy_of"][place])
        assert np.array_equal(source.render(place), source.render(origin))
        assert items["diagnosis"][place] != items["diagnosis"][origin]


def test_its_cohort_has_levels_tasks_and_metadata():
    cohort = Cohort.open("phantom:skin?patients=30")
    assert cohort.levels == ("patient", "lesion")
    assert set(cohort.tasks) == {"diagnosis", "malignant", "risk"}
    risk = units(cohort, cohort.tasks["risk"]).set_index("unit")["label"]
    assert risk.equals(
        cohort.items.groupby("patient")["diagnosis"]
        .agg(lambda d: int("carcinoma" in set(d)))
        .loc[risk.index]
        .rename("label")
    )
    found = fit(cohort, "lesion", np.arange(len(cohort.items)))
    assert [column.kind for column in found.columns] == ["categorical", "numeric", *["categorical"] * 3, "checkbox"]
    with pytest.raises(ConfigError, match="lesions = 0"):
        phantom(lesions=0)
    with pytest.raises(ConfigError, match=r"missing = 2"):
        phantom(missing=2)
