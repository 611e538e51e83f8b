"""Units -> pictures: each frame of a series is read as an image of its own, and what they say is put together again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidelight.errors import ConfigError
from sidelight.evaluation.drawn import framed
from sidelight.evaluation.units import Units
from sidelight.metrics.overlap import TRUE

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """What N pictures or units contribute to K targets.

    :ivar numbers: float64 [N, K, 6] (:data:`sidelight.metrics.overlap.COLUMNS`).
    :ivar known: bool [N, K], whether anything is known of a class.
    :ivar drawn: [N][K], what was found (:mod:`sidelight.evaluation.drawn`).
    """

    numbers: Floats
    known: NDArray[np.bool_]
    drawn: list[list[bytes]]


def pictures(units: Units) -> tuple[Units, NDArray[np.int64]]:
    """Units of one frame each, and the place among ``units`` of the one that each is of: int64, rising.

    :raises ConfigError: for units of several images: nobody would know which one a mask is of.
    """
    for own in units.items:
        if len(own) != 1:
            raise ConfigError(
                f"A unit has {len(own)} images, and a mask or a box is of one image or series",
                expected="units of one item",
                do='Say unit = "item" in the task',
            )
    rows = [own[0] for own in units.items]
    frames = [units.pixels.frames_of(row) for row in rows]
    owner = np.repeat(np.arange(len(rows)), frames)
    if len(owner) == len(rows):
        return units, owner
    pixels = units.pixels
    starts = np.cumsum([0, *(pixels.frames_of(row) for row in range(len(pixels)))])
    items = [[int(starts[row]) + frame] for row, count in zip(rows, frames, strict=True) for frame in range(count)]
    truth = None if units.truth is None else units.truth.by_frame(frames)
    return replace(units, pixels=pixels.by_frame, items=items, truth=truth), owner


def together(values: NDArray[Any], owner: NDArray[np.int64]) -> list[NDArray[Any]]:
    """What each unit's pictures say, [pictures, ...] each."""
    return np.split(values, np.flatnonzero(np.diff(owner)) + 1) if len(values) else []


def summed(parts: Sequence[Rows], owner: NDArray[np.int64]) -> Rows:
    """Rows of pictures, batch by batch, as rows of units.

    Areas are added up, so that Dice is that of the whole volume; what is no area is the mean over the pictures that have it; a
    class is known of a unit if it is in any of its pictures, and what was found is kept of the one that holds most of it.
    """
    rows = np.concatenate([one.numbers for one in parts])
    known = np.concatenate([one.known for one in parts])
    drawn = [own for one in parts for own in one.drawn]
    if len(np.unique(owner)) == len(owner):
        return Rows(rows, known, [[framed(0, each) for each in own] for own in drawn])
    whole, kept = [], []
    for own, places in zip(together(rows, owner), together(np.arange(len(owner)), owner), strict=True):
        measured = own[..., TRUE + 1 :]
        there = ~np.isnan(measured)
        mean = np.where(there, measured, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        mean[~there.any(axis=0)] = np.nan
        whole.append(np.concatenate([own[..., : TRUE + 1].sum(axis=0), mean], axis=-1))
        most = own[..., TRUE].argmax(axis=0)
        kept.append([framed(int(at), drawn[places[at]][k]) for k, at in enumerate(most)])
    return Rows(np.stack(whole), np.stack([own.any(axis=0) for own in together(known, owner)]), kept)


def joined(rows: Sequence[Sequence[Floats]], owner: NDArray[np.int64]) -> list[list[Floats]]:
    """Rows of boxes (:func:`sidelight.metrics.boxes.box_row`) of pictures, of K targets each, as rows of units."""
    whole: dict[int, list[Floats]] = {}
    for own, unit in zip(rows, owner.tolist(), strict=True):
        before = whole.get(unit)
        whole[unit] = list(own) if before is None else [
            np.concatenate([[a[0] + b[0]], a[1:], b[1:]]) for a, b in zip(before, own, strict=True)
        ]  # fmt: skip
    return [whole[unit] for unit in sorted(whole)]
