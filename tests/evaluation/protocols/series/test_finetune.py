"""Series whose encoder learns on with the heads: what changes, what stays, what the tested exams can reach."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import mr_writing
import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Target
from sidelight.data.phantoms.knee import phantom
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.model.model import read_model
from sidelight.evaluation.protocols.base import Examples, Saved
from sidelight.evaluation.protocols.series.planes import SeriesSettings
from sidelight.evaluation.protocols.series.series import SeriesHead, fit_series
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.units import Units
from sidelight.models.image import create_encoder, load_encoder, weights_hash
from sidelight.models.towers import save_tower

SERIES = {
    "steps": 10, "draws": 2, "aggregator": "max", "encoder": "finetuned", "slices": 4,
    "finetune": {"steps": 3, "batch_size": 4, "lr": 1e-3},
}  # fmt: skip
FAST = {"folds": 2, "seeds": 1, "resamples": 100, "device": "cpu", "max_frames": 6}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return create_encoder("test_resnet", channels=1, image_size=32)


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """MRNet's layout; one exam that trains lacks a plane, and one that is tested."""
    root = mr_writing.mrnet(tmp_path_factory.mktemp("mrnet"), phantom(exams=24, slices=6, size=32, seed=2), valid=8)
    (root / "train" / "coronal" / "0003.npy").unlink()
    (root / "valid" / "axial" / "0020.npy").unlink()
    return root


def judged(knees, net, folder, **series):
    cohort = Cohort.open(knees, preset="mrnet")
    values = {**FAST, "cache": str(folder / "cache"), "split": "split", "series": {**SERIES, **series}}
    return sidelight.evaluate(net, cohort, "diagnosis", "series", out=folder / "out", **values)


def test_a_model_holds_the_encoder_that_learnt_on(knees, encoder, tmp_path) -> None:
    before = weights_hash(encoder)
    results = judged(knees, encoder, tmp_path)
    tested = results.scores[results.scores["step"] == "selected"]
    assert tested["unit"].nunique() == 8 and tested["p1"].between(0, 1).all()
    assert weights_hash(encoder) == before  # what was given is as it was
    model = read_model(tmp_path / "out")
    assert weights_hash(model.encoder) != before
    scored = sidelight.predict(tmp_path / "out", Cohort.open(knees, preset="mrnet"), cache=str(tmp_path), device="cpu")
    assert scored["missing"].value_counts().to_dict() == {"": 22, "no coronal image": 1, "no axial image": 1}
    columns = [name for name in scored.columns if name.startswith("probability")]
    assert columns and scored[columns].notna().all().all()


@pytest.mark.parametrize("aggregator", ["attention", "convlstm"])
def test_training_on_fits_what_is_labelled_better(encoder, tmp_path, aggregator) -> None:
    cohort = Cohort.open("phantom:knee?exams=16&slices=4&size=32")
    pixels = open_pixels(
        cohort, 32, EvaluateSettings.model_validate({"cache": str(tmp_path), "max_frames": 4}), quiet=True
    )
    exams = cohort.items["exam"].to_numpy()[pixels.index["position"].to_numpy()]
    names = np.unique(exams)
    items = [np.flatnonzero(exams == name).tolist() for name in names]
    y = cohort.items.groupby("exam")["meniscus"].first().loc[names].astype(int).to_numpy()[:, None]
    encoder.train()
    for _ in range(20):  # batch statistics, as pre-training leaves them
        encoder(torch.from_numpy(pixels.batch(list(range(len(pixels))), [2] * len(pixels))) / 255)
    loss = {}
    for kind in ("frozen", "finetuned"):
        budget = {"steps": 40, "batch_size": 8, "lr": 3e-4, "jitter": 0.0, "crop": 1.0}
        values = {**SERIES, "aggregator": aggregator, "width": 4, "encoder": kind, "fusion": "mean", "finetune": budget}
        examples = Examples(Units(pixels, items), y, names, (Target("meniscus", ("no", "yes")),))
        head = fit_series(encoder, examples, SeriesSettings.model_validate(values), seed=0)
        scores = head(examples.units)
        loss[kind] = -np.log(scores[np.arange(len(y)), y[:, 0]]).mean()
    assert loss["finetuned"] < 0.95 * loss["frozen"], loss
    save_tower(head.encoder, tmp_path)
    known = {"": ("no", "yes")}
    reader = load_encoder(tmp_path / "image.safetensors")
    saved = Saved(tmp_path, reader, "meniscus", known, 8, head.describe(), head.tensors())
    np.testing.assert_allclose(SeriesHead.of(saved)(examples.units), scores, atol=1e-6)


@pytest.mark.parametrize("kind", ["frozen", "finetuned"])
def test_the_tested_exams_reach_neither_heads_nor_fusion_nor_encoder(knees, encoder, tmp_path, kind) -> None:
    """With the labels of the tested exams turned round every score stays what it was."""
    first = judged(knees, encoder, tmp_path / "a", encoder=kind)
    turned = shutil.copytree(knees, tmp_path / "turned")
    for label in ("abnormal", "acl", "meniscus"):
        table = pd.read_csv(turned / f"valid-{label}.csv", header=None, dtype=str)
        table[1] = (1 - table[1].astype(int)).astype(str)
        table.to_csv(turned / f"valid-{label}.csv", header=False, index=False)
    second = judged(turned, encoder, tmp_path / "b", encoder=kind)
    weights = [read_model(tmp_path / side / "out").head.weights for side in "ab"]
    np.testing.assert_array_equal(*weights)
    one, other = (found.scores[found.scores["step"] == "selected"].reset_index(drop=True) for found in (first, second))
    np.testing.assert_array_equal(one["label"], 1 - other["label"])
    np.testing.assert_allclose(one["p1"], other["p1"], atol=1e-6)
