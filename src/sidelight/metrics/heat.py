"""How well a heat map meets a region: of one unit and class three more numbers in the row of its mask, and their metrics.

The pointing game (Zhang et al., IJCV 2018), and the contrast-to-noise ratio and mean IoU of phrase grounding on MS-CXR (Boecking
et al., ECCV 2022). None of them asks for a threshold that was chosen. A unit without the region has no value.
"""

from functools import partial

import numpy as np

from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.overlap import COLUMNS, mean_column

HEAT = ("pointing", "cnr", "miou")
"""What a row of a mask holds beside :data:`sidelight.metrics.overlap.COLUMNS`, where a map was thresholded to it."""
POINTS, CONTRAST, OVERLAP = range(len(COLUMNS), len(COLUMNS) + len(HEAT))
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of the mean IoU, as published for cosines; a map of probabilities is read at the same ones."""


def heat_row(heat: Array, truth: Array, known: Array | None = None) -> Floats:
    """What the map of one unit contributes to one class, float64 [3], in the order of :data:`HEAT`; NaN without a region.

    - ``pointing``: 1 where the hottest place lies in the region, else 0; of several equally hot places the share that does.
    - ``cnr``: |mean inside - mean outside| / sqrt(variance inside + variance outside), without its sign as published: a map that
      is coldest in the region is as good as one that is hottest. 0 of a constant map; NaN without an outside, and where inside
      and outside are constant and differ.
    - ``miou``: the mean over :data:`THRESHOLDS` of the IoU of the region and of where the map reaches the threshold.

    :param heat: float [H, W]; ``truth`` bool [H, W]; pixels where ``known`` is false count nowhere.
    """
    known = np.ones(truth.shape, bool) if known is None else known
    values, there = np.asarray(heat, np.float64)[known], np.asarray(truth, bool)[known]
    if not there.any():
        return np.full(len(HEAT), np.nan)
    hottest = values == values.max()
    each = [
        (both := (values >= at) & there).sum() / ((values >= at).sum() + there.sum() - both.sum()) for at in THRESHOLDS
    ]
    return np.array([there[hottest].mean(), _contrast(values[there], values[~there]), np.mean(each)])


def _contrast(inside: Floats, outside: Floats) -> float:
    if not len(outside):
        return np.nan
    if np.ptp(inside) == np.ptp(outside) == 0:  # of which rounding would make a ratio of noise
        return 0.0 if inside[0] == outside[0] else np.nan
    return float(abs(inside.mean() - outside.mean()) / np.sqrt(inside.var() + outside.var()))


POINTING = Metric(
    "pointing", partial(mean_column, column=POINTS), "pointing game", where=("mask",), localized=True, compared=True,
    per_label=True, column=POINTS,
)  # fmt: skip
CNR = Metric(
    "cnr", partial(mean_column, column=CONTRAST), "CNR", high=np.inf, where=("mask",), localized=True, reach=CONTRAST,
    column=CONTRAST,
)  # fmt: skip
MIOU = Metric("miou", partial(mean_column, column=OVERLAP), "mIoU", where=("mask",), localized=True, column=OVERLAP)
