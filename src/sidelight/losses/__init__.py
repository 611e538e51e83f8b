"""Vectors in, a scalar out: pure functions of tensors, without state, settings or process groups."""

from sidelight.losses.contrast import info_nce, nt_xent
from sidelight.losses.labels import label_loss

__all__ = ["info_nce", "label_loss", "nt_xent"]
