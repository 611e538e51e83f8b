"""Scores of every protocol on phantoms, pinned: the numbers that version 0.1.0 gave before protocols became objects.

Byte-equal then and after on one machine; here within what other processors and BLAS libraries change.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import sidelight
from sidelight.evaluation.model.model import read_model

CLIPS = "phantom:ultrasound?patients=24&clips=2&frames=5&size=40"
KNEES = "phantom:knee?exams=24&slices=4&size=48"
QUICK = {
    "seeds": 1,
    "folds": 3,
    "resamples": 100,
    "device": "cpu",
    "image_size": 32,
    "frames": 3,
    "precision": "float32",
}
BUDGETS = {
    "knn": {}, "linear": {}, "projector": {"projector": {"epochs": 4, "checks": 2, "width": 16}},
    "finetune": {"finetune": {"steps": 4, "batch_size": 8, "checks": 2}},
    "finetune_last": {"finetune": {"steps": 4, "batch_size": 8, "checks": 2}},
    "series": {"series": {"steps": 6, "draws": 2, "aggregator": "max"}},
}  # fmt: skip
PINNED = {
    "knn": (0.3978, 0.3338, 0.7170),
    "linear": (0.4745, 0.1633, 0.7361),
    "projector": (0.5037, 0.0524, 0.5365),
    "finetune": (0.4958, 0.0255, 0.6094),
    "finetune_last": (0.4994, 0.0211, 0.5590),
    "series": (0.5012, 0.1413, 0.4550),
}
"""Mean probability, its standard deviation and AUROC, by protocol."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def weights_as_they_were(monkeypatch):
    """Random weights of that version had the last norm of each residual branch at 0."""
    monkeypatch.setattr("sidelight.models.image._with_all_branches", lambda network: network)


def judged(protocol, cache, out=None):
    data = KNEES if protocol == "series" else CLIPS
    given = {**QUICK, **BUDGETS[protocol], "cache": cache, "random": True, "out": out}
    return data, sidelight.evaluate("test_resnet", data, "diagnosis", protocol, **given)


def three(found):
    scores = found.scores[found.scores["step"] == "selected"]
    rows = found.results[(found.results["metric"] == "auroc") & (found.results["selected_on"] == "validation")]
    return scores["p1"].mean(), scores["p1"].std(), rows.loc[rows["target"] == "", "value"].iloc[0]


@pytest.mark.parametrize("protocol", BUDGETS)
def test_scores_are_what_they_were(protocol, cache):
    np.testing.assert_allclose(three(judged(protocol, cache)[1]), PINNED[protocol], atol=0.005)


@pytest.mark.parametrize("protocol", ["linear", "series"])
def test_a_model_of_format_4_opens(protocol, cache, tmp_path):
    """What rebuilds a head stood under ``series`` then, and was empty for other protocols."""
    data, _ = judged(protocol, cache, tmp_path / "judged")
    before = sidelight.predict(tmp_path / "judged", data, cache=cache, device="cpu")
    file = tmp_path / "judged" / "model" / "model.json"
    facts = json.loads(file.read_text())
    head = facts.pop("head")
    del facts["seal"], facts["files"]
    file.write_text(json.dumps({**facts, "version": 4, "series": head}))
    after = sidelight.predict(tmp_path / "judged", data, cache=cache, device="cpu")
    columns = [name for name in before.columns if name.startswith("probability")]
    np.testing.assert_array_equal(before[columns], after[columns])


@pytest.mark.parametrize("protocol", BUDGETS)
def test_a_head_saves_and_reads_itself(protocol, cache, tmp_path):
    judged(protocol, cache, tmp_path / "judged")
    head, saved = read_model(tmp_path / "judged").head, load_file(tmp_path / "judged" / "model" / "head.safetensors")
    own = head.tensors()
    assert set(own) == set(saved) - {"reference", "centre"}
    for name, value in own.items():
        np.testing.assert_allclose(value, saved[name], atol=1e-6)
