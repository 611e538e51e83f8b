"""Slices of a study's series -> scores of the study."""
