"""Linear segmentation finds a mask that one channel of the map shows, and no more than chance where none does."""

import numpy as np
import torch

from mask_probe import fit_segmentation
from sidelight.metrics.overlap import areas, pooled_dice


def test_a_channel_that_shows_the_mask_is_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    coarse = rng.random((40, 4, 4)) < 0.2
    masks = np.kron(coarse, np.ones((1, 8, 8), bool))
    noise = rng.standard_normal((40, 6, 4, 4))
    shown = noise.copy()
    shown[:, 3] = 3 * coarse + 0.3 * noise[:, 3]
    dice = []
    for maps in (shown, noise):
        features = torch.from_numpy(maps).float()
        head = fit_segmentation(features[:20], masks[:20])
        dice.append(pooled_dice(None, areas(head(features[20:], 32).numpy() > 0, masks[20:])))
    assert dice[0] > 0.75
    assert dice[1] < 0.45
