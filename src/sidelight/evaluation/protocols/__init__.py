"""A protocol learns a head from labelled units: one file each."""
