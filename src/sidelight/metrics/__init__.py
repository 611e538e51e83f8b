"""Vectors and scores -> numbers: classification, clustered intervals, representation, label efficiency; pure numpy."""
