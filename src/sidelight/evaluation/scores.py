"""Scores of unseen units: folds over patients or a given test side, nested label counts, one file per protocol below.

The folds belong to the task and are the same for every encoder; the labelled subsets belong to the seed and are the same for
every encoder too, so that differences between encoders are paired unit by unit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import nested_counts
from sidelight.errors import ConfigError
from sidelight.evaluation.features import pool_units
from sidelight.evaluation.labelled import Labelled, codes, valid_side
from sidelight.evaluation.protocols.fit import FROZEN, fit, known_protocol
from sidelight.evaluation.protocols.published import published_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.units import Reader, Units, read_units
from sidelight.models.image import Encoder
from sidelight.models.pair import PhotoPair

INSIDE = "inside"
"""The step of rows that no table shows: out-of-fold scores of the units that train, from which calibration and threshold come."""


@dataclass(frozen=True, eq=False)
class _Sample:
    """Units as a table (unit, group, label, perhaps side) and as a protocol reads them, row by row."""

    table: pd.DataFrame
    units: Units

    def take(self, chosen: np.ndarray) -> "_Sample":
        """Those where ``chosen``, bool [N], holds."""
        return _Sample(self.table[chosen].reset_index(drop=True), self.units.take(np.flatnonzero(chosen)))


def collect_scores(
    encoder: Reader,
    pixels: Pixels,
    task: Labelled,
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
    vectors: np.ndarray | None = None,
    only: int | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Class probabilities of every tested unit, by heads that had not seen it, at every label count, for one seed.

    :param vectors: float32 [len(pixels), D] that a frozen protocol reads in place of the encoder's, or that the head of a
        network that is trained reads beside its features.
    :param only: the number of the one fold that is tested; none tests all.
    :return: rows of labels (int), all_labels (bool), step ("selected" or "last"; with a given split also ``INSIDE``), seed,
        fold (-1 on a given test side), unit, group, target, label, p0, p1, ...; and sentences on label counts that were left
        out. Of several targets each has the rows of the units whose label it knows.
    """
    if task.test is not None:
        return _given_scores(encoder, pixels, task, protocol, settings, seed, vectors)
    if protocol == "published":
        assert isinstance(encoder, Encoder)
        table = published_scores(encoder, pixels, task.table, task.folds, frames=settings.frames, seed=seed)
        return _complete(table.assign(target=""), int((table["step"] == "last").sum()), task, {})
    read = units_of(encoder, pixels, task.table["rows"].tolist(), protocol, settings, vectors)
    everyone = _Sample(task.table, read)
    frames: list[pd.DataFrame] = []
    left_out: dict[int, str] = {}
    for number, fold in enumerate(task.folds):
        if only not in (None, number):
            continue
        tested = task.table["unit"].isin(fold).to_numpy()
        learn, test = everyone.take(~tested), everyone.take(tested)
        part, missing = _curve(encoder, learn, test, task, protocol, settings, seed=seed, draw=seed * 1000 + number)
        frames.append(part.assign(fold=number))
        left_out |= missing
    scored = len(everyone.table) if only is None else len(task.folds[only])
    return _complete(pd.concat(frames, ignore_index=True), scored, task, left_out)


def _given_scores(
    encoder: Reader,
    pixels: Pixels,
    task: Labelled,
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
    vectors: np.ndarray | None,
) -> tuple[pd.DataFrame, list[str]]:
    """The test side of a given split, and out-of-fold scores at all labels of the units that train.

    ``published`` is SM3's: the projector learns the train side, and its step is chosen on the test side.
    """
    assert task.test is not None
    both = None if vectors is None else (vectors, vectors)
    if protocol == "published":
        train = task.table[task.table["side"] == "train"]
        peeking = replace(task, table=pd.concat([train, task.test.assign(side="valid")], ignore_index=True))
        whole = settings.model_copy(update={"labels": []})
        found, notes = external_scores(encoder, pixels, peeking, pixels, task.test, "projector", whole, seed, both)
        return found.assign(labels=len(train)), notes
    outside, notes = external_scores(encoder, pixels, task, pixels, task.test, protocol, settings, seed, both)
    own = replace(task, table=task.table.drop(columns="side"), test=None)
    whole = settings.model_copy(update={"labels": []})
    inside, _ = collect_scores(encoder, pixels, own, protocol, whole, seed, vectors)
    return pd.concat([outside, inside[inside["step"] == "selected"].assign(step=INSIDE)], ignore_index=True), notes


