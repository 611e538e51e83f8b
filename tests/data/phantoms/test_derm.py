"""The lesion phantom: two photographs of one lesion, attributes that go together, each view lacking something."""

import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.derm import ATTRIBUTES, DIAGNOSES, phantom
from sidelight.errors import ConfigError


def probe(features, positive):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    scores = cross_val_predict(model, features, positive, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(positive, scores))


def test_attributes_are_unequal_and_go_together():
    cases = phantom(cases=1000).items.drop_duplicates("case")
    for name, wanted in {"diagnosis": DIAGNOSES, **ATTRIBUTES}.items():
        found = cases[name].value_counts()
        for one, count in wanted.items():
            assert found[one] == pytest.approx(1000 * count / 1011, abs=1.5)
    codes = np.stack([cases[name].map(list(classes).index) for name, classes in ATTRIBUTES.items()])
    between = np.corrcoef(np.concatenate([codes, [cases["diagnosis"] == "MEL"]]))
    assert between[np.triu_indices(8, 1)].min() > 0.05
    assert between[-1, :-1].max() > 0.3
    assert probe(cases[["severity"]].to_numpy(), cases["diagnosis"] == "MEL") >= 0.9


def test_a_photograph_is_a_function_of_seed_case_and_view():
    one, more = phantom(cases=8, size=32), phantom(cases=8, size=32, lone=0.5)
    assert len(one.items) == 16 and len(more.items) == 12
    assert more.items["view"].value_counts().tolist() == [6, 6]
    names = {item: place for place, item in enumerate(one.items["item"])}
    for place, item in enumerate(more.items["item"]):
        np.testing.assert_array_equal(more.read(place, 1).frames, one.read(names[item], 1).frames)
    assert one.read(0, 1).frames.shape == (1, 32, 32, 3)
    assert (one.read(0, 1).frames != one.read(1, 1).frames).mean() > 0.5
    assert (one.read(0, 1).frames != phantom(cases=8, size=32, seed=1).read(0, 1).frames).mean() > 0.5


def test_each_attribute_changes_its_photographs():
    """The dermatoscope shows network, dots and rays, the clinical photograph veil and regression, each more than the other."""
    source = phantom(cases=60, size=48, difficulty=0.2)
    change = {}
    for name, classes in ATTRIBUTES.items():
        for view in (0, 1):
            differences = []
            for case in range(12):
                images = []
                for kind in (next(iter(classes)), list(classes)[-1]):
                    source.items.loc[2 * case + view, name] = kind
                    images.append(source.read(2 * case + view, 1).frames.astype(float))
                differences.append(np.abs(images[0] - images[1]).max(axis=(1, 2, 3)).mean())
            change[name, view] = np.mean(differences)
    for name in ("pigment_network", "streaks", "dots_and_globules"):
        assert change[name, 0] > 1.3 * change[name, 1] > 0
    for name in ("blue_whitish_veil", "regression_structures", "pigmentation"):
        assert change[name, 1] > 1.3 * change[name, 0] > 0


def test_a_random_encoder_sees_a_little():
    source = phantom()
    images = torch.from_numpy(np.stack([source.read(place, 1).frames[0] for place in range(len(source.items))]))
    images = interpolate(images.permute(0, 3, 1, 2).float() / 255, (64, 64), mode="bilinear", antialias=True)
    torch.manual_seed(0)
    encoder = timm.create_model("test_resnet", num_classes=0).eval()
    with torch.inference_mode():
        features = encoder((images - 0.5) / 0.25).numpy()
    dermoscopic = (source.items["view"] == "dermoscopic").to_numpy()
    cases = source.items[dermoscopic]
    both = np.concatenate([features[dermoscopic], features[~dermoscopic]], 1)
    found = [probe(both, (cases[name] == list(classes)[-1]).to_numpy()) for name, classes in ATTRIBUTES.items()]
    assert 0.5 <= np.mean(found) <= 0.75


def test_tasks_and_bad_options():
    cohort = Cohort.open("phantom:derm?cases=300")
    assert cohort.tasks["diagnosis"].classes == tuple(DIAGNOSES)
    assert {*ATTRIBUTES, "melanoma"} <= set(cohort.tasks)
    for options, text in (({"cases": 4}, "cases = 4"), ({"lone": 2}, "lone = 2"), ({"difficulty": -1}, "difficulty")):
        with pytest.raises(ConfigError, match=text):
            phantom(**options)
