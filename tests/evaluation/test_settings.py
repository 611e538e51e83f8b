"""Settings of an evaluation: groups, names that moved, and the names under which earlier cells of studies were hashed."""

import pytest

from sidelight.config import build, changed, parse_flags
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols import find
from sidelight.evaluation.settings import MOVED, EvaluateSettings


@pytest.mark.parametrize("name", MOVED)
def test_a_name_that_moved_is_refused_with_the_new_one(name):
    with pytest.raises(ConfigError, match=MOVED[name]):
        build(EvaluateSettings, {name: 1})


def test_inputs_is_a_group_now():
    with pytest.raises(ConfigError, match=r"inputs.kind"):
        build(EvaluateSettings, {"inputs": "metadata"})
    settings = build(EvaluateSettings, {"inputs": {"kind": "metadata"}})
    assert settings.inputs.kind == "metadata" and changed(settings) == ['inputs.kind="metadata"']


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(ConfigError, match="resamples"):
        build(EvaluateSettings, {"resample": 100})


def test_cells_of_earlier_studies_are_found_by_the_names_of_then():
    """What the settings of version 0.1.0 gave as JSON, written down before they were put in groups."""
    settings = build(EvaluateSettings, {"inputs": {"kind": "metadata"}, "knn": {"k": 7}, "photographs": {"views": []}})
    assert settings.for_cell_hash() == {
        "profile": "default", "folds": 5, "labels": [], "seeds": 3, "first_seed": 0, "split_seed": 0, "split": None,
        "allow_leak": False, "frames": 8, "balance": "none", "k": 7, "resamples": 1000, "metric": "auroc", "subgroups": None,
        "merge_duplicates": True, "inputs": "metadata", "context": "none", "views": [], "learn_photographs": "both",
        "test_photographs": "both", "reference": None, "reference_preset": None, "reference_where": {}, "borrow_from": "image",
        "borrow_own": False, "borrow_k": 1, "severities": [], "conditions": ["light", "colour", "resolution", "distance"],
        "other_people": False, "image_size": None, "device": "auto", "precision": "auto", "cache": None, "max_frames": 64,
        "max_bad_fraction": 0.1,
        "finetune": {
            "steps": 200, "batch_size": 32, "lr": None, "head_lr": 1e-2, "weight_decay": 1e-4, "optimizer": "adamw",
            "layers": "all", "crop": 0.6, "jitter": 0.3, "checks": 10,
        },
        "projector": {
            "epochs": 100, "batch_size": 128, "lr": 1e-3, "weight_decay": 0.05, "width": 512, "checks": 20,
        },
        "series": settings.series.model_dump(mode="json"),
    }  # fmt: skip


def test_a_setting_that_came_later_changes_no_cell_while_it_has_its_default():
    plain = EvaluateSettings()
    assert "width" not in plain.for_cell_hash()["finetune"]
    assert not {"label_draw", "allow_missing"} & set(plain.for_cell_hash())
    natural = build(EvaluateSettings, {"label_draw": "natural"})
    assert natural.for_cell_hash() == plain.for_cell_hash() | {"label_draw": "natural"}
    narrow = build(EvaluateSettings, {"finetune": {"width": 64}})
    assert narrow.for_cell_hash()["finetune"]["width"] == 64


def test_photographs_are_fine_tuned_at_the_width_of_the_projector_unless_they_have_their_own():
    one = build(EvaluateSettings, {"projector": {"width": 64}})
    other = build(EvaluateSettings, {"projector": {"width": 64}, "finetune": {"width": 32}})
    assert [settings.of(find("finetune")).width for settings in (EvaluateSettings(), one, other)] == [512, 64, 32]


def test_a_setting_of_a_group_that_is_unknown_names_the_nearest_of_that_group():
    with pytest.raises(ConfigError, match=r"Did you mean 'finetune\.steps'"):
        build(EvaluateSettings, {"finetune": {"step": 3}})


def test_the_profile_of_the_paper_gives_a_protocol_its_published_settings_unless_others_are_given():
    linear, yolo, unet, tumours = (
        find(name) for name in ("segment_linear", "detect_yolo", "segment_unet", "instances")
    )
    assert EvaluateSettings().of(linear).loss == "dice_by_class"
    paper = build(EvaluateSettings, {"profile": "paper", "segment_linear": {"batch_size": 8}})
    own = paper.of(linear)
    assert (own.loss, own.levels, own.standardise, own.weight_decay, own.batch_size) == ("dice", 1, False, 1e-6, 8)
    published = paper.of(yolo)
    assert (published.published, published.overlap, published.width, published.warmup) == (True, "plus_one", 512, 100)
    assert not any(paper.of(one).flip for one in (linear, yolo, unet))
    tumour = paper.of(tumours)
    assert (tumour.optimizer, tumour.rates, tumour.batch_size, tumour.flip, tumour.shown) == (
        "sgd",
        (5e-3,),
        2,
        True,
        "surest",
    )
    assert (
        build(EvaluateSettings, {"profile": "paper"}).for_cell_hash().keys()
        == EvaluateSettings().for_cell_hash().keys()
    )


@pytest.mark.parametrize(
    ("flag", "counts"), [("all", []), ("16,all", [16]), ("16,32", [16, 32]), ("8", [8]), ("[]", [])]
)
def test_all_labels_may_be_said_though_they_are_always_there(flag, counts):
    assert build(EvaluateSettings, parse_flags([f"labels={flag}"])).labels == counts


def test_a_setting_that_came_later_leaves_the_names_of_cells_alone_while_it_has_its_default():
    plain = build(EvaluateSettings, {"detect_yolo": {"steps": 7}}).for_cell_hash()
    assert "monitor" not in plain["detect_yolo"]
    asked = build(EvaluateSettings, {"detect_yolo": {"steps": 7, "monitor": "froc"}}).for_cell_hash()
    assert asked["detect_yolo"]["monitor"] == "froc"
