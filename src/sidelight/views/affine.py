"""Batched random rotation, shift and scale of whole views: radiographs are never taken twice from the same place."""

from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from sidelight.config import Settings
from sidelight.errors import ConfigError

NUMBERS = 4
"""Uniform numbers that one view needs."""


class Affine(Settings):
    """How far each view is moved; :raises ConfigError: for a value outside its range."""

    rotation: float = Field(10.0, description="largest turn in degrees, either way")
    shift: float = Field(0.05, description="largest shift as a share of the side, either way")
    scale: tuple[float, float] = Field((0.95, 1.05), description="range of the enlargement")

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        low, high = self.scale
        if not 0 <= self.rotation <= 180 or not 0 <= self.shift <= 1 or not 0 < low <= high:
            given = f"rotation = {self.rotation}, shift = {self.shift}, scale = ({low}, {high})"
            raise ConfigError(given, expected="an angle up to 180, a share up to 1 and 0 < low <= high")
        return self

    @classmethod
    def none(cls) -> "Affine":
        """No movement."""
        return cls(rotation=0.0, shift=0.0, scale=(1.0, 1.0))

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return not self.rotation and not self.shift and self.scale == (1.0, 1.0)


def affine(images: Tensor, recipe: Affine, uniforms: Tensor) -> Tensor:
    """Turn, shift and scale each view about its centre, bilinearly; what comes from outside is 0.

    :param images: float [N, C, S, S]; ``uniforms`` [N, NUMBERS] in [0, 1).
    """
    if recipe.is_identity:
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
