"""Metadata for a network: columns of ``[metadata]`` to codes, by a vocabulary that is fitted once and kept.

Blank (not collected), asked but not known, and a value that the vocabulary has never met are three things and keep
three codes. Only columns that ``[metadata]`` names are ever read, and never one that is a task's label.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.config import digest
from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column
from sidelight.data.cohort.number_columns import MANY
from sidelight.data.cohort.spec import MetadataSpec
from sidelight.data.numbers import read
from sidelight.errors import DataError

KNOWN, MISSING, ASKED, UNSEEN = range(4)
"""State of a cell; UNSEEN is a value that the vocabulary lacks."""

RARE = "(rare)"
Kind = Literal["numeric", "categorical", "checkbox"]


@dataclass(frozen=True)
class Column:
    """One column: mean and deviation of a numeric one, else its values in order."""

    name: str
    kind: Kind
    mean: float = 0.0
    std: float = 1.0
    values: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Codes:
    """N coded rows of K columns; arrays, or tensors after :meth:`map`.

    :ivar state: int64 [N, K], one of the four states.
    :ivar value: int64 [N, K], place of a known categorical value, else 0.
    :ivar number: float32 [N, K], z-score of a known number, else 0.
    :ivar ticks: float32 [N, T], 1 for every ticked option of the checkbox columns, one column's options after another's.
    """

    state: Any
    value: Any
    number: Any
    ticks: Any

    def __len__(self) -> int:
        return len(self.state)

    def map(self, f: Callable[[Any], Any]) -> "Codes":
        """``f`` of every array."""
        return Codes(*(f(getattr(self, field.name)) for field in fields(self)))

    def same(self) -> NDArray[np.int64]:
        """A number [N] per row, equal where all codes are; of arrays."""
        parts = [np.asarray(getattr(self, field.name), np.float64) for field in fields(self)]
        rows = np.concatenate(parts, axis=1)
        return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def flat(self, columns: Sequence[Column]) -> NDArray[np.float32]:
        """Rows as plain features [N, F]: one-hot values and states, z-scores, ticks; for heads without a network."""
        parts = [self.number, self.ticks]
        for place, column in enumerate(columns):
            parts.append(np.eye(4)[self.state[:, place]][:, 1:])
            known = self.state[:, place, None] == KNOWN
            parts.append(np.eye(max(len(column.values), 1))[self.value[:, place]] * known)
        return np.concatenate(parts, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Vocabulary:
    """What the codes of one level mean; fitted on some rows, kept with the network that learnt them."""

    level: str
    columns: tuple[Column, ...]
    asked: tuple[str, ...] = ()

    @property
    def options(self) -> int:
        """T: options of all checkbox columns together."""
        return sum(len(column.values) for column in self.columns if column.kind == "checkbox")

    def shown(self, items: pd.DataFrame) -> pd.DataFrame:
        """Cells of the columns as they may be written: a value that the vocabulary lacks, being rare, is ``(rare)``."""
        cells = {}
        for column in self.columns:
            name = _find(items, column.name)
            own = items[name].map(normalise) if name else pd.Series("", index=items.index, dtype=str)
            cells[column.name] = own.mask(_state(own, column, self.asked) == UNSEEN, RARE)
        return pd.DataFrame(cells, index=items.index)

    def to_json(self) -> dict[str, Any]:
        """As JSON can say it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Vocabulary":
        """What :meth:`to_json` gave."""
        columns = tuple(Column(**{**column, "values": tuple(column["values"])}) for column in values["columns"])
        return cls(values["level"], columns, tuple(values["asked"]))

    def encode(self, items: pd.DataFrame) -> Codes:
        """The codes of ``items``, whatever the order of its columns; a column that it lacks is missing throughout.

        :raises DataError: for a cell of a numeric column that is no number; names its row.
        """
        count, width = len(items), len(self.columns)
        state, value = np.full((count, width), MISSING, np.int64), np.zeros((count, width), np.int64)
        number, ticks = np.zeros((count, width), np.float32), [np.zeros((count, 0), np.float32)]
        for place, column in enumerate(self.columns):
            name = _find(items, column.name)
            cells = items[name].map(normalise) if name else pd.Series("", index=items.index)
            state[:, place] = _state(cells, column, self.asked)
            if column.kind == "numeric":
                parsed = _numbers(cells.mask(cells.isin(self.asked), ""), column.name, items)
                number[:, place] = np.nan_to_num((parsed - column.mean) / column.std)
            elif column.kind == "categorical":
                codes = cells.map({one: at for at, one in enumerate(column.values)})
                value[:, place] = codes.fillna(0).astype(np.int64)
            else:
                ticked = [set(_options(cell)) for cell in cells]
                ticks.append(np.array([[one in row for one in column.values] for row in ticked], np.float32))
        return Codes(state, value, number, np.concatenate([part.reshape(count, -1) for part in ticks], axis=1))


