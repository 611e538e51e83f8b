import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from sidelight.evaluation.protocols import probes
from sidelight.evaluation.protocols.logistic import path
from sidelight.evaluation.protocols.probes import STRENGTHS, fit_linear
from sidelight.metrics.classification import auroc


def predict_linear(x, y, groups, test, classes):
    return fit_linear(x, y, groups, classes)(test)


def world(patients: int, per: int, seed: int, width: int = 40, gap: float = 1.0):
    """Vectors whose first column carries the class; the class is constant within a patient."""
    rng = np.random.default_rng(seed)
    label = np.arange(patients) % 2
    y = np.repeat(label, per)
    x = rng.normal(size=(patients * per, width))
    x[:, 0] += gap * (2 * y - 1)
    return x, y, np.repeat(np.arange(patients), per)


def test_finds_the_class_and_gives_probabilities():
    x, y, groups = world(20, 4, 0)
    test, truth, _ = world(40, 4, 1)
    scores = predict_linear(x, y, groups, test, 2)
    assert scores.shape == (160, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    assert auroc(truth, scores) > 0.75


def test_what_is_held_out_does_not_scale_what_is_learnt():
    """The inner choice standardised on all labelled units."""
    x, y, groups = world(12, 2, 2)
    inner = list(probes._out_of_fold(x, y, groups, 2, 0, None)[1])
    shifted = x.copy()
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    learnt, held = next(iter(folds.split(x, y, groups)))
    shifted[held] += 100.0
    outer = list(probes._out_of_fold(shifted, y, groups, 2, 0, None)[1])
    slope = (outer[3][: len(held)] - inner[3][: len(held)])[:, 1]
    weight = list(path(x[learnt], y[learnt], 2, STRENGTHS, None))[3][0]
    np.testing.assert_allclose(slope, 100.0 * weight[:, 1].sum(), rtol=1e-6)


def test_a_constant_feature_and_a_constant_test_set_are_harmless():
    x, y, groups = world(8, 2, 0)
    x[:, 5] = 3.0
    assert np.isfinite(predict_linear(x, y, groups, np.full((3, 40), 1e6), 2)).all()


def test_without_two_patients_of_a_class_there_is_nothing_to_choose():
    x, y, _ = world(2, 5, 0)
    scores = predict_linear(x, y, y, x, 2)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("gap", [0.0, 3.0])
def test_probabilities_are_as_sure_as_the_left_out_units_allow(gap):
    x, y, groups = world(20, 3, 0, gap=gap)
    test, _, _ = world(40, 3, 1, gap=gap)
    confidence = predict_linear(x, y, groups, test, 2).max(axis=1).mean()
    assert confidence < 0.7 if gap == 0 else confidence > 0.85


def test_three_classes():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 6)) + 3 * np.eye(6)[y]
    scores = predict_linear(x, y, np.arange(60), x, 3)
    assert (scores.argmax(axis=1) == y).mean() > 0.9


def test_a_class_without_units_leaves_the_shares():
    x, y, groups = world(8, 2, 0)
    head = fit_linear(x, np.zeros_like(y), groups, 2)
    np.testing.assert_allclose(head(x), np.tile([16.5 / 17, 0.5 / 17], (16, 1)))


def test_weights_lift_the_rare_class_and_keep_the_order():
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 10 == 0).astype(int)
    x = rng.normal(size=(200, 5)) + 0.5 * y[:, None]
    plain, weighted = (fit_linear(x, y, np.arange(200), 2, weights=w)(x)[:, 1] for w in (None, np.array([1.0, 9.0])))
    assert plain.mean() == pytest.approx(0.1, abs=0.03) and weighted.mean() > 0.25
    assert auroc(y, weighted) == pytest.approx(auroc(y, plain), abs=0.02)


def test_the_search_ends_where_stronger_fits_only_get_worse(monkeypatch):
    """Losses 3, 1, 2, 2, and then what would be the least and is not looked at."""
    asked = []

    def path():
        for loss in (3.0, 1.0, 2.0, 2.0, 0.0):
            asked.append(loss)
            yield np.array([[loss, 0.0]])

    monkeypatch.setattr(probes, "_out_of_fold", lambda *_: (np.array([0]), path()))
    monkeypatch.setattr(probes, "_loss", lambda logits, y, weights: float(logits[0, 0]))
    x, y, groups = world(2, 4, 0)
    assert probes._choose(x, y, groups, 2, 0, None)[0] == STRENGTHS[1] and asked == [3.0, 1.0, 2.0, 2.0]


def test_of_many_units_one_fold_chooses(monkeypatch):
    x, y, groups = world(20, 3, 0)
    assert len(probes._out_of_fold(x, y, groups, 2, 0, None)[0]) == 60
    monkeypatch.setattr(probes, "MANY", 60)
    assert len(probes._out_of_fold(x, y, groups, 2, 0, None)[0]) == 12
