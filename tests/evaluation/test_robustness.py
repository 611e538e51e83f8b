"""Scores under worse conditions: heads and folds are the usual ones, metadata do not suffer, and the page shows it."""

import pytest

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError
from sidelight.evaluation.results import Results
from sidelight.reporting.study.content import load
from sidelight.reporting.study.robustness import conditions

TINY = {"encoder": "test_resnet", "image_size": 32, "batch_size": 8, "device": "cpu", "steps": 2, "lesions": 3}
SMALL = {"seeds": 1, "folds": 2, "resamples": 100, "device": "cpu", "merge_duplicates": False}
SMALL |= {"robustness": {"severities": [1.0], "conditions": ["light", "distance"]}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("robust")
    cohort = Cohort.open("phantom:skin?patients=40&size=32&difficulty=0&severity=0.1")
    table = {"width": 16, "heads": 2, "depth": 1}
    run = sidelight.pretrain("slimp", cohort, root / "run", quiet=True, cache=str(root / "c"), table=table, **TINY)
    return cohort, run, str(root / "c"), root


def judged(world, protocol="linear", **settings):
    cohort, run, cache, _ = world
    return sidelight.evaluate(run, cohort, "malignant", protocol, cache=cache, **{**SMALL, **settings})


def worse(found):
    rows = found.results
    return rows[rows["severity"].notna()].set_index(["condition", "severity"])["value"]


def test_images_suffer_and_metadata_do_not(world):
    image = judged(world)
    values = worse(image)
    usual = image.results[(image.results["metric"] == "auroc") & image.results["all_labels"]]["value"].iloc[0]
    assert set(values.index.get_level_values(0)) == {"light", "distance"}
    assert all(values.loc[name, 0.0] == pytest.approx(usual) for name in ("light", "distance"))
    assert values.loc["light", 1.0] < usual - 0.03
    told = worse(judged(world, inputs={"kind": "metadata"}))
    assert told.nunique() == 1
    both = worse(judged(world, inputs={"kind": "image+metadata"}))
    assert both.loc["light", 1.0] > values.loc["light", 1.0]


def test_heads_are_those_of_the_folds(world, monkeypatch):
    """With a condition that changes nothing every score is the usual one."""
    monkeypatch.setattr("sidelight.views.disturb.Disturb.__call__", lambda self, images, rows: images)
    found = judged(
        world, robustness={"conditions": ["light"], "severities": [0.5]}, inputs={"context": "patient"}
    ).scores
    usual, again = (
        found[found["step"] == step].set_index("unit")["p1"].sort_index() for step in ("selected", "disturbed")
    )
    assert len(usual) == len(again) and (usual - again).abs().max() < 1e-9


def test_the_report_has_a_figure_and_other_numbers_stay(world):
    cohort, run, cache, root = world
    out = root / "judged"
    four = {"robustness": {"severities": [0.0, 0.5, 1.0]}}
    sidelight.evaluate(run, cohort, "malignant", out=out, cache=cache, **{**SMALL, **four})
    content = load(out)
    assert not content.results["metric"].str.contains("light").any() and content.headline("malignant").metric == "auroc"
    panels = conditions(content, "malignant")
    assert [one.name for one in panels] == ["light", "colour", "resolution", "distance"]
    assert all(list(one.curves[0].x) == [0.0, 0.5, 1.0] for one in panels)
    page = sidelight.report(out, root / "page.html").read_text()
    assert "Under worse conditions" in page and page.count("severity (") >= 4
    text = sidelight.report(out, root / "page.md").read_text()
    assert "## Under worse conditions" in text and (root / "figures" / "page-malignant-conditions.png").is_file()
    assert Results.load(out).results["severity"].notna().any()


def test_heads_that_read_pixels_are_refused(world):
    with pytest.raises(ConfigError, match="severities with the protocol finetune"):
        judged(world, "finetune", finetune={"steps": 1})


def test_no_condition_is_said_before_heads_are_learnt_and_severity_0_is_the_score_itself(world, monkeypatch):
    assert "severity" not in judged(world, robustness={"severities": [0]}).results
    monkeypatch.setattr("sidelight.evaluation.judge.collect_scores", lambda *_: pytest.fail("heads were learnt"))
    with pytest.raises(ConfigError, match=r"robustness\.conditions = \[\] of colour images"):
        judged(world, robustness={"severities": [0.5], "conditions": []})


def test_photographs_side_by_side_are_refused_before_their_pixels_are_read(monkeypatch):
    monkeypatch.setattr("sidelight.evaluation.judge.open_pixels", lambda *_, **__: pytest.fail("pixels were read"))
    more = {"photographs": {"views": ["dermoscopic", "clinical"]}, "robustness": {"severities": [0.5]}}
    with pytest.raises(ConfigError, match=r"robustness\.severities = \[0\.5\] of photographs side by side"):
        sidelight.evaluate(
            "test_resnet", "phantom:derm?cases=8&size=32", "melanoma", random=True, image_size=32, device="cpu", **more
        )