def described(cohort: Cohort, level: str) -> tuple[str, ...]:
    """The columns that ``[metadata]`` names for ``level``, none of them a label.

    :raises DataError: for a column that is the label of a task, or says the same.
    """
    names = cohort.spec.metadata.columns.get(level, ())
    for name in names:
        column = find_column(cohort.items, name, f"[metadata] {level}")
        for task in cohort.tasks.values():
            same = [
                label for label in task.label if label == column or cohort.items[label].equals(cohort.items[column])
            ]
            if same:
                raise DataError(
                    f"[metadata] {level} names the column {name!r}, which is the label of the task {task.name!r}",
                    expected="columns that are known without the outcome",
                    do="Take it out of [metadata]",
                )
    return names


def metadata_state(cohort: Cohort) -> str:
    """16 hex digits of the columns that describe items, with their cells, and of how they are read."""
    names = {name for columns in cohort.spec.metadata.columns.values() for name in columns}
    cells = cohort.items[["item", *sorted(_find(cohort.items, name) for name in names)]]
    return digest([cohort.spec.metadata.model_dump(mode="json"), cells.to_csv(index=False)])


def fit(cohort: Cohort, level: str, rows: NDArray[np.int64], least: int = 1) -> Vocabulary:
    """The vocabulary of ``level``, fitted on the items at ``rows`` (positions in ``cohort.items``).

    :param least: patients (values of ``group``) that must share a value for it to be kept: a rarer one may identify.
    :raises DataError: for a numeric column with a cell that is no number; names its row.
    """
    given = cohort.spec.metadata
    asked = tuple(normalise(one) for one in given.asked)
    items = cohort.items.iloc[rows]
    columns = []
    for name in described(cohort, level):
        found = find_column(cohort.items, name, f"[metadata] {level}")
        cells = items[found].map(normalise)
        columns.append(_column(name, cells, items, asked, given, least))
    return Vocabulary(level, tuple(columns), asked)


def _column(
    name: str, cells: "pd.Series[str]", items: pd.DataFrame, asked: Sequence[str], given: MetadataSpec, least: int
) -> Column:
    filled = cells[(cells != "") & ~cells.isin(asked)]
    numbers = read(filled)
    checkbox = name in given.checkbox
    many = not (checkbox or name in given.categorical) and numbers.share == 1 and numbers.distinct > MANY
    if name in given.numeric or many:
        parsed = _numbers(filled, name, items.loc[filled.index])
        std = float(parsed.std()) if len(parsed) > 1 else 0.0
        return Column(name, "numeric", float(parsed.mean()) if len(parsed) else 0.0, std if std > 1e-12 else 1.0)
    options = filled.map(_options).explode().dropna() if checkbox else filled
    held = items["group"].loc[options.index].groupby(options.to_numpy()).nunique()
    values = tuple(sorted(str(value) for value in held.index[held >= least]))
    return Column(name, "checkbox" if checkbox else "categorical", values=values)


def _find(items: pd.DataFrame, name: str) -> str:
    """The column called ``name`` in ``items``, or "" where there is none."""
    try:
        return find_column(items, name, "[metadata]")
    except DataError:
        return ""


def _state(cells: "pd.Series[str]", column: Column, asked: Sequence[str]) -> NDArray[np.int64]:
    state = np.where(cells == "", MISSING, np.where(cells.isin(asked), ASKED, KNOWN))
    if column.kind != "numeric":
        known = set(column.values)
        unknown = [not known.issuperset(_options(cell) if column.kind == "checkbox" else [cell]) for cell in cells]
        state = np.where((state == KNOWN) & np.array(unknown, bool), UNSEEN, state)
    return state.astype(np.int64)


def _options(cell: str) -> list[str]:
    return [part.strip() for part in re.split(r"[;|]", cell) if part.strip()]


def _numbers(cells: "pd.Series[str]", name: str, items: pd.DataFrame) -> NDArray[np.float64]:
    """Cells as floats, blank as NaN; :raises DataError: for one that is no finite number."""
    found = read(cells)
    odd = cells[cells.isin(found.odd.keys()) | np.isfinite(found.limits)]
    if len(odd):
        raise DataError(
            f"The numeric column {name!r} holds {odd.iloc[0]!r} in the row of {items['item'].loc[odd.index[0]]!r}",
            expected="numbers, or values that [metadata] unknown or asked names",
            do="Mend the cell, or take the column out of [metadata] numeric",
        )
    return found.values
