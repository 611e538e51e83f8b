"""Retrieval as a table: how often images find what they came with, and back, beside chance."""

import pandas as pd

from sidelight.reporting.numbers import decimal, estimate
from sidelight.reporting.tables import Table

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
    lines = []
    for (encoder, direction), own in rows.groupby(["encoder", "direction"], sort=False):
        found, first = own.set_index("measure"), own.iloc[0]
        cells = [_cell(found.loc[measure]) for measure in measures]
        lines.append((str(encoder), str(direction), f"{first['units']:,}", f"{first['groups']:,}", *cells))
    header = ("encoder", "direction", "units", "patients", *measures)
    return Table(header, tuple(lines), numeric=frozenset(range(2, len(header))))


def _cell(row: "pd.Series[float]") -> str:
    if pd.isna(row["low"]):
        return decimal(row["value"], 1 if str(row.name) == "median rank" else 2)
    return estimate(row["value"], row["low"], row["high"])
