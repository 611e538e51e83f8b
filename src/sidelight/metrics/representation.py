"""What embeddings are like without labels (rank, spread, alignment, retrieval), and kNN scores with them. Pure
numpy.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CHUNK_CELLS = 4_000_000
"""Similarities held at once (32 MB as float64)."""


def _unit(embeddings: ArrayLike) -> Floats:
    """Rows divided by their Euclidean length; a row of zeros stays zero."""
    rows = np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return units


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, CHUNK_CELLS // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def effective_rank(embeddings: ArrayLike) -> float:
    """Number of dimensions that the embeddings [N, D] use: exp(entropy of the singular values divided by their sum).

    The mean embedding is taken off first, so that a common offset does not count as a dimension: N copies of one vector
    have rank 0, points on a line 1, an isotropic cloud close to min(N - 1, D). Scale does not matter.
    Roy & Vetterli, "The effective rank", EUSIPCO 2007 (there without centring); as a label-free score of encoders:
    RankMe, 2023.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    scale = np.abs(rows).max(initial=0.0)
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    if not len(values) or values[0] <= 1e-7 * scale * np.sqrt(rows.size):
        return 0.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def embedding_std(embeddings: ArrayLike) -> float:
    """Standard deviation over N of the L2-normalised embeddings [N, D], averaged over dimensions.

    0 when all point the same way (collapse), about 1 / sqrt(D) when they spread evenly over the sphere.
    """
    return float(_unit(embeddings).std(axis=0).mean())


def retrieval_ranks(left: ArrayLike, right: ArrayLike) -> Floats:
    """Rank [N] of ``right[i]`` among all of ``right`` [N, D] by cosine to ``left[i]``; 1 is best.

    Equal similarities share the middle of their ranks, so a collapsed encoder scores chance and not 1.
    """
    queries, keys = _unit(left), _unit(right)
    ranks = np.empty(len(queries))
    for part in _chunks(len(queries), len(keys)):
        similar = queries[part] @ keys.T
        own = similar[np.arange(len(similar)), np.arange(part.start, part.stop)][:, None]
        close = np.abs(similar - own) <= 1e-12
        ranks[part] = 1 + ((similar > own) & ~close).sum(axis=1) + (close.sum(axis=1) - 1) / 2
    return ranks


def recall_at(ranks: ArrayLike, k: int) -> float:
    """Share of queries whose partner is among the first ``k``; in [0, 1]."""
    return float((np.asarray(ranks) <= k).mean())


def median_rank(ranks: ArrayLike) -> float:
    """Median rank of the partner; 1 is best, (N + 1) / 2 is chance."""
    return float(np.median(np.asarray(ranks)))


def knn_scores(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    k: int,
    classes: int,
    *,
    temperature: float | None = 0.07,
) -> Floats:
    """Class probabilities [M, classes] of ``test`` [M, D] from the ``k`` nearest rows of ``train`` [N, D] by cosine.

    Neighbours vote with weight exp(cosine / temperature) (Wu et al. 2018), ``temperature=None`` gives one vote each.
    ``k`` beyond N means all N. ``labels`` int [N]. Equal similarities: the earlier row of ``train`` wins only by chance
    of the partition, so give rows in a fixed order for a reproducible answer.
    :raises ValueError: when ``train`` is empty or ``k`` < 1.
    """
    keys, queries, labels = _unit(train), _unit(test), np.asarray(labels)
    if k < 1 or not len(keys):
        raise ValueError(f"knn_scores needs k >= 1 and at least one training row, not k = {k} and {len(keys)} rows")
    k = min(k, len(keys))
    votes: NDArray[Any] = np.eye(classes)[labels]
    scores = np.empty((len(queries), classes))
    for part in _chunks(len(queries), len(keys)):
        similar = queries[part] @ keys.T
        near = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        cosine = np.take_along_axis(similar, near, axis=1)
        weight = (
            np.ones_like(cosine)
            if temperature is None
            else np.exp((cosine - cosine.max(axis=1, keepdims=True)) / temperature)
        )
        scores[part] = np.einsum("mk,mkc->mc", weight, votes[near]) / weight.sum(axis=1, keepdims=True)
    return scores


def alignment(left: ArrayLike, right: ArrayLike) -> float:
    """Mean squared distance of paired unit vectors [N, D]; 0 (pairs coincide) to 4. Wang & Isola 2020, alpha = 2."""
    return float(((_unit(left) - _unit(right)) ** 2).sum(axis=1).mean())


def uniformity(embeddings: ArrayLike, *, t: float = 2.0) -> float:
    """log of the mean over pairs of exp(-t squared distance) of unit vectors [N, D]; 0 if collapsed, lower if even.

    Wang & Isola 2020. NaN for fewer than two rows.
    """
    rows = _unit(embeddings)
    count = len(rows)
    if count < 2:
        return float("nan")
    total = sum(float(np.exp(-t * (2 - 2 * rows[part] @ rows.T)).sum()) for part in _chunks(count, count))
    own = float(np.exp(-t * (2 - 2 * (rows**2).sum(axis=1))).sum())
    return float(np.log((total - own) / (count * (count - 1))))
