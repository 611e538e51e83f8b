"""YOLOv3's targets and loss at one scale, as LoVT's evaluation has them (ECCV 2022, arXiv 2112.02889, tasks 1-6 and 15-16).

A true box belongs to the cell of its centre and there to the anchor whose shape it overlaps most, at every scale. Means are over
all cells, anchors and images, so positive terms are small.

The published code differs from YOLOv3 in two ways, which ``published`` keeps: shapes overlap as if each were a *cell* wider and
higher (a "+1 pixel" in units of cells), and the anchor of a true box is still told that it holds no object unless their overlap
is above one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED_ABOVE, NO_OBJECT, COORDINATES = 0.5, 0.5, 2.5
ANCHORS = (
    ((64.64, 48.6), (84.24, 106.92), (201.42, 176.04)),
    ((16.2, 32.94), (33.48, 24.3), (31.86, 64.26)),
    ((5.4, 7.02), (8.64, 16.2), (17.82, 12.42)),
)
"""Width and height of three anchors at strides 32, 16 and 8, in pixels of an image of 224: COCO's times 0.54. (64.64 is what was
published; the product is 62.64.)"""


@dataclass(frozen=True, eq=False)
class YoloTargets:
    """What the cells of N images are told at one scale; A anchors on a grid of H x W.

    :ivar positive: bool [N, A, H, W], the anchors of true boxes; ``empty`` bool, those that are told to hold none.
    :ivar offsets: float [N, A, H, W, 4]: x and y within the cell, log of width and height relative to the anchor; 0 elsewhere.
    :ivar classes: float [N, A, H, W, C], 0 and 1.
    """

    positive: Tensor
    empty: Tensor
    offsets: Tensor
    classes: Tensor


def yolo_targets(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    anchors: Tensor,
    grid: tuple[int, int],
    *,
    classes: int,
    published: bool = False,
) -> YoloTargets:
    """Targets at one scale.

    :param boxes: of each image float [n, 4], x1, y1, x2, y2 in cells; ``labels`` int [n], which class.
    :param anchors: float [A, 2], widths and heights in cells; ``grid`` height and width in cells.
    Of two boxes with one cell and anchor the later counts.
    """
    high, wide = grid
    shape = (len(boxes), len(anchors), high, wide)
    positive, empty = anchors.new_zeros(shape, dtype=torch.bool), anchors.new_ones(shape, dtype=torch.bool)
    offsets, kinds = anchors.new_zeros((*shape, 4)), anchors.new_zeros((*shape, classes))
    for image, (own, kind) in enumerate(zip(boxes, labels, strict=True)):
        if not len(own):
            continue
        own = own.to(anchors)
        centre, size = (own[:, :2] + own[:, 2:]) / 2, own[:, 2:] - own[:, :2]
        column = centre[:, 0].long().clamp(0, wide - 1)
        row = centre[:, 1].long().clamp(0, high - 1)
        overlap = shape_overlap(size, anchors, extra=1.0 if published else 0.0)
        best = overlap.argmax(dim=1)
        near, anchor = (overlap > IGNORED_ABOVE).nonzero(as_tuple=True)
        empty[image, anchor, row[near], column[near]] = False
        if not published:
            empty[image, best, row, column] = False
        for at in range(len(own)):
            place = (image, best[at], row[at], column[at])
            positive[place] = True
            within = centre[at] - torch.stack([column[at], row[at]])
            offsets[place] = torch.cat([within, torch.log(size[at] / anchors[best[at]] + 1e-16)])
            kinds[place] = F.one_hot(kind[at].long(), classes).to(kinds)
    return YoloTargets(positive, empty, offsets, kinds)


def shape_overlap(sizes: Tensor, anchors: Tensor, *, extra: float = 0.0) -> Tensor:
    """Intersection over union [n, A] of boxes with one corner in common: widths and heights [n, 2] and [A, 2], plus ``extra``."""
    one, other = sizes[:, None] + extra, anchors[None] + extra
    common = torch.minimum(one, other).prod(dim=2)
    return common / (one.prod(dim=2) + other.prod(dim=2) - common)


def yolo_loss(outputs: Tensor, targets: YoloTargets) -> Tensor:
    """The loss of one scale, a scalar: 2.5 BCE of x and of y, 2.5 squared error of log width and of log height, BCE of objects,
    0.5 BCE of what holds none, and where there are two classes or more BCE of classes.

    :param outputs: float [N, A, H, W, 5 + C]: logits of x and y, log width and height, logits of an object and of C classes.
    """
    there, empty = targets.positive.to(outputs), targets.empty.to(outputs)
    loss = 0 * outputs.sum()
    for axis in range(2):
        loss = loss + COORDINATES * _bce(outputs[..., axis], targets.offsets[..., axis], there)
    for axis in range(2, 4):
        loss = loss + COORDINATES * (there * (outputs[..., axis] - targets.offsets[..., axis]) ** 2).mean()
    loss = loss + _bce(outputs[..., 4], there, there) + NO_OBJECT * _bce(outputs[..., 4], 0 * empty, empty)
    if targets.classes.shape[-1] > 1:
        loss = loss + _bce(outputs[..., 5:], targets.classes, there[..., None].expand_as(targets.classes))
    return loss


def _bce(logits: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy where ``counted`` is 1, summed, over the number of all places."""
    each = F.binary_cross_entropy_with_logits(logits, wanted.to(logits), reduction="none")
    return (each * counted).mean()
