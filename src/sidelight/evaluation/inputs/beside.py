"""What a head reads of an item beside, or in place of, its image: metadata, real or borrowed, or only what is blank."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.features import embed_items
from sidelight.evaluation.inputs.borrowed import Borrowed, agreement, borrow, borrowed_table
from sidelight.evaluation.inputs.metadata import TABLES, Told, features_of
from sidelight.evaluation.protocols.fit import FROZEN, TUNED
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.heads import load_joint_head
from sidelight.models.image import Encoder
from sidelight.models.table import TableEncoder
from sidelight.views.disturb import Disturb

BESIDE = ("image+metadata", "image+borrowed")
"""Values of the setting ``inputs`` that put numbers beside the features of images."""


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

    def read_by(self, protocol: str) -> np.ndarray:
        """What ``protocol`` reads: all of it, or beside the features of a network that is trained the rest."""
        if protocol in FROZEN:
            return self.vectors
        assert self.beside is not None  # check_reading has refused the rest
        return self.beside


def check_reading(protocol: str, settings: EvaluateSettings) -> None:
    """:raises ConfigError: before any work, where ``protocol`` cannot read what the settings ask for."""
    if protocol in FROZEN:
        return
    if settings.severities:
        raise ConfigError(f"severities with the protocol {protocol}", expected=f"one of {', '.join(FROZEN)}")
    alone = settings.context == "none"
    if not alone or settings.inputs not in ("image", *BESIDE * (protocol in TUNED)):
        raise ConfigError(
            f"inputs = {settings.inputs!r}, context = {settings.context!r} with {protocol}",
            expected=f"{' or '.join(FROZEN)} (or finetune with inputs = {' or '.join(map(repr, BESIDE))}, context = 'none')",
        )


def item_vectors(
    encoder: Encoder,
    told: Told,
    cohort: Cohort,
    pixels: Pixels,
    settings: EvaluateSettings,
    *,
    folder: Path | None = None,
    reference: Reference | None = None,
    change: Disturb | None = None,
    keep: bool = True,
) -> Inputs:
    """What ``settings.inputs`` says of every item, and with ``settings.context`` how it differs from its patient's others.

    :param told: how metadata are read, by :func:`sidelight.evaluation.inputs.metadata.told_of`.
    :param folder: the run that ``encoder`` comes from.
    :param change: what the images are put through before.
    :param keep: store the features of the images beside the pixels.
    :raises ConfigError: where metadata are to be borrowed without a reference or without tabular towers.
    """
    wanted, tables, beside = settings.inputs, dict[str, pd.DataFrame](), None
    if wanted == "nothing":
        vectors = np.zeros((len(pixels), 1), np.float32)
    elif wanted in ("metadata", "missing"):
        vectors = told(items_of(cohort, pixels))
    else:
        home = pixels.folder / "features" if keep else None
        vectors = embed_items(encoder, pixels, frames=settings.frames, folder=home, change=change)
        if wanted == "image+metadata":
            beside = told(items_of(cohort, pixels))
        elif wanted == "image+borrowed":
            beside, tables = _borrowed(encoder, folder, told, vectors, cohort, pixels, reference, settings)
        vectors = vectors if beside is None else np.concatenate([vectors, beside], axis=1)
    if settings.context == "patient":  # the features of a network that is trained have no such difference beforehand
        vectors, beside = with_context(vectors, pixels.index["group"].to_numpy(str)), None
    return Inputs(vectors, beside, tables)


def items_of(cohort: Cohort, pixels: Pixels) -> pd.DataFrame:
    """The items behind the rows of the pixel index."""
    return cohort.items.iloc[pixels.index["position"].to_numpy()]


def _borrowed(
    encoder: Encoder,
    folder: Path | None,
    told: Told,
    images: np.ndarray,
    cohort: Cohort,
    pixels: Pixels,
    reference: Reference | None,
    settings: EvaluateSettings,
) -> tuple[np.ndarray, dict[str, pd.DataFrame]]:
    """Features of the lenders' metadata [R, D], and the tables that say who lent what."""
    if reference is None or not told.towers or folder is None:
        raise ConfigError(
            f"inputs = {settings.inputs!r} without {'a reference' if told.towers else 'tabular towers'}",
            expected="a run of slimp, and reference = FOLDER of a cohort with metadata",
        )
    found = lenders(encoder, folder, told.towers, images, pixels, reference, settings)
    lent = found.mean(told(items_of(reference.cohort, reference.pixels)))
    return lent, _written(found, told.towers, cohort, pixels, reference)


def with_context(vectors: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Each row [D] beside its difference from the mean of its group's other rows (0 where it is alone): [R, 2 D]."""
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), vectors.shape[1]), np.float64)
    np.add.at(total, number, vectors)
    others = (total[number] - vectors) / np.maximum(count[number] - 1, 1)[:, None]
    apart = np.where((count[number] > 1)[:, None], vectors - others, 0.0)
    return np.concatenate([vectors, apart], axis=1).astype(np.float32)


def lenders(
    encoder: Encoder,
    folder: Path,
    towers: Mapping[str, TableEncoder],
    images: np.ndarray,
    pixels: Pixels,
    reference: Reference,
    settings: EvaluateSettings,
) -> Borrowed:
    """Whom each item borrows from: reference items with like images, or with metadata like the image."""
    queries = images
    keys = embed_items(encoder, reference.pixels, frames=settings.frames, folder=reference.pixels.folder / "features")
    if settings.borrow_from == "metadata":
        head = load_joint_head(folder, "image_projection")
        if TABLES[0] not in towers:
            raise ConfigError("borrow_from = 'metadata' needs lesion metadata in the run", do="Use 'image'")
        with torch.no_grad():
            queries = head(torch.from_numpy(images)).numpy()
            keys = (
                towers[TABLES[0]]
                .project(features_of(towers[TABLES[0]], items_of(reference.cohort, reference.pixels)))
                .numpy()
            )
    excluded = ~select(items_of(reference.cohort, reference.pixels), settings.reference_where, "reference_where")[None]
    if excluded.all():
        raise ConfigError(f"No item fits reference_where = {settings.reference_where}", do="Check column and values")
    if reference.own and not settings.borrow_own:
        groups = (one.index["group"].to_numpy(str) for one in (pixels, reference.pixels))
        excluded = excluded | (next(groups)[:, None] == next(groups)[None])
    excluded = np.broadcast_to(excluded, (len(queries), len(keys)))
    return borrow(queries, keys, k=settings.borrow_k, excluded=excluded)


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
