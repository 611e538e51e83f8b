"""The units of a task, ready to score: readable ones, near-duplicates in one group, in folds or on the sides of a given split."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from sidelight.config import Settings, digest
from sidelight.data.audit.class_support import FOLDS, require_groups
from sidelight.data.audit.leaks import leak_findings, missing_findings, same_pictures, sides
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import lasting_names
from sidelight.data.cohort.task import LEFT_OUT, SIGNS, Target, Task
from sidelight.data.cohort.units import units
from sidelight.data.pixels.cache import Pixels
from sidelight.data.pixels.comparison import copies_within
from sidelight.data.pixels.duplicates import merge_groups, merging
from sidelight.data.split import SIDES, k_folds, leave_one_group_out
from sidelight.errors import SplitError
from sidelight.evaluation.located import targets_of, with_presence, with_truth
from sidelight.evaluation.units import codes

Rows = Sequence[tuple[int, int, bool]]
"""Pairs of cache rows that show the same, and whether their pixels are equal."""


class SplitSettings(Settings):
    """Who is tested, by heads of whom."""

    folds: int | Literal["one_group_out"] = Field(
        FOLDS, description="folds over patients; one_group_out is for protocols whose scores are not ranked over folds"
    )
    split_seed: int = Field(0, ge=0, description="the folds; the same for every encoder")
    split: str | Path | None = Field(
        None, description="a given split in place of folds: a column, or a JSON file of side -> names"
    )
    allow_leak: bool = Field(
        False, description="go on with a given split, or external test, that leaks; every result says so"
    )
    allow_missing: bool = Field(
        False, description="go on with a split file that has names which the cohort has not; every result says so"
    )
    merge_duplicates: bool = Field(True, description="near-duplicates go into one group before the split")


@dataclass(frozen=True)
class Labelled:
    """The units of one task, ready to score.

    :ivar table: one row per unit that heads learn from, sorted by ``unit``: unit, group, label (int, or a tuple with one per
        target, -1 where unknown), rows (list of cache rows); with a given split also side ("train" or "valid"), else they are
        tested too, in their folds.
    :ivar targets: what is predicted, each with its class names in the order of the labels; one without a name, or several.
    :ivar folds: for each fold, the units that are tested in it.
    :ivar test: the test side of a given split, as ``table``; None without one.
    :ivar leaks: what stands on two sides of the given split, in sentences; accepted with ``allow_leak``.
    :ivar named: the targets as the task declares them, with the classes of its headline numbers.
    """

    table: pd.DataFrame
    targets: Mapping[str, tuple[str, ...]]
    folds: tuple[tuple[str, ...], ...]
    test: pd.DataFrame | None = None
    leaks: tuple[str, ...] = ()
    named: tuple[Target, ...] = ()

    @property
    def heads(self) -> tuple[Target, ...]:
        """The targets as heads learn them."""
        known = {head.name: head for head in self.named}
        if "" in self.targets:
            return self.named or (Target("label", self.targets[""]),)
        return tuple(known.get(name) or Target(name, classes) for name, classes in self.targets.items())

    @property
    def split_hash(self) -> str:
        """Hash of who is tested in which fold; of a given split, of who is on which side."""
        if self.test is None:
            return digest([sorted(fold) for fold in self.folds])
        placed = pd.concat([self.table, self.test])
        return digest({side: sorted(placed.loc[placed["side"] == side, "unit"]) for side in SIDES})

    @property
    def tested(self) -> pd.DataFrame:
        """The units that are scored."""
        return self.table if self.test is None else self.test


def label_units(cohort: Cohort, pixels: Pixels, task: str, settings: SplitSettings) -> tuple[Labelled, list[str]]:
    """Units of a task that can be scored, in folds or as a given split has them. Notes say what was left out or merged.

    :raises SplitError: for a given split that leaks, unless ``settings.allow_leak``, or that has names of nothing here,
        unless ``settings.allow_missing``.
    """
    quiet = not sys.stderr.isatty()
    wanted = settings.merge_duplicates or settings.split is not None
    same = copies_within(cohort, pixels, quiet=quiet) if wanted else []
    chosen = cohort.tasks[task]
    table, notes = unit_table(cohort, pixels, task, settings, same)
    targets, several, heads = chosen.targets, chosen.several, chosen.heads
    if settings.split is None:
        if several:
            table, targets, more = _scorable(table, targets, drop=not chosen.parts)
            notes += more
        require_groups(cohort, chosen, table, settings.folds)
        labelled = make_folds(table, targets, settings, require_classes=not several)
        return _named(labelled, chosen, heads), notes
    placed = sides(cohort, settings.split)
    leaks, remarks = _audit(cohort, pixels, placed, settings, same)
    table, left_out = _place(table, pixels, placed)
    if several:
        table, targets, more = _scorable(table, targets, drop=not chosen.parts)
        notes += more
    labelled = _named(make_given(table, targets, settings, leaks), chosen, heads)
    counts = labelled.table["side"].value_counts()
    said = [f"{counts.get('train', 0)} units train", *([f"{counts['valid']} are valid"] if "valid" in counts else [])]
    assert labelled.test is not None
    said += [f"{len(labelled.test)} are tested", *([f"{left_out} on no side are left out"] if left_out else [])]
    return labelled, [*notes, f"{task}: given split, {', '.join(said)}", *remarks]


def _named(labelled: Labelled, task: Task, heads: tuple[Target, ...]) -> Labelled:
    """With its targets as heads learn them: of masks and boxes its classes, and whether a unit holds each.

    Folds are made without that: whoever draws them need not have looked at the masks.
    """
    if not task.localized:
        return replace(labelled, named=heads)
    targets, named = targets_of(task)
    test = None if labelled.test is None else with_presence(labelled.test, len(targets))
    return replace(labelled, table=with_presence(labelled.table, len(targets)), test=test, targets=targets, named=named)


def unit_table(
    cohort: Cohort, pixels: Pixels, task: str, settings: SplitSettings, same: Rows | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Units of a task that can be scored, by their own names, near-duplicates in one group: unit, group, label, items, rows,
    and ``merged``, whether its group is of several.

    :param same: of :func:`sidelight.data.pixels.comparison.copies_within`, where it has been called already.
    """
    chosen = cohort.task(task)
    table = lasting_names(cohort, units(cohort, chosen), chosen.unit)
    table["rows"] = pixels.rows_of(table["items"])
    readable = table["rows"].map(bool)
    notes = list(chosen.drawings.notes) if chosen.drawings is not None else []
    notes += [] if readable.all() else [f"{(~readable).sum()} units of {task} have no readable item"]
    table = table[readable].copy()
    if settings.merge_duplicates:
        merged = _merged(table, copies_within(cohort, pixels) if same is None else same)
        joined = merging(table["group"].tolist(), merged)
        several = table["group"].groupby(pd.Series(merged, table.index)).transform("nunique") > 1
        table = table.assign(group=merged, merged=several)
        if joined.after < joined.before:
            notes.append(f"{task}: near-duplicates merged {joined.before} groups into {joined.after}")
        if joined.suspicious:
            notes.append(f"{task}: WARNING, {joined.sentence}; without merging: --set merge_duplicates=false")
    if chosen.localized:
        table, more = with_truth(cohort, pixels, chosen, table)
        notes += more
    return table, notes


