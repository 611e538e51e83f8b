"""Classification metrics: pure numpy, weighted, and vectorised over resamples.

Every function is called as ``function(labels, scores, weights=None)``:

- ``labels`` int [N], classes 0 .. C-1;
- ``scores`` float [N, C], one probability (or any score) per class, or [N]: the score of class 1 of a binary task;
- ``weights`` non-negative [N] -> a float, or [R, N] -> values [R]: how often each unit counts in each of R resamples.
  A resample with repeated units and integer weights are the same thing, so a bootstrap is one call.

Two conventions, stated once:

- *Ranking and recall averages need every class.* ``auroc``, ``average_precision`` and ``balanced_accuracy`` are NaN
  where a class 0 .. C-1 has no (weighted) unit: a mean over the classes that happen to be there is another quantity.
- *0/0 counts as 0* in ``precision``, ``recall`` and ``f1``, as in scikit-learn with ``zero_division=0``.

With no unit at all everything is NaN, except 0/0 as said. Scores that are not numbers are an error.
The predicted class is the arg max, the first one of equals; with [N] scores class 1 is predicted above 0.5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from sidelight.metrics.arrays import all_numbers, as_columns, as_rows, ratio, shaped
from sidelight.metrics.metric import Array, Floats, Metric


def _one_against_rest(
    labels: Array, scores: Array, curve: Callable[[Array, Array, Floats], Floats], rows: Floats
) -> Floats:
    """``curve(is_positive [N], score [N], rows)`` of the positive class of two, else its mean over all classes: [R]."""
    scores = all_numbers(scores)
    if scores.ndim == 1:
        return curve(labels == 1, scores, rows)
    if scores.shape[1] == 2:
        return curve(labels == 1, scores[:, 1], rows)
    each = [curve(labels == index, scores[:, index], rows) for index in range(scores.shape[1])]
    return np.asarray(np.mean(each, axis=0))


def auroc(labels: Array, scores: Array, weights: Floats | None = None) -> Any:
    """Area under the ROC curve: the chance that a positive unit ranks above a negative one, ties counting one half.

    Binary from the score of class 1; with three or more classes the macro mean of one against the rest.
    NaN where a class is absent. Cost O(R N) after one sort.

    >>> auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    labels = np.asarray(labels)
    return shaped(_one_against_rest(labels, scores, _binary_auroc, as_rows(weights, len(labels))), weights)


def auroc_within(labels: Array, scores: Array, weights: Floats | None = None, *, folds: Array) -> Any:
    """As :func:`auroc`, of pairs within one fold alone (covariate-adjusted: Janes and Pepe, Biometrika 2009;96:371).

    Heads of different folds saw other shares of the classes, which ranks the pooled scores of a class in which few are against
    each other: leaving out single patients, noise has a pooled AUROC of 0.05 (Airola et al., PMLR 2009;8:3).

    :param folds: [N] the fold in which each unit was tested.
    """
    labels, folds = np.asarray(labels), np.asarray(folds)
    parts = [folds == fold for fold in np.unique(folds)]

    def curve(positive: Array, score: Floats, rows: Floats) -> Floats:
        counted = [_pairs(positive[own], score[own], rows[:, own]) for own in parts]
        return ratio(np.sum([won for won, _ in counted], axis=0), np.sum([all_ for _, all_ in counted], axis=0), np.nan)

    return shaped(_one_against_rest(labels, scores, curve, as_rows(weights, len(labels))), weights)


def _binary_auroc(positive: Array, score: Floats, rows: Floats) -> Floats:
    """The share of pairs that the positive one wins: [R]."""
    return ratio(*_pairs(positive, score, rows), np.nan)


