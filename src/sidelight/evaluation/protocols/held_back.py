"""Labelled units that are kept back to choose a step of training on."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from sidelight.data.split import k_folds

PARTS, LEAST_HELD_BACK = 5, 4


def held_back(y: np.ndarray, groups: np.ndarray, sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the units that train and of those that choose the step.

    The latter are a fifth of the labelled patients, if that holds ``LEAST_HELD_BACK`` of every class of every target, else none.
    """
    everyone, nobody = np.arange(len(y)), np.arange(0)
    columns = [y[:, target] == c for target, size in enumerate(sizes) for c in range(size)]
    fewest = min(len(np.unique(groups[own])) for own in columns)
    if fewest < PARTS * LEAST_HELD_BACK:
        return everyone, nobody
    for train, valid in _fifths(y, groups, seed):
        if all(own[train].any() and own[valid].any() for own in columns):
            return train, valid
    return everyone, nobody


def _fifths(y: np.ndarray, groups: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rest and each fifth of the patients, stratified."""
    if y.shape[1] == 1:
        yield from StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed).split(y, y[:, 0], groups)
        return
    units = pd.DataFrame({"unit": np.arange(len(y)), "group": groups, "label": [tuple(row) for row in y.tolist()]})
    for split in k_folds(units, PARTS, seed, require_classes=False):
        held = np.isin(units["unit"].astype(str), split.test)
        yield np.flatnonzero(~held), np.flatnonzero(held)