def make_folds(
    table: pd.DataFrame,
    targets: Mapping[str, tuple[str, ...]],
    settings: SplitSettings,
    *,
    require_classes: bool = True,
) -> Labelled:
    """Split the units of a task over patients; ``table`` and ``targets`` as in :class:`Labelled`.

    :param require_classes: every fold must hold every class.
    """
    table = table.sort_values("unit").reset_index(drop=True)
    for label, (target, classes) in zip(codes(table).T, targets.items(), strict=True):
        missing = [name for i, name in enumerate(classes) if not (label == i).any()]
        if missing:
            of = f" of {target}" if target else ""
            raise SplitError(
                f"No unit has the class {', '.join(missing)}{of}", do="Leave the class out of the task, or add data"
            )
    if settings.folds == "one_group_out":
        splits = leave_one_group_out(table)
    else:
        names = next(iter(targets.values())) if len(targets) == 1 else ()
        splits = k_folds(table, settings.folds, settings.split_seed, require_classes=require_classes, names=names)
    return Labelled(table, targets, tuple(split.test for split in splits))


def make_given(
    placed: pd.DataFrame,
    targets: Mapping[str, tuple[str, ...]],
    settings: SplitSettings,
    leaks: tuple[str, ...] = (),
) -> Labelled:
    """Train and valid side learn, the test side is tested; folds inside train and valid serve calibration and threshold.

    :param placed: as :attr:`Labelled.table`, one row per unit and ``side`` that it stands on.
    """
    test = placed[placed["side"] == "test"].sort_values("unit").reset_index(drop=True)
    # a leaking unit may stand on train and valid, with other items: it learns once
    learn = placed[placed["side"] != "test"].sort_values("side", kind="stable").drop_duplicates("unit")
    for side, own in (("train", learn[learn["side"] == "train"]), ("test", test)):
        if own.empty:
            raise SplitError(f"No labelled unit is on the side {side!r} of the split", expected="train and test")
    groups = int(learn["group"].nunique())
    if settings.folds != "one_group_out":
        settings = settings.model_copy(update={"folds": min(settings.folds, groups)})
    return replace(make_folds(learn, targets, settings, require_classes=False), test=test, leaks=leaks)


