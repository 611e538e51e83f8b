r"""PixPro's loss: each cell of a feature map finds the cells of another view that show the same place.

Xie, Lin, Zhang, Cao, Lin, Hu: Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation
Learning (CVPR 2021; arXiv 2011.10043). `positive_pairs` says which cells of two crops of one image lie near each other,
`propagate` writes each cell as a mix of the cells like it, `pixel_consistency` compares.
"""

import torch
from torch import Tensor

from sidelight.errors import ConfigError
from sidelight.losses import checks


def positive_pairs(left: Tensor, right: Tensor, height: int, width: int, *, threshold: float = 0.7) -> Tensor:
    r"""Which cells of two maps of one image show one place.

    With c the centres of cells in the image, and d the longer diagonal of a cell of the two crops,

        A_ij = 1[ ||c_i - c'_j|| / d < T ].

    Source: the paper's pixel contrast, whose positives these are (T 0.7). Cells of one crop lie at least 0.7071 d apart where
    they are square, so that between a crop and itself each cell is the positive of itself alone.

    :param left: float [N, 4], of each crop y and x of its upper left and y and x of its lower right corner in the image; of a
        mirrored crop the left corner has the larger x. ``right`` alike.
    :param height: H, cells of both maps in a column; ``width`` W, in a row.
    :param threshold: T > 0.
    :return: bool [N, H W, H W], cells in row-major order: left in rows, right in columns.
    :raises ConfigError: for shapes or values that do not fit.

    >>> whole = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    >>> positive_pairs(whole, whole[:, [0, 3, 2, 1]], 2, 2)[0, 0].tolist()  # the right one is mirrored
    [False, True, False, False]
    """
    for name, corners in (("left", left), ("right", right)):
        if not corners.is_floating_point() or corners.ndim != 2 or corners.shape != (len(left), 4):
            raise ConfigError(f"{name} is {checks.describe(corners)}", expected="corners, float [N, 4]")
    if height < 1 or width < 1 or not 0 < threshold < float("inf"):
        given = f"height={height}, width={width}, threshold={threshold}"
        raise ConfigError(given, expected="a grid of at least one cell and a threshold above 0")
    one, other = _centres(left, height, width), _centres(right, height, width)
    longest = torch.maximum(_diagonal(left, height, width), _diagonal(right, height, width))
    # By subtraction: torch.cdist multiplies matrices here, and would blur what lies at the threshold.
    distance = (one[:, :, None] - other[:, None]).square().sum(-1).sqrt()
    near: Tensor = distance < threshold * longest[:, None, None]
    return near


def propagate(cells: Tensor, values: Tensor, *, sharpness: float = 2.0) -> Tensor:
    r"""Each cell as a mix of the cells of its map that are like it.

        y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j).

    Source: the paper's pixel propagation module (gamma 2; g one 1 x 1 convolution).

    :param cells: x, float [N, K, D]; ``values`` g(x), float [N, K, E].
    :param sharpness: gamma > 0.
    :return: [N, K, E], float32 (float64 for float64 inputs).
    :raises ConfigError: for shapes or values that do not fit.
    """
    checks.check_vectors("cells", cells, 3)
    checks.check_vectors("values", values, 3)
    if cells.shape[:2] != values.shape[:2]:
        raise ConfigError(
            f"cells is {tuple(cells.shape)} and values is {tuple(values.shape)}", expected="the same N and K"
        )
    if not 0 < sharpness < float("inf"):
        raise ConfigError(f"sharpness={sharpness}", expected="a number above 0")
    with checks.full_precision(cells):
        (unit,) = checks.unit(cells)
        likeness = (unit @ unit.mT).relu().pow(sharpness)
        return likeness @ values.to(likeness.dtype)


def pixel_consistency(predicted: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    r"""How far cells are from the positives that another network sees in another view, one way.

        L = -mean_n [ sum_ij A_nij cos(y_ni, x'_nj) / sum_ij A_nij ].

    Source: the paper's pixel-to-propagation consistency, which is the sum of both ways; its mean is over the positive pairs of
    an image, then over images.

    :param predicted: y, float [N, K, D], the propagated cells; ``target`` x', float [N, K, D], of which no gradient is wanted.
    :param positive: A, bool [N, K, K], as `positive_pairs` gives it.
    :return: a scalar in [-1, 1]. An image without a positive pair adds 0; where no image has one, the loss and every gradient
        are 0.
    :raises ConfigError: for shapes or types that do not fit.
    """
    checks.check_vectors("predicted", predicted, 3)
    checks.check_vectors("target", target, 3)
    if predicted.shape != target.shape:
        raise ConfigError(
            f"predicted is {tuple(predicted.shape)} and target is {tuple(target.shape)}", expected="one shape [N, K, D]"
        )
    count, cells = predicted.shape[:2]
    if positive.dtype != torch.bool or positive.shape != (count, cells, cells):
        raise ConfigError(f"positive is {checks.describe(positive)}", expected=f"bool {(count, cells, cells)}")
    with checks.full_precision(predicted):
        one, other = checks.unit(predicted, target)
        cosine = one @ other.mT
        total = (cosine * positive).sum((1, 2))
        loss: Tensor = -(total / positive.sum((1, 2)).clamp_min(1)).mean()
        return loss


def _centres(corners: Tensor, height: int, width: int) -> Tensor:
    """Of the cells of a crop, y and x in the image: [N, H W, 2]."""
    top, start, bottom, end = (side[:, None] for side in corners.unbind(1))
    down = (torch.arange(height, device=corners.device, dtype=corners.dtype) + 0.5) / height
    along = (torch.arange(width, device=corners.device, dtype=corners.dtype) + 0.5) / width
    y, x = top + (bottom - top) * down, start + (end - start) * along
    grid = torch.stack([y[:, :, None].expand(-1, -1, width), x[:, None].expand(-1, height, -1)], -1)
    return grid.flatten(1, 2)


def _diagonal(corners: Tensor, height: int, width: int) -> Tensor:
    """Length [N] of the diagonal of a cell."""
    top, start, bottom, end = corners.unbind(1)
    return (((bottom - top) / height).square() + ((end - start) / width).square()).sqrt()
