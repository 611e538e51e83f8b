"""What a head reads of an item beside, or in place of, its image: metadata, real or borrowed, or only what is blank."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sidelight.data.cache import Pixels
from sidelight.data.cohort import Cohort
from sidelight.data.columns import select
from sidelight.data.identity import item_hash, key
from sidelight.data.metadata import KNOWN, described, fit
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.borrowing import Borrowed, agreement, borrow, borrowed_table
from sidelight.evaluation.features import embed_items
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.heads import load_joint_head
from sidelight.models.image import Encoder
from sidelight.models.table import TableEncoder, load_table
from sidelight.views.disturb import Disturb

TABLES = ("lesion_metadata", "patient_metadata")


@dataclass(frozen=True, eq=False)
class Reference:
    """Items with metadata that others may borrow; ``own``: whether they are the cohort itself."""

    cohort: Cohort
    pixels: Pixels
    own: bool


@dataclass(frozen=True, eq=False)
class Inputs:
    """Vectors float32 [R, D] of every row of the pixel index, and tables that say how they came about."""

    vectors: np.ndarray
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def item_vectors(
    encoder: Encoder,
    folder: Path | None,
    cohort: Cohort,
    pixels: Pixels,
    settings: EvaluateSettings,
    reference: Reference | None = None,
    change: Disturb | None = None,
) -> Inputs:
    """What ``settings.inputs`` says of every item, and with ``settings.context`` how it differs from its patient's others.

    :param folder: the run that ``encoder`` comes from; its tabular towers read metadata, else they are plain codes.
    :param change: what the images are put through before.
    :raises ConfigError: where metadata are to be borrowed without a reference or without tabular towers.
    """
    found = _item_vectors(encoder, folder, cohort, pixels, settings, reference, change)
    if settings.context == "none":
        return found
    return Inputs(with_context(found.vectors, pixels.index["group"].to_numpy(str)), found.tables)


def _item_vectors(
    encoder: Encoder,
    folder: Path | None,
    cohort: Cohort,
    pixels: Pixels,
    settings: EvaluateSettings,
    reference: Reference | None,
    change: Disturb | None,
) -> Inputs:
    wanted = settings.inputs
    if wanted == "nothing":
        return Inputs(np.zeros((len(pixels), 1), np.float32))
    if wanted in ("metadata", "missing"):
        return Inputs(_codes(cohort, pixels, blanks_alone=wanted == "missing"))
    images = embed_items(encoder, pixels, frames=settings.frames, folder=pixels.folder / "features", change=change)
    if wanted == "image":
        return Inputs(images)
    towers = tables_of(folder)
    if wanted == "image+metadata":
        told = _told(towers, cohort, pixels) if towers else _codes(cohort, pixels)
        return Inputs(np.concatenate([images, told], axis=1))
    if reference is None or not towers or folder is None:
        raise ConfigError(
            f"inputs = {wanted!r} without {'a reference' if towers else 'tabular towers'}",
            expected="a run of slimp, and reference = FOLDER of a cohort with metadata",
        )
    found = lenders(encoder, folder, towers, images, pixels, reference, settings)
    lent = found.mean(_told(towers, reference.cohort, reference.pixels))
    return Inputs(np.concatenate([images, lent], axis=1), _written(found, towers, cohort, pixels, reference))


def with_context(vectors: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Each row [D] beside its difference from the mean of its group's other rows (0 where it is alone): [R, 2 D]."""
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), vectors.shape[1]), np.float64)
    np.add.at(total, number, vectors)
    others = (total[number] - vectors) / np.maximum(count[number] - 1, 1)[:, None]
    apart = np.where((count[number] > 1)[:, None], vectors - others, 0.0)
    return np.concatenate([vectors, apart], axis=1).astype(np.float32)


def tables_of(folder: Path | None) -> dict[str, TableEncoder]:
    """The tabular towers of a run, by role."""
    if folder is None or not folder.is_dir():
        return {}
    there = [role for role in TABLES if (folder / "towers" / f"{role}.safetensors").is_file()]
    return {role: load_table(folder, role) for role in there}


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
            keys = towers[TABLES[0]].project(features_of(towers[TABLES[0]], reference.cohort, reference.pixels)).numpy()
    excluded = ~select(_items(reference.cohort, reference.pixels), settings.reference_where, "reference_where")[None]
    if excluded.all():
        raise ConfigError(f"No item fits reference_where = {settings.reference_where}", do="Check column and values")
    if reference.own:
        groups = (one.index["group"].to_numpy(str) for one in (pixels, reference.pixels))
        excluded = excluded | (next(groups)[:, None] == next(groups)[None])
    excluded = np.broadcast_to(excluded, (len(queries), len(keys)))
    return borrow(queries, keys, k=settings.borrow_k, excluded=excluded)


def _written(
    found: Borrowed, towers: Mapping[str, TableEncoder], cohort: Cohort, pixels: Pixels, reference: Reference
) -> dict[str, pd.DataFrame]:
    """The table of lenders, and the score where the cohort has columns of the same names."""
    secrets, there = (key(cohort), key(reference.cohort)), _items(reference.cohort, reference.pixels)
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
                true = tower.vocabulary.encode(_items(cohort, pixels))
            except DataError:  # a column of the same name that means something else
                continue
            lent = tower.vocabulary.encode(_items(reference.cohort, reference.pixels))
            scores.append(agreement(found, true, lent, tower.vocabulary.columns))
    if scores:
        tables["borrowed_right"] = pd.concat(scores, ignore_index=True)
    return tables


def _items(cohort: Cohort, pixels: Pixels) -> pd.DataFrame:
    return cohort.items.iloc[pixels.index["position"].to_numpy()]


def _codes(cohort: Cohort, pixels: Pixels, *, blanks_alone: bool = False) -> np.ndarray:
    """Plain features [R, F] of all columns of ``[metadata]``; or only in which state each cell is."""
    positions = pixels.index["position"].to_numpy()
    parts = []
    for level in cohort.spec.get("metadata", {}).get("columns", {}):
        if not described(cohort, level):
            continue
        vocabulary = fit(cohort, level, positions)
        codes = vocabulary.encode(cohort.items.iloc[positions])
        states = (codes.state != KNOWN).astype(np.float32)
        parts.append(states if blanks_alone else codes.flat(vocabulary.columns))
    if not parts:
        raise DataError(f"{cohort.name} has no metadata", do="Name columns in [metadata] of its cohort file")
    return np.concatenate(parts, axis=1)


def _told(towers: Mapping[str, TableEncoder], cohort: Cohort, pixels: Pixels) -> np.ndarray:
    """Features [R, D] of the tabular towers, side by side."""
    return np.concatenate([features_of(tower, cohort, pixels).numpy() for tower in towers.values()], axis=1)


@torch.no_grad()
def features_of(tower: TableEncoder, cohort: Cohort, pixels: Pixels) -> torch.Tensor:
    """What ``tower`` makes of the metadata of every row of the pixel index: float32 [R, D]."""
    codes: Any = tower.vocabulary.encode(_items(cohort, pixels)).map(torch.from_numpy)
    rows = range(0, len(codes), 1024)
    return torch.cat([tower(codes.map(lambda part, at=at: part[at : at + 1024])) for at in rows])
