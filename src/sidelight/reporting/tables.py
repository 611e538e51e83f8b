"""Tables: built once from a study's frames, set as HTML or as Markdown."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sidelight.reporting.html import escape, inline
from sidelight.reporting.numbers import decimal, estimate


@dataclass(frozen=True)
class Table:
    """Rows of text. ``numeric``: right-aligned columns; ``lead``: rows set bold; ``changed``: cells set apart."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    caption: str = ""
    lead: frozenset[int] = frozenset()
    changed: frozenset[tuple[int, int]] = frozenset()

    def html(self) -> str:
        """The table in a box that scrolls sideways on narrow screens; "" when it has no rows."""
        if not self.rows:
            return ""

        def kind(row: int, column: int, cell: str) -> str:
            names = ["number"] if column in self.numeric else ["name"] if column == 0 else []
            names += ["changed"] if (row, column) in self.changed else []
            names += ["long"] if len(cell) > 60 else []
            return f' class="{" ".join(names)}"' if names else ""

        classes = [' class="number"' if i in self.numeric else "" for i in range(len(self.header))]
        head = "".join(f"<th{of}>{escape(name)}</th>" for of, name in zip(classes, self.header, strict=True))
        body = "\n".join(
            ('<tr class="lead">' if r in self.lead else "<tr>")
            + "".join(f"<td{kind(r, c, cell)}>{inline(cell)}</td>" for c, cell in enumerate(row))
            + "</tr>"
            for r, row in enumerate(self.rows)
        )
        wide = ' class="wide"' if len(self.header) > 9 else ""
        caption = f"<caption>{inline(self.caption)}</caption>" if self.caption else ""
        whole = f"<table{wide}>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        return f'<div class="table">{whole}</div>'

    def markdown(self) -> str:
        """A GitHub table; "" when it has no rows."""
        if not self.rows:
            return ""
        rule = ["---:" if i in self.numeric else "---" for i in range(len(self.header))]
        rows = [
            tuple(f"**{cell}**" if i == 0 and r in self.lead else cell for i, cell in enumerate(row))
            for r, row in enumerate(self.rows)
        ]
        lines = [_line(self.header), "|" + "|".join(rule) + "|", *map(_line, rows)]
        return (f"{plain(self.caption)}\n\n" if self.caption else "") + "\n".join(lines)


def estimated(row: Any) -> str:
    """``0.81 [0.70, 0.92]`` from the ``value``, ``low`` and ``high`` of a row."""
    return estimate(row["value"], row["low"], row["high"])


def briefly(row: Any) -> str:
    """The same; the value alone where it has no interval."""
    return decimal(row["value"]) if pd.isna(row["low"]) else estimated(row)


def spread(
    rows: pd.DataFrame,
    by: Sequence[str],
    across: str,
    values: Sequence[Any],
    *,
    cell: Callable[[Any], str] = estimated,
    support: Callable[[pd.DataFrame], tuple[str, ...]] = lambda _: (),
) -> tuple[tuple[str, ...], ...]:
    """One line per value of the columns ``by``, in the order of the rows: these, then a cell for each of ``values``.

    :param across: the column that holds ``values``; of several rows the first counts, without one stands a dash.
    :param support: cells between the two, from all rows of the line.
    """
    lines = []
    for key, own in rows.groupby(list(by), sort=False):
        found = own.drop_duplicates(across).set_index(across, drop=False)
        cells = (cell(found.loc[value]) if value in found.index else "–" for value in values)
        lines.append((*map(str, key), *support(own), *cells))
    return tuple(lines)


def plain(text: str) -> str:
    """Text that Markdown will not read as HTML or as a table's edge."""
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    # every second part stands between backticks, where Markdown shows HTML as it is
    return "`".join(part if i % 2 else part.replace("&", "&amp;").replace("<", "&lt;") for i, part in enumerate(parts))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": "1"}``; lists and scalars as JSON without quotes round plain words."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = (
                value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            )
    return flat
