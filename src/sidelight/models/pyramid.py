"""Feature maps of an encoder at given strides, finest first: the pyramid that decoders and detectors of localized tasks read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sidelight.models.image import Encoder


@dataclass(frozen=True)
class Pyramid:
    """Which of an encoder's maps stand for each level.

    A network of stages gives its last map of a level's side. Where it has none of that side (the blocks of a transformer are
    all of one), evenly spaced maps stand for the levels, the last for the coarsest, enlarged or reduced bilinearly.

    :ivar places: for each level the number of its map among :meth:`Encoder.feature_maps`.
    :ivar sides: of the levels in pixels of a map; ``widths`` their channels; ``held`` the side that each map has by itself.
    """

    places: tuple[int, ...]
    sides: tuple[int, ...]
    widths: tuple[int, ...]
    held: tuple[int, ...]

    @classmethod
    def of(cls, encoder: Encoder, strides: Sequence[int] | None = None) -> "Pyramid":
        """Levels of these strides, finest first; None: the last map as it is."""
        size, was = encoder.image_size, encoder.training
        with torch.no_grad():
            maps = encoder.eval().feature_maps(encoder.mean.new_zeros(1, encoder.channels, size, size))
        encoder.train(was)
        held, widths = [int(one.shape[-1]) for one in maps], [int(one.shape[1]) for one in maps]
        if strides is None:
            return cls((len(maps) - 1,), (held[-1],), (widths[-1],), (held[-1],))
        sides = [max(1, -(-size // stride)) for stride in strides]
        exact = [max((at for at, side in enumerate(held) if side == wanted), default=None) for wanted in sides]
        nearest = [min(range(len(maps)), key=lambda at: (abs(np.log(held[at] / wanted)), -at)) for wanted in sides]
        if len(set(held)) == 1:
            exact = [round(at) for at in np.linspace(0, len(maps), len(sides) + 1)[1:] - 1]
        places = [near if at is None else at for at, near in zip(exact, nearest, strict=True)]
        return cls(tuple(places), tuple(sides), tuple(widths[at] for at in places), tuple(held[at] for at in places))

    def pick(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The map of each level as the network gave it, [N, C, h, w] each."""
        return [maps[at] for at in self.places]

    def fit(self, picked: Sequence[Tensor]) -> list[Tensor]:
        """Those of :meth:`pick` at the sides of their levels."""
        return [
            one if one.shape[-1] == side else interpolate(one, (side, side), mode="bilinear", align_corners=False)
            for one, side in zip(picked, self.sides, strict=True)
        ]
