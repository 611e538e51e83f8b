"""The page of a run on reports: sentences and regions, statistics, and where the truth is known a score."""

import numpy as np
import pandas as pd
from PIL import Image

import sidelight

TINY = {
    **{"encoder": "test_resnet", "image_size": 64, "working_size": 64, "steps": 2, "batch_size": 8, "device": "cpu"},
    **{"hidden": 16, "dim": 8, "text": {"width": 16, "layers": 1, "heads": 2}, "quiet": True},
    "precision": "float32",
}
PLAIN = ["similarity", "similarity beyond the mean image"]
DATA = "phantom:chest?patients=30&studies=1&size=64"


def test_each_sentence_has_its_pictures_and_the_truth_a_score(tmp_path):
    for method, ways in (("lovt", [*PLAIN, "attention"]), ("convirt", PLAIN), ("local_sigmoid", PLAIN)):
        run = sidelight.pretrain(method, DATA, tmp_path / method, cache=str(tmp_path / "cache"), **TINY)
        out = tmp_path / f"{method}-seen"
        page = sidelight.explain(run, DATA, out, items=3, cache=str(tmp_path / "cache"), quiet=True).read_text()
        tables = {path.stem: pd.read_csv(path) for path in out.glob("*.csv")}
        score = tables["sentences-and-regions"]
        assert score["by"].tolist() == ways
        assert (score["chance"] == 0.25).all() and (score["findings"] > 10).all()
        space = tables["images-and-reports-in-one-space"]
        assert space["vectors of"].tolist() == ["image", "report"]
        assert (space["studies"] == 30).all() and space["recall at 5"].between(0, 1).all()
        assert page.count("regions most like each sentence") == 3
        assert page.count("sentence of each region") == (3 if method == "lovt" else 0)


def test_a_sentence_of_a_rich_report_that_names_two_findings_is_asked_once(tmp_path):
    data = "phantom:chest?patients=80&studies=1&size=64&reports=rich&language=de&views=1&seed=1"
    run = sidelight.pretrain("convirt", data, tmp_path / "run", cache=str(tmp_path / "cache"), **TINY)
    sidelight.explain(run, data, tmp_path / "seen", items=3, cache=str(tmp_path / "cache"), quiet=True)
    score = pd.read_csv(tmp_path / "seen" / "sentences-and-regions.csv")
    found = [[one for one in own if one.side] for own in sidelight.Cohort.open(data).phantom.findings]
    asked = sum(len({one.sentence for one in own}) for own in found)
    assert (score["findings"] == asked).all() and asked < sum(map(len, found))


def test_phrases_and_masks_need_no_reports(tmp_path):
    """Data of images and masks alone: where phrases point is shown, and that there are no reports is said."""
    run = sidelight.pretrain("lovt", DATA, tmp_path / "run", cache=str(tmp_path / "cache"), **TINY)
    rng = np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((48, 48), np.uint8)
        mask[8 * number : 8 * number + 16, 10:30] = 255
        for kind, values in (("images", rng.integers(20, 60, (48, 48)) + mask // 2), ("masks", mask)):
            (tmp_path / "new" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "new" / kind / f"p{number}.png")
    (tmp_path / "new" / "cohort.toml").write_text(
        'name = "new"\nfiles = "images/{patient}.png"\nlevels = ["patient"]\n[task.opacity]\nmask = "masks/{patient}.png"\n'
    )
    for asked in ({"phrases": ["opacity"]}, {"task": "opacity"}, {}):
        page = sidelight.explain(run, tmp_path / "new", tmp_path / f"out{len(asked)}", items=2, quiet=True, **asked)
        text = page.read_text()
        assert "new names no reports." in text and ("opacity (" in text) == bool(asked)
