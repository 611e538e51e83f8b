"""Each label of a multi-label task: its support and its scores, encoder by encoder."""

import numpy as np
import pandas as pd

from sidelight.evaluation.results import PER_LABEL
from sidelight.reporting.numbers import decimal, metric_name
from sidelight.reporting.tables import Table, spread

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

    def support(own: pd.DataFrame) -> tuple[str, ...]:
        units, positives, groups = own.iloc[0][["units", "positives", "groups"]]
        return (f"{units:,}", decimal(positives, 0), f"{groups:,}")

    lines = spread(_together(rows, "target"), names, "metric", shown, support=support)
    header = ("label", *names[1:], "units", "with it", "groups", *map(metric_name, shown))
    return Table(header, lines, numeric=frozenset(range(len(names), len(header))))


def class_table(rows: pd.DataFrame) -> Table:
    """Of a task of three or more classes each class against the rest: one row per class, encoder and protocol.

    :param rows: those of the task itself; without ``auroc:CLASS`` among them the table has none.
    """
    rows = rows[rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")]
    rows = rows[rows["metric"].str.contains(":")]
    if not rows["metric"].str.startswith("auroc:").any():
        return Table((), ())
    named = rows.assign(of=rows["metric"].str.partition(":")[2], metric=rows["metric"].str.partition(":")[0])
    named = named[named["of"].isin(named.loc[named["metric"] == "auroc", "of"])]
    names = ["of", *(name for name in ("encoder", "protocol") if len(set(named[name])) > 1)]

    def support(own: pd.DataFrame) -> tuple[str, ...]:
        return (f"{own['units'].iloc[0]:,}", f"{own['positives'].max():,.0f}")

    lines = spread(_together(named, "of"), names, "metric", _AGAINST, support=support)
    header = ("class", *names[1:], "units", "of it", *map(metric_name, _AGAINST))
    return Table(header, lines, numeric=frozenset(range(len(names), len(header))))


_AGAINST = ("auroc", "average_precision", "precision", "recall")


def _together(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """All rows of one value of ``column`` after those of another, values in the order in which they come."""
    order = {value: place for place, value in enumerate(rows[column].unique())}
    return rows.iloc[np.argsort(rows[column].map(order).to_numpy(), kind="stable")]