def valid_side(table: pd.DataFrame) -> np.ndarray | None:
    """Which units, bool [N], are on the valid side of a given split; None where none is."""
    if "side" not in table or not (table["side"] == "valid").any():
        return None
    return (table["side"] == "valid").to_numpy()


def keep_labels(table: pd.DataFrame, places: Sequence[int | None]) -> pd.DataFrame:
    """A table of units with other labels: those at ``places`` of each unit's tuple, -1 for None; units that know none go."""
    labels = [tuple(LEFT_OUT if place is None else own[place] for place in places) for own in table["label"]]
    kept = table.assign(label=pd.Series(labels, table.index))
    return kept.loc[[any(code != LEFT_OUT for code in own) for own in labels]]


def _scorable(
    table: pd.DataFrame, targets: Mapping[str, tuple[str, ...]], *, drop: bool
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]], list[str]]:
    """Several targets without those that can neither be learnt nor judged, and sentences that name them.

    Learning takes two groups of each class; where ``side`` has a test side, that needs one of each.

    :param drop: False is an error in place of leaving out: averages over fewer labels are other numbers.
    """
    tested = table["side"] == "test" if "side" in table else pd.Series(False, table.index)
    asked = [(table[~tested], 2, "units that learn"), (table[tested], 1, "test side")]
    kept, notes = [], []
    for place, (name, classes) in enumerate(targets.items()):
        faults = []
        for part, least, where in asked if tested.any() else asked[:1]:
            code = part["label"].str[place]
            groups = [part.loc[code == one, "group"].nunique() for one in range(len(classes))]
            if min(groups) < least:
                faults.append(f"{_held(groups, classes, least)} among the {where}")
        kept += [] if faults else [place]
        notes += (
            [f"The label {name} {'is left out' if drop else 'cannot be judged'}: {' and '.join(faults)}"]
            if faults
            else []
        )
    if not kept or (notes and not drop):
        what = "at least one label" if drop else "every label (take others out of `tasks`, or join classes)"
        raise SplitError("; ".join(notes), expected=f"two groups of each class of {what}, and one on a test side")
    names = list(targets)
    return keep_labels(table, kept), {names[place]: targets[names[place]] for place in kept}, notes


