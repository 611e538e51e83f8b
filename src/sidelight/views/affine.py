"""Batched random rotation, shift and scale of whole views: radiographs are never taken twice from the same place."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sidelight.errors import ConfigError

NUMBERS = 4
"""Uniform numbers that one view needs."""


@dataclass(frozen=True)
class Affine:
    """A recipe; the defaults change nothing.

    :param rotation: largest angle in degrees, either way; ``shift``: largest shift as a share of the side, either way.
    :param scale: range of the factor.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 <= self.rotation <= 180 or not 0 <= self.shift <= 1 or not 0 < low <= high:
            given = f"rotation = {self.rotation}, shift = {self.shift}, scale = ({low}, {high})"
            raise ConfigError(given, expected="an angle up to 180, a share up to 1 and 0 < low <= high")

    @property
    def still(self) -> bool:
        """Whether it changes nothing."""
        return not self.rotation and not self.shift and self.scale == (1.0, 1.0)


def affine(images: Tensor, recipe: Affine, uniforms: Tensor) -> Tensor:
    """Turn, shift and scale each view about its centre, bilinearly; what comes from outside is 0.

    :param images: float [N, C, S, S]; ``uniforms`` [N, NUMBERS] in [0, 1).
    """
    if recipe.still:
        return images
    u = uniforms.to(images.device, torch.float32)
    angle = (2 * u[:, 0] - 1) * recipe.rotation * (torch.pi / 180)
    low, high = recipe.scale
    factor = low + (high - low) * u[:, 1]
    shift = (2 * u[:, 2:4] - 1) * 2 * recipe.shift  # the grid runs over [-1, 1]
    cos, sin = angle.cos() / factor, angle.sin() / factor
    turn = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1)
    theta = torch.cat([turn, -turn @ shift[..., None]], -1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), align_corners=False)
