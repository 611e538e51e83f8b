"""Patients as rows of the training loop: their feed, which levels describe them, and their lesions over all processes."""

import torch
from torch import Tensor

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import Vocabulary, fit
from sidelight.methods.base import Gather
from sidelight.views.feed import Integers
from sidelight.views.lesions import Lesions


class GatheredLesions:
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
