"""The POCUS protocol as published (Meta-USCL, specification A6), kept for comparison with published tables only.

Frame-level scores, no validation set, and the epoch of each fold is the one with the best *test* accuracy: optimistic by
construction. Its results carry ``selected_on="test"``; headlines and comparisons refuse them. The last epoch stands beside.
"""

import numpy as np
import torch

from sidelight.data.cache import Pixels
from sidelight.evaluation.supervised import FinetuneSettings, Frames, predict_units, train_classifier
from sidelight.metrics.classification import confusion_matrix
from sidelight.models.image import Encoder

EPOCHS, BATCH = 30, 128


def published_fold(
    encoder: Encoder,
    pixels: Pixels,
    items: list[list[int]],
    y: np.ndarray,
    test: list[list[int]],
    test_y: np.ndarray,
    classes: int,
    *,
    frames: int = 20,
    seed: int = 0,
    device: torch.device | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Frame-level confusion matrices ``[classes, classes]`` of one fold: best test epoch, last epoch.

    The last block and the head are trained with Adam at 0.01 (weight decay 1e-4, cosine to 0), crops of 0.8-1 and flips;
    frozen batch normalisation runs in training mode, as published.
    """
    seen, unseen = Frames.of(pixels, items, frames), Frames.of(pixels, test, frames)
    steps = EPOCHS * max(1, len(seen.rows) // BATCH)
    settings = FinetuneSettings(
        steps=steps, batch_size=BATCH, lr=0.01, head_lr=0.01, optimizer="adam", layers="last_block",
        crop=0.8, jitter=0.0, checks=EPOCHS,
    )  # fmt: skip
    truth = test_y[unseen.unit]
    best = last = np.zeros((classes, classes))
    for _, model in train_classifier(
        encoder, pixels, seen, y, classes, settings, seed=seed, device=device or torch.device("cpu")
    ):
        each, _ = predict_units(model, pixels, unseen, len(test))
        last = confusion_matrix(truth, each)
        if np.trace(last) > np.trace(best):
            best = last
    return best, last
