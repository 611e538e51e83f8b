"""evaluate and predict by the protocol ``series``, with the holes that real studies have."""

import numpy as np
import pytest

import mr_writing
import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.knee import phantom
from sidelight.errors import ConfigError
from sidelight.models.image import create_encoder

FAST = {
    "folds": 2, "seeds": 1, "resamples": 100, "device": "cpu", "image_size": 32, "max_frames": 20,
    "series": {"steps": 20, "draws": 2, "aggregator": "max"},
}  # fmt: skip


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """MRNet's layout: an exam lacks a plane, one a label, a series has one slice, one slices of another size."""
    root = mr_writing.mrnet(tmp_path_factory.mktemp("mrnet"), phantom(exams=30, slices=18, size=32, seed=2), valid=6)
    (root / "train" / "coronal" / "0003.npy").unlink()
    first = root / "train" / "axial" / "0004.npy"
    np.save(first, np.load(first)[:1])
    second = root / "train" / "axial" / "0006.npy"
    np.save(second, np.load(second)[:, :24, :])
    labels = (root / "train-meniscus.csv").read_text().splitlines(keepends=True)
    (root / "train-meniscus.csv").write_text("".join(line for line in labels if not line.startswith("0005")))
    return root


@pytest.fixture(scope="module")
def encoder():
    import torch

    torch.manual_seed(0)
    return create_encoder("test_resnet", channels=1, image_size=32)


def test_several_labels_of_a_study(knees, encoder, tmp_path) -> None:
    cohort = Cohort.open(knees, preset="mrnet")
    results = sidelight.evaluate(
        encoder, cohort, "diagnosis", "series", out=tmp_path / "out", cache=str(tmp_path), **FAST
    )
    rows = results.results[results.results["metric"] == "auroc"]
    assert set(rows["target"]) == {"", "abnormal", "acl", "meniscus"} and rows["value"].between(0, 1).all()
    known = results.scores.groupby("target")["unit"].nunique().to_dict()
    assert known == {
        "abnormal": 30,
        "acl": 30,
        "meniscus": 29,
    }  # the label that one lacks is not judged, its others are
    scored = sidelight.predict(tmp_path / "out", cohort, cache=str(tmp_path), device="cpu")
    assert len(scored) == 30
    assert "no coronal image" in scored["missing"].tolist()
    again = sidelight.predict(tmp_path / "out", cohort, cache=str(tmp_path), device="cpu")
    columns = [name for name in scored.columns if name.startswith("probability")]
    assert columns and np.array_equal(scored[columns], again[columns]) and scored[columns].notna().all().all()


def test_an_evaluation_that_is_started_again_reads_no_slice_twice(knees, encoder, tmp_path, monkeypatch) -> None:
    """What the frozen encoder made of the slices is stored at once: heads alone learn anew, and come out the same."""
    values = {**FAST, "cache": str(tmp_path), "split": "split"}
    first = sidelight.evaluate(encoder, Cohort.open(knees, preset="mrnet"), "acl", "series", **values)
    monkeypatch.setattr(type(encoder), "embed", None)
    again = sidelight.evaluate(encoder, Cohort.open(knees, preset="mrnet"), "acl", "series", **values)
    np.testing.assert_array_equal(first.scores["p1"], again.scores["p1"])


@pytest.mark.parametrize("aggregator", ["attention", "convlstm"])
def test_other_aggregators_and_classes(knees, encoder, tmp_path, aggregator) -> None:
    series = {"series": {**FAST["series"], "aggregator": aggregator, "width": 4, "slices": 6}}
    results = sidelight.evaluate(
        encoder, Cohort.open(knees, preset="mrnet"), "meniscus", "series", cache=str(tmp_path), **{**FAST, **series}
    )
    assert results.headline()["value"].between(0, 1).all()


def test_weights_of_rare_labels_change_what_is_learnt(knees, encoder, tmp_path) -> None:
    cohort = Cohort.open(knees, preset="mrnet")
    each = {}
    for balance in ("none", "inverse_frequency"):
        results = sidelight.evaluate(encoder, cohort, "acl", "series", cache=str(tmp_path), balance=balance, **FAST)
        each[balance] = results.scores["p1"].mean()
    assert each["inverse_frequency"] > each["none"] + 0.1  # the rare label is called more often


def test_the_given_split_of_mrnet(knees, encoder, tmp_path) -> None:
    results = sidelight.evaluate(
        encoder, Cohort.open(knees, preset="mrnet"), "meniscus", "series", cache=str(tmp_path), split="split", **FAST
    )
    tested = results.scores[results.scores["step"] == "selected"]
    assert tested["unit"].nunique() == 6


def test_an_unknown_setting_is_named(knees, encoder, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"series\.agregator"):
        sidelight.evaluate(
            encoder,
            Cohort.open(knees, preset="mrnet"),
            "acl",
            "series",
            cache=str(tmp_path),
            series={"agregator": "max"},
        )
