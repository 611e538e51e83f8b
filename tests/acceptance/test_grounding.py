"""Phrases from a study to a page: LoVT against its own text before random weights, and against the linear head."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sidelight
from sidelight.errors import ConfigError
from sidelight.metrics.heat import HEAT

DATA = "phantom:chest?patients=30&studies=1&views=1&size=64"
STUDY = f"""
title = "Grounding"
data = "{DATA}"
seeds = 1
[pretrain]
encoder = "test_resnet"
image_size = 64
working_size = 64
steps = 2
batch_size = 8
hidden = 16
dim = 8
text = {{width = 16, layers = 1, heads = 2}}
device = "cpu"
precision = "float32"
[evaluate]
folds = 2
resamples = 100
device = "cpu"
segment_linear = {{steps = 4, rates = [1e-2], checks = 1}}
[parts.findings]
task = "finding_masks"
[encoders.lovt]
method = "lovt"
protocols = ["ground"]
[encoders."the same text, random weights"]
method = "lovt"
protocols = ["ground"]
evaluate = {{ground = {{image = "random"}}}}
[encoders."lovt, linear head"]
method = "lovt"
protocols = ["segment_linear"]
[encoders.random]
protocols = ["segment_linear"]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounding")
    (folder / "study.toml").write_text(STUDY)
    found = sidelight.study(folder / "study.toml", out=folder / "out", cache=str(folder / "cache"), quiet=True)
    return folder, found


def test_one_run_stands_in_three_rows_beside_random(world):
    folder, found = world
    assert len(list((folder / "out" / "runs").iterdir())) == 1
    results = found.results[found.results["target"] == ""].set_index(["encoder", "metric"])
    for row in ("lovt", "the same text, random weights", "lovt, linear head", "random"):
        for name in ("dice", "iou by image", "hd95", *HEAT):
            assert (row, name) in results.index, (row, name)
        assert (results.loc[[(row, "pointing")], "groups"] == 30).all()
    pairs = found.differences[found.differences["metric"] == "pointing"]
    assert len(pairs) == 6 and set(pairs["protocol"]) | set(pairs["rival_protocol"]) == {"ground", "segment_linear"}
    assert "pointing game" in (folder / "out" / "report.html").read_text()


