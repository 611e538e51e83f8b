"""Vectors and scores -> numbers: classification, clustered intervals, representation, label efficiency; pure numpy.

A further metric is one file with a :class:`Metric` and one line here: tables, intervals, differences and pages follow.
"""

from sidelight.metrics.calibration import BRIER, ECE
from sidelight.metrics.classification import (
    ACCURACY,
    AUROC,
    AVERAGE_PRECISION,
    BALANCED_ACCURACY,
    F1,
    PARTIAL_AUROC,
    SENSITIVITY,
    SPECIFICITY,
    THRESHOLD_BALANCED_ACCURACY,
    THRESHOLD_SENSITIVITY,
    THRESHOLD_SPECIFICITY,
)
from sidelight.metrics.detection import AP50, COCO_AP, FROC, MAP, SENSITIVITIES
from sidelight.metrics.heat import CNR, MIOU, POINTING
from sidelight.metrics.metric import Metric, Where
from sidelight.metrics.overlap import HD95, MEAN_DICE, MEAN_IOU, POOLED_DICE, SURFACE_DICE

METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        AUROC,
        AVERAGE_PRECISION,
        ACCURACY,
        BALANCED_ACCURACY,
        F1,
        SENSITIVITY,
        SPECIFICITY,
        PARTIAL_AUROC,
        ECE,
        BRIER,
        THRESHOLD_BALANCED_ACCURACY,
        THRESHOLD_SENSITIVITY,
        THRESHOLD_SPECIFICITY,
        POOLED_DICE,
        MEAN_DICE,
        MEAN_IOU,
        HD95,
        SURFACE_DICE,
        POINTING,
        CNR,
        MIOU,
        MAP,
        COCO_AP,
        AP50,
        FROC,
        *SENSITIVITIES,
    )
}
"""In the order of the rows and columns in which results give them."""


def metrics_of(where: Where) -> list[Metric]:
    """Those that results give of ``where``."""
    return [one for one in METRICS.values() if where in one.where]
