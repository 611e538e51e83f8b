"""Vectors and scores -> numbers: classification, clustered intervals, representation quality, label efficiency. Pure numpy."""
