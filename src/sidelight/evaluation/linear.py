"""The linear probe: L2-regularised multinomial logistic regression on frozen features.

Its strength is chosen, and its probabilities are put on one scale, by cross-validation *inside the labelled units*,
grouped by patient: a probe that is said to have seen 16 labels has seen 16, the selection included.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

STRENGTHS = tuple(10.0**k for k in range(-5, 3))


def predict_linear(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, test: np.ndarray, classes: int, *, seed: int = 0
) -> np.ndarray:
    """Calibrated class probabilities ``[M, classes]`` of ``test``.

    :param x: float [N, D] vectors of the labelled units; ``y`` int [N] in ``range(classes)``; ``groups`` [N] patients.
    :param test: float [M, D].
    """
    # One thread: the matrices are small, and threads that wait for each other make a fit twenty times slower.
    with threadpool_limits(1):
        return _predict(*_reduce(x.astype(np.float64), test.astype(np.float64)), y, groups, classes, seed)


def _predict(x: np.ndarray, test: np.ndarray, y: np.ndarray, groups: np.ndarray, classes: int, seed: int) -> np.ndarray:
    held_out = _out_of_fold(x, y, groups, classes, seed)
    if held_out is None:
        return np.asarray(np.exp(log_softmax(_logits(x, y, test, classes, STRENGTHS[2]), axis=1)))
    rows, logits = held_out
    losses = [-log_softmax(one, axis=1)[np.arange(len(rows)), y[rows]].mean() for one in logits]
    best = int(np.argmin(losses))
    temperature = _temperature(logits[best], y[rows])
    final = _logits(x, y, test, classes, STRENGTHS[best])
    return np.asarray(np.exp(log_softmax(final / temperature, axis=1)))


def _reduce(x: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise, then rotate into the span of the labelled units: the same optimum with N instead of D columns."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-8, scale, np.inf)
    x, test = (x - mean) / scale, (test - mean) / scale
    if len(x) >= x.shape[1]:
        return x, test
    basis = np.linalg.svd(x, full_matrices=False)[2].T
    return x @ basis, test @ basis


def _out_of_fold(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, classes: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Logits of units left out of the fit, for every strength; none where a class has a single patient."""
    fewest = min(len(np.unique(groups[y == c])) for c in range(classes))
    if fewest < 2:
        return None
    folds = StratifiedGroupKFold(min(5, fewest), shuffle=True, random_state=seed)
    parts = [(a, b) for a, b in folds.split(x, y, groups) if len(np.unique(y[a])) == classes]
    if not parts:
        return None
    rows = np.concatenate([b for _, b in parts])
    logits = [np.concatenate([_logits(x[a], y[a], x[b], classes, c) for a, b in parts]) for c in STRENGTHS]
    return rows, logits


def _logits(x: np.ndarray, y: np.ndarray, test: np.ndarray, classes: int, strength: float) -> np.ndarray:
    # Newton's method is three times faster where its Hessian is small.
    solver = "newton-cholesky" if x.shape[1] * classes <= 150 else "lbfgs"
    model = LogisticRegression(C=strength, max_iter=300, solver=solver).fit(x, y)
    scores = np.asarray(model.decision_function(test))
    return np.stack([np.zeros_like(scores), scores], axis=1) if classes == 2 else scores


def _temperature(logits: np.ndarray, y: np.ndarray) -> float:
    """The temperature in [0.1, 10] at which the left-out logits are most likely (Guo et al. 2017)."""

    def loss(log_t: float) -> float:
        return float(-log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(y)), y].mean())

    limit = np.log(10.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))
