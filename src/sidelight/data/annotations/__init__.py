"""Masks and boxes: a task of ``cohort.toml`` -> of each item planes and corners, in pixels of the source or of the cache.

>>> from sidelight.data.cohort.cohort import Cohort
>>> cohort = Cohort.open("phantom:chest?patients=2&size=32")
>>> annotations_of(cohort, "finding_masks").masks(0).shape
(1, 4, 32, 32)
"""

from sidelight.data.annotations.annotations import Annotations, Boxes, annotations_of
from sidelight.data.annotations.drawn import Misdrawn

__all__ = ["Annotations", "Boxes", "Misdrawn", "annotations_of"]
