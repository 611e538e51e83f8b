"""Batches of patients: up to n lesions each, one photograph of every lesion, and the codes of what is known of both.

The host picks lesions and photographs and reads the pixels (:class:`LesionSource`), a pure function of (seed, epoch,
patients, draws); the device augments (:meth:`LesionSource.finish`). Only the photographs that were picked are read, so
that a patient may own hundreds of lesions.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sidelight.data.cohort.metadata import Codes
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import DataError
from sidelight.views.augment import Augment, augment
from sidelight.views.randomness import Ints, integer, uniform

# Streams of random numbers beside that of the views, which is 0.
_LESION, _PHOTO, _TURN, _PARTNER, _SECOND_TURN, _FRAME = -11, -12, -13, -14, -15, -16


@dataclass(frozen=True, eq=False)
class Ownership:
    """Who owns which photograph; arrays over the R rows of the pixel index.

    :ivar patient: int64 [R]; ``lesion`` int64 [R], unique over all patients.
    :ivar lesion_codes: codes of R rows, or None where lesions are not described; ``patient_codes`` alike.
    :ivar same_lesion: int64 [R], equal where the lesion's codes are; ``same_patient`` alike.
    """

    patient: Ints
    lesion: Ints
    lesion_codes: Codes | None
    patient_codes: Codes | None
    same_lesion: Ints
    same_patient: Ints


@dataclass(frozen=True, eq=False)
class Lesions:
    """N lesions of P patients; as the host ships it ``left`` is uint8 or uint16 [N, C, W, W].

    :ivar left: float32 [N, C, S, S] in [0, 1], the photographs; ``right`` alike, augmented anew, or None.
    :ivar owner: int64 [N] in ``range(P)``; ``slot`` int64 [N], the lesion's place among its patient's, below n.
    :ivar item: int64 [N], rows of the pixel index; ``lesion`` int64 [N]; ``draw`` int64 [N].
    :ivar patient: int64 [P].
    :ivar same_lesion: int64 [N], equal where the lesions' metadata are; ``same_patient`` int64 [P] alike.
    :ivar lesion_codes: of N rows, ``patient_codes`` of P rows; None where there are no columns.
    """

    left: Tensor
    owner: Tensor
    slot: Tensor
    item: Tensor
    lesion: Tensor
    draw: Tensor
    patient: Tensor
    same_lesion: Tensor
    same_patient: Tensor
    lesion_codes: Codes | None
    patient_codes: Codes | None
    epoch: int = 0
    right: Tensor | None = None

    def __len__(self) -> int:
        return len(self.item)


class LesionSource:
    """The host's part and the device's.

    :param size: side of the views in pixels.
    :param rows: int64 [M] of the pixel index that may be used.
    :param lesions: most lesions of a patient in a batch, n.
    :param turns: also turn photographs by quarters and mirror them top-down: skin has no up.
    :param twice: give two views of each photograph.
    :param broken: the negative control: metadata are those of another patient's lesion and of another patient.
    :raises DataError: when ``broken`` finds a single patient.
    """

    def __init__(
        self,
        pixels: Pixels,
        owned: Ownership,
        augment: Augment,
        seed: int,
        *,
        size: int,
        rows: Ints,
        lesions: int,
        turns: bool = True,
        twice: bool = False,
        broken: bool = False,
    ) -> None:
        self.pixels, self.owned, self.augment, self.seed, self.size = pixels, owned, augment, seed, size
        self.lesions, self.turns, self.twice, self.broken = lesions, turns, twice, broken
        self.rows = rows[np.lexsort((rows, owned.lesion[rows], owned.patient[rows]))]
        patients, self._first = np.unique(owned.patient[self.rows], return_index=True)
        self._place = dict(zip(patients.tolist(), range(len(patients)), strict=True))
        if broken and len(patients) < 2:
            raise DataError("Pairs cannot be broken: there is one patient", expected="lesions of two patients or more")

    @property
    def patients(self) -> Ints:
        """One row per patient, its first: what the loop deals and batches."""
        return np.asarray(self.rows[self._first], np.int64)

    def items_of(self, rows: Ints) -> Ints:
        """All photographs here of the patients that own ``rows``."""
        owner = self.owned.patient
        return np.asarray(self.rows[np.isin(owner[self.rows], owner[rows])], np.int64)

    def raw(self, epoch: int, patients: Ints, draws: Ints) -> Lesions:
        """The lesions of P patients (each given by any of its rows [P]) at their ``draws`` [P], on the CPU.

        Of a clip or a series a random frame is read.
        """
        picked = [self._pick(epoch, int(row), int(draw)) for row, draw in zip(patients, draws, strict=True)]
        counts = [len(one) for one in picked]
        rows, draw = np.concatenate(picked), np.repeat(np.asarray(draws, np.int64), counts)
        described, whose = rows, np.asarray(patients, np.int64)
        if self.broken:
            described, whose = (
                self._partners(epoch, rows, draw),
                self._partners(epoch, whose, np.asarray(draws, np.int64)),
            )
        lots = uniform(self.seed, epoch, rows, draw, _FRAME, 1)[:, 0]
        frames = self.pixels.batch(rows, integer(lots, np.array([self.pixels.frames_of(int(row)) for row in rows])))
        owned = self.owned
        return Lesions(
            left=torch.from_numpy(frames),
            owner=torch.from_numpy(np.repeat(np.arange(len(patients)), counts)),
            slot=torch.from_numpy(np.concatenate([np.arange(count) for count in counts])),
            item=torch.from_numpy(rows),
            lesion=torch.from_numpy(owned.lesion[rows]),
            draw=torch.from_numpy(draw),
            patient=torch.from_numpy(owned.patient[np.asarray(patients)]),
            same_lesion=torch.from_numpy(owned.same_lesion[described]),
            same_patient=torch.from_numpy(owned.same_patient[whose]),
            lesion_codes=_taken(owned.lesion_codes, described),
            patient_codes=_taken(owned.patient_codes, whose),
            epoch=epoch,
        )

    def finish(self, raw: Lesions, device: torch.device | str) -> Lesions:
        """The batch on ``device``, augmented; a photograph's view does not depend on the others of its batch."""
        photographs = raw.left.to(device, non_blocking=True)
        left = self._view(raw, photographs, 0, _TURN)
        right = self._view(raw, photographs, 1, _SECOND_TURN) if self.twice else None
        names = ("owner", "slot", "item", "lesion", "patient", "same_lesion", "same_patient")
        moved = {name: getattr(raw, name).to(device) for name in names}
        lesion, patient = (
            None if found is None else found.map(lambda part: part.to(device))
            for found in (raw.lesion_codes, raw.patient_codes)
        )
        return replace(raw, left=left, right=right, lesion_codes=lesion, patient_codes=patient, **moved)

    def _view(self, raw: Lesions, photographs: Tensor, view: int, turn: int) -> Tensor:
        """``photographs`` augmented by the numbers of the stream ``view`` and turned by those of the stream ``turn``."""
        which = (self.seed, raw.epoch, raw.item.numpy(), raw.draw.numpy())
        numbers = torch.from_numpy(uniform(*which, view, self.augment.numbers).astype(np.float32))
        seen = augment(photographs, self.augment, numbers, size=self.size)
        if not self.turns:
            return seen
        quarter = integer(uniform(*which, turn, 1)[:, 0], 8)
        return turned(seen, torch.from_numpy(quarter).to(seen.device))

    def _pick(self, epoch: int, row: int, draw: int) -> Ints:
        """One photograph of each of at most n lesions of the patient that owns ``row``."""
        place = self._place[int(self.owned.patient[row])]
        stop = self._first[place + 1] if place + 1 < len(self._first) else len(self.rows)
        rows = self.rows[self._first[place] : stop]
        _, first, count = np.unique(self.owned.lesion[rows], return_index=True, return_counts=True)
        if len(first) > self.lesions:
            lots = uniform(self.seed, epoch, rows[first], draw, _LESION, 1)[:, 0]
            chosen = np.sort(np.argsort(lots, kind="stable")[: self.lesions])
            first, count = first[chosen], count[chosen]
        photo = integer(uniform(self.seed, epoch, rows[first], draw, _PHOTO, 1)[:, 0], count)
        return np.asarray(rows[first + photo], np.int64)

    def _partners(self, epoch: int, rows: Ints, draws: Ints) -> Ints:
        """For each row a random one of another patient; ``self.rows`` lie in the order of patients."""
        patients = self.owned.patient[self.rows]
        mine = self.owned.patient[rows]
        start, after = np.searchsorted(patients, mine), np.searchsorted(patients, mine, "right")
        u = uniform(self.seed, epoch, rows, draws, _PARTNER, 1)[:, 0]
        return np.asarray(self.rows[(after + integer(u, len(patients) - (after - start))) % len(patients)], np.int64)


def turned(images: Tensor, quarter: Tensor) -> Tensor:
    """[N, C, S, S] under the eight symmetries of the square, ``quarter`` int64 [N] in 0 .. 7."""
    images = torch.where((quarter >= 4)[:, None, None, None], images.flip(2), images)
    images = torch.where((quarter % 4 >= 2)[:, None, None, None], images.flip(3), images)
    return torch.where((quarter % 2 == 1)[:, None, None, None], images.mT, images)


def _taken(codes: Codes | None, rows: Ints) -> Codes | None:
    return None if codes is None else codes.map(lambda part: torch.from_numpy(part[rows]))
