"""No patient of a fold, no copy of their pictures, labelled or not, stays in the pre-training of the fold."""

import numpy as np
import pytest
from PIL import Image

import sidelight
from planted import opened, table, write
from sidelight.config import build
from sidelight.data.cohort.columns import select
from sidelight.errors import ConfigError
from sidelight.evaluation.judge import Evaluation
from sidelight.evaluation.protocols import find
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.unseen_folds import mark_folds, score_unseen
from sidelight.models.image import load_encoder


def test_folds_are_marked_by_patient(tmp_path):
    cohort = sidelight.Cohort.open("phantom:skin?patients=12&size=32")
    settings = build(EvaluateSettings, {"folds": 3, "cache": str(tmp_path)})
    marked = mark_folds(cohort, "malignant", settings, 32)
    held = [~select(one.items, where, "where") for one, where in marked]
    assert len(held) == 3 and (np.sum(held, axis=0) == 1).all(), "everybody is tested once"
    for own in held:
        assert cohort.items.assign(held=own).groupby("patient")["held"].nunique().eq(1).all()
    with pytest.raises(ConfigError, match="given split"):
        mark_folds(cohort, "malignant", build(EvaluateSettings, {"split": "site"}), 32)


@pytest.mark.parametrize("merge", [True, False])
def test_copies_under_unlabelled_patients_are_left_out_with_the_pictures_they_copy(tmp_path, merge):
    """Patients 12 to 17 have no label; each but the last holds a copy, and that of 16 ties two labelled patients together."""
    rows = table(18)
    rows.loc[rows["patient"].str[1:].astype(int) >= 12, "diagnosis"] = ""
    root = write(tmp_path / "data", rows, pictures=True, pixel=9)

    def picture(patient, number):
        return root / f"photos/p{patient}/{patient}_{number}.png"

    copies = {(12, 0): (0, 0), (13, 1): (1, 1), (14, 0): (2, 0), (15, 0): (3, 0), (16, 0): (4, 0), (16, 1): (5, 0)}
    for to, of in copies.items():
        Image.fromarray(np.asarray(Image.open(picture(*of))) + 3).save(picture(*to))
    cohort = opened(root, task={"ill": {"label": "diagnosis", "positive": ["ill"], "ignore": [""]}})
    settings = {"folds": 3, "cache": str(tmp_path / "cache"), "merge_duplicates": merge}
    marked = mark_folds(cohort, "ill", build(EvaluateSettings, settings), 64)
    kept = [set(cohort.items.loc[select(one.items, where, "where"), "patient"]) for one, where in marked]
    for patients in kept:
        for (copy, _), (of, _) in copies.items():
            assert (f"p{copy}" in patients) <= (f"p{of}" in patients), "a copy of a tested picture would be learnt from"
        assert ("p4" in patients) == ("p5" in patients) and "p17" in patients
    assert set.intersection(*kept) == {"p17"}


def test_under_worse_conditions_too_a_unit_is_scored_by_the_encoder_of_its_own_fold(tmp_path):
    """Each encoder's head scores its own fold alone, so that a unit stands once under each condition."""
    cohort = sidelight.Cohort.open("phantom:skin?patients=30&size=32")
    worse = {"severities": [1.0], "conditions": ["light"]}
    settings = {"seeds": 1, "folds": 2, "robustness": worse, "cache": str(tmp_path), "device": "cpu"}
    evaluation = Evaluation("", cohort, "malignant", find("knn"), build(EvaluateSettings, settings))

    def pretrained(_cohort, _where, number):
        return load_encoder("test_resnet", random=True, channels=3, image_size=32, seed=number)

    found = score_unseen(pretrained, evaluation, 32).table
    for _, rows in found[found["step"] == "disturbed"].groupby(["condition", "severity"]):
        assert rows["unit"].is_unique and set(rows["unit"]) == set(found.loc[found["step"] == "selected", "unit"])
        assert set(rows["fold"]) == {0, 1}
