"""The metadata of items as numbers: features of a run's tabular towers, plain codes, or only blanks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import KNOWN, MISSING, Vocabulary, described, fit
from sidelight.errors import DataError
from sidelight.models.table import TableEncoder, load_table

TABLES = ("lesion_metadata", "patient_metadata")
LEAST_PATIENTS = 5
"""Patients that share a value which plain codes know: a rarer one may identify, and codes are kept with a saved model."""
USUAL = 0.9
"""Share of the labelled items that fill a column which new items are expected to fill."""


@dataclass(frozen=True, eq=False)
class MetadataReader:
    """How metadata become vectors; fitted once, and the same for every cohort that it reads.

    :ivar towers: of a run, by role; where there are none, ``vocabularies`` make plain codes.
    :ivar blanks_alone: only whether a cell is filled, asked in vain or blank.
    """

    towers: Mapping[str, TableEncoder] = field(default_factory=dict)
    vocabularies: tuple[Vocabulary, ...] = ()
    blanks_alone: bool = False

    def __call__(self, items: pd.DataFrame) -> np.ndarray:
        """float32 [R, D] of R items; a column that they lack is missing throughout."""
        if self.towers:
            return np.concatenate([features_of(tower, items).numpy() for tower in self.towers.values()], axis=1)
        parts = []
        for vocabulary in self.vocabularies:
            codes = vocabulary.encode(items)
            blank = (codes.state != KNOWN).astype(np.float32)
            parts.append(blank if self.blanks_alone else codes.flat(vocabulary.columns))
        return np.concatenate(parts, axis=1)

    def used(self) -> Iterator[Vocabulary]:
        """The vocabularies in use."""
        yield from (tower.vocabulary for tower in self.towers.values()) if self.towers else self.vocabularies

    def filled(self, items: pd.DataFrame) -> pd.DataFrame:
        """Which cells are not blank: bool [R, K], by the names of the columns."""
        parts = []
        for vocabulary in self.used():
            names = [column.name for column in vocabulary.columns]
            parts.append(pd.DataFrame(vocabulary.encode(items).state != MISSING, columns=names))
        return pd.concat(parts, axis=1)

    def usual(self, items: pd.DataFrame) -> tuple[str, ...]:
        """The columns that nearly all of ``items`` fill."""
        share = self.filled(items).mean()
        return tuple(str(name) for name in share.index[share >= USUAL])


def metadata_reader(folder: Path | None, cohort: Cohort, positions: np.ndarray, kind: str) -> MetadataReader:
    """What ``kind`` (a value of the setting ``inputs.kind``) needs of the metadata of ``cohort``'s items at ``positions``.

    :param folder: the run that the encoder comes from, if any.
    :raises DataError: where plain codes are needed and ``[metadata]`` names no column.
    """
    if kind in ("image", "pixels", "nothing"):
        return MetadataReader()
    towers = tables_of(folder) if kind in ("image+metadata", "image+borrowed") else {}
    if towers or kind == "image+borrowed":
        return MetadataReader(towers)
    levels = cohort.spec.metadata.columns
    found = tuple(fit(cohort, level, positions, LEAST_PATIENTS) for level in levels if described(cohort, level))
    if not found:
        raise DataError(f"{cohort.name} has no metadata", do="Name columns in [metadata] of its cohort file")
    return MetadataReader(vocabularies=found, blanks_alone=kind == "missing")


def tables_of(folder: Path | None) -> dict[str, TableEncoder]:
    """The tabular towers of a run or a model, by role."""
    if folder is None or not folder.is_dir():
        return {}
    there = [role for role in TABLES if (folder / "towers" / f"{role}.safetensors").is_file()]
    return {role: load_table(folder, role) for role in there}


@torch.no_grad()
def features_of(tower: TableEncoder, items: pd.DataFrame) -> torch.Tensor:
    """What ``tower`` makes of the metadata of R items: float32 [R, D]."""
    codes: Any = tower.vocabulary.encode(items).map(torch.from_numpy)
    rows = range(0, len(codes), 1024)
    return torch.cat([tower(codes.map(lambda part, at=at: part[at : at + 1024])) for at in rows])
