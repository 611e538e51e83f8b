"""Columns of ``[metadata]`` that are numbers: units and limits read, and a sentence where numbers and words are mixed."""

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from sidelight.data.cells import counted, normalise, some
from sidelight.data.cohort.spec import CohortSpec, MetadataSpec
from sidelight.data.findings import Finding, Record
from sidelight.data.numbers import Numbers, read
from sidelight.errors import DataError

MANY = 10
"""A column of which nothing is said is numeric when it holds more different numbers than this, and nothing else."""
MOST = 5


def described_numbers(
    column: "pd.Series[str]", name: str, rules: MetadataSpec, asked: Collection[str], record: Record | None
) -> tuple["pd.Series[str]", list[str]]:
    """The column with plain numbers, where it is one of numbers, and a notice on limits; any other column as it is.

    :param asked: cells that are kept apart from blank ones.
    :raises DataError: where it holds both numbers and what is none, or limits and no rule for them; with ``record`` that says so.
    """
    if name in rules.checkbox or name in rules.categorical:
        return column, []
    cells = column.map(normalise)
    known = cells.mask(cells.isin(list(asked)), "")
    found = read(known)
    limits = known[np.isfinite(found.limits)]
    named = name in rules.numeric
    if not named and (found.distinct <= MANY or (found.odd and found.share <= 0.5)):
        return column, []
    if named and found.odd and record is None:
        return column, []  # what learns from it says so, and names the row
    if found.odd or (len(limits) and rules.censored is None):
        error = _mixed(name, found, limits)
        if record is None:
            raise error
        what = "no numbers of one unit" if found.odd else "limits such as <20"
        said = f"Column {name!r} of [metadata] is one of numbers and holds cells that are {what}"
        record.findings.append(Finding("table", "error", said, {"column": name}, some([*found.odd, *limits])))
        return column, []
    values = np.where(np.isfinite(found.limits) & (rules.censored == "limit"), found.limits, found.values)
    texts = [f"{value:.12g}" if np.isfinite(value) else "" for value in values]
    plain = cells.isin(list(asked)) | pd.to_numeric(cells, errors="coerce").notna() | (cells == "")
    notices = []
    if len(limits):
        how = "the limit is taken" if rules.censored == "limit" else "left blank"
        notices.append(
            f"{name!r}: {counted(len(limits), 'value')} beyond a limit, for example {limits.iloc[0]!r}: {how}"
        )
    return column.where(plain, pd.Series(texts, index=column.index, dtype=column.dtype)), notices


def _mixed(name: str, found: Numbers, limits: "pd.Series[str]") -> DataError:
    """What is wrong with a column of numbers."""
    counts: Mapping[str, int] = found.odd or Counter(str(one) for one in limits)
    shown = ", ".join(f"{cell!r} ({count})" for cell, count in list(counts.items())[:MOST])
    rest = f" and {len(counts) - MOST} more" if len(counts) > MOST else ""
    if not found.odd:
        return DataError(
            f"The column {name!r} of numbers holds values beyond a limit: {shown}{rest}",
            do='Say what they count as: under [metadata] censored = "limit" (20 for <20), or "blank"',
        )
    return DataError(
        f"The column {name!r} holds {found.distinct} different numbers, and cells that are none: {shown}{rest}",
        expected="numbers with one unit at most",
        do="Mend these cells, or name them under [metadata] unknown; or, if it is no column of numbers, say so: under "
        f'[metadata] categorical = ["{name}"]',
    )


def number_columns(spec: CohortSpec) -> set[str]:
    """The names of columns that are, or may be, read as numbers."""
    rules = spec.metadata
    words = {*rules.checkbox, *rules.categorical}
    names = {name for names in rules.columns.values() for name in names} - words
    names |= {name for name, wanted in spec.where.items() if isinstance(wanted, str) and wanted.strip()[:1] in "<>"}
    return names | {name for rule in spec.derive.values() if rule.bounded for name in rule.sources}
