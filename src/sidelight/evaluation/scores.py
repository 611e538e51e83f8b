"""Scores of units that the head never saw: folds over patients, nested label counts, one file per protocol below.

The folds belong to the task and are the same for every encoder; the labelled subsets belong to the seed and are the same for
every encoder too, so that differences between encoders are paired unit by unit.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sidelight.config import digest
from sidelight.data.cache import Pixels
from sidelight.data.split import k_folds, leave_one_group_out, nested_counts
from sidelight.errors import ConfigError, SplitError
from sidelight.evaluation.features import pool_units
from sidelight.evaluation.protocols import FROZEN, Units, fit, known_protocol, read_units
from sidelight.evaluation.published import published_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.image import Encoder


@dataclass(frozen=True)
class Labelled:
    """The units of one task, ready to score.

    :ivar table: one row per unit, sorted by ``unit``: unit, group, label (int), rows (list of cache rows).
    :ivar classes: class names in the order of the labels.
    :ivar folds: for each fold, the units that are tested in it.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]

    @property
    def split_hash(self) -> str:
        """Hash of who is tested in which fold."""
        return digest([sorted(fold) for fold in self.folds])


def make_folds(table: pd.DataFrame, classes: tuple[str, ...], settings: EvaluateSettings) -> Labelled:
    """Split the units of a task over patients; ``table`` as in :class:`Labelled`."""
    table = table.sort_values("unit").reset_index(drop=True)
    present = table["label"].nunique()
    if present < len(classes):
        missing = [name for i, name in enumerate(classes) if not (table["label"] == i).any()]
        raise SplitError(
            f"No unit has the class {', '.join(missing)}", do="Leave the class out of the task, or add data"
        )
    if settings.folds == "one_group_out":
        splits = leave_one_group_out(table)
    else:
        splits = k_folds(table, settings.folds, settings.split_seed)
    return Labelled(table, classes, tuple(split.test for split in splits))


def collect_scores(
    encoder: Encoder,
    pixels: Pixels,
    task: Labelled,
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
    vectors: np.ndarray | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Out-of-fold class probabilities of every unit at every label count, for one seed.

    :param vectors: float [len(pixels), D] that a frozen protocol reads in place of the encoder's.
    :return: rows of labels (int), all_labels (bool), step ("selected" or "last"), seed, fold, unit, group, label, p0, p1, ...;
        and sentences on label counts that were left out.
    """
    if protocol == "published":
        table = published_scores(encoder, pixels, task.table, task.folds, frames=settings.frames, seed=seed)
        return _complete(table, int((table["step"] == "last").sum()), _most(task), set())
    everyone = units_of(encoder, pixels, task.table["rows"].tolist(), protocol, settings, vectors)
    y, groups = task.table["label"].to_numpy(dtype=np.int64), task.table["group"].to_numpy()
    frames: list[pd.DataFrame] = []
    left_out: set[int] = set()
    units = task.table
    for number, fold in enumerate(task.folds):
        tested = units["unit"].isin(fold).to_numpy()
        dev = units[~tested]
        nested = nested_counts(dev, settings.labels, seed)
        left_out |= set(nested.left_out)
        everything = dev["unit"].tolist()
        counts = {count: chosen for count, chosen in nested.subsets.items() if count < len(everything)}
        counts[len(everything)] = everything
        for count, chosen in counts.items():
            train = np.flatnonzero(units["unit"].isin(chosen).to_numpy())
            test = np.flatnonzero(tested)
            heads = fit(
                encoder, everyone.take(train), y[train], groups[train], len(task.classes), protocol, settings,
                seed=seed, draw=seed * 1000 + number,
            )  # fmt: skip
            for step, head in heads.items():
                part = units.loc[test, ["unit", "group", "label"]].copy()
                part[[f"p{c}" for c in range(len(task.classes))]] = head(everyone.take(test))
                full = count == len(everything)
                frames.append(part.assign(labels=-1 if full else count, fold=number, step=step, seed=seed))
    table = pd.concat(frames, ignore_index=True)
    return _complete(table, len(units), _most(task), left_out)


def external_scores(
    encoder: Encoder,
    pixels: Pixels,
    task: Labelled,
    other: Pixels,
    unseen: pd.DataFrame,
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
) -> pd.DataFrame:
    """Class probabilities of another cohort's units by heads that learnt this cohort's; nothing is refitted there.

    :param task: the units that train, at every label count and all of them; their folds are not used.
    :param unseen: the other cohort's units, as :attr:`Labelled.table`, with labels in the order of ``task.classes``.
    :return: as :func:`collect_scores`, with fold -1.
    """
    units = task.table
    everyone = units_of(encoder, pixels, units["rows"].tolist(), protocol, settings)
    there = units_of(encoder, other, unseen["rows"].tolist(), protocol, settings)
    y, groups = units["label"].to_numpy(dtype=np.int64), units["group"].to_numpy()
    subsets = nested_counts(units, settings.labels, seed).subsets
    counts = {count: chosen for count, chosen in subsets.items() if count < len(units)}
    counts[len(units)] = units["unit"].tolist()
    frames = []
    for count, chosen in counts.items():
        train = np.flatnonzero(units["unit"].isin(chosen).to_numpy())
        heads = fit(
            encoder, everyone.take(train), y[train], groups[train], len(task.classes), protocol, settings,
            seed=seed, draw=seed * 1000 + 999,
        )  # fmt: skip
        for step, head in heads.items():
            part = unseen[["unit", "group", "label"]].copy()
            part[[f"p{c}" for c in range(len(task.classes))]] = head(there)
            full = count == len(units)
            frames.append(part.assign(labels=count, all_labels=full, fold=-1, step=step, seed=seed))
    return pd.concat(frames, ignore_index=True)


def _most(task: Labelled) -> int:
    """Labelled units when all of them train: the mean over folds."""
    return round(float(np.mean([len(task.table) - len(fold) for fold in task.folds])))


def _complete(table: pd.DataFrame, units: int, everything: int, left_out: set[int]) -> tuple[pd.DataFrame, list[str]]:
    """Keep label counts that every fold could give, and name the rest."""
    scored = table[table["step"] == "selected"].groupby("labels")["unit"].count()
    kept = [count for count, number in scored.items() if number == units]
    left_out |= {int(count) for count in scored.index if count not in kept}
    table = table[table["labels"].isin(kept)].copy()
    table["all_labels"] = table["labels"] == -1
    table["labels"] = table["labels"].replace(-1, everything)
    reason = "not every fold can give so many units with two patients of every class"
    notes = [f"{count} labelled units left out: {reason}" for count in sorted(left_out)]
    return table, notes


def units_of(
    encoder: Encoder,
    pixels: Pixels,
    items: list[list[int]],
    protocol: str,
    settings: EvaluateSettings,
    vectors: np.ndarray | None = None,
) -> Units:
    """Units as ``protocol`` reads them; features of a frozen encoder are stored beside the pixels."""
    known_protocol(protocol)
    if vectors is not None:
        if protocol not in FROZEN:
            raise ConfigError(f"inputs = {settings.inputs!r} with {protocol}", expected=f"{' or '.join(FROZEN)}")
        return Units(pixels, items, pool_units(vectors, items))
    return read_units(encoder, pixels, items, frames=settings.frames) if protocol in FROZEN else Units(pixels, items)
