"""What the protocols of masks share: the loss, the rows of units, and heads that give masks."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from sidelight.evaluation.drawn import packed
from sidelight.evaluation.outcomes import mask_outcomes
from sidelight.evaluation.protocols.base import Head
from sidelight.evaluation.protocols.localized.base import LocalizedHead, LocalizedProtocol
from sidelight.evaluation.protocols.localized.net import Batch, Localizer
from sidelight.evaluation.protocols.localized.pictures import Rows, pictures, summed
from sidelight.evaluation.protocols.localized.training import LocalizedSettings
from sidelight.evaluation.truth import UNKNOWN, Predicted, Truth
from sidelight.evaluation.units import Units
from sidelight.losses.maps import MAP_LOSSES
from sidelight.metrics.heat import heat_row
from sidelight.metrics.overlap import POOLED_DICE, TRUE, areas, mask_row


class MaskSettings(LocalizedSettings):
    """How masks are learnt and judged."""

    loss: Literal["dice", "dice_by_class", "dice_by_image", "bce", "focal", "dice_and_bce"] = Field(
        "dice_by_class", description="dice is pooled over the batch and all classes, as LoVT published"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a pixel is found")
    tolerance: float = Field(
        2.0, gt=0, description="of surface Dice: mm where the size of a pixel is known, else pixels of the working size"
    )


class MaskNet(Localizer):
    """A network that gives masks."""

    @abstractmethod
    def logits(self, batch: Batch) -> Tensor:
        """[N, K, W, W] at the working size."""


class DecoderNet(MaskNet):
    """A decoder of maps to masks."""

    loss_name: str = "dice_by_class"

    def logits(self, batch: Batch) -> Tensor:
        """[N, K, W, W] at the working size."""
        logits: Tensor = self.decoder(self.levels(batch), batch.images, batch.side)
        return logits.float()

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the settings on the pixels that are known."""
        masks = torch.from_numpy(np.stack(batch.truth.masks or [])).to(self.encoder.mean.device)
        known = masks != UNKNOWN
        return MAP_LOSSES[self.loss_name](self.logits(batch), (masks == 1).float(), known)


class MaskHead(LocalizedHead):
    """Gives a mask of each target."""

    finds = "mask"
    net: Localizer

    @property
    def thresholds(self) -> Sequence[float]:
        """That of the settings."""
        return [self.own.threshold] * self.classes

    def probabilities(self, batch: Batch) -> NDArray[np.float32]:
        """Float32 [N, K, W, W] at the working size."""
        assert isinstance(self.net, MaskNet)
        found: NDArray[np.float32] = self.net.logits(batch).sigmoid().cpu().numpy()
        return found

    def presence(self, batch: Batch) -> NDArray[np.float64]:
        """Of the surest pixel."""
        return np.asarray(self.probabilities(batch).max(axis=(2, 3)), np.float64)

    def predicted(self, units: Units) -> Iterator[Predicted]:
        """Probabilities of each picture."""
        for batch in self.batches(units):
            yield from (Predicted(masks=own) for own in self.probabilities(batch))

    def shown(self, units: Units) -> Iterator[tuple[NDArray[np.float32], Truth]]:
        """Probabilities float32 [N, K, W, W] of pictures batch by batch, and what is true of them."""
        for batch in self.batches(units):
            yield self.probabilities(batch), batch.truth

    def judged(self, units: Units) -> float:
        """Dice pooled over units, the mean over the targets that they hold."""
        parts = []
        for heat, truth in self.shown(units):
            found = heat >= self.own.threshold
            masks = np.stack(truth.masks or [])
            parts.append(
                np.stack([areas(found[:, k], masks[:, k] == 1, masks[:, k] != UNKNOWN) for k in range(self.classes)])
            )
        table = np.concatenate(parts, axis=1)
        each: list[float] = [float(POOLED_DICE(own[:, TRUE], own)) for own in table if own[:, TRUE].any()]
        return float(np.mean(each)) if each else 0.0

    def rows(self, units: Units) -> Rows:
        """What each unit contributes to each target."""
        each = [mask_rows(heat, self.own.threshold, true, self.own.tolerance) for heat, true in self.shown(units)]
        return summed(each, pictures(units)[1])


def mask_rows(
    heat: NDArray[np.float32], threshold: float | NDArray[np.float64], truth: Truth, tolerance: float
) -> Rows:
    """Rows of n pictures of K targets: of the masks where their maps reach a threshold, and of the maps themselves.

    :param heat: float [n, K, W, W]; ``threshold`` one, or [K, 1, 1]; ``tolerance`` of surface Dice.
    """
    masks, found, rows = np.stack(truth.masks or []), heat >= threshold, []
    for at, k in np.ndindex(masks.shape[:2]):
        size = None if truth.spacing is None else (float(truth.spacing[at][0]), float(truth.spacing[at][1]))
        there, known = masks[at, k] == 1, masks[at, k] != UNKNOWN
        mask = mask_row(found[at, k], there, known, spacing=size, tolerance=tolerance)
        rows.append(np.concatenate([mask, heat_row(heat[at, k], there, known)]))
    drawn = [[packed(one) for one in each] for each in found]
    return Rows(np.stack(rows).reshape(*masks.shape[:2], -1), (masks != UNKNOWN).any(axis=(2, 3)), drawn)


M = TypeVar("M", bound=MaskSettings)


class MaskProtocol(LocalizedProtocol[M]):
    """A protocol of masks."""

    targets = ("mask",)

    def outcomes(
        self, head: Head, table: pd.DataFrame, units: Units, targets: Mapping[str, Sequence[str]]
    ) -> Iterator[pd.DataFrame]:
        """Rows of masks: areas and distances of each target in each unit where something is known of it."""
        assert isinstance(head, MaskHead)
        rows = head.rows(units)
        yield from mask_outcomes(table, rows.numbers, rows.known, targets, rows.drawn)