def test_a_random_row_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY.replace('protocols = ["segment_linear"]', 'protocols = ["ground"]'))
    with pytest.raises(ConfigError, match="The row 'random' has no text, and the protocol 'ground'"):
        sidelight.study(tmp_path / "study.toml", out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("task", ["finding_masks", "finding_boxes"])
def test_its_model_finds_masks_in_other_images(world, tmp_path, task):
    folder, _ = world
    (run,) = (folder / "out" / "runs").iterdir()
    common = {"cache": str(folder / "cache"), "device": "cpu", "quiet": True}
    settings = {"seeds": 1, "folds": 2, "resamples": 100, "subgroups": []}
    judged = sidelight.evaluate(run, DATA, task, "ground", out=tmp_path / "out", **settings, **common)
    card = (tmp_path / "out" / "card.md").read_text()
    assert "A pixel belongs to the mask of opacity from 0." in card and not judged.results.empty
    table = sidelight.predict(
        tmp_path / "out", DATA.replace("patients=30", "patients=9"), masks=tmp_path / "m", **common
    )
    files = sorted((tmp_path / "m").glob("*.png"))
    found = {file.stem: (np.asarray(Image.open(file)) > 0).sum() for file in files}
    assert len(files) == 4 * 9 and found[f"{table['unit'].iloc[0]}_opacity"] == table["pixels:opacity"].iloc[0]
    assert table["pixels:opacity"].sum() > 0
    page = sidelight.report(tmp_path / "out", tmp_path / "page.html").read_text()
    assert "Best, median and worst groups: opacity" in page


def test_boxes_and_the_spaces_of_regions(world):
    folder, _ = world
    (run,) = (folder / "out" / "runs").iterdir()
    common = {"cache": str(folder / "cache"), "device": "cpu", "seeds": 1, "folds": 2, "resamples": 100, "quiet": True}
    each = {
        space: sidelight.evaluate(run, DATA, "finding_boxes", "ground", ground={"regions": space}, **common)
        for space in ("whole", "beyond_mean", "local")
    }
    values = [one.results.set_index(["target", "metric"])["value"] for one in each.values()]
    assert all(one.loc[("opacity", "dice")] >= 0 for one in values)
    assert len({round(float(one.loc[("", "cnr")]), 6) for one in values}) == 3
    assert 'ground.regions="local"' in each["local"].results["command"].iloc[0]
    with pytest.raises(ConfigError, match="test_resnet has no text"):
        sidelight.evaluate("test_resnet", DATA, "finding_boxes", "ground", random=True, image_size=32, **common)


def test_each_box_by_its_sentence(world, tmp_path):
    """The phantom's boxes have sentences; masks have none, and a model that is saved asks by class."""
    folder, _ = world
    (run,) = (folder / "out" / "runs").iterdir()
    common = {"cache": str(folder / "cache"), "device": "cpu", "seeds": 1, "folds": 2, "resamples": 100, "quiet": True}
    by = {
        ask: sidelight.evaluate(
            run, DATA, "finding_boxes", "ground", ground={"ask": ask}, out=tmp_path / ask, subgroups=[], **common
        )
        for ask in ("class", "sentence")
    }
    cnr = {ask: one.results.set_index(["target", "metric"]).loc[("", "cnr"), "value"] for ask, one in by.items()}
    assert cnr["class"] != pytest.approx(cnr["sentence"])
    scores = {ask: one.scores for ask, one in by.items()}
    held = scores["class"][scores["class"]["label"] == 1]
    assert len(scores["sentence"]) == len(held), "an image without a sentence of a class is asked nothing"
    assert scores["sentence"]["true"].sum() >= held["true"].sum(), (
        "boxes that overlap count with each of their sentences"
    )
    cards = {ask: (tmp_path / ask / "card.md").read_text() for ask in by}
    limits = {ask: [line for line in card.splitlines() if "A pixel belongs" in line] for ask, card in cards.items()}
    assert limits["class"] == limits["sentence"] != []
    assert "asked for by their sentences" in cards["sentence"] and "sentences" not in cards["class"]
    with pytest.raises(ConfigError, match="no labelled box has one"):
        sidelight.evaluate(run, DATA, "finding_masks", "ground", ground={"ask": "sentence"}, **common)


def test_a_page_shows_where_phrases_point_and_what_is_true(world, tmp_path):
    folder, _ = world
    (run,) = (folder / "out" / "runs").iterdir()
    common = {"items": 3, "cache": str(folder / "cache"), "quiet": True}
    page = sidelight.explain(run, DATA, tmp_path / "task", task="finding_masks", **common).read_text()
    for said in ("opacity (", "; outlined where it is", "; there is none", "its share of them"):
        assert said in page, said
    table = pd.read_csv(tmp_path / "task" / "phrases.csv")
    assert table["phrase"].tolist() == table["class"].tolist() == ["opacity", "nodule", "effusion", "cardiomegaly"]
    assert table["pointing game"].between(0, 1).all() and (table["images with it"] > 0).all()
    asked = ["A nodule in the left upper zone.", "There is cardiomegaly."]
    page = sidelight.explain(run, DATA, tmp_path / "asked", phrases=asked, **common).read_text()
    assert all(page.count(f"{one} (") >= 3 for one in asked) and not (tmp_path / "asked" / "phrases.csv").exists()
    page = sidelight.explain(
        run, DATA, tmp_path / "both", task="finding_boxes", phrases=asked[:1], **common
    ).read_text()
    assert len(pd.read_csv(tmp_path / "both" / "phrases.csv")) == 4 and page.count(asked[0]) >= 3
    assert page.count("no nodule") + page.count("where nodule is") >= 3


def test_a_run_without_text_points_nowhere(world, tmp_path):
    folder, _ = world
    (run,) = (folder / "out" / "runs").iterdir()
    shutil.copytree(run, tmp_path / "images")
    (tmp_path / "images" / "towers" / "report.safetensors").unlink()
    for asked in ({"phrases": ["A nodule."]}, {"task": "finding_masks"}):
        with pytest.raises(ConfigError, match="images has no text that could point anywhere"):
            sidelight.explain(tmp_path / "images", DATA, tmp_path / "seen", quiet=True, **asked)
