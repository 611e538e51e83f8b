"""Each label of a multi-label task: its support and its scores, encoder by encoder."""

from typing import Any

from sidelight.evaluation.results import PER_LABEL
from sidelight.reporting.content import Content
from sidelight.reporting.numbers import estimate, metric_name
from sidelight.reporting.tables import Table

INTRO = (
    "At all labels. The numbers of the task itself are means over its labels (macro); “with it” counts the units that have the "
    "label, among those of which it is known."
)


def label_table(content: Content, task: str) -> Table:
    """One row per label, encoder and protocol of ``task``; without rows where the task has one label."""
    rows = content.targets
    if rows.empty:
        return Table((), ())
    rows = rows[(rows["task"] == task) & rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")]
    shown = [metric for metric in PER_LABEL if (rows["metric"] == metric).any()]
    lines = []
    for (target, encoder, protocol), own in rows.groupby(["target", "encoder", "protocol"], sort=False):
        found, first = own.set_index("metric"), own.iloc[0]
        support = (f"{first['units']:,}", f"{first['positives']:,.0f}", f"{first['groups']:,}")
        cells = [_cell(found.loc[metric]) if metric in found.index else "–" for metric in shown]
        lines.append((str(target), str(encoder), str(protocol), *support, *cells))
    header = ("label", "encoder", "protocol", "units", "with it", "groups", *map(metric_name, shown))
    return Table(header, tuple(lines), numeric=frozenset(range(3, len(header))))


def _cell(row: Any) -> str:
    return estimate(row["value"], row["low"], row["high"])
