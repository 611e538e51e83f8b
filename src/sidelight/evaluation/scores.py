"""Scores of unseen units: folds over patients or a given test side, and nested label counts.

The folds belong to the task and are the same for every encoder; the labelled subsets belong to the seed and are the same for
every encoder too, so that differences between encoders are paired unit by unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import LabelCounts, k_folds, nested_counts
from sidelight.errors import ConfigError
from sidelight.evaluation.drawn import DRAWN
from sidelight.evaluation.features import pool_units
from sidelight.evaluation.labelled import Labelled, valid_side
from sidelight.evaluation.located import truth_of
from sidelight.evaluation.protocols.base import Examples, Head, Learned
from sidelight.evaluation.results import HALF, INSIDE
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.units import Reader, Units, codes, read_units
from sidelight.models.pair import PhotoPair

FURTHER = 1_000_000
"""Between the numbers from which chance draws the labelled units of one draw and the next."""
OUTSIDE = 999
"""The number of what is no fold."""
COLUMNS = ("unit", "group", "target", "label", "labels", "step", "seed", "draw")


@dataclass(frozen=True, eq=False)
class Ready:
    """An encoder and the units of a task, ready to be scored by a protocol.

    :ivar vectors: float32 [len(pixels), D] that a protocol on vectors reads in place of the encoder's, or that the head of a
        network that is trained reads beside its features.
    :ivar pictures: rows at all labels say what was found, in the column :data:`sidelight.evaluation.drawn.DRAWN`.
    """

    reader: Reader
    pixels: Pixels
    labelled: Labelled
    protocol: Learned[Any]
    settings: EvaluateSettings
    vectors: np.ndarray | None = None
    pictures: bool = False

    def units(self, items: list[list[int]], pixels: Pixels | None = None, vectors: np.ndarray | None = None) -> Units:
        """Units as the protocol reads them; features of a frozen encoder are stored beside the pixels.

        :param items: for each unit its rows in ``pixels``, by default this one's; ``vectors`` are those of ``pixels``.
        """
        if pixels is None:
            pixels, vectors = self.pixels, self.vectors
        shown = self.settings.photographs
        if (shown.learn, shown.test) != ("both", "both") and not isinstance(self.reader, PhotoPair):
            raise ConfigError(
                "photographs.learn and photographs.test are of photographs side by side",
                do="Say which: photographs.views = [...]",
            )
        frozen = self.protocol.reads == "vectors"
        if vectors is not None:
            read = pool_units(vectors, items)
            return Units(pixels, items, read) if frozen else Units(pixels, items, beside=read)
        if not frozen:
            return Units(pixels, items)
        return read_units(self.reader, pixels, items, frames=self.settings.frames)

    def sample(self, table: pd.DataFrame) -> "Sample":
        """The units of ``table``, of this one's pixels."""
        return self.sample_of(table, None, None)

    def sample_of(self, table: pd.DataFrame, pixels: Pixels | None, vectors: np.ndarray | None) -> "Sample":
        """The units of ``table``, of other ``pixels`` and their ``vectors``."""
        units = self.units(table["rows"].tolist(), pixels, vectors)
        return Sample(table, replace(units, truth=truth_of(table)))

    def tested(self, learn: Units, test: Units) -> Units:
        """The units ``test`` as heads read them that have learnt ``learn``; both with all their photographs.

        :raises ConfigError: where heads are to read one kind of photograph in the place of another and cannot.
        """
        own, reader = self.settings.photographs, self.reader
        if not (own.across and isinstance(reader, PhotoPair)):
            return test.only(own.test, reader)
        asked = f"photographs.learn = {own.learn!r} with photographs.test = {own.test!r}"
        if self.protocol.reads != "vectors":
            raise ConfigError(
                f"{asked}: a network that is trained reads each kind in a place of its own",
                do="Use a protocol on frozen features, such as linear",
            )
        if reader.first.dim != reader.second.dim:
            raise ConfigError(
                f"{asked}: the two encoders give {reader.first.dim} and {reader.second.dim} numbers",
                expected="as many of both",
            )
        return test.across(own.test, reader, learn if own.match == "moments" else None)

    def fit(self, examples: Examples, seed: int, draw: int) -> Mapping[str, Head]:
        """Heads by step."""
        own = self.settings.of(self.protocol)
        return self.protocol.fit(self.reader, examples, own, self.settings, seed=seed, draw=draw)

    def at_all_labels(self) -> "Ready":
        """The same without smaller label counts."""
        return replace(self, settings=self.settings.model_copy(update={"labels": []}))


