"""What is trained: an encoder, frozen or not, and a decoder or detector that reads its maps; and how its batches are read."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sidelight.evaluation.maps import Maps
from sidelight.evaluation.truth import Truth
from sidelight.evaluation.units import Units
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of N units and where things are in them.

    :ivar images: float [N, C, S, S] in [0, 1] at the encoder's size; None where the stored maps are all that is read.
    :ivar picked: maps of the encoder as it gave them, for each level [N, C, h, w]; None: the encoder runs.
    :ivar truth: at the working size; ``side`` that size.
    """

    images: Tensor | None
    picked: list[Tensor] | None
    truth: Truth
    side: int


class Localizer(nn.Module):
    """An encoder and what reads its maps.

    :cvar sees: whether it reads the images, too.
    """

    sees: ClassVar[bool] = False

    def __init__(self, encoder: Encoder, pyramid: Pyramid, decoder: nn.Module, *, learns: bool) -> None:
        super().__init__()
        self.encoder = deepcopy(encoder) if learns else encoder
        self.pyramid, self.decoder = pyramid, decoder
        self.learning = False
        """Whether the encoder learns now; while the decoder warms up it does not."""

    @classmethod
    @abstractmethod
    def levels_of(cls, encoder: Encoder, own: Any) -> Pyramid:
        """The maps that it reads."""

    @classmethod
    @abstractmethod
    def make(cls, encoder: Encoder, classes: int, own: Any, *, learns: bool) -> "Localizer":
        """One with random weights from torch's global generator."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """A scalar."""

    def levels(self, batch: Batch) -> list[Tensor]:
        """The maps of a batch at the sides of their levels; without a gradient where the encoder does not learn."""
        if batch.picked is not None:
            return self.pyramid.fit([one.to(self.encoder.mean.device) for one in batch.picked])
        assert batch.images is not None
        with torch.set_grad_enabled(self.learning and torch.is_grad_enabled()):
            return self.pyramid.fit(self.pyramid.pick(self.encoder.feature_maps(batch.images)))

    def train(self, mode: bool = True) -> "Localizer":
        """As any module, but for an encoder that does not learn: its batch statistics stay as they are."""
        super().train(mode)
        self.encoder.train(mode and self.learning)
        return self

    def prepare(self, maps: Maps | None, rows: Sequence[int]) -> None:
        """Look at the stored maps of the rows that train, before training."""

    def state(self) -> dict[str, Tensor]:
        """A copy of what has been learnt: the decoder, and the encoder where it learns."""
        part = self if self.learning else self.decoder
        return {name: value.detach().clone() for name, value in part.state_dict().items()}

    def restore(self, state: dict[str, Tensor], *, whole: bool) -> None:
        """Back to what :meth:`state` gave; ``whole``: it has the encoder, too."""
        (self if whole else self.decoder).load_state_dict(state)


@dataclass(frozen=True, eq=False)
class Images:
    """The images of units, one each, as batches.

    :ivar rows: of each unit its row in ``units.pixels``; ``maps`` stored ones of the frozen encoder.
    """

    units: Units
    rows: list[int]
    maps: Maps | None = None

    @classmethod
    def of(cls, units: Units, maps: Maps | None = None) -> "Images":
        """Of units of one image each, as :func:`pictures` gives them."""
        return cls(units, [own[0] for own in units.items], maps)

    def batch(self, places: Sequence[int], net: Localizer, flipped: np.ndarray | None = None) -> Batch:
        """The units at these places; those of ``flipped`` mirrored, with what is true of them."""
        rows, truth = [self.rows[at] for at in places], self._truth(places)
        picked = self.maps(rows) if self.maps is not None and not net.learning else None
        images = None
        if picked is None or net.sees:
            raw = torch.from_numpy(self.units.pixels.batch(rows, [0] * len(rows)))
            images = net.encoder.preprocess(raw.to(net.encoder.mean.device))
        side = self.units.pixels.size
        if flipped is not None and flipped.any():
            assert images is not None and picked is None
            images = torch.where(
                torch.from_numpy(flipped).to(images.device)[:, None, None, None], images.flip(3), images
            )
            truth = mirrored(truth, flipped, side)
        return Batch(images, picked, truth, side)

    def batches(self, net: Localizer, size: int) -> Iterator[Batch]:
        """All units in their order."""
        for start in range(0, len(self.rows), size):
            yield self.batch(range(start, min(start + size, len(self.rows))), net)

    def _truth(self, places: Sequence[int]) -> Truth:
        return Truth() if self.units.truth is None else self.units.truth.take(np.asarray(places, np.int64))


def mirrored(truth: Truth, flipped: np.ndarray, side: int) -> Truth:
    """Left and right exchanged in the units where ``flipped``, bool [N], holds."""
    masks, boxes = truth.masks, truth.boxes
    if masks is not None:
        masks = [
            np.ascontiguousarray(own[:, :, ::-1]) if turn else own for own, turn in zip(masks, flipped, strict=True)
        ]
    if boxes is not None:
        turned = [np.stack([side - own[:, 2], own[:, 1], side - own[:, 0], own[:, 3]], axis=1) for own in boxes]
        boxes = [new if turn else own for own, new, turn in zip(boxes, turned, flipped, strict=True)]
    return Truth(masks, boxes, truth.labels, truth.spacing)
