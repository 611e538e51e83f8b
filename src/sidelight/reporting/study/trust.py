"""May a probability be believed, and for whom? Reliability curves, calibration numbers and the table of subgroups."""

from typing import Any

import numpy as np
import pandas as pd

from sidelight.reporting import html
from sidelight.reporting.document import Figure, Part, under
from sidelight.reporting.figures import reliability_svg
from sidelight.reporting.numbers import metric_name
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table, briefly, spread

CALIBRATION = ("ece", "brier", "ece, calibrated", "brier, calibrated")
DECISION = ("sensitivity at threshold", "specificity at threshold")
INTRO = (
    "On the diagonal a stated probability is an observed frequency. Bins hold equally many units; all labels, seeds pooled. "
    "Calibrated: by a map fitted on the other folds. ECE grows when units are few, whatever the forecast."
)
LEAD = "The headline encoder with all labels; calibrated: by a map fitted on the other folds."
SUBGROUPS = (
    "At all labels. “Too few”: fewer than 10 patients or 5 units of a class; values that few patients have are pooled."
)


def calibration(content: Content) -> list[Part]:
    """Per task a reliability figure of the headline encoder and a table of every encoder."""
    parts: list[Part] = []
    for task in content.tasks:
        curves = [one for one in content.reliability if one["task"] == task and one["encoder"] == content.lead]
        figures = [_figure(curves, name) for name in dict.fromkeys(one["class"] for one in curves)]
        grid = Figure(f'<div class="grid small">{"".join(figures)}</div>' if figures else "")
        parts += under(content.task_title(task), grid, calibration_table(at_all_labels(content, task)))
    return parts


def calibration_of_lead(content: Content) -> Table:
    """The headline encoder on every task."""
    rows = pd.concat([at_all_labels(content, task) for task in content.tasks] or [content.results])
    rows = rows[rows["encoder"] == content.lead]
    return calibration_table(rows.assign(encoder=rows["task"].map(content.task_title)), "task")


def _figure(curves: list[dict[str, Any]], name: str) -> str:
    own = [one for one in curves if one["class"] == name]
    protocol = own[0]["protocol"]
    shown = {one["kind"]: (one["stated"], one["observed"], one["units"]) for one in own if one["protocol"] == protocol}
    title = f"{own[0]['encoder']}: {name}"
    caption = f"<figcaption>{html.escape(title)}</figcaption>"
    return f'<figure class="narrow">{caption}{reliability_svg(shown, label=title)}</figure>'


def calibration_table(rows: pd.DataFrame, first: str = "encoder") -> Table:
    """One row per encoder and protocol: ECE and Brier as predicted and calibrated, and the operating point.

    :param first: the name of the first column.
    """
    present = [metric for metric in (*CALIBRATION, *DECISION) if (rows["metric"] == metric).any()]
    header = (first, "protocol", *(metric_name(metric) for metric in present))
    lines = spread(rows[rows["metric"].isin(present)], ("encoder", "protocol"), "metric", present, cell=briefly)
    return Table(header, lines, numeric=frozenset(range(2, len(header))))


def subgroups(content: Content) -> list[Part]:
    """One table per task and encoder that has them."""
    parts: list[Part] = []
    for (task, encoder, protocol), own in content.subgroups.groupby(["task", "encoder", "protocol"], sort=False):
        parts += under(f"{content.task_title(str(task))}, {encoder} ({protocol})", subgroup_table(own))
    return parts


def subgroup_table(rows: pd.DataFrame) -> Table:
    """Column, value, support and score of each subgroup, of a multi-label task also of each label."""
    metric = metric_name(str(rows["metric"].iloc[0]))
    several = "target" in rows and (rows["target"] != "").any()
    lines = []
    for row in rows.to_dict("records"):
        label = [row["target"] or "all (mean)"] if several else []
        value = "too few" if np.isnan(row["value"]) else briefly(row)
        lines.append((*label, row["column"], row["subgroup"], f"{row['units']:,}", f"{row['groups']:,}", value))
    header = (*(["label"] if several else []), "column", "value", "units", "groups", metric)
    return Table(header, tuple(lines), numeric=frozenset(range(len(header) - 3, len(header))))


def at_all_labels(content: Content, task: str) -> pd.DataFrame:
    """The rows of a task with all labels that were selected on validation."""
    rows = content.honest
    return rows[(rows["task"] == task) & rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")]
