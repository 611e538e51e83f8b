"""Synthetic cohorts whose truth is known, one file per modality."""
