"""Every column that a cohort file names is looked for before anything is joined: those that are not there are told at once."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sidelight.data.cohort.columns import missing, not_there
from sidelight.data.cohort.spec import PATH_WORDS, TAKEN, CohortSpec, TableSpec
from sidelight.errors import nearest

Lost = list[tuple[str, str]]


def role(name: str, spec: CohortSpec) -> str:
    """The column behind a level or ``view``: what ``[roles]`` says, else the name itself."""
    return spec.roles.get(name, name).removeprefix("column:").strip()


def check_names(items: pd.DataFrame, tables: Sequence[tuple[TableSpec, pd.DataFrame]], spec: CohortSpec) -> None:
    """See whether the tables' keys, and what is derived, selected, a level, the view or metadata, are columns.

    :param items: as they are before any join.
    :param tables: with their rows.
    :raises ColumnError: that tells all which are not there, each with the nearest name.
    """
    known, lost = pd.DataFrame(columns=items.columns), Lost()
    for table, rows in tables:
        lost += _keys(known, table, rows, spec)
        known = _joined(known, table, rows)
    for name, rule in spec.derive.items():
        lost += not_there(known, [(one, f"[derive] {name}") for one in rule.sources])
        known = _widened(known, [name])
    wanted = [(role(level, spec), f"The level {level}") for level in spec.levels]
    if "view" in spec.roles:
        wanted.append((role("view", spec), "[roles] view"))
    lost += not_there(known, wanted)
    known = _widened(known, [*spec.levels, "view"])
    wanted = [(name, "where") for name in spec.where]
    wanted += [(name, f"[metadata] {level}") for level, names in spec.metadata.columns.items() for name in names]
    wanted += [(spec.metadata.date, "[metadata] date")] if spec.metadata.date else []
    lost += not_there(known, wanted)
    if lost:
        raise missing(lost)


def _keys(known: pd.DataFrame, table: TableSpec, rows: pd.DataFrame, spec: CohortSpec) -> Lost:
    """The keys of a table that it, or the items, do not have."""
    lost = Lost()
    for ours, theirs in table.keys:
        if theirs not in rows:
            lost.append((f"{table.file} has no column {theirs!r}", nearest(theirs, rows.columns)))
        if ours not in PATH_WORDS or ours in known or ours in spec.roles:
            lost += not_there(known, [(role(ours, spec), f"`on` of {table.file}")])
    return lost


def _joined(known: pd.DataFrame, table: TableSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """With what the columns of the table may be called once they are joined."""
    right = {theirs for _, theirs in table.keys}
    names = [str(column) for column in rows if column not in right]
    dotted = [f"{Path(table.file).stem}.{name}" for name in names if name in TAKEN or name in known]
    return _widened(known, [*dotted, *(name for name in names if name not in TAKEN)])


def _widened(known: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(dict.fromkeys([*known.columns, *names])))
