"""What a head reads of an item beside, or in place of, its image: metadata, real or borrowed, or only what is blank."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from sidelight.config import Settings
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.features import embed_items, small_pixels
from sidelight.evaluation.inputs.borrowed import Borrowed, agreement, borrow, borrowed_table
from sidelight.evaluation.inputs.metadata import TABLES, MetadataReader, features_of
from sidelight.models.heads import load_joint_head
from sidelight.models.image import Encoder
from sidelight.models.table import TableEncoder
from sidelight.views.disturb import Disturb

WITHOUT_ENCODER = ("pixels", "nothing")
"""Kinds that read each photograph of a unit alike, and ask no encoder about it."""


class InputSettings(Settings):
    """What a head reads of an item."""

    kind: Literal["image", "image+metadata", "image+borrowed", "metadata", "missing", "pixels", "nothing"] = Field(
        "image",
        description="what is read; pixels (16 x 16 of them), metadata, missing (only what is blank) and nothing (the majority) "
        "are rivals without an encoder",
    )
    context: Literal["none", "patient"] = Field(
        "none", description="patient: a head also reads how an item differs from the patient's other items"
    )
    reference: str | None = Field(None, description="cohort whose metadata image+borrowed borrows; none is the own one")
    reference_preset: str | None = Field(None, description="layout of the data of `reference`")
    reference_where: dict[str, str | int | float | list[str]] = Field(
        {}, description="which items of the reference lend, by column"
    )
    borrow_from: Literal["image", "metadata"] = Field(
        "image", description="lenders: reference items whose image, or whose metadata, is like the image"
    )
    borrow_own: bool = Field(False, description="a patient's own items lend, too, the item itself among them")
    borrow_k: int = Field(1, ge=1, description="lenders of an item, weighted by their similarity")

    @property
    def plain(self) -> bool:
        """Whether images are all that is read."""
        return self.kind == "image" and self.context == "none"


@dataclass(frozen=True, eq=False)
class Reference:
    """Items with metadata that others may borrow; ``own``: whether they are the cohort itself."""

    cohort: Cohort
    pixels: Pixels
    own: bool


@dataclass(frozen=True, eq=False)
class Inputs:
    """What heads read of the R rows of the pixel index.

    :ivar vectors: float32 [R, D], all of it.
    :ivar beside: float32 [R, M], the part that no image is needed for, where the other part is the images' features.
    :ivar tables: how it came about, by name.
    """

    vectors: np.ndarray
    beside: np.ndarray | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class InputReader:
    """Reads of every item what the settings ask for.

    :ivar metadata: how metadata become vectors.
    :ivar frames: of a clip, that are embedded and averaged.
    :ivar folder: the run that ``encoder`` comes from.
    :ivar reference: whose metadata are borrowed, if any are.
    """

    encoder: Encoder
    metadata: MetadataReader
    settings: InputSettings
    frames: int
    folder: Path | None = None
    reference: Reference | None = None

    def __call__(self, cohort: Cohort, pixels: Pixels, *, change: Disturb | None = None, keep: bool = True) -> Inputs:
        """What heads read of ``cohort``'s items, and with a context how each differs from its patient's others.

        :param change: what the images are put through before.
        :param keep: store the features of the images beside the pixels.
        :raises ConfigError: where metadata are to be borrowed without a reference or without tabular towers.
        """
        kind, tables, beside = self.settings.kind, dict[str, pd.DataFrame](), None
        if kind == "nothing":
            vectors = np.zeros((len(pixels), 1), np.float32)
        elif kind == "pixels":
            vectors = small_pixels(pixels, self.frames, change)
        elif kind in ("metadata", "missing"):
            vectors = self.metadata(items_of(cohort, pixels))
        else:
            home = pixels.folder / "features" if keep else None
            vectors = embed_items(self.encoder, pixels, frames=self.frames, folder=home, change=change)
            if kind == "image+metadata":
                beside = self.metadata(items_of(cohort, pixels))
            elif kind == "image+borrowed":
                beside, tables = self._borrowed(vectors, cohort, pixels)
            vectors = vectors if beside is None else np.concatenate([vectors, beside], axis=1)
        if self.settings.context == "patient":
            # the features of a network that is trained have no such difference beforehand
            vectors, beside = with_context(vectors, pixels.index["group"].to_numpy(str)), None
        return Inputs(vectors, beside, tables)

    def _borrowed(
        self, images: np.ndarray, cohort: Cohort, pixels: Pixels
    ) -> tuple[np.ndarray, dict[str, pd.DataFrame]]:
        """Features of the lenders' metadata [R, D], and the tables that say who lent what."""
        towers, reference = self.metadata.towers, self.reference
        if reference is None or not towers or self.folder is None:
            raise ConfigError(
                f"inputs.kind = {self.settings.kind!r} without {'a reference' if towers else 'tabular towers'}",
                expected="a run of slimp, and inputs.reference = FOLDER of a cohort with metadata",
            )
        found = self._lenders(images, pixels, reference)
        lent = found.mean(self.metadata(items_of(reference.cohort, reference.pixels)))
        return lent, _written(found, towers, cohort, pixels, reference)

    def _lenders(self, images: np.ndarray, pixels: Pixels, reference: Reference) -> Borrowed:
        """Whom each item borrows from: reference items with like images, or with metadata like the image."""
        queries, towers, settings = images, self.metadata.towers, self.settings
        there = items_of(reference.cohort, reference.pixels)
        keys = embed_items(
            self.encoder, reference.pixels, frames=self.frames, folder=reference.pixels.folder / "features"
        )
        if settings.borrow_from == "metadata":
            assert self.folder is not None
            head = load_joint_head(self.folder, "image_projection")
            if TABLES[0] not in towers:
                raise ConfigError("borrow_from = 'metadata' needs lesion metadata in the run", do="Use 'image'")
            with torch.no_grad():
                queries = head(torch.from_numpy(images)).numpy()
                keys = towers[TABLES[0]].project(features_of(towers[TABLES[0]], there)).numpy()
        excluded = ~select(there, settings.reference_where, "inputs.reference_where")[None]
        if excluded.all():
            raise ConfigError(
                f"No item fits inputs.reference_where = {settings.reference_where}", do="Check column and values"
            )
        if reference.own and not settings.borrow_own:
            groups = (one.index["group"].to_numpy(str) for one in (pixels, reference.pixels))
            excluded = excluded | (next(groups)[:, None] == next(groups)[None])
        excluded = np.broadcast_to(excluded, (len(queries), len(keys)))
        return borrow(queries, keys, k=settings.borrow_k, excluded=excluded)


