"""What a column of a table holds: a number, a category, a checkbox, a label, or something that is left out."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sidelight.data.answers import is_unknown, meanings
from sidelight.data.cells import normalise
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.number_columns import MANY
from sidelight.data.cohort.several import parts_of, separator_of
from sidelight.data.guess import words
from sidelight.data.numbers import Numbers, read
from sidelight.data.read.formats import SUFFIXES

MOST_CLASSES = 30
MOST_CATEGORIES = 40
MOSTLY = 0.5
_DATE = re.compile(r"(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4})(?:[ T]\d{1,2}:\d{2}(?::\d{2})?.*)?")
_TICKS = ("1", "x", "true", "yes", "ja", "y", "j", "t")


@dataclass(frozen=True)
class Column:
    """One column: its kind and, where it is left out, why."""

    name: str
    kind: str
    """"numeric", "categorical", "checkbox", "label", "report", "afterwards", "mixed" (numbers and others) or "out"."""
    why: str = ""
    unknown: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    """Values of a category or label and their items, the most frequent first; without blank and unknown ones."""
    censored: tuple[str, ...] = ()
    """Cells of a column of numbers that only say below or above what it is."""
    separator: str = ""
    """What stands between several labels in a cell."""

    @property
    def answers(self) -> bool:
        """Whether its values say yes and no, however they are spelt."""
        return set(meanings(dict(self.counts)).values()) == {"yes", "no"}


def describe(name: str, values: "pd.Series[str]") -> Column:
    """The kind of the column ``name`` with these cells (one per item, or per unit)."""
    filled = values.map(normalise)
    filled = filled[filled != ""]
    unknown = tuple(sorted({value for value in filled if is_unknown(value)}))
    known = filled[~filled.isin(unknown)]
    reason = _left_out(name, known, len(values))
    if reason == "report":
        return Column(name, "report", "free text", unknown)
    if reason:
        return Column(name, "out", reason, unknown)
    unknown += _coded(known)
    known = known[~known.isin(unknown)]
    counts = tuple(Counter(known).most_common())
    numbers = read(known)
    limits = tuple(dict.fromkeys(known[np.isfinite(numbers.limits)]))
    if words.meets(name, words.AFTERWARDS):
        return Column(name, "afterwards", "known only with or after the diagnosis", unknown, counts)
    if words.meets(name, words.LABELS):
        sign = separator_of([value for value, _ in counts])
        classes = {part for value, _ in counts for part in parts_of(value, sign)} if sign else dict(counts)
        if 2 <= len(classes) <= MOST_CLASSES:
            return Column(name, "label", "", unknown, counts, separator=sign)
    if len(counts) <= 2 and all(said in ("yes", "no") for said in meanings(dict(counts)).values()):
        return Column(name, "checkbox", "", unknown, counts)
    if numbers.share == 1 and len(counts) > 2:
        return Column(name, "numeric", _span(numbers), unknown, censored=limits)
    if numbers.share > MOSTLY and numbers.distinct > MANY:
        odd = ", ".join(f"{cell!r} ({count})" for cell, count in list(numbers.odd.items())[:5])
        why = f"numbers but for {odd}: mend these cells, or name them under `unknown`, and add the column to `numeric`"
        return Column(name, "mixed", why, unknown)
    if len(counts) <= MOST_CATEGORIES and len(counts) <= max(3, len(known) // 2):
        return Column(name, "categorical", "", unknown, counts)
    return Column(name, "out", f"{len(counts)} different values in {len(known)} cells", unknown)


def _left_out(name: str, known: "pd.Series[str]", cells: int) -> str:
    """Why a column is no metadata; "report" for text that reads like one, "" where nothing speaks against it."""
    distinct = known.nunique()
    if not len(known):
        return "blank throughout"
    if known.str.contains("://", regex=False).mean() > 0.5:
        return "links"
    if words.meets(name, words.PERSONAL):
        return "identifies a person"
    if known.str.fullmatch(_DATE.pattern).mean() > 0.9:
        return "dates"
    if known.str.lower().str.endswith(SUFFIXES).mean() > 0.5 or known.str.contains(r"\w[\\/]\w{3}").mean() > 0.7:
        return "paths of files"
    if words.meets(name, words.ADMIN):
        return "about the file, not about what it shows"
    if known.str.contains(r"^[-\d.]+(?: [-\d.]+){3,}$").mean() > 0.9:
        return "boxes or lists of numbers"
    spaces = known.str.count(" ").mean()
    if spaces >= 4 and known.str.len().mean() > 30 and distinct > 0.2 * len(known):
        return "report" if words.meets(name, words.TEXTS) else "free text"
    if spaces >= 0.5 and distinct > 3 and words.meets(name, words.REMARKS):
        return "remarks"
    numbered = words.split(name)[-1:] != [] and words.split(name)[-1] in words.NUMBERS
    if distinct > 0.9 * len(known) and len(known) >= 5 and (numbered or _looks_like_ids(known)):
        return "an identifier: a value of its own in nearly every row"
    if distinct == 1 and (len(known) == cells or words.plain(known.iloc[0]) not in _TICKS):
        return f"always {known.iloc[0]!r}"
    return "an identifier" if numbered and distinct > MOST_CATEGORIES else ""


def _looks_like_ids(known: "pd.Series[str]") -> bool:
    """Long numbers, or words with digits in them."""
    return bool(known.str.fullmatch(r"\d{6,}|(?=.*\d)(?=.*[^\W\d_])[\w\-.]{4,}").mean() > 0.8)


def _coded(known: "pd.Series[str]") -> tuple[str, ...]:
    """9 beside 0, 1, 2 only, what says uncertain beside yes and no, or -1 below numbers that are never negative: codes for
    unknown."""
    distinct = set(known)
    if "9" in distinct and distinct - {"9"} in ({"0", "1"}, {"1", "2"}, {"0", "1", "2"}):
        return ("9",)
    said = meanings(distinct)
    if "yes" in said.values() and set(said.values()) <= {"yes", "no", "uncertain"}:
        return tuple(sorted(value for value in distinct if said[value] == "uncertain"))
    if "-1" in distinct and len(distinct) > 2:
        rest = read(known[known != "-1"]).values
        return ("-1",) if (rest >= 0).all() else ()
    return ()


def _span(numbers: Numbers) -> str:
    known = numbers.values[np.isfinite(numbers.values)]
    return f"{known.min():g} to {known.max():g}" if len(known) else ""


@dataclass(frozen=True)
class Place:
    """The level that a column belongs to; ``torn`` of ``units`` units with several rows contradict it."""

    level: str
    torn: int = 0
    units: int = 0


def level_of(
    column: "pd.Series[str]",
    items: pd.DataFrame,
    levels: Sequence[str],
    deepest: str,
    name: str,
    unknown: Sequence[str],
) -> Place:
    """The outermost level within which ``column`` is constant, at most ``deepest`` (a level or "item").

    Being constant must be surprising: a column with one value nearly everywhere, or a level with hardly any unit of
    several rows, stays where its table was joined, unless its name tells (age and sex belong to the patient).
    """
    values = column.map(normalise)
    values = values.mask((values == "") | values.isin(list(unknown)))
    allowed = [*levels[: levels.index(deepest) + 1]] if deepest in levels else [*levels, "item"]
    rows = pd.DataFrame({"own": unit_keys(items, levels, allowed[-1]), "value": values}).dropna().drop_duplicates()
    chance = float(1 - (rows["value"].value_counts(normalize=True) ** 2).sum()) if len(rows) else 0.0
    for level in allowed:
        keys = unit_keys(items, levels, level)
        groups = rows.assign(unit=keys.loc[rows.index]).groupby("unit")
        torn, units = int(groups["value"].nunique().gt(1).sum()), int(groups["own"].nunique().gt(1).sum())
        if level == allowed[-1]:
            return Place(level, torn, units)
        named = level == levels[0] and words.meets(name, words.PATIENT)
        if (torn == 0 and units * chance >= 3) or (named and torn <= 0.25 * units):
            return Place(level, torn, units)
        if units >= 10 and torn <= 0.02 * units and units * chance >= 10:
            return Place(level, torn, units)
    return Place("item")


def tells(column: "pd.Series[str]", label: "pd.Series[str]", groups: "pd.Series[str]") -> bool:
    """Whether a column gives a label away: each of its few values goes with one class, over enough groups of items."""
    both = pd.DataFrame({"value": column, "label": label, "group": groups}).drop_duplicates()
    both = both[(both["value"] != "") & (both["label"] != "")]
    kinds = both["value"].nunique()
    if len(both) < max(20, 4 * kinds) or not 2 <= kinds <= 20 or both["label"].nunique() < 2:
        return False
    right = both.groupby("value")["label"].agg(lambda group: group.value_counts().iloc[0]).sum()
    usual = both["label"].value_counts().iloc[0]
    return bool(right >= 0.99 * len(both) and right > usual)