@dataclass(frozen=True, eq=False)
class Sample:
    """Units as a table (unit, group, label, perhaps side) and as a protocol reads them, row by row."""

    table: pd.DataFrame
    units: Units

    def take(self, chosen: np.ndarray) -> "Sample":
        """Those where ``chosen``, bool [N], holds."""
        return Sample(self.table[chosen].reset_index(drop=True), self.units.take(np.flatnonzero(chosen)))

    def examples(self, ready: Ready, units: Units, *, valid: bool = True) -> Examples:
        """What heads learn from: ``units`` are this one's, perhaps with photographs hidden.

        :param valid: whether units on the valid side of a given split choose; else they are learnt like the others.
        """
        y, groups = codes(self.table), self.table["group"].to_numpy()
        return Examples(units, y, groups, ready.labelled.heads, valid_side(self.table) if valid else None)


def collect_scores(ready: Ready, seed: int, only: int | None = None, draw: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """What every tested unit contributes, by heads that had not seen it, at every label count, for one seed.

    :param only: the number of the one fold that is tested; none tests all.
    :param draw: the number of a draw of labelled units: above 0 it is a further one, of the smaller label counts alone.
    :return: rows of labels (int), cases_read (float: units that are read to find them), all_labels (bool), step ("selected" or
        "last"; with a given split also ``INSIDE``), seed, draw, fold (-1 on a given test side), unit, group, target, label, p0,
        p1, ...; and sentences on label counts that were left out. Of several targets each has the rows of the units whose label
        it knows.
    """
    task = ready.labelled
    if task.test is not None:
        return _given_scores(ready, task.test, seed, draw)
    everyone = ready.sample(task.table)
    frames: list[pd.DataFrame] = []
    left_out: dict[int, str] = {}
    for number, fold in enumerate(task.folds):
        if only not in (None, number):
            continue
        tested = task.table["unit"].isin(fold).to_numpy()
        learn, test = everyone.take(~tested), everyone.take(tested)
        part, missing = _curve(ready, learn, test, seed=seed, part=number, draw=draw)
        frames.append(part.assign(fold=number))
        left_out |= missing
    learnt = [len(task.table) - len(fold) for number, fold in enumerate(task.folds) if only in (None, number)]
    return _complete(pd.concat(frames, ignore_index=True), task, left_out, min(learnt))


def _given_scores(ready: Ready, test: pd.DataFrame, seed: int, draw: int) -> tuple[pd.DataFrame, list[str]]:
    """The test side of a given split, and out-of-fold scores at all labels of the units that train, to calibrate by."""
    outside, notes = external_scores(ready, ready.pixels, test, seed, ready.vectors, draw)
    if ready.protocol.selects_on == "test" or draw or not ready.settings.calibrate:
        return outside, notes
    own = replace(ready.labelled, table=ready.labelled.table.drop(columns="side"), test=None)
    inside, _ = collect_scores(replace(ready, labelled=own, pictures=False).at_all_labels(), seed)
    return pd.concat([outside, inside[inside["step"] == "selected"].assign(step=INSIDE)], ignore_index=True), notes


def external_scores(
    ready: Ready, other: Pixels, unseen: pd.DataFrame, seed: int, vectors: np.ndarray | None = None, draw: int = 0
) -> tuple[pd.DataFrame, list[str]]:
    """What other units contribute, by heads that learnt those that are ready; nothing is refitted there.

    :param unseen: another cohort's units or a given test side, as :attr:`Labelled.table`, with labels in the order of
        ``ready.labelled.targets``; ``other`` holds their pixels, ``vectors`` their vectors as :attr:`Ready.vectors`.
    :param draw: as of :func:`collect_scores`.
    :return: as :func:`collect_scores`, with fold -1.
    """
    known = ready.labelled.table
    if ready.protocol.selects_on == "test":  # what chooses is the test side: a valid one has no part in it
        known = known[known["side"] == "train"].reset_index(drop=True)
    learn = ready.sample(known)
    test = ready.sample_of(unseen, other, vectors)
    table, missing = _curve(ready, learn, test, seed=seed, part=OUTSIDE, draw=draw)
    table["all_labels"] = table["labels"] == -1
    table["labels"] = table["labels"].replace(-1, len(learn.table))
    notes = [f"labels = {count} was not run: {reason}" for count, reason in sorted(missing.items())]
    return table.assign(fold=-1), notes


def _curve(
    ready: Ready, learn: Sample, test: Sample, *, seed: int, part: int, draw: int = 0
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Scores of ``test`` by heads that learnt ``learn``, at every label count and (labels -1) all; counts left out, and why.

    :param part: the number of the fold, so that each draws its labelled units independently of the others; ``draw`` above 0
        leaves out all labels, which are no draw.
    Of a given split the counts are drawn from the train side, and its valid side joins them at all labels.
    """
    read = {-1: float(len(learn.table))}
    if ready.protocol.selects_on == "test":
        examples, left_out = {-1: _peeking(ready, learn, test)}, dict[int, str]()
    else:
        own, valid = learn.units.only(ready.settings.photographs.learn, ready.reader), valid_side(learn.table)
        whole = learn.table if valid is None else learn.table[~valid]
        asked, draw_by = ready.settings.labels, ready.settings.label_draw
        chance = seed * 1000 + part + FURTHER * draw
        drawn = nested_counts(whole, asked, chance, draw=draw_by) if asked else LabelCounts({}, {})
        subsets, left_out, read = drawn.subsets, drawn.left_out, read | drawn.read
        examples = {}
        for count, chosen in subsets.items():
            if count < len(learn.table):
                known = learn.table["unit"].isin(chosen).to_numpy()
                examples[count] = learn.take(known).examples(ready, own.take(np.flatnonzero(known)), valid=False)
        if not draw:
            examples[-1] = learn.examples(ready, own)
    seen, frames = ready.tested(learn.units, test.units), []
    for count, labelled in examples.items():
        for step, head in ready.fit(labelled, seed, seed * 1000 + part).items():
            rows = ready.protocol.outcomes(head, test.table, seen, ready.labelled.targets)
            shown = ready.pictures and count == -1 and step == "selected"
            frames += [
                (one if shown else one.drop(columns=DRAWN, errors="ignore")).assign(
                    labels=count, step=step, seed=seed, draw=draw, cases_read=read[count]
                )
                for one in rows
            ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS), left_out


def further_draws(ready: Ready) -> range:
    """Numbers of the draws that the smaller label counts get beside the first; none where networks train."""
    cheap = ready.protocol.reads == "vectors" and ready.protocol.selects_on != "test"
    return range(1, ready.settings.draws if cheap and ready.settings.labels else 1)


def half_scores(ready: Ready, seed: int, only: int | None = None) -> list[pd.DataFrame]:
    """Rows of step ``HALF``: heads learnt from one half of the patients, ``settings.draws`` times; no table shows them.

    How far such numbers are from each other says how far those of all patients are from what other patients would have given:
    the variance between halves is that of the whole (delete-half jackknife, Shao and Wu 1989). In folds the units of that half
    alone are tested, since who learns and who is tested are the same people; a given test side is tested whole. Nothing where
    networks train.
    """
    if ready.protocol.reads != "vectors" or ready.protocol.selects_on == "test":
        return []
    task, ready, frames = ready.labelled, ready.at_all_labels(), []
    everyone, units = ready.sample(task.table), task.table["unit"]
    folds = [(number, units.isin(fold).to_numpy()) for number, fold in enumerate(task.folds) if only in (None, number)]
    count = len(units) if task.test is not None else _most(task)
    for draw in range(ready.settings.draws):
        halves = k_folds(task.table, 2, FURTHER * (draw + 1) + seed, require_classes=False)
        kept = units.isin(halves[0].test).to_numpy()
        if task.test is not None:
            sides = [(-1, everyone.take(kept), ready.sample(task.test))]
        else:
            sides = [(number, everyone.take(kept & ~own), everyone.take(kept & own)) for number, own in folds]
        for number, learn, test in sides:
            if len(learn.table) and len(test.table):
                part, _ = _curve(ready, learn, test, seed=seed, part=number if number >= 0 else OUTSIDE)
                frames.append(part.assign(fold=number, labels=count, all_labels=True, step=HALF, draw=draw))
    return frames


def _peeking(ready: Ready, learn: Sample, test: Sample) -> Examples:
    """Both together, those that are tested to choose by."""
    both = Sample(
        pd.concat([learn.table.assign(side="train"), test.table.assign(side="valid")], ignore_index=True),
        learn.units.joined(test.units),
    )
    return both.examples(ready, both.units.only(ready.settings.photographs.learn, ready.reader))


def _most(task: Labelled) -> int:
    """How many units are learnt from with all labels: the mean over folds."""
    return round(float(np.mean([len(task.table) - len(fold) for fold in task.folds])))


def _complete(
    table: pd.DataFrame, task: Labelled, left_out: dict[int, str], least: int
) -> tuple[pd.DataFrame, list[str]]:
    """Keep label counts that every fold could give, and name the rest; all labels are the mean over folds.

    :param left_out: label counts that a fold could not give, and why.
    :param least: how many units the smallest of the folds that were asked for learns from.
    """
    sizes = [len(task.table) - len(fold) for fold in task.folds]
    given = [int(count) for count in table["labels"].unique()]
    kept = [count for count in given if count == -1 or (count < least and count not in left_out)]
    dropped = sorted({*left_out, *given} - {*kept})
    table = table[table["labels"].isin(kept)].copy()
    table["all_labels"] = table["labels"] == -1
    table["labels"] = table["labels"].replace(-1, _most(task))
    few = f"a fold has only {min(sizes)} labelled units"
    reasons = {
        count: f"in a fold {left_out[count]}" if count in left_out and count < min(sizes) else few for count in dropped
    }
    return table, [f"labels = {count} was not run: {reason}" for count, reason in reasons.items()]