def _pairs(positive: Array, score: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Sum over the positives of the weight of negatives below (midrank at ties), and the weight of all pairs: [R] each."""
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    below = np.zeros((len(rows), len(negatives) + 1))
    np.cumsum(rows[:, negatives], axis=1, out=below[:, 1:])
    ranked, own = score[negatives], score[positive]
    first, last = np.searchsorted(ranked, own, "left"), np.searchsorted(ranked, own, "right")
    gains = rows[:, positive]
    wins = np.einsum("rn,rn->r", gains, below[:, first] + below[:, last]) / 2
    return wins, gains.sum(axis=1) * below[:, -1]


def partial_auroc(labels: Array, scores: Array, weights: Floats | None = None, *, least_tpr: float = 0.8) -> Any:
    """Area between the ROC curve and the line TPR = ``least_tpr``, in [0, 1 - ``least_tpr``]; the score of ISIC 2024.

    Binary, from the score of class 1; ties are one threshold. NaN where a class is absent.

    >>> partial_auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4]))
    0.2
    """
    labels = np.asarray(labels)
    tpr, fpr = roc_curves(labels, as_columns(all_numbers(scores))[:, 1], as_rows(weights, len(labels)))
    # the curve as FPR over TPR, from the line upwards; what lies to its right is the area
    low, high = (np.maximum(side, least_tpr) for side in (tpr[:, :-1], tpr[:, 1:]))
    start = fpr[:, :-1] + (fpr[:, 1:] - fpr[:, :-1]) * ratio(low - tpr[:, :-1], tpr[:, 1:] - tpr[:, :-1], 0.0)
    area = ((high - low) * (1 - (np.where(high > low, start, 0) + fpr[:, 1:]) / 2)).sum(axis=1)
    return shaped(np.round(area, 12), weights)


def roc_curves(labels: Array, score: Array, rows: Floats) -> tuple[Floats, Floats]:
    """TPR and FPR [R, T + 1] under weights [R, N], from (0, 0) over the T distinct scores downwards; NaN without a class."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    ranked, every = rows[:, order], len(ends) == len(order)
    sums = [(ranked * (labels[order] == c)).cumsum(axis=1)[:, slice(None) if every else ends] for c in (1, 0)]
    tpr, fpr = (np.pad(ratio(one, one[:, -1:], np.nan), ((0, 0), (1, 0))) for one in sums)
    return tpr, fpr


def average_precision(labels: Array, scores: Array, weights: Floats | None = None) -> Any:
    """Average precision: sum over thresholds of (recall gained) x (precision there), tied scores being one threshold.

    Binary of class 1; with three or more classes the macro mean of one against the rest. NaN where a class is absent.

    >>> average_precision(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4]))
    0.8333333333333333
    """
    labels = np.asarray(labels)
    return shaped(_one_against_rest(labels, scores, _binary_precision, as_rows(weights, len(labels))), weights)


def _binary_precision(positive: Array, score: Floats, rows: Floats) -> Floats:
    order = np.argsort(-score, kind="stable")
    hits = rows[:, order] * positive[order]
    # a threshold takes all of its ties: each unit reads the totals where its block of equal scores ends
    end = np.searchsorted(-score[order], -score[order], "right") - 1
    precision = ratio(hits.cumsum(axis=1)[:, end], rows[:, order].cumsum(axis=1)[:, end], 0.0)
    missing = (rows * ~positive).sum(axis=1) == 0
    value = ratio((hits * precision).sum(axis=1), hits.sum(axis=1), np.nan)
    return np.where(missing, np.nan, value)


