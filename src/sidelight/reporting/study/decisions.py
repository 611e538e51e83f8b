"""What a probability is worth when somebody acts on it: decision curves, operating points, the 2x2 table by patient."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sidelight.reporting.document import Detail, Figure, Part, Text, under
from sidelight.reporting.figures import SOFT, Look, grid_png, looks, svg
from sidelight.reporting.numbers import decimal
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table, briefly, spread

INTRO = (
    "At the threshold that the other folds chose, or that the cost of a miss gives, on calibrated probabilities. A patient "
    "has the disease if any unit has it, and is called if any unit is. Counts are means over seeds. Net benefit: hits less "
    "false alarms, each weighed by the odds of the threshold, per unit; bands are 95 % intervals by patient."
)
CELLS = ("true positives", "false positives", "false negatives", "true negatives")
BRIEF = ("threshold", "sensitivity", "specificity", "PPV", "NPV", "LR+", "LR−")
MOST_PANELS = 6


def sections(content: Content) -> list[Part]:
    """Per task and label the decision curve of every encoder, the tables of the headline encoder, and folded those of others."""
    parts: list[Part] = []
    for task in content.tasks:
        rows = content.decisions[content.decisions["task"] == task] if len(content.decisions) else content.decisions
        for name, own in rows.groupby("class", sort=False) if len(rows) else ():
            title = f"{content.task_title(task)}: {name}"
            curves = _curves(content, task, str(name))
            lead = own[own["encoder"] == content.lead]
            others = [
                Detail(f"{encoder} ({protocol})", [points_table(part), *two_by_two(part)])
                for (encoder, protocol), part in own[own["encoder"] != content.lead].groupby(
                    ["encoder", "protocol"], sort=False
                )
            ]
            tables: list[Part] = []
            for _, part in lead.groupby("protocol", sort=False):
                tables += [points_table(part), *two_by_two(part)]
            parts += under(title, _drawn(content, curves, title), *_said(content, curves), *tables, *others)
    return parts


def of_lead(content: Content) -> list[Part]:
    """The headline encoder: its decision curves as one figure, and one row per task and label."""
    rows = content.decisions
    if rows.empty:
        return []
    rows = rows[(rows["encoder"] == content.lead) & (rows["per"] == "unit")]
    lines = spread(
        rows.assign(task=rows["task"].map(content.task_title)), ("task", "class", "protocol"), "measure", BRIEF,
        cell=briefly,
    )  # fmt: skip
    table = Table(("task", "positive", "protocol", *BRIEF), lines, numeric=frozenset(range(3, 3 + len(BRIEF))))
    panels = []
    for task in content.tasks:
        known = rows.loc[rows["task"] == task, "class"]
        for name in known.unique():
            curves = _curves(content, task, str(name))
            palette = _palette(content, curves)
            panels.append((f"{content.task_title(task)}: {name}", partial(draw, curves=curves, palette=palette)))
    save = partial(grid_png, panels[:MOST_PANELS], size=(4.6, 3.2)) if panels else None
    return [Figure("", "decisions", "Net benefit against the threshold, with 95 % bands", save), table]


def _curves(content: Content, task: str, name: str) -> pd.DataFrame:
    rows = content.decision_curves
    return rows[(rows["task"] == task) & (rows["class"] == name)] if len(rows) else rows


def _palette(content: Content, curves: pd.DataFrame) -> dict[str, Look]:
    names = list(dict.fromkeys([*content.encoders, *curves["encoder"]]))
    return looks(names, content.lead, content.is_baseline)


def _drawn(content: Content, curves: pd.DataFrame, title: str) -> Figure:
    if curves.empty:
        return Figure("")

    def both(axes: Axes) -> None:
        draw(axes, curves, _palette(content, curves))
        axes.legend(frameon=False, fontsize=8, borderpad=0.2)

    figure = svg(both, size=(5.4, 3.4), label=f"{title}: net benefit against the threshold")
    return Figure(f'<div class="grid"><figure>{figure}</figure></div>')


def draw(axes: Axes, curves: pd.DataFrame, palette: Mapping[str, Look]) -> None:
    """Net benefit over thresholds: a line per encoder and protocol, the band of the headline one, everybody and nobody."""
    first = curves.drop_duplicates("threshold")
    axes.plot(first["threshold"], first["everybody"], color=SOFT, linewidth=1.0,
              label="act on everybody", gid="curve")  # fmt: skip
    axes.axhline(0, color=SOFT, linewidth=1.0, linestyle=(0, (1, 2)), label="act on nobody")
    for (encoder, protocol), own in curves.groupby(["encoder", "protocol"], sort=False):
        look = palette[str(encoder)]
        if look.lead:
            axes.fill_between(own["threshold"], own["low"], own["high"], color=look.colour, linewidth=0, alpha=0.15)
        several = len(set(curves.loc[curves["encoder"] == encoder, "protocol"])) > 1
        axes.plot(own["threshold"], own["net_benefit"], color=look.colour, linestyle=look.dash, gid="curve",
                  linewidth=2.2 if look.lead else 1.2, label=f"{encoder} ({protocol})" if several else str(encoder))  # fmt: skip
    top = float(curves[["net_benefit", "high"]].max().max())
    bottom = float(curves[["net_benefit", "low"]].min().min())
    # acting on everybody falls without end: the picture keeps to what may be of use
    axes.set_ylim(max(bottom, -0.3 * max(top, 0.05)) - 0.01, 1.08 * max(top, 0.02))
    axes.set_xlabel("threshold probability")
    axes.set_ylabel("net benefit")


def _said(content: Content, curves: pd.DataFrame) -> list[Part]:
    """Where the headline encoder is shown to be better than acting on everybody and on nobody."""
    if curves.empty:
        return []
    said: list[Part] = []
    for protocol, own in curves[curves["encoder"] == content.lead].groupby("protocol", sort=False):
        low, high, better = own["threshold"].min(), own["threshold"].max(), own.loc[own["better"], "threshold"]
        where = "at no threshold" if better.empty else f"at {len(better)} of {len(own)} thresholds"
        span = "" if better.empty else f", between {better.min():.2f} and {better.max():.2f}"
        why = str(own["interval_note"].iloc[0])
        text = f"{content.lead} ({protocol}) is shown to be of more use than acting on everybody and on nobody {where}{span}"
        tail = f" ({why})" if better.empty and why else ""
        said.append(Text(f"{text}; looked at: {low:g} to {high:g}{tail}."))
    return said


def points_table(rows: pd.DataFrame) -> Table:
    """One encoder's measures, by unit and by patient.

    :param rows: of ``decisions.parquet``.
    """
    shown = rows[~rows["measure"].isin(CELLS)]
    lines = spread(shown, ("measure",), "per", ("unit", "patient"), cell=briefly)
    support = rows.drop_duplicates("per").set_index("per")
    known = {per: f"{row['positives']:,} of {row['units']:,} positive" for per, row in support.iterrows()}
    first = ("", known.get("unit", "–"), known.get("patient", "–"))
    return Table(("", "by unit", "by patient"), (first, *lines), numeric=frozenset({1, 2}))


def two_by_two(rows: pd.DataFrame) -> list[Part]:
    """The 2x2 table by patient."""
    count: Mapping[Any, Any] = rows[rows["per"] == "patient"].set_index("measure")["value"].to_dict()
    if not set(CELLS) <= set(count):
        return []
    hit, alarm, miss, clear = (decimal(count[name], 0 if float(count[name]).is_integer() else 1) for name in CELLS)
    lines = (("called", hit, alarm), ("not called", miss, clear))
    return [Table(("patients", "with it", "without it"), lines, numeric=frozenset({1, 2}))]
