"""Retrieval as a table: how often images find what they came with, and back, beside chance."""

from typing import Any

import pandas as pd

from sidelight.reporting.numbers import decimal
from sidelight.reporting.tables import Table, briefly, spread

INTRO = (
    "Among patients that the pre-training has not seen: how often an item's own partner is among the first of all partners. "
    "Equal partners share the middle of their ranks; 95 % intervals resample patients. No label is read."
)


def retrieval_table(rows: pd.DataFrame) -> Table:
    """One row per encoder and direction, then what chance would give; measures are columns.

    :param rows: of protocol "retrieval" and one task; without any the table has none.
    """
    if rows.empty:
        return Table((), ())
    parts = rows["metric"].str.partition(", ")
    rows = rows.assign(measure=parts[0], direction=parts[2])
    measures = list(dict.fromkeys(rows["measure"]))

    def support(own: pd.DataFrame) -> tuple[str, ...]:
        return (f"{own['units'].iloc[0]:,}", f"{own['groups'].iloc[0]:,}")

    lines = spread(rows, ("encoder", "direction"), "measure", measures, cell=_cell, support=support)
    header = ("encoder", "direction", "units", "patients", *measures)
    return Table(header, lines, numeric=frozenset(range(2, len(header))))


def _cell(row: Any) -> str:
    if row["measure"] == "median rank" and pd.isna(row["low"]):
        return decimal(row["value"], 1)
    return briefly(row)
