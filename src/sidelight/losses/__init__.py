"""Vectors in, a scalar out: pure functions of tensors, without state, settings or process groups."""

from sidelight.losses.alignment import global_alignment, local_alignment, spatial_targets
from sidelight.losses.contrast import info_nce, nt_xent
from sidelight.losses.dice import dice_loss
from sidelight.losses.labels import label_loss
from sidelight.losses.local_sigmoid import pair_sigmoid
from sidelight.losses.maps import bce_loss, focal_loss
from sidelight.losses.pixelpro import pixel_consistency

__all__ = [
    "bce_loss",
    "dice_loss",
    "focal_loss",
    "global_alignment",
    "info_nce",
    "label_loss",
    "local_alignment",
    "nt_xent",
    "pair_sigmoid",
    "pixel_consistency",
    "spatial_targets",
]
