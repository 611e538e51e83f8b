"""Explanations of SM3's runs: retrieval, attention between labels by name, saliency on both photographs."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

import sidelight
from sidelight.explaining.photo_pairs import saliency
from sidelight.models.image import create_encoder
from sidelight.models.labels import LabelRelations

PHANTOM = "phantom:derm?cases=16&size=40&lone=0.25"
FIRST = {"encoder": "test_resnet", "image_size": 32, "projection": 8, "batch_size": 8, "device": "cpu", "steps": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("explain")
    same = {"cache": str(root / "cache"), "quiet": True}
    first = sidelight.pretrain("sm3", PHANTOM, root / "first", **FIRST, **same)
    second = sidelight.pretrain(
        "sm3_labels", PHANTOM, root / "second", start=first, width=16, batch_size=8, epochs=1, device="cpu", **same
    )
    return root, first, second


def pages(runs, run):
    root = runs[0]
    folder = root / f"page-{run.folder.name}"
    page = sidelight.explain(run, PHANTOM, folder, items=4, cache=str(root / "cache"), device="cpu", quiet=True)
    return page.read_text(), [pd.read_csv(path) for path in sorted(folder.glob("*.csv"))]


def test_stage_one_shows_how_one_photograph_finds_the_other(runs):
    text, tables = pages(runs, runs[1])
    assert "From one photograph to the other" in text and "Nearest items" in text
    table = next(one for one in tables if "by chance" in one)
    assert table["by chance"].iloc[0] == pytest.approx(1 / 12)
    assert table["value"].iloc[:3].between(0, 1).all()


def test_stage_two_shows_relations_by_name_and_both_photographs(runs):
    text, tables = pages(runs, runs[2])
    attention = next(one for one in tables if "pigment_network" in one)
    names = list(attention["label"])
    assert names[0] == "diagnosis" and list(attention.columns[1:]) == names
    np.testing.assert_allclose(attention[names].sum(axis=1), 1, atol=1e-3)
    cases = next(one for one in tables if "reads most" in one)
    assert cases.groupby("lesion")["label"].agg(list).map(lambda own: own == names).all()
    assert set(cases["reads most"]) <= set(names) and (cases["reads most"] != cases["label"]).all()
    assert "Where each label looks" in text and "second photograph" in text
    assert "NMI of pseudo-classes and truth" in text


def test_the_runs_own_report_shows_pairs_attention_and_saliency(runs, tmp_path):
    first, second = (sidelight.report(run.folder, tmp_path / "page.html").read_text() for run in runs[1:])
    assert "two photographs" in first and "Which labels read which" not in first
    for text in (
        "two photographs",
        "Which labels read which",
        "On average",
        "Where each label looks",
        "first photograph",
    ):
        assert text in second, text
    stored = load_file(runs[2].folder / "relations.safetensors")
    np.testing.assert_allclose(stored["attention"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(stored["cases"].sum(2), 1, atol=1e-5)
    assert stored["cases"].std(0).max() > 0  # lesions differ
    maps = load_file(runs[2].folder / "saliency.safetensors")["heat"]
    assert maps.shape[1:3] == (2, 8) and (maps.max((1, 3, 4)) > 0).all()
    (runs[2].folder / "relations.safetensors").write_bytes(b"broken")
    assert "cannot be read" in sidelight.report(runs[2].folder, tmp_path / "page.html").read_text()


def test_saliency_lies_where_the_label_looks():
    """A label that reads the first photograph alone has a map there and none on the second."""
    torch.manual_seed(0)
    towers = tuple(create_encoder("test_resnet", channels=3, image_size=32) for _ in range(2))
    net = LabelRelations(2 * towers[0].dim, {"one": 2, "two": 2}, width=8).eval()
    with torch.no_grad():
        for projector in net.projectors:
            projector.weight[:, towers[0].dim :] = 0
    images = {slot: torch.rand(1, 3, 32, 32) for slot in (0, 1)}
    found = saliency(net, towers, images)
    assert [one.shape for one in found[0]] == [(32, 32)] * 2
    assert all(one.max() > 0 for one in found[0]) and not any(one.any() for one in found[1])
    assert set(saliency(net, towers, {1: images[1]})) == {1}
