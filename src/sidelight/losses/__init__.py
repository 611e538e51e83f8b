"""Vectors in, a scalar out: pure functions of tensors, without state, settings or process groups."""

from sidelight.losses.contrast import info_nce, nt_xent

__all__ = ["info_nce", "nt_xent"]
