"""Which row of a table is its header, where titles or groups of columns stand above it."""

import re
from collections.abc import Sequence

from sidelight.errors import DataError

LOOKED_AT = 12
"""Rows from the top."""
MOST_FILLED = 0.6
"""Of the columns, in a row that is no header: a title fills one cell, a row of merged groups one per group."""
_NUMBER = re.compile(r"[+-]?[\d.,]+")


class TitleRow(DataError):
    """The first row that is not blank is no header; ``row`` (counted from 1) looks like one."""

    def __init__(self, name: str, filled: int, width: int, row: int) -> None:
        self.row = row
        super().__init__(
            f"The first row of {name} fills {filled} of {width} columns, row {row} all of them: the first looks like a "
            "title, or like groups of columns",
            do=f"Say which row is the header, counted from 1: header = {row} (or 1) beside the name of the table",
        )


def check_header(name: str, rows: Sequence[Sequence[str]]) -> None:
    """:raises TitleRow: where the first row of ``rows`` (stripped cells, blank rows too) is no header, but a later one is."""
    rows = rows[:LOOKED_AT]
    first = next((place for place, row in enumerate(rows) if any(row)), 0)
    width = max((len(row) for row in rows), default=0)
    if not rows or width < 2 or (width == 2 and not rows[first][0]):  # a blank name beside another is that of an index
        return
    filled = sum(map(bool, rows[first]))
    if filled > MOST_FILLED * width:
        return
    for place in range(first + 1, len(rows)):
        cells = [cell for cell in rows[place] if cell]
        if len(cells) == width and len(set(cells)) == width and not any(map(_NUMBER.fullmatch, cells)):
            raise TitleRow(name, filled, width, place + 1)
        if len(cells) > MOST_FILLED * width:
            return
