"""Patients as rows of the training loop: their feed, which levels describe them, and their lesions over all processes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import Vocabulary, fit
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels
from sidelight.methods.base import Gather, Integers
from sidelight.views.lesions import Lesions, LesionSource


class Whole:
    """Lesions [N] of this process to those of all: padded to n per patient, gathered, and cut down again."""

    def __init__(self, batch: Lesions, lesions: int, gather: Gather) -> None:
        self.gather, self.count = gather, len(batch.patient) * lesions
        self.place = batch.owner * lesions + batch.slot
        self.patient = batch.patient[batch.owner]
        self.there = gather(self._pad(torch.ones_like(self.place)))

    def __call__(self, members: Tensor) -> Tensor:
        """``members`` [N, ...] of this process to those of all, in the order of the patients."""
        return self.gather(self._pad(members))[self.there > 0]

    def _pad(self, members: Tensor) -> Tensor:
        return members.new_zeros(self.count, *members.shape[1:]).index_copy(0, self.place, members)


@dataclass
class LesionFeed:
    """Patients by role; a row of the loop is a patient, named by its first row of the pixel index."""

    sources: dict[str, LesionSource]
    draws: int
    pixels: Pixels
    secret: bytes = b""

    def __post_init__(self) -> None:
        none = np.zeros(0, np.int64)
        self.train_rows, self.valid_rows, self.extra_rows = (
            self.sources[role].patients if role in self.sources else none for role in ("train", "valid", "extra")
        )

    def raw(self, epoch: int, rows: Integers, draws: Integers, role: str) -> Lesions:
        """The patients at ``rows`` with photographs and codes, on the host."""
        return self.sources[role].raw(epoch, rows, draws)

    def finish(self, raw: Lesions, device: torch.device) -> Lesions:
        """The batch on ``device``, augmented."""
        return self.sources["train"].finish(raw, device)

    def names(self, rows: Integers) -> list[str]:
        """Keyed hashes of the patients' first items, 16 hex digits."""
        return [item_hash(str(item), self.secret) for item in self.pixels.index["item"].iloc[rows]]


def roles(cohort: Cohort) -> tuple[str, str]:
    """The levels that play lesion and patient: the second level, or ``item`` where that is described, else the one level
    there is; the patient is the outermost one above it, "" where there is none."""
    levels, columns = cohort.levels, cohort.spec.metadata.columns
    if len(levels) >= 2:
        return levels[1], levels[0]
    if columns.get("item") or not levels:
        return "item", levels[0] if levels else ""
    return levels[0], ""


def vocabularies(
    cohort: Cohort, positions: Integers, levels: str, least: int
) -> tuple[Vocabulary | None, Vocabulary | None]:
    """Those of lesions and of patients, None where nothing describes them; ``flat`` makes one of both."""
    inner, outer = roles(cohort)
    lesion = fit(cohort, inner, positions, least)
    patient = fit(cohort, outer, positions, least) if outer else Vocabulary(outer, ())
    if levels == "flat":
        lesion, patient = Vocabulary(inner, lesion.columns + patient.columns, lesion.asked), Vocabulary(outer, ())
    return lesion if lesion.columns else None, patient if patient.columns else None
