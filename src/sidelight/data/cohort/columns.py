"""What is done to the columns of items: found by name, derived, selected, and made constant within a level."""

import contextlib
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.answers import meanings
from sidelight.data.cells import counted, normalise
from sidelight.data.cohort.number_columns import described_numbers
from sidelight.data.cohort.spec import CohortSpec, DeriveSpec
from sidelight.data.dicom import tags
from sidelight.data.expressions import BadExpression, Expression
from sidelight.data.findings import Record
from sidelight.data.numbers import read
from sidelight.errors import ColumnError, ConfigError, DataError, nearest

MOST_LISTED = 10
_COMPARE = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def find_column(items: pd.DataFrame, name: str, place: str) -> str:
    """The column called ``name``, or ``TABLE.name`` where the plain name was taken and only one table has it.

    ``dicom:TAG`` is the column that holds the tag.

    :raises ColumnError: that says where (``place``) and names the nearest column.
    """
    return find_columns(items, [(name, place)])[0]


def find_columns(items: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """:func:`find_column` for several names, each with its place.

    :raises ColumnError: that tells all which are not there.
    """
    lost = not_there(items, wanted)
    if lost:
        raise missing(lost)
    found = [_column(items, name, place) for name, place in wanted]
    return [one for one in found if one is not None]


def not_there(items: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is to be said of each name, with its place, that is no column; and the hint at the nearest."""
    return [
        (f"{place} names the column {name!r}, which no item has", nearest(name, _spelt(items, name), most=MOST_LISTED))
        for name, place in wanted
        if _column(items, name, place) is None
    ]


def missing(lost: Sequence[tuple[str, str]]) -> ColumnError:
    """The error that tells what :func:`not_there` found, all at once."""
    if len(lost) == 1:
        return ColumnError(lost[0][0], do=lost[0][1])
    shown = [f"{one} ({hint.rstrip('?')})" for one, hint in lost[:MOST_LISTED]]
    return ColumnError("; ".join(shown) + (f"; and {len(lost) - MOST_LISTED} more" if len(lost) > MOST_LISTED else ""))


def _spelt(items: pd.DataFrame, name: str) -> list[str]:
    """What a column may be called instead of ``name``."""
    dotted = [str(column) for column in items.columns if str(column).endswith(f".{name}")]
    return dotted or [str(column) for column in items.columns if column not in ("item", "files")]


def _column(items: pd.DataFrame, name: str, place: str) -> str | None:
    if name.startswith("dicom:") and name not in items:
        name = tags.column(name, place)
    dotted = [column for column in items.columns if column.endswith(f".{name}")]
    if name in items and not (name == "group" and dotted):  # a table's own group comes before the one made of levels
        return name
    return str(dotted[0]) if len(dotted) == 1 else None


def has_column(items: pd.DataFrame, name: str) -> bool:
    """Whether :func:`find_column` finds it."""
    with contextlib.suppress(ConfigError):
        return _column(items, name, "") is not None
    return False


def derive(items: pd.DataFrame, name: str, rule: DeriveSpec) -> pd.DataFrame:
    """Add the column ``name``, made as ``rule`` says.

    :raises ConfigError: for a bad expression.
    :raises DataError: for an unknown column, or a cell that is no number where a number is asked for.
    """
    place = f"[derive] {name}"
    columns = find_columns(items, [(source, place) for source in rule.sources])
    cells = items[columns[0]]
    if len(columns) > 1:
        values = _saying_yes(items[columns], place)
    elif rule.pattern is None:
        values = _within(cells.map(normalise), rule, place)
    else:
        values = _matched(cells, rule.pattern, place)
    values = [rule.values.get(value, value) for value in values]
    return items.assign(**{name: pd.Series(values, index=items.index, dtype=str)})


def _matched(cells: "pd.Series[str]", expression: str, place: str) -> list[str]:
    """The first group (or the whole) of the expression's first match, or blank."""
    try:
        pattern = Expression.of(expression)
    except BadExpression as error:
        raise ConfigError(f"{place}: {expression!r} is a bad expression: {error}") from None
    matches = [pattern.search(value) for value in cells]
    return [(match[1] if pattern.groups else match[0]) or "" if match else "" for match in matches]


def _within(cells: "pd.Series[str]", rule: DeriveSpec, place: str) -> list[str]:
    """1 where a number lies within the bounds, 0 where not, and blank where the cell is."""
    numbers = as_numbers(cells, f"{place} meets the value {{!r}} in column {cells.name!r}", "numbers")
    low = -np.inf if rule.at_least is None else rule.at_least
    high = np.inf if rule.at_most is None else rule.at_most
    return ["" if number != number else str(int(low <= number <= high)) for number in numbers]


def _saying_yes(table: pd.DataFrame, place: str) -> list[str]:
    """The names of the columns that say yes, joined by ``+``; blank where none does.

    :raises DataError: for a cell that says neither yes nor no, nor that it is not known.
    """
    said = pd.DataFrame(index=table.index)
    for name, column in table.items():
        cells = column.map(normalise)
        means = meanings(cells.unique())
        odd = cells[cells.map(means).isin(["", "uncertain"])]
        if len(odd):
            raise DataError(
                f"{place}: it is not known what {odd.iloc[0]!r} in column {name!r} means "
                f"({counted(int((cells == odd.iloc[0]).sum()), 'item')})",
                expected="cells that say yes or no",
                do="Mend the table",
            )
        said[name] = cells.map(means) == "yes"
    names = [str(name) for name in table]
    return ["+".join(name for name, yes in zip(names, row, strict=True) if yes) for row in said.to_numpy()]


def select(items: pd.DataFrame, where: Mapping[str, Any], place: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows fulfil every condition: a value, a list of values, or a comparison such as ``">= 10"``; bool [N].

    A blank cell fulfils no comparison but ``!=``.
    :raises DataError: for an unknown column, or a number compared with a cell that is none.
    """
    keep = np.ones(len(items), dtype=bool)
    for name, wanted in where.items():
        column = items[find_column(items, name, place)].map(normalise)
        sign = re.match(r"\s*(>=|<=|!=|==|>|<)\s*(.+)", wanted) if isinstance(wanted, str) else None
        if sign:
            keep &= _compare(column, sign[1], sign[2].strip(), f"{place}: {name} = {wanted!r}")
        else:
            keep &= column.isin(_spellings(wanted if isinstance(wanted, list) else [wanted])).to_numpy()
    return keep


def _spellings(values: Sequence[object]) -> list[str]:
    """Values as cells spell them; true and false in any capitals."""
    texts = [normalise(value) for value in values]
    flags = [str(value) for value in values if isinstance(value, bool)]
    return texts + [spelt for flag in flags for spelt in (flag.lower(), flag.upper())]


def _compare(column: "pd.Series[str]", sign: str, text: str, place: str) -> Any:
    if sign in ("==", "!="):
        return _COMPARE[sign](column, normalise(text)).to_numpy()
    try:
        limit = float(text)
    except ValueError:
        raise ConfigError(f"{place} compares with {text!r}", expected="a number") from None
    numbers = as_numbers(
        column, f"{place.replace('{', '{{').replace('}', '}}')} meets the value {{!r}}", "numbers in that column"
    )
    return _COMPARE[sign](numbers, limit).to_numpy()


def as_numbers(cells: "pd.Series[str]", met: str, expected: str) -> "pd.Series[float]":
    """Normalised cells as floats, NaN where one is blank or says that nothing is known.

    :param met: what is said of a cell that is no number, with ``{!r}`` for it.
    :raises DataError: for such a cell.
    """
    found = read(cells)
    endless = cells.str.fullmatch("[+-]?inf")
    odd = [*cells[cells.isin(found.odd.keys()) & ~endless], *cells[np.isfinite(found.limits)]]
    if odd:
        raise DataError(met.format(odd[0]), expected=expected)
    return pd.Series(found.values, index=cells.index).mask(endless, cells.where(endless, "0").astype(float))


def unit_keys(items: pd.DataFrame, levels: Sequence[str], unit: str) -> "pd.Series[str]":
    """The key of each item's unit: the ids from the outermost level to ``unit``, joined by ``/``; or the item's id.

    An id counts inside its parent; a ``/`` within one of several ids is written ``%2F`` so that keys stay distinct.
    """
    if unit == "item":
        return items["item"]
    path = list(levels)[: list(levels).index(unit) + 1]
    if len(path) == 1:
        return items[unit]
    parts = [items[level].str.replace("%", "%25").str.replace("/", "%2F") for level in path]
    return parts[0].str.cat(pd.concat(parts[1:], axis=1), sep="/")


def columns_by_level(items: pd.DataFrame, spec: CohortSpec) -> dict[str, list[tuple[str, str]]]:
    """By level of ``[metadata]`` the names that it gives and the columns that they mean.

    :raises ColumnError: that tells all which are not there.
    """
    named = [(level, name) for level, names in spec.metadata.columns.items() for name in names]
    columns = find_columns(items, [(name, f"[metadata] {level}") for level, name in named])
    found: dict[str, list[tuple[str, str]]] = {}
    for (level, name), column in zip(named, columns, strict=True):
        found.setdefault(level, []).append((name, column))
    return found


def describe(items: pd.DataFrame, spec: CohortSpec, record: Record | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Apply ``[metadata]``: spellings become one, unknown values blank, numbers plain, and columns of a level constant within it.

    Between a known value and one that was asked for in vain the known one counts.

    :param record: takes columns of numbers that cannot be read in place of an error.
    :returns: the items and notices on what was settled.
    :raises DataError: for a conflict under the rule ``error``, and for a column that is half numbers.
    """
    rules, notices = spec.metadata, []
    dates = when(items[find_column(items, rules.date, "[metadata] date")]) if rules.date else None
    same = {normalise(one): other for one, other in rules.same.items()}
    unknown, asked = ([normalise(one) for one in values] for values in (rules.unknown, rules.asked))
    for level, pairs in columns_by_level(items, spec).items():
        for name, column in pairs:
            cells = items[column].map(normalise)
            known = items[column].mask(cells.isin(same.keys()), cells.map(same)).mask(cells.isin(unknown), "")
            known, read_as = described_numbers(known, name, rules, asked, record)
            notices += read_as
            if level != "item":
                keys = unit_keys(items, spec.levels, level)
                in_vain = cells.isin(asked).groupby(keys).transform("any")
                known, settled = _settle(
                    known.mask(cells.isin(asked), ""), keys, f"{level} {{}}", rules.rule(name), dates
                )
                known = known.mask(in_vain & (known == ""), rules.asked[0] if rules.asked else "")
                notices += settled
            items = items.assign(**{column: known})
    return items, notices


def without_absent(spec: CohortSpec, items: pd.DataFrame) -> CohortSpec:
    """The spec without the columns of ``[metadata]`` that no item has."""

    columns = {
        level: tuple(name for name in names if has_column(items, name))
        for level, names in spec.metadata.columns.items()
    }
    date = spec.metadata.date if spec.metadata.date and has_column(items, spec.metadata.date) else None
    return spec.model_copy(update={"metadata": spec.metadata.model_copy(update={"columns": columns, "date": date})})


def _settle(
    values: "pd.Series[str]", keys: "pd.Series[str]", unit: str, rule: str, dates: "pd.Series[float] | None"
) -> tuple["pd.Series[str]", list[str]]:
    """One value per key: the only one, or what ``rule`` says; blank cells take the value of their key."""
    filled = values.mask(values == "")
    counts = filled.groupby(keys).nunique()
    torn = counts.index[counts > 1]
    name, level = str(values.name), unit.split()[0]
    if len(torn) and rule == "error":
        found = filled[keys == torn[0]].dropna().unique().tolist()
        raise DataError(
            f"Column {name!r} is not constant within {unit.format(repr(torn[0]))}: {found} ({len(torn)} such in all)",
            expected=f"one value per {level}",
            do='Mend the table, or state a rule: [metadata] conflict = "first", "latest" or "mean"',
        )
    if rule == "latest" and dates is not None:
        filled = filled.loc[dates.sort_values(kind="stable").index]
        one = filled.groupby(keys).last()
    else:
        one = filled.groupby(keys).first()
    if rule == "mean" and len(torn):
        one.loc[torn] = _means(filled[keys.isin(torn)], keys)
    notices = (
        [f"{name!r} differs within {len(torn)} of {len(counts)} units of level {level}: {rule} taken"]
        if len(torn)
        else []
    )
    settled = keys.map(one).fillna("")
    blanks = int(((values == "") & (settled != "")).sum())
    if blanks:
        notices.append(f"{name!r}: {blanks} blank cells filled from other rows of the same {level}")
    return settled.rename(name), notices


def _means(values: "pd.Series[str]", keys: "pd.Series[str]") -> "pd.Series[str]":
    numbers = as_numbers(values.fillna(""), f"conflict = 'mean' meets {{!r}} in column {values.name!r}", "numbers")
    return numbers.groupby(keys).mean().map(lambda mean: f"{mean:.12g}")


def when(column: "pd.Series[str]") -> "pd.Series[float]":
    """Dates (ISO or 31.12.2020) or numbers as floats that sort; blank comes first.

    :raises DataError: for a cell that is neither.
    """
    filled = column[column != ""]
    numbers = pd.to_numeric(filled, errors="coerce")
    if numbers.isna().any():
        days = pd.to_datetime(filled, format="ISO8601", errors="coerce")
        days = days.fillna(pd.to_datetime(filled, format="%d.%m.%Y", errors="coerce"))
        if days.isna().any():
            odd = filled[days.isna()].iloc[0]
            raise DataError(
                f"{odd!r} in column {column.name!r} is no date", expected="dates as 2020-12-31 or 31.12.2020"
            )
        numbers = (days - pd.Timestamp(0)) / pd.Timedelta(days=1)
    return numbers.astype(float).reindex(column.index, fill_value=-np.inf)
