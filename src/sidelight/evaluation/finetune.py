"""Fine-tune an encoder (or train it from scratch) on the labelled units; predict the unseen ones.

A fifth of the labelled patients is held back to choose the step, so that the labels it costs are counted. Where that would
be fewer than four patients of a class, all labels train and the last step is taken: a step chosen on two or three recordings
is noise, and from scratch on real clips it was much worse than the last one.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from sidelight.data.cache import Pixels
from sidelight.evaluation.supervised import Classifier, FinetuneSettings, Frames, predict_units, train_classifier
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
    classes: int,
    settings: FinetuneSettings,
    *,
    frames: int = 8,
    seed: int = 0,
    device: torch.device | None = None,
    bf16: bool = False,
    given: np.ndarray | None = None,
) -> Finetuned:
    """Train on the labelled units and choose the step on some of them.

    :param items: cache rows of each labelled unit, ``y`` int [U] and ``groups`` [U] theirs.
    :param given: bool [U], the units that choose the step; none holds some back.
    """
    device = device or torch.device("cpu")
    if given is None:
        train, valid = _validation(y, groups, classes, seed)
    else:
        train, valid = np.flatnonzero(~given), np.flatnonzero(given)
    seen = Frames.of(pixels, [items[u] for u in train], frames)
    watched = Frames.of(pixels, [items[u] for u in valid], frames) if len(valid) else None
    best_loss, best, model = np.inf, None, None
    for _, model in train_classifier(
        encoder, pixels, seen, y[train], classes, settings, seed=seed, device=device, bf16=bf16
    ):
        if watched is None:
            continue
        scores = predict_units(model, pixels, watched, len(valid), bf16=bf16)[1]
        loss = float(-np.log(np.clip(scores[np.arange(len(valid)), y[valid]], 1e-6, 1)).mean())
        if loss < best_loss:
            best_loss, best = loss, copy.deepcopy(model)
    assert model is not None
    return Finetuned(best or model, model)


def _validation(y: np.ndarray, groups: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A fifth of the labelled patients, if that holds ``LEAST_HELD_BACK`` of every class."""
    everyone, nobody = np.arange(len(y)), np.arange(0)
    fewest = min(len(np.unique(groups[y == c])) for c in range(classes))
    if fewest < PARTS * LEAST_HELD_BACK:
        return everyone, nobody
    for train, valid in StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed).split(y, y, groups):
        if len(np.unique(y[valid])) == classes and len(np.unique(y[train])) == classes:
            return train, valid
    return everyone, nobody
