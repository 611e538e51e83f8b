"""The POCUS protocol as published (Meta-USCL, specification A6), kept for comparison with published tables only.

Frame-level scores, no validation set, and the epoch of each fold is the one with the best *test* accuracy: optimistic by
construction. Its results carry ``selected_on="test"``; headlines and comparisons refuse them. The last epoch stands beside.
"""

import numpy as np
import pandas as pd

from sidelight.data.pixels.cache import Pixels
from sidelight.evaluation.protocols.supervised import FinetuneSettings, Frames, predict_units, train_classifier
from sidelight.models.image import Encoder

EPOCHS, BATCH = 30, 128


def published_scores(
    encoder: Encoder, pixels: Pixels, task: pd.DataFrame, folds: tuple[tuple[str, ...], ...], *, frames: int, seed: int
) -> pd.DataFrame:
    """Scores of single frames, pooled over ``folds``: a row per (step, frame), "selected" being the best test epoch.

    The last block and the head are trained with Adam at 0.01 (weight decay 1e-4, cosine to 0), batch 128, 30 epochs, crops of
    0.8-1 and flips; frozen batch normalisation runs in training mode, as published.

    :param task: unit, group, label, rows, as in :class:`sidelight.evaluation.labelled.Labelled`.
    :param frames: evenly spaced frames of each item.
    """
    parts = []
    for number, fold in enumerate(folds):
        tested = task["unit"].isin(fold).to_numpy()
        train, test = task[~tested], task[tested]
        best, last, unseen = _fold(encoder, pixels, train, test, frames, seed * 1000 + number)
        owner = test.iloc[unseen.unit]
        for step, scores in (("selected", best), ("last", last)):
            part = owner[["unit", "group", "label"]].reset_index(drop=True)
            part["unit"] = [
                f"{unit}.{row}.{at}" for unit, row, at in zip(part["unit"], unseen.rows, unseen.at, strict=True)
            ]
            part[[f"p{c}" for c in range(scores.shape[1])]] = scores
            parts.append(part.assign(labels=-1, fold=number, step=step, seed=seed))
    return pd.concat(parts, ignore_index=True)


def _fold(
    encoder: Encoder, pixels: Pixels, train: pd.DataFrame, test: pd.DataFrame, frames: int, seed: int
) -> tuple[np.ndarray, np.ndarray, Frames]:
    """Frame scores ``[F, classes]`` of the epoch with the best test accuracy and of the last one."""
    seen, unseen = Frames.of(pixels, train["rows"].tolist(), frames), Frames.of(pixels, test["rows"].tolist(), frames)
    settings = FinetuneSettings(
        steps=EPOCHS * max(1, len(seen.rows) // BATCH), batch_size=BATCH, lr=0.01, head_lr=0.01, optimizer="adam",
        layers="last_block", crop=0.8, jitter=0.0, checks=EPOCHS,
    )  # fmt: skip
    labels, truth = train["label"].to_numpy(np.int64), test["label"].to_numpy(np.int64)[unseen.unit]
    classes = int(max(labels.max(), truth.max())) + 1
    best, highest = np.zeros((len(truth), classes)), -1.0
    last = best
    for _, model in train_classifier(
        encoder, pixels, seen, labels[:, None], (classes,), settings, seed=seed, device=encoder.mean.device
    ):
        last, _ = predict_units(model, pixels, unseen, len(test))
        accuracy = float((last.argmax(axis=1) == truth).mean())
        if accuracy > highest:
            best, highest = last, accuracy
    return best, last, unseen
