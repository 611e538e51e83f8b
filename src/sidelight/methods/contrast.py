"""What the methods with a contrast share: who may repel whom, and by what similarities are divided."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from sidelight.config import Settings

Repel = Literal["all", "other_item", "other_patient"]


class ContrastSettings(Settings):
    """Settings of a contrast; the Settings of a method that has one inherit from these, too."""

    repel: Repel = Field("other_item", description="which items may be each other's negatives")
    temperature: float = Field(0.2, gt=0, description="of the contrast: what similarities are divided by")


def contrast_groups(repel: Repel, *, item: Tensor, patient: Tensor) -> Tensor | None:
    """The groups of a contrast, whose members do not repel each other: ``item``, ``patient`` (int64 [N]), or None for "all"."""
    return {"all": None, "other_item": item, "other_patient": patient}[repel]