def _held(groups: Sequence[int], classes: Sequence[str], least: int) -> str:
    """How many groups have a label, or which of its classes too few have."""
    if tuple(classes) == SIGNS:
        return f"{groups[1]} groups with and {groups[0]} without it"
    if sum(count > 0 for count in groups) < 2:
        return f"one class only ({next((name for name, count in zip(classes, groups, strict=True) if count), 'none')})"
    few = [f"{count} of {name}" for name, count in zip(classes, groups, strict=True) if count < least]
    return f"{' and '.join(few)} (groups)"


def _merged(table: pd.DataFrame, same: Rows) -> list[str]:
    """Groups of the units after near-duplicate items are joined."""
    owner = {row: number for number, rows in enumerate(table["rows"]) for row in rows}
    pairs = [(owner[a], owner[b]) for a, b, _ in same if a in owner and b in owner]
    return merge_groups(table["group"].tolist(), pairs)


def _audit(
    cohort: Cohort, pixels: Pixels, placed: pd.DataFrame, settings: SplitSettings, same: Rows
) -> tuple[tuple[str, ...], list[str]]:
    """What stands on two sides of a split, in sentences that name nobody, and remarks for the results.

    :raises SplitError: for sides that are not train, valid and test, and for names of nothing here and leaks that are not
        allowed.
    """
    unknown = [side for side in placed["side"].unique() if side not in SIDES]
    if unknown:
        raise SplitError(
            f"The split has the side {unknown[0]!r}",
            expected="train, test and, if there is one, valid; blank is no side",
        )
    missing = _missing(placed, settings)
    findings = leak_findings(cohort, placed, same_pictures(cohort, pixels, list(same)))
    leaks = [finding for finding in findings if finding.severity == "error"]
    if leaks and not settings.allow_leak:
        raise SplitError(
            "The split leaks: " + "; ".join(f"{one.sentence}, for example {one.items[0]!r}" for one in leaks),
            expected="all of a patient, and of what shows the same, on one side",
            do=f"`sidelight check` of the same data with --split {split_name(settings.split)} --leaks leaks.csv lists them all, "
            "and with --write-split mended.json writes a split without them; or go on with --allow-leak (allow_leak=True) and "
            "every result will say so",
        )
    sentences = tuple(finding.sentence for finding in leaks)
    remarks = [f"The split LEAKS and was used all the same (allow_leak): {one}" for one in sentences]
    return sentences, missing + remarks + [one.sentence for one in findings if one.severity != "error"]


def _missing(placed: pd.DataFrame, settings: SplitSettings) -> list[str]:
    """Remarks on names of the split that nothing here has; :raises SplitError: where such are not allowed."""
    found = missing_findings(placed)
    if found and not settings.allow_missing:
        meant = placed.attrs["nearest"]
        hint = f"Did you mean {meant!r} by the first? " if meant else ""
        raise SplitError(
            f"{found[0].sentence}, for example {', '.join(map(repr, found[0].items[:3]))}",
            expected="names of items, files, patients or units that are here, all of one kind",
            do=f"{hint}Mend the file, or go on without them with --allow-missing (allow_missing=True) and every result will "
            "say so",
        )
    return [f"{one.sentence} and it was used all the same (allow_missing)" for one in found]


def _place(table: pd.DataFrame, pixels: Pixels, placed: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """One row per unit and side, with the items that stand there; and how many units stand nowhere."""
    position = pixels.index["position"].tolist()
    parts = []
    for side in SIDES:
        here = set(placed.loc[placed["side"] == side, "position"])
        rows = pd.Series([[row for row in own if position[row] in here] for own in table["rows"]], table.index)
        parts.append(table.assign(rows=rows, side=side)[rows.map(bool)])
    found = pd.concat(parts, ignore_index=True)
    return found, len(table) - found["unit"].nunique()


def split_name(split: str | Path | None) -> str:
    """A given split as results may call it: its column, or that it was a file, whose path may identify."""
    return "FILE.json" if Path(str(split)).suffix == ".json" else str(split)


def split_content(split: str | Path | None) -> str | None:
    """A hash of a split file, for numbers to be made anew when it changes; a column belongs to the cohort's hash."""
    return digest(Path(split).read_text(encoding="utf-8")) if split is not None and Path(split).is_file() else None
