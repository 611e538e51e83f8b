"""May a probability be believed, and for whom? Calibration curves and numbers, and the table of subgroups."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sidelight.reporting import html
from sidelight.reporting.document import Figure, Part, under
from sidelight.reporting.figures import COLOURS, Bins, Curve, Look, draw_reliability, grid_png, reliability_svg
from sidelight.reporting.numbers import estimate, metric_name, p_value
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table, briefly, spread

CALIBRATION = ("ece", "brier", "ece, calibrated", "brier, calibrated")
DECISION = ("sensitivity at threshold", "specificity at threshold")
WEAK = ("calibration intercept", "calibration slope", "O:E")
INTRO = (
    "On the diagonal a stated probability is an observed frequency. Dots: bins of equally many units, all labels, seeds pooled; "
    "line: local regression with its 95 % band by patient. Calibrated: by a map fitted on the other folds. O:E: cases observed "
    "for each one expected. Intercept: below 0 risks are stated too high. Slope: below 1 they are too extreme. ECE grows when "
    "units are few."
)
LEAD = (
    "The headline encoder with all labels; calibrated: by a map fitted on the other folds. Right are intercept 0, slope 1 and "
    "O:E 1."
)
SUBGROUPS = (
    "At all labels, at the one threshold. “Too few”: fewer than 10 patients, or 5 with or 5 without a class; values that few "
    "patients have are pooled. Difference: to all others. Bold: one is shown (p below 0.05, Holm over the values of a column)."
)


def calibration(content: Content) -> list[Part]:
    """Per task a calibration figure of the headline encoder and tables of every encoder."""
    parts: list[Part] = []
    for task in content.tasks:
        drawn = [_figure(*one) for one in _figures(content, task)]
        grid = Figure(f'<div class="grid small">{"".join(drawn)}</div>' if drawn else "")
        weak = weak_table(_of(content.calibration, task))
        parts += under(content.task_title(task), grid, weak, calibration_table(at_all_labels(content, task)))
    return parts


def calibration_of_lead(content: Content) -> list[Part]:
    """The headline encoder on every task: a figure, and its numbers."""
    rows = pd.concat([at_all_labels(content, task) for task in content.tasks] or [content.results])
    rows = rows[rows["encoder"] == content.lead]
    panels = [
        (f"{content.task_title(task)}: {name}", partial(draw_reliability, bins=bins, smooth=smooth))
        for task in content.tasks
        for _, name, bins, smooth in _figures(content, task)
        if smooth
    ]
    weak = content.calibration
    if len(weak):
        weak = weak[weak["encoder"] == content.lead]
        weak = weak.assign(encoder=weak["task"].map(content.task_title))
    save = partial(grid_png, panels[:MOST_PANELS], size=(3.6, 3.6)) if panels else None
    figure = Figure("", "calibration", "Observed share against stated probability, with 95 % bands", save)
    table = calibration_table(rows.assign(encoder=rows["task"].map(content.task_title)), "task")
    return [figure, weak_table(weak, "task"), table]


MOST_PANELS = 6
"""Of a figure on a Markdown page."""
_PLAIN = Look(COLOURS[0], "-", "o", False, True)


def _figures(content: Content, task: str) -> list[tuple[str, str, dict[str, Bins], dict[str, Curve]]]:
    """Of the headline encoder its name, and per class the bins and the smooth curve of each kind of probability."""
    curves = [one for one in content.reliability if one["task"] == task and one["encoder"] == content.lead]
    lines = _of(content.calibration_curves, task)
    found = []
    for name in dict.fromkeys(one["class"] for one in curves):
        own = [one for one in curves if one["class"] == name]
        protocol = own[0]["protocol"]
        bins = {
            one["kind"]: (one["stated"], one["observed"], one["units"]) for one in own if one["protocol"] == protocol
        }
        smooth = {}
        if len(lines):
            mine = lines[
                (lines["encoder"] == content.lead) & (lines["class"] == name) & (lines["protocol"] == protocol)
            ]
            for kind, line in mine.groupby("kind", sort=False):
                numbers = (line[column].tolist() for column in ("stated", "observed", "low", "high"))
                smooth[str(kind)] = Curve(str(kind), _PLAIN, *numbers)
        found.append((str(own[0]["encoder"]), str(name), bins, smooth))
    return found


def _figure(encoder: str, name: str, bins: Mapping[str, Bins], smooth: Mapping[str, Curve]) -> str:
    title = f"{encoder}: {name}"
    caption = f"<figcaption>{html.escape(title)}</figcaption>"
    return f'<figure class="narrow">{caption}{reliability_svg(bins, smooth, label=title)}</figure>'


def _of(table: pd.DataFrame, task: str) -> pd.DataFrame:
    return table[table["task"] == task] if len(table) else table


def weak_table(rows: pd.DataFrame, first: str = "encoder") -> Table:
    """Intercept, slope and O:E: one row per encoder, protocol, class and kind of probability.

    :param rows: of ``calibration.parquet``; none where the folder is older.
    """
    if rows.empty:
        return Table((), ())

    def support(own: pd.DataFrame) -> tuple[str, ...]:
        row = own.iloc[0]
        return (f"{row['positives']:,} of {row['units']:,}", f"{row['positive_groups']:,} of {row['groups']:,}")

    lines = spread(rows, ("encoder", "protocol", "class", "kind"), "measure", WEAK, cell=briefly, support=support)
    header = (first, "protocol", "class", "probabilities", "units", "patients", "intercept", "slope", "O:E")
    return Table(header, lines, numeric=frozenset(range(4, len(header))))


def calibration_table(rows: pd.DataFrame, first: str = "encoder") -> Table:
    """One row per encoder and protocol: ECE and Brier as predicted and calibrated, and the operating point.

    :param first: the name of the first column.
    """
    present = [metric for metric in (*CALIBRATION, *DECISION) if (rows["metric"] == metric).any()]
    header = (first, "protocol", *(metric_name(metric) for metric in present))
    lines = spread(rows[rows["metric"].isin(present)], ("encoder", "protocol"), "metric", present, cell=briefly)
    return Table(header, lines, numeric=frozenset(range(2, len(header))))


def subgroups(content: Content) -> list[Part]:
    """Two tables per task and encoder that has subgroups: scores and decisions, and calibration."""
    parts: list[Part] = []
    for (task, encoder, protocol), own in content.subgroups.groupby(["task", "encoder", "protocol"], sort=False):
        title = f"{content.task_title(str(task))}, {encoder} ({protocol})"
        parts += under(title, subgroup_table(own), by_subgroup(own[own["metric"].isin(WEAK)], WEAK))
    return parts


def subgroup_table(rows: pd.DataFrame) -> Table:
    """Support, score and operating point of each subgroup, and how it differs from all others, of a multi-label task also of each
    label."""
    return by_subgroup(rows, [name for name in dict.fromkeys(rows["metric"]) if name not in WEAK])


def by_subgroup(rows: pd.DataFrame, metrics: Sequence[str]) -> Table:
    """One row per subgroup: support, and each of ``metrics`` as far as it is there; a difference follows the first."""
    present = [name for name in metrics if (rows["metric"] == name).any()]
    if not present:
        return Table((), ())
    several = "target" in rows and (rows["target"] != "").any()
    compared = "difference" in rows and rows.loc[rows["metric"] == present[0], "difference"].notna().any()
    lines = []
    by = (["target"] if "target" in rows else []) + ["column", "subgroup"]
    for _, own in rows.groupby(by, sort=False):
        named = own.drop_duplicates("metric").set_index("metric").to_dict("index")
        row = own.iloc[0]
        label = [row["target"] or "all (mean)"] if several else []
        ill = [_count(row["positive_groups"])] if "positive_groups" in row else []
        cells = [_cell(named.get(name)) for name in present]
        if compared:
            cells.insert(1, _difference(named.get(present[0])))
        lines.append((*label, row["column"], row["subgroup"], f"{row['units']:,}", f"{row['groups']:,}", *ill, *cells))
    names = [name if name in WEAK else metric_name(name) for name in present]
    if compared:
        names.insert(1, "difference (Holm p)")
    ill = ["with it"] if "positive_groups" in rows else []
    header = (*(["label"] if several else []), "column", "value", "units", "groups", *ill, *names)
    start = len(header) - len(names) - len(ill) - 2
    return Table(header, tuple(lines), numeric=frozenset(range(start, len(header))))


def _count(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:,.0f}"


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return "–"
    text = "too few" if row["note"] == "too few" else "–" if np.isnan(row["value"]) else briefly(row)
    return f"**{text}**" if row.get("p_holm", np.nan) < 0.05 else text


def _difference(row: Mapping[Any, Any] | None) -> str:
    if row is None or np.isnan(row["difference"]):
        return "–"
    text = estimate(row["difference"], row["difference_low"], row["difference_high"], sign=True)
    return f"**{text}** ({p_value(row['p_holm'])})" if row["p_holm"] < 0.05 else f"{text} ({p_value(row['p_holm'])})"


def at_all_labels(content: Content, task: str) -> pd.DataFrame:
    """The rows of a task with all labels that were selected on validation."""
    rows = content.honest
    return rows[(rows["task"] == task) & rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")]
