"""Fine-tune an encoder (or train it from scratch) on the labelled units; predict the unseen ones.

A fifth of the labelled patients is held back to choose the step, so that the labels it costs are counted. Where that would
be fewer than four patients of a class, all labels train and the last step is taken: a step chosen on two or three recordings
is noise, and from scratch on real clips it was much worse than the last one.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold

from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import k_folds
from sidelight.evaluation.protocols.supervised import (
    Classifier,
    FinetuneSettings,
    Frames,
    predict_units,
    train_classifier,
)
from sidelight.models.image import Encoder

PARTS, LEAST_HELD_BACK = 5, 4


@dataclass(frozen=True)
class Finetuned:
    """The model at the validation-selected step and at the last one; without validation they are the same."""

    selected: Classifier
    last: Classifier


def finetune(
    encoder: Encoder,
    pixels: Pixels,
    items: list[list[int]],
    y: np.ndarray,
    groups: np.ndarray,
    sizes: tuple[int, ...],
    settings: FinetuneSettings,
    *,
    frames: int = 8,
    seed: int = 0,
    device: torch.device | None = None,
    bf16: bool = False,
    given: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    beside: np.ndarray | None = None,
) -> Finetuned:
    """Train on the labelled units and choose the step on some of them.

    :param items: cache rows of each labelled unit, ``y`` int [U, targets] (negative: unknown) and ``groups`` [U] theirs.
    :param sizes: how many classes each target has.
    :param given: bool [U], the units that choose the step; none holds some back.
    :param weights: float [targets, classes], of the classes in the loss; none counts all alike.
    :param beside: float32 [U, M], what the head reads beside the features.
    """
    device = device or torch.device("cpu")
    if given is None:
        train, valid = held_back(y, groups, sizes, seed)
    else:
        train, valid = np.flatnonzero(~given), np.flatnonzero(given)
    seen = Frames.of(pixels, [items[u] for u in train], frames)
    watched = Frames.of(pixels, [items[u] for u in valid], frames) if len(valid) else None
    best_loss, best, model = np.inf, None, None
    told, unseen = (None if beside is None else beside[units] for units in (train, valid))
    for _, model in train_classifier(
        encoder, pixels, seen, y[train], sizes, settings,
        seed=seed, device=device, bf16=bf16, weights=weights, beside=told,
    ):  # fmt: skip
        if watched is None:
            continue
        scores = predict_units(model, pixels, watched, len(valid), bf16=bf16, beside=unseen)[1]
        loss = _loss(scores, y[valid], sizes, weights)
        if loss < best_loss:
            best_loss, best = loss, copy.deepcopy(model)
    assert model is not None
    return Finetuned(best or model, model)


def _loss(scores: np.ndarray, y: np.ndarray, sizes: tuple[int, ...], weights: np.ndarray | None) -> float:
    """Mean negative log-likelihood of the known labels [V, targets] under ``scores`` [V, classes of all targets]."""
    unit, target = np.nonzero(y >= 0)
    label, starts = y[unit, target], np.cumsum([0, *sizes])
    each = -np.log(np.clip(scores[unit, starts[target] + label], 1e-6, 1))
    return float(each.mean() if weights is None else np.average(each, weights=weights[target, label]))


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
