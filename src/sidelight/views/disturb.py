"""Imaging conditions made worse by a stated severity: light, colour, resolution, distance. For judging encoders, not training."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sidelight.config import Settings
from sidelight.errors import ConfigError
from sidelight.views.augment import resize, unit_range
from sidelight.views.randomness import Ints, uniform

Condition = Literal["light", "colour", "resolution", "distance"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
_STREAM = -21


class RobustnessSettings(Settings):
    """Under what images are also scored."""

    severities: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        [], description="also score unseen units under worse imaging conditions, each so severe: 0 to 1"
    )
    conditions: list[Condition] = Field(list(CONDITIONS), description="what gets worse under severities")

    def changes(self, channels: int) -> list["Disturb"]:
        """Every condition at every severity above 0; colour not where images have none.

        :raises ConfigError: where severities are asked for and no condition is left.
        """
        asked = [name for name in self.conditions if channels > 1 or name != "colour"]
        if self.severities and not asked:
            raise ConfigError(
                f"robustness.conditions = {self.conditions} of {'grey' if channels == 1 else 'colour'} images",
                expected=f"one of {', '.join(one for one in CONDITIONS if channels > 1 or one != 'colour')}",
                do="Name such a condition, or take robustness.severities out",
            )
        return [Disturb(name, severity) for name in asked for severity in self.severities if severity > 0]


@dataclass(frozen=True)
class Disturb:
    """One condition at one severity; at severity 0 images stay as they are.

    ``light``: brightness times up to 2^(+-severity), and a slope of up to severity from one side to the other.
    ``colour``: each channel times up to 1 +- severity / 2; nothing for grey images.
    ``resolution``: taken with 1 / (1 + 7 severity) of the pixels per side, and enlarged again.
    ``distance``: taken from 1 + severity times as far; what is then seen around is the image mirrored at its edges.

    :raises ConfigError: for a severity outside [0, 1] or an unknown condition.
    """

    condition: Condition
    severity: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS or not 0 <= self.severity <= 1:
            raise ConfigError(
                f"condition = {self.condition!r} at severity = {self.severity}",
                expected=f"one of {', '.join(CONDITIONS)} at a severity from 0 to 1",
            )

    def __call__(self, images: Tensor, rows: Ints) -> Tensor:
        """Images [N, C, S, S] (see :func:`sidelight.views.augment.unit_range`) to float32 [N, C, S, S] in [0, 1].

        :param rows: int64 [N] of the pixel index; what is drawn depends on the row and the condition, not the severity.
        """
        whole = unit_range(images)
        if self.severity == 0:
            return whole
        u = uniform(self.seed, 0, rows, 0, _STREAM - CONDITIONS.index(self.condition), 4)
        numbers = torch.from_numpy((2 * u - 1).astype(np.float32)).to(whole.device)
        change = {"light": _light, "colour": _colour, "resolution": _resolution, "distance": _distance}[self.condition]
        return change(whole, self.severity, numbers).clamp(0, 1)


def _light(images: Tensor, severity: float, u: Tensor) -> Tensor:
    side = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    angle = torch.pi * u[:, 1, None, None]
    slope = angle.cos() * side[None, None, :] + angle.sin() * side[None, :, None]
    factor = 2 ** (severity * u[:, 0, None, None]) * (1 + severity * u[:, 2, None, None].abs() * slope / 2**0.5)
    return images * factor[:, None]


def _colour(images: Tensor, severity: float, u: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return images * (1 + severity / 2 * u[:, :3, None, None])


def _resolution(images: Tensor, severity: float, _: Tensor) -> Tensor:
    size = images.shape[-1]
    small = resize(images, max(round(size / (1 + 7 * severity)), 1))
    return F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)


def _distance(images: Tensor, severity: float, _: Tensor) -> Tensor:
    grid = (1 + severity) * torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], device=images.device)
    places = F.affine_grid(grid.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=False)
