"""Shallow models of one column: what it says about a label by itself, out of fold, folds by patient.

A categorical column is looked up: the class shares of its values in the training folds, drawn a little towards the
shares of all. Numbers and patterns of blanks go through a decision tree of depth 3. Nothing here can learn more than a
person would see in a cross table, and that is the point.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from sidelight.data.split import k_folds
from sidelight.metrics.classification import AUROC
from sidelight.metrics.intervals import LEAST_CLASS_GROUPS, LEAST_GROUPS, Interval, clustered_interval

Array = NDArray[Any]
Floats = NDArray[np.float64]

FOLDS, DEPTH, LEAST_LEAF, SMOOTHING = 5, 3, 5, 2.0
LEAST_UNITS = 30
RESAMPLES = 300


def folds_of(labels: Array, groups: Array) -> Array:
    """The fold of each unit, int [N], by group and stratified by class."""
    table = pd.DataFrame({"unit": np.arange(len(labels)).astype(str), "group": groups, "label": labels})
    count = min(FOLDS, table["group"].nunique())
    of = {u: n for n, split in enumerate(k_folds(table, count, 0, require_classes=False)) for u in split.test}
    return np.array([of[unit] for unit in table["unit"]])


def looked_up(values: Array, labels: Array, folds: Array) -> Floats:
    """Out-of-fold class shares of a categorical column: float [N, C].

    :param values: int [N], the category of each unit.
    :param labels: int [N], 0 .. C-1.
    """
    kinds, classes = int(values.max()) + 1, int(labels.max()) + 1
    table = np.zeros((folds.max() + 1, kinds, classes))
    np.add.at(table, (folds, values, labels), 1.0)
    seen = table.sum(axis=0) - table
    prior = seen.sum(axis=1, keepdims=True)
    prior /= np.maximum(prior.sum(axis=2, keepdims=True), 1)
    shares = (seen + SMOOTHING * prior) / (seen.sum(axis=2, keepdims=True) + SMOOTHING)
    scores: Floats = shares[folds, values]
    return scores


def branched(features: Floats, labels: Array, folds: Array) -> Floats:
    """Out-of-fold class probabilities of a small decision tree on ``features`` [N, F]: float [N, C]."""
    scores = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in range(folds.max() + 1):
        test = folds == fold
        if not test.any() or test.all():
            continue
        leaf = max(LEAST_LEAF, int((~test).sum()) // 50)
        tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=leaf, random_state=0)
        tree.fit(features[~test], labels[~test])
        scores[np.ix_(test, tree.classes_)] = tree.predict_proba(features[test])
    return scores


def enough(labels: Array, groups: Array) -> NDArray[np.bool_]:
    """Which units [N] to judge by: those of classes with enough groups; none where too few units or groups are left."""
    held = pd.Series(groups).groupby(labels).nunique()
    keep = np.isin(labels, held.index[held >= LEAST_CLASS_GROUPS])
    few = keep.sum() < LEAST_UNITS or len(np.unique(groups[keep])) < LEAST_GROUPS or len(np.unique(labels[keep])) < 2
    return np.zeros_like(keep) if few else keep


def strength(scores: Floats, labels: Array, groups: Array, limit: float, level: float = 0.95) -> Interval:
    """AUROC (macro of one against the rest) with its interval by group; without interval where it is below ``limit``."""
    value = float(AUROC(labels, scores))
    if not value >= limit:
        return Interval(value, np.nan, np.nan, "none", len(np.unique(groups)), 0, False)
    return clustered_interval(labels, scores, groups, AUROC, level=level, resamples=RESAMPLES)
