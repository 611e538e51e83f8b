"""How well masks are met: the Dice coefficient, pooled over images and of each image. Pure numpy."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def counts(found: ArrayLike, truth: ArrayLike) -> NDArray[np.int64]:
    """True positives, false positives and false negatives of each image, int64 [N, 3].

    :param found: bool [N, ...]; ``truth`` bool of the same shape.
    """
    seen, there = np.asarray(found, bool), np.asarray(truth, bool)
    if seen.shape != there.shape:
        raise ValueError(f"found is {seen.shape} and truth {there.shape}")
    seen, there = seen.reshape(len(seen), -1), there.reshape(len(there), -1)
    return np.stack([(seen & there).sum(1), (seen & ~there).sum(1), (~seen & there).sum(1)], 1).astype(np.int64)


def pooled_dice(table: ArrayLike) -> float:
    """2 TP / (2 TP + FP + FN) of the sums over images of :func:`counts`; 0 where nothing is there and nothing found."""
    hit, extra, missed = np.asarray(table, np.float64).reshape(-1, 3).sum(0)
    total = 2 * hit + extra + missed
    return float(2 * hit / total) if total else 0.0


def image_dice(table: ArrayLike) -> NDArray[np.float64]:
    """Dice of each image [N] from :func:`counts`; NaN for an image whose mask is empty."""
    rows = np.asarray(table, np.float64)
    total = 2 * rows[:, 0] + rows[:, 1] + rows[:, 2]
    dice = np.divide(2 * rows[:, 0], total, out=np.zeros(len(rows)), where=total > 0)
    dice[rows[:, 0] + rows[:, 2] == 0] = np.nan
    return dice
