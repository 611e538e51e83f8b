"""Metadata extrapolation: an image without metadata borrows those of the reference items that look most like it.

Whom each value comes from is written down, and where the truth is known it is said how often what was borrowed is right.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.cohort.metadata import KNOWN, Codes, Column

Floats = NDArray[np.float32]
Space = Literal["image", "metadata"]
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Borrowed:
    """For each of N items its k lenders among M reference items, the nearest first.

    :ivar rows: int64 [N, k], rows of the reference.
    :ivar similarity: float32 [N, k], cosine; ``weight`` float32 [N, k], rows sum to 1.
    """

    rows: NDArray[np.int64]
    similarity: Floats
    weight: Floats

    def mean(self, features: Floats) -> Floats:
        """Weighted mean [N, D] of the lenders' ``features`` [M, D]."""
        mixed: Floats = np.einsum("nk,nkd->nd", self.weight, features[self.rows]).astype(np.float32)
        return mixed


def borrow(
    queries: Floats, keys: Floats, *, k: int = 1, temperature: float = 0.07, excluded: NDArray[np.bool_] | None = None
) -> Borrowed:
    """The ``k`` reference items most similar to each query by cosine, weighted by exp(cosine / temperature).

    :param queries: float [N, D] images; ``keys`` float [M, D] images or metadata of the reference in the same space.
    :param excluded: bool [N, M], True where an item may not lend, such as to its own patient.
    :return: with at most M lenders; an item all of whose lenders are excluded still takes the first ones, with weight 0.
    """
    left, right = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (queries, keys))
    k = min(k, len(keys))
    rows, cosine = np.empty((len(left), k), np.int64), np.empty((len(left), k), np.float32)
    for start in range(0, len(left), CHUNK):
        part = slice(start, start + CHUNK)
        similar = left[part] @ right.T
        if excluded is not None:
            similar[excluded[part]] = -np.inf
        rows[part] = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        cosine[part] = np.take_along_axis(similar, rows[part], axis=1)
    with np.errstate(invalid="ignore"):
        weight = np.nan_to_num(np.exp((cosine - cosine[:, :1]) / temperature))
    total = weight.sum(axis=1, keepdims=True)
    return Borrowed(rows, cosine, (weight / np.where(total > 0, total, 1)).astype(np.float32))


def borrowed_table(found: Borrowed, items: list[str], lenders: list[str], cells: pd.DataFrame) -> pd.DataFrame:
    """One row per item and lender: ``item``, ``rank``, ``from``, ``similarity``, ``weight``, and the lender's cells as
    they are.

    :param items: names [N] that may be written (hashes); ``lenders`` [M] alike.
    :param cells: [M, columns] of the reference.
    """
    count, k = found.rows.shape
    flat = found.rows.ravel()
    head = pd.DataFrame(
        {
            "item": np.repeat(np.array(items, object), k),
            "rank": np.tile(np.arange(1, k + 1), count),
            "from": [lenders[row] for row in flat],
            "similarity": found.similarity.ravel().round(4),
            "weight": found.weight.ravel().round(4),
        }
    )
    return pd.concat([head, cells.iloc[flat].reset_index(drop=True)], axis=1)


def agreement(found: Borrowed, true: Codes, lent: Codes, columns: tuple[Column, ...], *, seed: int = 0) -> pd.DataFrame:
    """How often the first lender's value is the item's own, where both are known, beside a lender drawn at random.

    A number counts as right within half a standard deviation of the reference. Checkbox columns are left out.
    :param true: codes [N] of the items; ``lent`` [M] of the reference, by the same vocabulary.
    :return: ``column``, ``items``, ``right``, ``by chance``, in [0, 1].
    """
    first = found.rows[:, 0]
    chance = np.random.default_rng(seed).integers(len(lent), size=len(first))
    rows = []
    for place, column in enumerate(columns):
        if column.kind == "checkbox":
            continue
        shares = []
        for source in (first, chance):
            known = (true.state[:, place] == KNOWN) & (lent.state[source, place] == KNOWN)
            if column.kind == "numeric":
                right = np.abs(true.number[:, place] - lent.number[source, place]) <= 0.5
            else:
                right = true.value[:, place] == lent.value[source, place]
            shares.append((int(known.sum()), float(right[known].mean()) if known.any() else np.nan))
        rows.append({"column": column.name, "items": shares[0][0], "right": shares[0][1], "by chance": shares[1][1]})
    return pd.DataFrame(rows)
