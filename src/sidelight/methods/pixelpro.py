r"""PixPro: places of an image look alike in two crops of it, cell by cell of the feature map.

Xie, Lin, Zhang, Cao, Lin, Hu: Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation
Learning (CVPR 2021; arXiv 2011.10043).

The networks are BYOL's, on the last feature map in place of the pooled vector: encoder and projector (1 x 1 convolutions) give
cells x_i, and a target, their moving average, gives x'_j of another crop without a gradient. A pair (i, j) is positive where
the centres of both cells lie near each other in the image, A_ij (:func:`sidelight.losses.pixelpro.positive_pairs`). The online
cells are propagated, y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j), and

    L = -mean over A of cos(y_i, x'_j)    one way, plus the same the other way round.

``instance_weight`` adds BYOL's loss of the map's mean, with heads of its own, as the paper combines pixels and images. No image
repels another.

Deviations from the paper
    AdamW in place of LARS, and no profile ``paper``: its rates are not known to us from a source. No solarisation. Only an
    encoder's last map is learnt from, without a pyramid above it. The paper's branch for whole images is a contrast, with
    negatives; here it is BYOL's.
Limits
    A map of one cell has nothing to propagate, and any two crops of an image would agree on it: maps below 2 x 2 are refused.
    Cells are taken to share a view evenly, which is rough where the stride does not divide ``image_size``. What an encoder has
    behind its last map, such as the last convolution of an EfficientNet or the last norm of a ViT, is not trained. With pairs of
    two frames, what moves in between is taken as still.
"""

import copy
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from sidelight.errors import ConfigError
from sidelight.losses.pixelpro import pixel_consistency, positive_pairs, propagate
from sidelight.methods.base import Gather, identity
from sidelight.methods.byol import BYOL, BYOLSettings, head
from sidelight.methods.settings import PretrainSettings
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid
from sidelight.views.clips import ClipPairs


class PixelProSettings(BYOLSettings):
    """Settings of :class:`PixelPro`."""

    threshold: float = Field(
        0.7, gt=0, description="cells whose centres are nearer than so many diagonals of a cell show one place, T"
    )
    sharpness: float = Field(2.0, gt=0, description="power of the likeness by which cells are propagated, gamma")
    instance_weight: float = Field(0.0, ge=0, description="of BYOL's loss of whole images beside that of cells")

    @model_validator(mode="after")
    def _places_are_known(self) -> Self:
        if self.aug_first:
            raise ConfigError(
                "pixelpro with aug_first = true: a view mixed of several crops has no place in the image",
                do="Leave aug_first",
            )
        return self


class PixelPro(BYOL):
    """Two crops of one image: the cells of their feature maps that show one place agree, without negatives."""

    Settings: ClassVar[type[PretrainSettings]] = PixelProSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}}
    TELLING = ("tau", "threshold", "instance_weight", "pairs")

    def build_heads(self) -> None:
        """Projector and g of cells, with ``instance_weight`` also projector and predictor of means; then the target."""
        s, width = self.settings, map_width(self.encoder)
        hidden = s.hidden or width
        self.projector, self.transform = head(width, hidden, s.projection), nn.Linear(s.projection, s.projection)
        self.whole_projector: nn.Module | None = None
        if s.instance_weight:
            self.whole_projector = head(width, hidden, s.projection)
            self.whole_predictor = head(s.projection, hidden, s.projection)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    @property
    def online(self) -> nn.Sequential:
        """Encoder and projectors, which the target follows."""
        parts = (self.encoder, self.projector, self.whole_projector)
        return nn.Sequential(*(part for part in parts if part is not None))

    def loss(self, batch: ClipPairs, *, gather: Gather = identity) -> Tensor:
        """Both ways; an image's loss does not depend on the others, so each process has its own."""
        if batch.corners is None:
            raise ConfigError("pixelpro needs to know where views lie in their image", expected="pairs with corners")
        s, total = self.settings, batch.corners.new_zeros(())
        places = batch.corners.unbind(1)
        for view, other, mine, theirs in (
            (batch.left, batch.right, *places),
            (batch.right, batch.left, *reversed(places)),
        ):
            cells, whole, grid = seen_by(self.online, view)
            with torch.no_grad():
                wanted, whole_wanted, _ = seen_by(self.target, other)
            near = positive_pairs(mine, theirs, *grid, threshold=s.threshold)
            propagated = propagate(cells, self.transform(cells), sharpness=s.sharpness)
            total = total + pixel_consistency(propagated, wanted, near)
            if whole is not None and whole_wanted is not None:
                agreed = cosine_similarity(self.whole_predictor(whole).float(), whole_wanted.float())
                total = total + s.instance_weight * (1 - agreed.mean())
        return total


def seen_by(net: nn.Sequential, images: Tensor) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    """Projected cells [N, H W, D] of the last map, its projected mean [N, D] (None without a projector of means), and (H, W).

    :param net: encoder, projector of cells and, if there is one, projector of means.
    """
    encoder, projector, *whole = net
    assert isinstance(encoder, Encoder)
    last = encoder.feature_maps(images)[-1]
    rows = last.flatten(2).mT  # the same for every cell: a linear layer of rows is a 1 x 1 convolution of the map
    cells = projector(rows.flatten(0, 1)).view(*rows.shape[:2], -1)
    return cells, whole[0](rows.mean(1)) if whole else None, (int(last.shape[2]), int(last.shape[3]))


def map_width(encoder: Encoder) -> int:
    """Channels of the last feature map; :raises ConfigError: where it is smaller than 2 x 2."""
    last = Pyramid.of(encoder)
    side, size = last.sides[0], encoder.image_size
    if side < 2:
        known: Any = getattr(encoder.network, "feature_info", None)
        stride = int(known[-1]["reduction"]) if known else size
        raise ConfigError(
            f"The last feature map of {encoder.name} at image_size = {size} is {side} x {side}: one cell is no map",
            expected="2 x 2 cells or more",
            do=f"Set image_size={2 * stride} or more, or take an encoder whose last map is finer",
        )
    return last.widths[0]
