"""Vectors in, a scalar out: pure functions of tensors, without state, settings or process groups."""

from sidelight.losses.alignment import global_alignment, local_alignment, spatial_targets
from sidelight.losses.contrast import info_nce, nt_xent

__all__ = ["global_alignment", "info_nce", "local_alignment", "nt_xent", "spatial_targets"]