def items_of(cohort: Cohort, pixels: Pixels) -> pd.DataFrame:
    """The items behind the rows of the pixel index."""
    return cohort.items.iloc[pixels.index["position"].to_numpy()]


def with_context(vectors: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Each row [D] beside its difference from the mean of its group's other rows (0 where it is alone): [R, 2 D]."""
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), vectors.shape[1]), np.float64)
    np.add.at(total, number, vectors)
    others = (total[number] - vectors) / np.maximum(count[number] - 1, 1)[:, None]
    apart = np.where((count[number] > 1)[:, None], vectors - others, 0.0)
    return np.concatenate([vectors, apart], axis=1).astype(np.float32)


def _written(
    found: Borrowed, towers: Mapping[str, TableEncoder], cohort: Cohort, pixels: Pixels, reference: Reference
) -> dict[str, pd.DataFrame]:
    """The table of lenders, and the score where the cohort has columns of the same names."""
    secrets, there = (cohort.key, reference.cohort.key), items_of(reference.cohort, reference.pixels)
    cells = pd.concat([tower.vocabulary.shown(there) for tower in towers.values()], axis=1).reset_index(drop=True)
    hashes = [
        [item_hash(str(item), secret) for item in one.index["item"]]
        for one, secret in zip((pixels, reference.pixels), secrets, strict=True)
    ]
    tables = {"borrowed": borrowed_table(found, hashes[0], hashes[1], cells)}
    scores = []
    for tower in towers.values():
        if any(column.name in cohort.items for column in tower.vocabulary.columns):
            try:
                true = tower.vocabulary.encode(items_of(cohort, pixels))
            except DataError:  # a column of the same name that means something else
                continue
            lent = tower.vocabulary.encode(items_of(reference.cohort, reference.pixels))
            scores.append(agreement(found, true, lent, tower.vocabulary.columns))
    if scores:
        tables["borrowed_right"] = pd.concat(scores, ignore_index=True)
    return tables
