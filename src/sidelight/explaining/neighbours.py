"""Which items an encoder takes for alike: for some items the nearest of other patients, and how often they share a label."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.task import units
from sidelight.evaluation.features import embed_items
from sidelight.explaining.content import Part, Picture, Question, frame_of
from sidelight.models.image import Encoder

NEAREST = 5


def neighbours(question: Question, encoder: Encoder) -> Part:
    """The nearest items of other patients by cosine, as a row of pictures for each item asked for."""
    vectors = embed_items(encoder, question.pixels, folder=question.pixels.folder / "features", frames=8)
    groups = question.pixels.index["group"].to_numpy()
    cosine, near = nearest_elsewhere(vectors, groups, NEAREST)
    label = _labels(question)
    pictures = [
        Picture(
            f"{question.names[row]}{_said(label, row)}",
            tuple(frame_of(question.pixels, one) for one in (row, *near[row])),
            ("itself", *(f"{cosine[row, k]:.2f}{_said(label, one)}" for k, one in enumerate(near[row]))),
        )
        for row in question.rows.tolist()
    ]
    return Part(
        "Nearest items of other patients",
        "The image on the left, then those that the encoder finds most alike (cosine), its own patient left out.",
        tuple(pictures),
        _score(near, groups, label),
    )


def nearest_elsewhere(
    vectors: NDArray[np.float32], groups: NDArray[np.object_], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosine [N,k] and row [N,k] of the nearest vectors [N,D] of other groups, the nearest first.

    ``k`` is at most the number of items outside the largest group.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    _, code = np.unique(groups.astype(str), return_inverse=True)
    k = min(k, len(code) - int(np.bincount(code).max()))
    cosine, near = np.empty((len(unit), k), np.float32), np.empty((len(unit), k), np.int64)
    for part in np.array_split(np.arange(len(unit)), max(1, len(unit) // 1024)):
        similar = unit[part] @ unit.T
        similar[code[part][:, None] == code[None]] = -np.inf
        near[part] = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        cosine[part] = np.take_along_axis(similar, near[part], axis=1)
    return cosine, near


def _labels(question: Question) -> list[str]:
    """The class of each row, "" where it has none."""
    label = [""] * len(question.pixels)
    if question.task is None:
        return label
    task = question.cohort.tasks[question.task]
    if task.kind == "multilabel":
        return label
    row_of = dict(zip(question.pixels.index["position"], range(len(label)), strict=True))
    table = units(question.cohort, task)
    for items, code in zip(table["items"], table["label"], strict=True):
        for item in items:
            if item in row_of:
                label[row_of[item]] = task.classes[code]
    return label


def _said(label: Sequence[str], row: int) -> str:
    return f", {label[row]}" if label[row] else ""


def _score(near: NDArray[np.int64], groups: NDArray[np.object_], label: Sequence[str]) -> pd.DataFrame | None:
    """How often the nearest labelled item of another patient has the same class, beside picking one at random."""
    names = np.array(label)
    known = np.flatnonzero(names != "")
    rows = []
    for name in sorted({*names[known]}):
        own = known[names[known] == name]
        first = [hits[0] for row in own if len(hits := [one for one in near[row] if names[one]])]
        if not first:
            continue
        others = [float((names[known][groups[known] != groups[row]] == name).mean()) for row in own]
        rows.append(
            {
                "class": name,
                "items": len(own),
                "nearest has the same class": float(np.mean(names[first] == name)),
                "a random item would": float(np.mean(others)),
            }
        )
    return pd.DataFrame(rows) if rows else None
