r"""BYOL: an online network predicts what a slowly following target sees of another view; nothing repels anything.

Grill et al.: Bootstrap Your Own Latent (NeurIPS 2020).

Encoder f, projector g and predictor q are trained; the target f', g' is their moving average. For the views v, v' of one
frame, z' = g'(f'(v')) without a gradient, and the loss (equation 2) is taken both ways round and summed:

    L = 2 - 2 cos(q(g(f(v))), z'),    target <- tau target + (1 - tau) online,
    tau = 1 - (1 - tau_0) (cos(pi k / K) + 1) / 2    at step k of K.

Without negatives small batches do, and frames that look alike are not pushed apart. What keeps it from a collapse are the
predictor, the moving average and batch normalisation in the heads; ``effective_rank`` in the log tells.

Deviations from the paper
    No LARS: AdamW, or SGD in profile ``paper``. No solarisation. The heads are as wide as the features (4,096 in ``paper``).
"""

import copy
from math import cos, pi
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from sidelight.methods.base import Criterion, Gather, identity
from sidelight.methods.clips import ClipMethod, ClipSettings
from sidelight.methods.settings import PretrainSettings
from sidelight.methods.simclr import SimCLR
from sidelight.views.augment import Augment
from sidelight.views.clips import ClipPairs, PairKind

RECIPE = {name: value for name, value in SimCLR.PROFILES["paper"].items() if name not in ("temperature", "repel")}
"""SimCLR's on ImageNet, on which the paper builds, without what a contrast has."""


class BYOLSettings(ClipSettings):
    """Settings of :class:`BYOL`."""

    pairs: PairKind = Field(
        "single", description="single: one frame augmented twice; two: two frames of a clip; or as Meta-USCL makes them"
    )
    projection: int = Field(256, ge=2, description="width of the space in which the views are compared")
    hidden: int | None = Field(None, ge=2, description="width inside projector and predictor; none is the features'")
    tau: float = Field(0.99, ge=0, lt=1, description="share of the target that the first step keeps; it rises to 1")


class BYOL(ClipMethod):
    """Two augmentations of one frame: an online network predicts what a slow target sees of the other."""

    Settings: ClassVar[type[PretrainSettings]] = BYOLSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            **RECIPE,
            "epochs": 1000,
            "lr": 3.2,
            "weight_decay": 1.5e-6,
            "warmup": 0.01,
            "hidden": 4096,
            "tau": 0.996,
            "augment": {
                **RECIPE["augment"],
                "brightness": 0.4,
                "contrast": 0.4,
                "saturation": 0.2,
                "hue": 0.1,
            },
        },
    }
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = SimCLR.FROM_WEIGHTS
    TELLING: ClassVar[tuple[str, ...]] = ("tau", "pairs")
    NOT_FROM_PAPER: ClassVar[tuple[str, ...]] = (
        "optimizer",
        "momentum",
        "mean",
        "std",
        "augment.blur",
        "seed",
        "max_frames",
    )
    CRITERION = Criterion("effective_rank", more_is_better=True)  # the least loss may be a collapse

    def build_heads(self) -> None:
        """Projector, predictor, and the target, which starts as the online network."""
        s, dim = self.settings, self.encoder.dim
        hidden = s.hidden or dim
        self.projector, self.predictor = head(dim, hidden, s.projection), head(s.projection, hidden, s.projection)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    @property
    def online(self) -> nn.Sequential:
        """Encoder and projector, which the target follows."""
        return nn.Sequential(self.encoder, self.projector)

    def loss(self, batch: ClipPairs, *, gather: Gather = identity) -> Tensor:
        """The sum of equation 2 both ways round; a pair's loss does not depend on the others, so each process has its own."""
        terms = []
        for view, other in ((batch.left, batch.right), (batch.right, batch.left)):
            with torch.no_grad():
                seen = self.target(other)
            terms.append(2 - 2 * cosine_similarity(self.predictor(self.online(view)).float(), seen.float()).mean())
        return torch.stack(terms).sum()

    def augmentation(self, role: str) -> Augment | tuple[Augment, Augment]:
        """The left view is blurred ten times as often as the right one, as in the paper."""
        own: Augment = self.settings.augment
        return own, own.model_copy(update={"blurred": 0.1 * own.blurred})

    @torch.no_grad()
    def after_step(self, step: int, total: int) -> dict[str, float]:
        """The target follows; of batch normalisation it has statistics of its own."""
        tau = 1 - (1 - self.settings.tau) * (cos(pi * step / total) + 1) / 2
        for mine, theirs in zip(self.target.parameters(), self.online.parameters(), strict=True):
            mine.lerp_(theirs, 1 - tau)
        return {"tau": tau}


def head(width: int, hidden: int, out: int) -> nn.Sequential:
    """A projector or a predictor: rows [N, width] to [N, out], through ``hidden`` and batch normalisation."""
    return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))