def confusion_matrix(labels: Array, scores: Array, weights: Floats | None = None) -> Floats:
    """Weight of units by true class (rows) and predicted class (columns): [C, C], or [R, C, C] for R resamples.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0.2, 0.9, 0.3])).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    matrix: Floats = shaped(_confusion(labels, scores, weights), weights)
    return matrix


def _confusion(labels: Array, scores: Array, weights: Floats | None) -> Floats:
    columns = as_columns(all_numbers(scores))
    classes = columns.shape[1]
    cell = np.asarray(labels) * classes + columns.argmax(axis=1)
    member = np.zeros((len(cell), classes * classes))
    member[np.arange(len(cell)), cell] = 1.0
    return (as_rows(weights, len(cell)) @ member).reshape(-1, classes, classes)


def accuracy(labels: Array, scores: Array, weights: Floats | None = None) -> Any:
    """Share of units whose arg max is their class; in [0, 1]."""
    matrix = _confusion(labels, scores, weights)
    return shaped(ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum(axis=(1, 2)), np.nan), weights)


def balanced_accuracy(labels: Array, scores: Array, weights: Floats | None = None) -> Any:
    """Mean recall over all classes; NaN where a class is absent."""
    matrix = _confusion(labels, scores, weights)
    return shaped(ratio(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=2), np.nan).mean(axis=1), weights)


def precision(labels: Array, scores: Array, weights: Floats | None = None, *, of: int | None = None) -> Any:
    """Correct among those predicted as a class; 0/0 = 0. Per class [C] (or [R, C]), or of the class ``of`` alone."""
    matrix = _confusion(labels, scores, weights)
    values = ratio(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=1), 0.0)
    return shaped(values if of is None else values[:, of], weights)


def recall(labels: Array, scores: Array, weights: Floats | None = None, *, of: int | None = None) -> Any:
    """Found among those that are of a class; 0/0 = 0. Per class [C] (or [R, C]), or of the class ``of`` alone."""
    matrix = _confusion(labels, scores, weights)
    values = ratio(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=2), 0.0)
    return shaped(values if of is None else values[:, of], weights)


def against_rest(
    labels: Array, scores: Array, weights: Floats | None = None, *, of: int = 1, measure: str = "auroc"
) -> Any:
    """A measure of one class against all others: auroc of its own score, or sensitivity, specificity, precision at the arg max.

    NaN where the class has no unit, or (auroc, specificity) all units; the precision of a class never predicted is 0.

    >>> against_rest(np.array([0, 1, 2]), np.eye(3)[[0, 1, 1]], of=1, measure="precision")
    0.5
    """
    is_one, rows = np.asarray(labels) == of, as_rows(weights, len(labels))
    scores = all_numbers(scores)
    if measure == "auroc":
        return shaped(_binary_auroc(is_one, as_columns(scores)[:, of], rows), weights)
    called = as_columns(scores).argmax(axis=1) == of
    among = {"sensitivity": is_one, "specificity": ~is_one, "precision": called}[measure]
    right = called == is_one
    values = ratio(rows @ (among & right), rows @ among.astype(float), 0.0 if measure == "precision" else np.nan)
    return shaped(values, weights)


def f1(labels: Array, scores: Array, weights: Floats | None = None) -> Any:
    """Harmonic mean of precision and recall: of class 1 if there are two classes, else the macro mean, where 0/0 = 0.

    Of two classes NaN where no unit is of class 1.

    >>> f1(np.array([0, 1, 1, 1]), np.array([0.9, 0.9, 0.9, 0.1]))
    0.6666666666666666
    """
    matrix = _confusion(labels, scores, weights)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    values = ratio(2 * hits, matrix.sum(axis=1) + matrix.sum(axis=2), 0.0)
    if values.shape[1] == 2:
        return shaped(np.where(matrix[:, 1].sum(axis=1) > 0, values[:, 1], np.nan), weights)
    return shaped(values.mean(axis=1), weights)


AUROC = Metric(
    "auroc", auroc, "AUROC", ranks=True, by_class=True, where=("task", "class"), compared=True, per_label=True
)  # fmt: skip
AVERAGE_PRECISION = Metric(
    "average_precision", average_precision, "average precision", ranks=True, where=("labels", "class"), per_label=True
)
ACCURACY = Metric("accuracy", accuracy, pooled=True, where=("task",), per_label=True)
BALANCED_ACCURACY = Metric("balanced_accuracy", balanced_accuracy, "balanced accuracy", by_class=True, where=("task",))
THRESHOLD_BALANCED_ACCURACY = Metric(
    "balanced_accuracy at threshold", balanced_accuracy, "balanced accuracy at threshold", by_class=True,
    where=("threshold",), compared=True,
)  # fmt: skip
"""Compared in place of the one at the arg max, which at a low prevalence calls everybody negative."""
F1 = Metric("f1", f1, "F1", where=("task",), per_label=True)
SENSITIVITY, SPECIFICITY = (
    Metric(f"{name} at 0.5", partial(against_rest, measure=name), by_class=True, where=("labels",), per_label=True)
    for name in ("sensitivity", "specificity")
)
THRESHOLD_SENSITIVITY, THRESHOLD_SPECIFICITY = (
    Metric(
        f"{name} at threshold", partial(against_rest, measure=name), by_class=True, where=("threshold",), per_label=True
    )
    for name in ("sensitivity", "specificity")
)
PARTIAL_AUROC = Metric("pauc above 80 % TPR", partial_auroc, where=("two classes",))  # limits are those of [0, 1]
