r"""SimCLR on the frames of clips: two augmentations of one frame attract, frames of other clips repel.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations (ICML 2020).

Each clip gives a frame, augmented twice; encoder f and projector g (Linear-ReLU-Linear, as in section 4.2) map both to
z, and NT-Xent (equation 1), over the 2N views of a batch, is minimised:

    l_k = -log( exp(z_k.z_p(k) / tau) / sum_{j != k} exp(z_k.z_j / tau) ).

With ``pairs = "two"`` the views are two frames of one clip, and every other way of making pairs works too.

Deviations from the paper
    Views of one clip are no negatives of each other unless ``repel = "all"``. Both views go through the encoder in one
    forward pass, so batch normalisation sees them together; over several processes each has its own statistics on the
    CPU and global ones on GPUs, as in the paper. Profile ``paper`` is its ImageNet recipe for ResNet-50 at 224 px,
    batch 4096 and 100 epochs, with SGD in place of LARS (which the library does not have) and without a last incomplete
    batch. Augmentation: blur is a tent filter of random width; the order of colour operations is fixed.
Limits
    The contrast runs inside a micro-batch: ``accumulate`` adds up gradients, not negatives. With fewer than some dozens
    of clips in a batch there is little to repel. Colour operations do nothing to one-channel data.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from sidelight.losses import nt_xent
from sidelight.methods.base import Gather, identity
from sidelight.methods.clips import ClipContrastSettings, ClipMethod
from sidelight.methods.contrast import contrast_groups
from sidelight.methods.settings import PretrainSettings
from sidelight.models.heads import mlp
from sidelight.views.clips import ClipPairs, PairKind


class SimCLRSettings(ClipContrastSettings):
    """Settings of :class:`SimCLR`."""

    pairs: PairKind = Field(
        "single", description="single: one frame augmented twice; two: two frames of a clip; or as Meta-USCL makes them"
    )


class SimCLR(ClipMethod):
    """Two augmentations of one frame, or two frames of one clip, against the frames of other clips."""

    Settings: ClassVar[type[PretrainSettings]] = SimCLRSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            "encoder": "resnet50",
            "image_size": 224,
            "channels": 3,
            "epochs": 100,
            "batch_size": 4096,
            "optimizer": "sgd",
            "lr": 4.8,
            "momentum": 0.9,
            "weight_decay": 1e-6,
            "warmup": 0.1,
            "schedule": "cosine",
            "temperature": 0.1,
            "pairs_per_clip": 1,
            "repel": "all",
            "valid_fraction": 0.0,
            "augment": {
                "scale": (0.08, 1.0),
                "ratio": (0.75, 4 / 3),
                "flip": 0.5,
                "brightness": 0.8,
                "contrast": 0.8,
                "saturation": 0.8,
                "hue": 0.2,
                "grayscale": 0.2,
                "blur": 2.0,
                "noise": 0.0,
            },
        },
    }
    TELLING = ("temperature", "repel", "pairs")
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = {"lr": 5e-4}
    NOT_FROM_PAPER = ("optimizer", "momentum", "mean", "std", "augment.blur", "seed", "max_frames")

    def build_heads(self) -> None:
        """The projector g."""
        self.projector = mlp(self.encoder.dim, self.encoder.dim, self.settings.projection)

    def loss(self, batch: ClipPairs, *, gather: Gather = identity) -> Tensor:
        """NT-Xent over the pairs of all processes (equation 1)."""
        left, right = self.projector(self.encoder(torch.cat([batch.left, batch.right]))).chunk(2)
        groups = contrast_groups(self.settings.repel, item=batch.item, patient=batch.group)
        return nt_xent(
            gather(left),
            gather(right),
            temperature=self.settings.temperature,
            groups=None if groups is None else gather(groups),
        )