def external_scores(
    encoder: Reader,
    pixels: Pixels,
    task: Labelled,
    other: Pixels,
    unseen: pd.DataFrame,
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
    vectors: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Class probabilities of other units by heads that learnt those of ``task.table``; nothing is refitted there.

    :param unseen: another cohort's units or a given test side, as :attr:`Labelled.table`, with labels in the order of
        ``task.targets``; ``other`` holds their pixels.
    :param vectors: as for :func:`collect_scores`, of ``pixels`` and of ``other``.
    :return: as :func:`collect_scores`, with fold -1.
    """
    home, there = vectors or (None, None)
    learn = _Sample(task.table, units_of(encoder, pixels, task.table["rows"].tolist(), protocol, settings, home))
    test = _Sample(unseen, units_of(encoder, other, unseen["rows"].tolist(), protocol, settings, there))
    table, missing = _curve(encoder, learn, test, task, protocol, settings, seed=seed, draw=seed * 1000 + 999)
    table["all_labels"] = table["labels"] == -1
    table["labels"] = table["labels"].replace(-1, len(learn.table))
    notes = [f"labels = {count} was not run: {reason}" for count, reason in sorted(missing.items())]
    return table.assign(fold=-1), notes


def _curve(
    encoder: Reader,
    learn: _Sample,
    test: _Sample,
    task: Labelled,
    protocol: str,
    settings: EvaluateSettings,
    *,
    seed: int,
    draw: int,
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Scores of ``test`` by heads that learnt ``learn``, at every label count and (labels -1) all; counts left out, and why.

    Of a given split the counts are drawn from the train side, and its valid side joins them at all labels.
    """
    y, groups = codes(learn.table), learn.table["group"].to_numpy()
    own, seen = (
        learn.units.only(settings.learn_photographs, encoder),
        test.units.only(settings.test_photographs, encoder),
    )
    valid = valid_side(learn.table)
    subsets: dict[int, list[str]] = {}
    left_out: dict[int, str] = {}
    if settings.labels:
        drawn = nested_counts(learn.table if valid is None else learn.table[~valid], settings.labels, seed)
        subsets, left_out = drawn.subsets, drawn.left_out
    counts = {count: chosen for count, chosen in subsets.items() if count < len(learn.table)}
    frames = []
    for count, chosen in [*counts.items(), (-1, learn.table["unit"].tolist())]:
        train = np.flatnonzero(learn.table["unit"].isin(chosen).to_numpy())
        heads = fit(
            encoder, own.take(train), y[train], groups[train], task.heads, protocol, settings,
            seed=seed, draw=draw, valid=valid if count == -1 else None,
        )  # fmt: skip
        for step, head in heads.items():
            frames += [
                part.assign(labels=count, step=step, seed=seed) for part in rows_of(test.table, head(seen), task)
            ]
    return pd.concat(frames, ignore_index=True), left_out


def rows_of(table: pd.DataFrame, scores: np.ndarray, task: Labelled) -> Iterator[pd.DataFrame]:
    """Of each target the units whose label is known, with its columns of ``scores`` [N, classes of all targets]."""
    labels, start = codes(table), 0
    for place, (target, classes) in enumerate(task.targets.items()):
        known = labels[:, place] >= 0
        part = table.loc[known, ["unit", "group"]].assign(target=target, label=labels[known, place])
        part[[f"p{c}" for c in range(len(classes))]] = scores[known, start : start + len(classes)]
        start += len(classes)
        yield part


def _complete(
    table: pd.DataFrame, units: int, task: Labelled, left_out: dict[int, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Keep label counts that every fold could give, and name the rest; all labels are the mean over folds.

    :param left_out: label counts that a fold could not give, and why.
    """
    sizes = [len(task.table) - len(fold) for fold in task.folds]
    scored = table[table["step"] == "selected"].groupby("labels")["unit"].nunique()
    kept = [count for count, number in scored.items() if number == units]
    dropped = sorted({*left_out, *(int(count) for count in scored.index if count not in kept)})
    table = table[table["labels"].isin(kept)].copy()
    table["all_labels"] = table["labels"] == -1
    table["labels"] = table["labels"].replace(-1, round(float(np.mean(sizes))))
    few = f"a fold has only {min(sizes)} labelled units"
    reasons = {
        count: f"in a fold {left_out[count]}" if count in left_out and count < min(sizes) else few for count in dropped
    }
    return table, [f"labels = {count} was not run: {reason}" for count, reason in reasons.items()]


def units_of(
    encoder: Reader,
    pixels: Pixels,
    items: list[list[int]],
    protocol: str,
    settings: EvaluateSettings,
    vectors: np.ndarray | None = None,
) -> Units:
    """Units as ``protocol`` reads them; features of a frozen encoder are stored beside the pixels."""
    known_protocol(protocol)
    shown = (settings.learn_photographs, settings.test_photographs)
    if shown != ("both", "both") and not isinstance(encoder, PhotoPair):
        raise ConfigError(
            "learn_photographs and test_photographs are of photographs side by side", do="Say which: views = [...]"
        )
    if vectors is not None:
        read = pool_units(vectors, items)
        return Units(pixels, items, read) if protocol in FROZEN else Units(pixels, items, beside=read)
    return read_units(encoder, pixels, items, frames=settings.frames) if protocol in FROZEN else Units(pixels, items)
