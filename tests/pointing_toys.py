"""A text model that knows the vector of each sentence, and projections that change nothing: where phrases point is known."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sidelight.models.joint import Alignment

PLAIN = {
    **{"image_dim": 2, "report_dim": 2, "hidden": 2, "dim": 2, "image_pool": "mean", "report_pool": "mean"},
    **{"norm": False, "masked": True, "local": False},
}


def untouched():
    """Projections that pass on what is not negative."""
    made = Alignment(**PLAIN)
    for side in (made.image, made.report):
        for layer in (side.whole.first, side.whole.last):
            nn.init.eye_(layer.weight)
    return made.eval()


class Read(NamedTuple):
    vectors: Tensor
    mask: Tensor

    def to(self, device):
        return self


class Words(nn.Module):
    """Reports of one sentence to its vector."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def tokens(self, reports):
        made = torch.stack([self.known[one] for (one,) in reports])[:, None]
        return Read(made, torch.ones(made.shape[:2], dtype=torch.bool))

    def forward(self, tokens):
        return tokens.vectors
