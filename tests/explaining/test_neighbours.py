"""Nearest items of other patients: hand-made vectors, and a whole page from a run."""

import numpy as np
import pandas as pd
import pytest

import sidelight
from sidelight.commands.explain import _shown
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError
from sidelight.explaining.content import overlay
from sidelight.explaining.neighbours import _said, _score, nearest_elsewhere

VECTORS = np.array([[1, 0], [2, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)


def test_nearest_of_other_groups_by_cosine():
    cosine, near = nearest_elsewhere(VECTORS, np.array(["a", "a", "b", "b", "c"], dtype=object), 2)
    assert near[0].tolist() == [2, 3] and near[2].tolist() == [0, 1] and near[4].tolist() == [3, 2]
    np.testing.assert_allclose(cosine[0], [0.8, 0.0], atol=1e-6)
    np.testing.assert_allclose(cosine[4], [0.0, -0.8], atol=1e-6)


def test_no_more_than_there_are_elsewhere():
    _, near = nearest_elsewhere(VECTORS, np.array(["a", "a", "a", "a", "c"], dtype=object), 5)
    assert near.shape == (5, 1) and near[0, 0] == 4


def test_several_labels_are_named_and_scored_one_by_one():
    label = {"acl": ["yes", "no", "", "yes", "no"], "tear": ["yes", "no", "no", "", ""]}
    said = [_said(label, row) for row in range(5)]
    assert said == [", acl + tear", ", none of them", ", none that is known", ", acl", ", none that is known"]
    assert _said({"": ["MEL", ""]}, 0) == ", MEL" and _said({"acl": [""]}, 0) == ""
    groups = np.array(["a", "b", "c", "d", "e"], dtype=object)
    table = _score(np.array([[2, 3], [4, 0], [0, 1], [0, 1], [1, 0]]), groups, label)
    assert table["label"].tolist() == ["acl", "acl", "tear", "tear"] and table["class"].tolist() == ["no", "yes"] * 2
    assert table["items"].tolist() == [2, 2, 2, 1]
    # acl: 1's nearest is 4 (no), 4's is 1 (no); 0's nearest known is 3 (yes), 3's is 0 (yes). tear: 1's nearest known is 0
    assert table["nearest has the same class"].tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(table["a random item would"], [1 / 3, 1 / 3, 0.5, 0])


def test_every_patient_is_shown_before_any_twice():
    groups = np.array(["a"] * 6 + ["b", "c"], dtype=object)
    assert set(groups[_shown(groups, 3, 0)]) == {"a", "b", "c"}
    assert len(_shown(groups, 20, 0)) == 8


def test_heat_colours_where_it_is_hot():
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert (overlay(grey, np.zeros((2, 2))) == grey).all()
    mixed = overlay(grey, np.array([[4.0, 0.0], [0.0, 0.0]])).astype(int)
    changed = np.abs(mixed - 100).sum(axis=2)
    assert changed[0, 0] > 60 and changed[7, 7] == 0


def test_a_page_with_pictures_and_a_score(tmp_path):
    cohort = Cohort.open("phantom:ultrasound?patients=12&clips=2&frames=4&size=40")
    settings = {"encoder": "resnet10t", "image_size": 32, "steps": 1, "batch_size": 8, "max_frames": 4}
    run = sidelight.pretrain("simclr", cohort, tmp_path / "run", quiet=True, cache=str(tmp_path / "c"), **settings)
    page = sidelight.explain(run, cohort, tmp_path / "out", items=3, cache=str(tmp_path / "c"), quiet=True)
    text = page.read_text()
    assert text.count("<img") == 3 * 6 and "Research use only" in text
    assert (tmp_path / "out").stat().st_mode & 0o077 == page.stat().st_mode & 0o077 == 0
    (tmp_path / "out").chmod(0o755)
    sidelight.explain(run, cohort, tmp_path / "out", items=3, cache=str(tmp_path / "c"), quiet=True)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755, "a folder that was there keeps its mode"
    table = pd.read_csv(tmp_path / "out" / "nearest-items-of-other-patients.csv")
    assert set(table["class"]) == set(cohort.tasks["diagnosis"].classes)
    assert table["a random item would"].sum() == pytest.approx(1, abs=0.1)
    assert not any(name in text for name in cohort.items["item"])
    with pytest.raises(ConfigError, match="diagnosis"):
        sidelight.explain(run, cohort, tmp_path / "out", task="diagnoses", cache=str(tmp_path / "c"), quiet=True)
