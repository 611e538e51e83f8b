"""What the methods with a contrast share: who may repel whom, and by what similarities are divided."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from sidelight.config import Settings
from sidelight.errors import ConfigError

Repel = Literal["all", "other_item", "other_patient"]


class ContrastSettings(Settings):
    """Settings of a contrast; the Settings of a method that has one inherit from these, too."""

    repel: Repel = Field("other_item", description="which items may be each other's negatives")
    temperature: float = Field(0.2, gt=0, description="of the contrast: what similarities are divided by")


def check_learnt_temperature(temperature: float, max_scale: float) -> None:
    """:raises ConfigError: for a start of a learnt temperature that the first step would not leave as it is."""
    if not 1 <= 1 / temperature <= max_scale * (1 + 1e-9):
        raise ConfigError(
            f"A temperature that is learnt starts at {temperature:g}",
            expected=f"1 / max_scale = {1 / max_scale:g} to 1",
            do="Set another one, or learn_temperature=false where there is that setting",
        )


def contrast_groups(repel: Repel, *, item: Tensor, patient: Tensor) -> Tensor | None:
    """The groups of a contrast, whose members do not repel each other: ``item``, ``patient`` (int64 [N]), or None for "all"."""
    return {"all": None, "other_item": item, "other_patient": patient}[repel]
