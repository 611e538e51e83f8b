"""Which items an encoder takes for alike: for some items the nearest of other patients, and how often they share a label."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.cohort.task import LEFT_OUT, SIGNS
from sidelight.data.cohort.units import units
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


def _labels(question: Question) -> dict[str, list[str]]:
    """By target of the task (its column where it has several) the class of each row, "" where it is unknown."""
    if question.task is None:
        return {}
    task = question.cohort.tasks[question.task]
    table = units(question.cohort, task)
    label = {name: [""] * len(question.pixels) for name in task.targets}
    for rows, code in zip(question.pixels.rows_of(table["items"]), table["label"], strict=True):
        codes = code if isinstance(code, tuple) else (code,)
        for row in rows:
            for (name, classes), one in zip(task.targets.items(), codes, strict=True):
                label[name][row] = "" if one == LEFT_OUT else classes[one]
    return label


def _said(label: Mapping[str, Sequence[str]], row: int) -> str:
    """What follows a caption: the class, or of several labels those that the item has, or "none of them"."""
    if "" in label:
        return f", {label[''][row]}" if label[""][row] else ""
    known = {name: values[row] for name, values in label.items() if values[row]}
    has = [name for name, value in known.items() if value == SIGNS[1]]
    return (
        f", {' + '.join(has) or ('none of them' if len(known) == len(label) else 'none that is known')}"
        if known
        else ""
    )


def _score(
    near: NDArray[np.int64], groups: NDArray[np.object_], label: Mapping[str, Sequence[str]]
) -> pd.DataFrame | None:
    """How often the nearest labelled item of another patient has the same class, beside picking one at random."""
    rows = []
    for target, values in label.items():
        names = np.array(values)
        known = np.flatnonzero(names != "")
        for name in sorted({*names[known]}):
            own = known[names[known] == name]
            first = [hits[0] for row in own if len(hits := [one for one in near[row] if names[one]])]
            if not first:
                continue
            others = [float((names[known][groups[known] != groups[row]] == name).mean()) for row in own]
            rows.append(
                {
                    **({"label": target} if target else {}),
                    "class": name,
                    "items": len(own),
                    "nearest has the same class": float(np.mean(names[first] == name)),
                    "a random item would": float(np.mean(others)),
                }
            )
    return pd.DataFrame(rows) if rows else None
