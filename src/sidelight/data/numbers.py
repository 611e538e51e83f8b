"""The one reader of numbers in tables: decimal comma or point, thousands, ``<20``, ``12 mm``; for drafts and for training.

A table is first brought to one notation (:func:`plain_notation`), column by column: ``20,5``, ``1.234,5`` and ``1,234,567``
can be read in one way only, ``1,234`` and ``1.234`` in two. The other cells of the column, then the other columns of the
table decide; where they do not, the column is left as it is and its two readings are told. After that a number is written
with a point, and :func:`read` says what each cell is.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.answers import is_unknown

_SIGN = r"(?:<=|>=|[<>≤≥]) ?"
_UNIT = r" ?[^\W\d_²³]?[^\s\d.,;|<>()+-][^\d,;|<>]{0,14}|[%°‰]"
_DIGITS = r"[+\-−]?(?:\d[\d.,'’\u00a0\u202f ]*\d|[.,]?\d+|\d)"
_CELL = re.compile(rf"(?P<sign>{_SIGN})?(?P<number>{_DIGITS})(?P<exponent>[eE][+-]?\d+)?(?P<unit>{_UNIT})?")
_PLAIN = re.compile(rf"(?P<sign>{_SIGN})?(?P<number>[+\-−]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?P<unit>{_UNIT})?")
_COMMA = re.compile(r"[+\-−]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+)?(?:,\d+)?")
_POINT = re.compile(r"[+\-−]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)?(?:\.\d*)?")
_EITHER = re.compile(r"[+\-−]?[1-9]\d{0,2}[.,]\d{3}")
_LIST = re.compile(r"\d+(?:\s*,\s*\d+){2,}")


@dataclass(frozen=True, eq=False)
class Numbers:
    """What the cells of a column are.

    :ivar values: float64 [N]; NaN where a cell is blank, says that nothing is known, is a limit, or is no number.
    :ivar limits: float64 [N]; of ``<20`` and ``>90`` the number, else NaN.
    :ivar odd: cells that are no numbers, and how many there are.
    """

    values: NDArray[np.float64]
    limits: NDArray[np.float64]
    odd: Mapping[str, int]

    @property
    def distinct(self) -> int:
        """How many different numbers."""
        return len(np.unique(self.values[np.isfinite(self.values)]))

    @property
    def share(self) -> float:
        """Of the cells that say anything, those that are numbers or limits."""
        good = int(np.isfinite(self.values).sum() + np.isfinite(self.limits).sum())
        return good / max(good + sum(self.odd.values()), 1)


def read(cells: "pd.Series[str]") -> Numbers:
    """Normalised cells of one column, in plain notation, as numbers; several units in one column are none."""
    found = {cell: _PLAIN.fullmatch(cell) for cell in cells.unique() if cell and not is_unknown(cell)}
    units = {one["unit"].strip() for one in found.values() if one and one["unit"]}
    good = {cell: one for cell, one in found.items() if one and (len(units) < 2 or not one["unit"])}
    numbers = {cell: float(one["number"].replace("−", "-")) for cell, one in good.items() if not one["sign"]}
    limits = {cell: float(one["number"].replace("−", "-")) for cell, one in good.items() if one["sign"]}
    numbers = {cell: number for cell, number in numbers.items() if np.isfinite(number)}
    odd = Counter(cell for cell in cells if cell in found and cell not in numbers and cell not in limits)
    values, bounds = (np.asarray(cells.map(one), np.float64) for one in (numbers, limits))
    return Numbers(values, bounds, odd)


def plain_notation(
    table: pd.DataFrame, decimal: str | None, separator: str | None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with numbers written with a point, without signs between thousands; and columns with two readings.

    :param decimal: "." or "," where it is known.
    :param separator: of the file: a semicolon speaks for decimal commas.
    :returns: the table, and by column an example of a cell that can be read in two ways; such a column is as it was.
    """
    columns = {name: cores for name in table.columns if (cores := _cores(table[name]))}
    own = {name: _own(cores) for name, cores in columns.items()}
    sure = {notation for notation in own.values() if notation in (".", ",")}
    doubts: dict[str, str] = {}
    new: dict[str, pd.Series[str]] = {}
    for name, cores in columns.items():
        notation = decimal or own[name] or _elsewhere(cores, sure, separator)
        if notation in (".", ","):
            new[str(name)] = table[name].map(lambda cell, notation=notation: _rewritten(cell, notation))
        elif notation:
            doubts[str(name)] = notation
    return table.assign(**new) if new else table, doubts


def _cores(column: "pd.Series[str]") -> list[str]:
    """The numbers of a column that is mostly numbers, as they are written; [] where none has a comma or a point."""
    cells = [cell for cell in column.unique() if cell and not is_unknown(cell)]
    found = [hit for cell in cells if (hit := _CELL.fullmatch(cell))]
    cores = [_bare(hit["number"]) for hit in found]
    if 2 * len(found) <= len(cells) or not any(sign in core for core in cores for sign in ".,"):
        return []
    lists = any(_LIST.fullmatch(core) and not _POINT.fullmatch(core) for core in cores)
    return [] if lists else cores


def _bare(number: str) -> str:
    """Without blanks and apostrophes, which stand between thousands alone."""
    return re.sub(r"(?<=\d)['’\u00a0\u202f ](?=\d{3}(?!\d))", "", number)


def _own(cores: list[str]) -> str:
    """The decimal sign that a column's own numbers show; "" where they do not, or contradict each other."""
    comma = any(_COMMA.fullmatch(core) and not _POINT.fullmatch(core) for core in cores)
    point = any(_POINT.fullmatch(core) and not _COMMA.fullmatch(core) for core in cores)
    return "" if comma == point else "," if comma else "."


def _elsewhere(cores: list[str], sure: set[str], separator: str | None) -> str:
    """The decimal sign by the rest of the table; an example of a number where that does not tell; "" for nothing to do."""
    either = [core for core in cores if _EITHER.fullmatch(core)]
    torn = [core for core in cores if not _EITHER.fullmatch(core) and not core.lstrip("+-−").isdigit()]
    if torn:  # some can be read with a comma only and some with a point only
        return next((core for core in cores if "," in core), "")
    large = any(core.isdigit() and len(core) == 3 for core in cores)
    sign = "," if "," in either[0] else "."
    if any(sign not in core for core in either):
        return either[0]
    if len(sure) == 1 and (sign == "," or "." in sure):
        return next(iter(sure))
    if sign == "." and not sure:
        return either[0] if large else ""
    return "," if sign == "," and not sure and separator == ";" and not large else either[0]


def _rewritten(cell: str, notation: str) -> str:
    """A cell in plain notation; as it is where it is no number in this one."""
    hit = _CELL.fullmatch(cell)
    if hit is None:
        return cell
    number = _bare(hit["number"])
    if not (_COMMA if notation == "," else _POINT).fullmatch(number):
        return cell
    plain = number.replace(".", "").replace(",", ".") if notation == "," else number.replace(",", "")
    return f"{hit['sign'] or ''}{plain}{hit['exponent'] or ''}{hit['unit'] or ''}"
