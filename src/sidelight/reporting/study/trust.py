"""May a probability be believed, and for whom? Reliability curves, calibration numbers and the table of subgroups."""

from typing import Any

import numpy as np
import pandas as pd

from sidelight.reporting import html
from sidelight.reporting.figures import reliability_svg
from sidelight.reporting.numbers import decimal, estimate, metric_name
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table

CALIBRATION = ("ece", "brier", "ece, calibrated", "brier, calibrated")
DECISION = ("sensitivity at threshold", "specificity at threshold")
INTRO = (
    "On the diagonal a stated probability is an observed frequency. Bins hold equally many units; all labels, seeds pooled. "
    "Calibrated: by a map fitted on the other folds. ECE grows when units are few, whatever the forecast."
)
SUBGROUPS = (
    "At all labels. “Too few”: fewer than 10 patients or 5 units of a class; values that few patients have are pooled."
)


def calibration(content: Content) -> list[str]:
    """Parts of the section: per task a reliability figure of the headline encoder and a table of every encoder."""
    parts = []
    for task in content.tasks:
        curves = [one for one in content.reliability if one["task"] == task and one["encoder"] == content.lead]
        rows = _at_all(content, task)
        table = calibration_table(rows)
        if not curves and not table.rows:
            continue
        figures = [_figure(curves, name) for name in dict.fromkeys(one["class"] for one in curves)]
        grid = f'<div class="grid small">{"".join(figures)}</div>' if figures else ""
        parts.append(f"<h3>{html.escape(content.task_title(task))}</h3>{grid}{table.html()}")
    return parts


def _figure(curves: list[dict[str, Any]], name: str) -> str:
    own = [one for one in curves if one["class"] == name]
    protocol = own[0]["protocol"]
    shown = {one["kind"]: (one["stated"], one["observed"], one["units"]) for one in own if one["protocol"] == protocol}
    title = f"{own[0]['encoder']}: {name}"
    caption = f"<figcaption>{html.escape(title)}</figcaption>"
    return f'<figure class="narrow">{caption}{reliability_svg(shown, label=title)}</figure>'


def calibration_table(rows: pd.DataFrame) -> Table:
    """One row per encoder and protocol: ECE and Brier as predicted and calibrated, and the operating point."""
    present = [metric for metric in (*CALIBRATION, *DECISION) if (rows["metric"] == metric).any()]
    header = ("encoder", "protocol", *(metric_name(metric) for metric in present))
    lines = []
    for (encoder, protocol), own in rows[rows["metric"].isin(present)].groupby(["encoder", "protocol"], sort=False):
        found = own.drop_duplicates("metric").set_index("metric")
        cells = [_estimate(found.loc[metric]) if metric in found.index else "–" for metric in present]
        lines.append((str(encoder), str(protocol), *cells))
    return Table(header, tuple(lines), numeric=frozenset(range(2, len(header))))


def subgroups(content: Content) -> list[str]:
    """Parts of the section: one table per task and encoder that has them."""
    parts = []
    for (task, encoder, protocol), own in content.subgroups.groupby(["task", "encoder", "protocol"], sort=False):
        title = f"{content.task_title(str(task))}, {encoder} ({protocol})"
        parts.append(f"<h3>{html.escape(title)}</h3>{subgroup_table(own).html()}")
    return parts


def subgroup_table(rows: pd.DataFrame) -> Table:
    """Column, value, support and score of each subgroup, of a multi-label task also of each label."""
    metric = metric_name(str(rows["metric"].iloc[0]))
    several = "target" in rows and (rows["target"] != "").any()
    lines = []
    for row in rows.to_dict("records"):
        label = [row["target"] or "all (mean)"] if several else []
        value = "too few" if np.isnan(row["value"]) else _estimate(row)
        lines.append((*label, row["column"], row["subgroup"], f"{row['units']:,}", f"{row['groups']:,}", value))
    header = (*(["label"] if several else []), "column", "value", "units", "groups", metric)
    return Table(header, tuple(lines), numeric=frozenset(range(len(header) - 3, len(header))))


def _at_all(content: Content, task: str) -> pd.DataFrame:
    rows = content.honest
    return rows[(rows["task"] == task) & rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")]


def _estimate(row: Any) -> str:
    if np.isnan(row["low"]):
        return decimal(row["value"])
    return estimate(row["value"], row["low"], row["high"])
