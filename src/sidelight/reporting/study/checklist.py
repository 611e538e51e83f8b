"""Several classified labels at once: their averages, the headline class of each, and the rule that their points make."""

from typing import Any

import pandas as pd

from sidelight.metrics.checklist import MEASURES
from sidelight.reporting.numbers import decimal, estimate
from sidelight.reporting.tables import Table, spread

INTRO = (
    "One class against the rest; sensitivity, specificity and precision at the most probable class, without a threshold. AVG is "
    "the mean over the headline class of every label. A dash: a class has no unit on the test side."
)


def checklist_tables(rows: pd.DataFrame) -> list[tuple[str, Table]]:
    """Titles and tables from the rows of one task, of :mod:`sidelight.evaluation.tables.checklist`; nothing where there are none.

    :param rows: of the task and of its labels.
    """
    if "headline" not in rows or rows.empty:
        return []
    mean = rows[rows["metric"].str.contains(": ") & ~rows["metric"].str.contains("points: ")]
    found = [("Averages", _wide(mean, [f"AVG: {one}" for one in MEASURES] + _more(mean)))]
    lead = rows[rows["headline"].fillna(False).astype(bool)]
    lead = lead.assign(metric=[_of(row) for row in lead.to_dict("records")])
    aurocs = [one for one in dict.fromkeys(lead["metric"]) if one.endswith(")")]
    found.append(("AUROC of the headline class of every label", _wide(lead, aurocs)))
    rule = rows[rows["metric"].str.contains("points: ")]
    names = list(dict.fromkeys(rule["metric"]))
    found.append(("The rule that the points make, from predicted and from true labels", _wide(rule, names)))
    return [(title, table) for title, table in found if table.rows]


def _more(mean: pd.DataFrame) -> list[str]:
    """The AUROCs of the other averages."""
    return [one for one in dict.fromkeys(mean["metric"]) if one.endswith(": auroc") and one != "AVG: auroc"]


def _of(row: dict[Any, Any]) -> str:
    """``streaks: irregular (94)`` for the AUROC of a class with so many units, else the metric."""
    measure, _, name = row["metric"].partition(":")
    return f"{row['target']}: {name} ({row['positives']:.0f})" if measure == "auroc" else f"{row['target']} {measure}"


def _wide(rows: pd.DataFrame, metrics: list[str]) -> Table:
    """One line per encoder, protocol and label count, a column per metric; AUROCs with their intervals."""
    names = [name for name in ("encoder", "protocol") if len(set(rows[name])) > 1]
    names = [*names, "labels"]
    lines = spread(rows, names, "metric", metrics, cell=_cell)
    if len(lines) == 1:
        titles = (one.replace("auroc", "AUROC") for one in metrics)
        return Table(("", "value"), tuple(zip(titles, lines[0][len(names) :], strict=True)), numeric=frozenset({1}))
    header = (*names, *(one.replace("auroc", "AUROC") for one in metrics))
    return Table(header, lines, numeric=frozenset(range(len(names) - 1, len(header))))


def _cell(row: dict[Any, Any]) -> str:
    if pd.isna(row["value"]):
        return "–"
    ranked = "auroc" in row["metric"] or row["metric"].endswith(")")
    return estimate(row["value"], row["low"], row["high"]) if ranked else decimal(row["value"])
