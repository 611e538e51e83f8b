"""Distances between the outlines of two masks: HD95 and surface Dice."""

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from sidelight.metrics.metric import Array, Floats


def surface_measures(
    found: Array, truth: Array, spacing: tuple[float, float], tolerance: float
) -> tuple[float, float, float]:
    """HD95, surface Dice at ``tolerance``, and the image's diagonal, the largest distance there can be.

    An outline is the pixels of a mask that have one of their four neighbours outside (those at the image's edge, too). HD95: of
    the distances from each outline to the other, the 95th percentile; the larger of both directions. Surface Dice (Nikolov et
    al. 2018): the share of the pixels of both outlines that lie within the tolerance of the other. As MONAI has them. Where only
    one of the masks is empty, HD95 is the diagonal (MONAI: infinite) and surface Dice 0; where both are, NaN.

    :param found, truth: bool [H, W]; ``spacing`` height and width of a pixel, whose unit distances have.
    """
    diagonal = float(np.hypot(found.shape[0] * spacing[0], found.shape[1] * spacing[1]))
    if not found.any() and not truth.any():
        return np.nan, np.nan, diagonal
    if not found.any() or not truth.any():
        return diagonal, 0.0, diagonal
    one, other = surface_distances(found, truth, spacing)
    furthest = max(float(np.percentile(one, 95)), float(np.percentile(other, 95)))
    near = (one <= tolerance).sum() + (other <= tolerance).sum()
    return furthest, float(near / (len(one) + len(other))), diagonal


def surface_distances(found: Array, truth: Array, spacing: tuple[float, float]) -> tuple[Floats, Floats]:
    """The distance of each pixel of one outline to the other, and the other way round, of two masks that are not empty."""
    rows, columns = np.nonzero(found | truth)
    cut = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    outlines = [part & ~binary_erosion(part) for part in (found[cut], truth[cut])]
    to_found, to_truth = (distance_transform_edt(~outline, sampling=spacing) for outline in outlines)
    return to_truth[outlines[0]], to_found[outlines[1]]
