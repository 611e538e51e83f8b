"""Each label of a multi-label task: its support and its scores, encoder by encoder."""

from typing import Any

import pandas as pd

from sidelight.evaluation.results import PER_LABEL
from sidelight.reporting.numbers import estimate, metric_name
from sidelight.reporting.tables import Table

INTRO = (
    "At all labels. The numbers of the task itself are means over its labels (macro); “with it” counts the units that have the "
    "label, among those of which it is known."
)


def label_table(rows: pd.DataFrame) -> Table:
    """One row per label, encoder and protocol; the last two have a column only where there are several.

    :param rows: those of a task's labels; without any the table has none.
    """
    if rows.empty:
        return Table((), ())
    rows = rows[rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")]
    shown = [metric for metric in PER_LABEL if (rows["metric"] == metric).any()]
    names = ["target", *(name for name in ("encoder", "protocol") if len(set(rows[name])) > 1)]
    lines = []
    for key, own in rows.groupby(names, sort=False):
        found, first = own.set_index("metric"), own.iloc[0]
        support = (f"{first['units']:,}", f"{first['positives']:,.0f}", f"{first['groups']:,}")
        cells = [_cell(found.loc[metric]) if metric in found.index else "–" for metric in shown]
        lines.append((*map(str, key), *support, *cells))
    header = ("label", *names[1:], "units", "with it", "groups", *map(metric_name, shown))
    return Table(header, tuple(lines), numeric=frozenset(range(len(names), len(header))))


def _cell(row: Any) -> str:
    return estimate(row["value"], row["low"], row["high"])
