"""What every method understands. This file loads no torch: `check` looks at pixels before it does."""

from typing import Any, Literal

from pydantic import Field, model_validator

from sidelight.data.pixels.cache import PixelSettings

DECAY = {"adamw": 0.05, "sgd": 1e-4, "rmsprop": 0.0}
"""Weight decay that is usual under each optimiser. SGD takes it times the rate at every step, over the momentum: AdamW's
0.05 at the rate 0.1 would halve the weights every 14 steps."""


class PretrainSettings(PixelSettings):
    """What every method understands. A method subclasses it and overrides defaults per profile."""

    profile: Literal["default", "paper"] = Field("default", description="paper is the published recipe")
    encoder: str = Field("resnet18", description="timm name of the image encoder's architecture")
    initial: str | None = Field(
        None,
        description="weights to start from: a file, imagenet (a package's) or an explicit hf-hub: name; none is random",
    )
    train_from: str | None = Field(
        None,
        description="first part of the encoder that is trained, such as blocks.3 or layer3; those before stay as given",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of a layer of the encoder over that of the layer after it"
    )
    image_size: int = Field(112, ge=16, le=2048, description="side of the square view in pixels")
    epochs: int = Field(60, ge=1, description="passes over the pairs")
    steps: int | None = Field(None, ge=1, description="optimiser steps; if given it replaces epochs")
    batch_size: int = Field(32, ge=2, description="pairs in a batch, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches per step; a contrast runs inside each micro-batch")
    seed: int = Field(0, ge=0, description="of first weights, pairs and augmentation")
    optimizer: Literal["adamw", "sgd", "rmsprop"] = Field("adamw", description="which optimiser moves the weights")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(
        0.05, ge=0, description="of matrices; under another optimiser than the method's own the usual one of that"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    schedule: Literal["cosine", "constant", "ramp_cosine", "decay", "cosine_wave"] = Field(
        "cosine",
        description="ramp_cosine is Meta-USCL's exponential ramp and a half cosine; decay is x 0.95 each epoch; "
        "cosine_wave is LoVT's, down in one epoch and up in the next",
    )
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the rate rises; of cosine alone")
    clip_norm: float | None = Field(None, gt=0, description="gradient norm limit")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="auto is bf16 where the device has instructions for it"
    )
    workers: int = Field(0, ge=0, description="loader processes; the result does not depend on it")
    shuffle_pairs: bool = Field(False, description="negative control: every pair broken, the rest unchanged")
    valid_fraction: float = Field(0.1, ge=0, lt=1, description="share of patients kept for the validation loss")
    keep: Literal["last", "best"] = Field("last", description="which checkpoint becomes the encoder")
    checkpoint_every: int = Field(0, ge=0, description="also checkpoint every so many steps; 0 is once per epoch")
    where: dict[str, str | int | float | list[str]] = Field({}, description="which items to learn from, by column")
    working_size: int | None = Field(None, ge=16, description="side of the cached pixels; none is image_size x 8/7")
    monitor_task: str | None = Field(None, description="task whose kNN accuracy is logged while training")
    monitor_every: int = Field(10, ge=1, description="epochs between kNN readings")

    @model_validator(mode="before")
    @classmethod
    def _decay_of_its_optimizer(cls, values: Any) -> Any:
        """The default decay belongs to the default optimiser."""
        if not isinstance(values, dict) or "weight_decay" in values:
            return values
        usual = cls.model_fields["optimizer"].default
        asked = values.get("optimizer", usual)
        return values if asked == usual or asked not in DECAY else {**values, "weight_decay": DECAY[asked]}
