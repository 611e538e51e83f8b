import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sidelight.evaluation.protocols import logistic
from sidelight.evaluation.protocols.logistic import _levelled, _newton, path, span

STRENGTHS = tuple(10.0**k for k in range(-5, 2))


def world(units: int, width: int, classes: int = 2, seed: int = 0):
    """Correlated columns as networks give them: few directions hold most of what varies; standardised."""
    rng = np.random.default_rng(seed)
    x = (
        rng.normal(size=(units, width))
        * 3
        / np.sqrt(1 + np.arange(width))
        @ np.linalg.qr(rng.normal(size=(width, width)))[0]
    )
    y = (x[:, :classes] + rng.normal(size=(units, classes)) * x.std()).argmax(axis=1)
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def exact(x, y, strength, weights=None):
    """Probabilities [N, C] at the optimum."""
    balance = None if weights is None else dict(enumerate(weights.tolist()))
    return LogisticRegression(C=strength, max_iter=20_000, tol=1e-9, class_weight=balance).fit(x, y).predict_proba(x)


def found(x, fit):
    line = x @ fit[0] + fit[1]
    chance = np.exp(line - line.max(axis=1, keepdims=True))
    return chance / chance.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("classes", "weights"), [(2, None), (2, np.array([1.0, 3.0])), (3, None), (3, np.array([1.0, 2.0, 4.0]))]
)
def test_the_optimum_is_that_of_scikit_learn(classes, weights):
    x, y = world(120, 40, classes)
    for strength, fit in zip(STRENGTHS, _levelled(x, y, classes, STRENGTHS, weights), strict=True):
        np.testing.assert_allclose(found(x, fit), exact(x, y, strength, weights), atol=5e-3)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0])])
def test_newtons_method_finds_it_too(weights):
    x, y = world(60, 40)
    for strength, fit in zip(STRENGTHS, _newton(x, y, 2, STRENGTHS, weights), strict=True):
        np.testing.assert_allclose(found(x, fit), exact(x, y, strength, weights), atol=2e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_some_axes_and_single_precision_lead_there_as_well(monkeypatch, classes):
    monkeypatch.setattr(logistic, "EXACT", 10)
    monkeypatch.setattr(logistic, "AXES", 8)
    x, y = world(120, 40, classes)
    for kind in (np.float64, np.float32):
        for strength, fit in zip(
            STRENGTHS[:5], _levelled(x.astype(kind), y, classes, STRENGTHS[:5], None), strict=True
        ):
            np.testing.assert_allclose(found(x, fit), exact(x, y, strength), atol=5e-3)


def test_levelled_coordinates_save_steps(monkeypatch):
    """Less than half as many calls of the cost as without."""
    x, y = world(600, 200, 3)
    calls = []
    monkeypatch.setattr(
        logistic,
        "minimize",
        lambda cost, start, args, **more: calls.append(0) or _count(calls, cost, start, args, more),
    )
    list(_levelled(x, y, 3, STRENGTHS[:5], None))
    with_axes = sum(calls)
    calls.clear()
    plain = logistic._Level(np.zeros((1, 200)), np.ones((1, 1)), 1.0, 1.0)
    monkeypatch.setattr(logistic._Problem, "level", lambda self, strength: plain)
    list(_levelled(x, y, 3, STRENGTHS[:5], None))
    assert with_axes < 0.5 * sum(calls)


def _count(calls, cost, start, args, more):
    from scipy.optimize import minimize

    result = minimize(cost, start, args=args, **more)
    calls[-1] = result.nfev
    return result


def test_the_slope_is_that_of_the_cost():
    from scipy.optimize import check_grad

    x, y = world(30, 8, 3)
    problem = logistic._Problem.of(x, y, 3, np.array([1.0, 2.0, 1.0]))
    level = problem.level(0.1)
    point = np.random.default_rng(0).normal(size=27)
    assert check_grad(lambda p: problem.cost(p, 0.1, level)[0], lambda p: problem.cost(p, 0.1, level)[1], point) < 1e-6


def test_inward_undoes_outward():
    x, y = world(30, 8, 3)
    level = logistic._Problem.of(x, y, 3, None).level(1.0)
    point = np.random.default_rng(1).normal(size=(8, 3))
    np.testing.assert_allclose(level.inward(level.outward(point)), point)


def test_rotation_into_the_span_of_few_units_changes_nothing():
    x, y = world(12, 60)
    x = x * 3 + 1
    assert span(x)[2].shape == (60, 12) and span(x[:, :20])[2] is None
    ((weight, bias),) = path(x, y, 2, (0.1,), None)
    plain = (x - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(found(x, (weight, bias)), exact(plain, y, 0.1), atol=2e-3)


def test_large_matrices_in_single_precision_give_nearly_the_same(monkeypatch):
    x, y = world(120, 100, 3)
    plain = next(path(x, y, 3, (0.01,), None))
    monkeypatch.setattr(logistic, "LARGE", 10)
    assert np.abs(found(x, next(path(x, y, 3, (0.01,), None))) - found(x, plain)).max() < 2e-3
