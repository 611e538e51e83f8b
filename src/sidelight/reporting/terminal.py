"""Results and checks as tables in the terminal."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelight.data.cells import counted, owners, shown
from sidelight.reporting import tables
from sidelight.reporting.check_page import check_line, check_tables
from sidelight.reporting.numbers import estimate, metric_name
from sidelight.reporting.plan_table import plan_sentences, plan_table
from sidelight.reporting.study.checklist import checklist_tables
from sidelight.reporting.study.labels import label_table


def results_table(results: pd.DataFrame, notes: tuple[str, ...] = (), *, console: Console | None = None) -> None:
    """Print the headline metrics of ``results`` with their intervals, then ``notes``."""
    console = console or Console(file=sys.stdout)
    headline = results[(results["target"] == "") & ~results["metric"].str.contains(":|micro ")]
    remarks: dict[str, int] = {}
    whose = owners(results["level"].iloc[0] if "level" in results and len(results) else "")
    home = headline["task"].iloc[0] if len(headline) else ""
    for task, own in headline.groupby("task", sort=False):
        place = "" if task == home else f", external: {str(task).removeprefix(f'{home} on ')}"
        support = f"{own['units'].max()} units of {own['groups'].max()} {whose}"
        console.print(_rich(_scores(own, remarks), f"{home}{place or ', own data'}: {support}"))
    console.print(f"[ ]: 95 % intervals, which resample {whose}", markup=False, highlight=False)
    for remark, number in remarks.items():
        console.print(shown(f"{number}: {remark}"), markup=False, highlight=False)
    for task, own in results[results["target"] != ""].groupby("task", sort=False):
        each = _within(label_table(own), console.width)
        console.print(_rich(each, f"{task}: each label at all labels; above, their mean"))
        for title, table in checklist_tables(results[results["task"] == task]):
            console.print(_rich(_within(table, console.width), title))
    for note in notes:
        console.print(shown(f"- {note}"), markup=False, highlight=False)


def _scores(own: pd.DataFrame, remarks: dict[str, int]) -> tables.Table:
    """One row per label count and metric; notes stand as numbers, which ``remarks`` collects: the table fits 80 columns."""
    rows = []
    for row in own.to_dict("records"):
        marks = [
            row.get("interval_note") or "",
            "selected on test" if row["selected_on"] == "test" else "",
            "split leaks" if row.get("leaks") else "",
            "last step" if row["protocol"].endswith("last step") else "",
        ]
        numbers = [str(remarks.setdefault(mark, len(remarks) + 1)) for mark in marks if mark]
        labels = f"{row['labels']}{' (all)' if row['all_labels'] else ''}"
        value = estimate(row["value"], row["low"], row["high"])
        spread = "" if pd.isna(row["seed_sd"]) else f"{row['seed_sd']:.3f}"
        rows.append((labels, metric_name(row["metric"]), value, spread, ",".join(numbers)))
    return tables.Table(("labels", "metric", "value", "seed sd", "note"), tuple(rows), numeric=frozenset({0, 2, 3}))


def _within(one: tables.Table, width: int) -> tables.Table:
    """The table, or if it is wider than ``width`` characters the same with a row for each of its cells."""
    columns = list(zip(one.header, *one.rows, strict=True))
    if sum(max(map(len, column)) + 3 for column in columns) < width:
        return one
    rows = [
        (row[0] if place == 0 else "", name, cell)
        for row in one.rows
        for place, (name, cell) in enumerate(zip(one.header[1:], row[1:], strict=True))
        if cell
    ]
    return tables.Table((one.header[0], "", "value"), tuple(rows), numeric=frozenset({2}))


def _rich(one: tables.Table, title: str) -> Table:
    table = Table(title=Text(shown(title)), title_justify="left")
    for place, name in enumerate(one.header):
        table.add_column(Text(shown(name)), justify="right" if place in one.numeric else "left", overflow="fold")
    for row in one.rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table


COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


def print_check(values: Mapping[str, Any], notices: tuple[str, ...] = (), *, console: Console | None = None) -> None:
    """Print a check: its findings last, where they are seen.

    :param values: of ``Check.to_dict``, here with the items' names in place of hashes.
    """
    console = console or Console(file=sys.stdout)
    tables = check_tables(values)
    findings = tables.pop("Findings", None)
    for title, one in tables.items():
        console.print(_rich(one, title))
    for notice in notices:
        console.print(shown(f"- {notice}"), markup=False, highlight=False)
    for severity, kind, sentence, example in findings.rows if findings else ():
        line = Text(f"{severity:<8}", style=COLOURS[severity]).append(shown(f"{kind}: {sentence}"), style="default")
        console.print(line.append(shown(f"; for example {example}") if example else "", style="dim"), highlight=False)
    console.print(shown(check_line(values)), style="bold", highlight=False)


def print_plan(values: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print a plan; ``values`` of ``Plan.to_dict``."""
    console = console or Console(file=sys.stdout)
    console.print(_rich(plan_table(values), f"Plan of {values['name']}: nothing is trained yet"))
    for line in plan_sentences(values):
        console.print(shown(line), markup=False, highlight=False, soft_wrap=True)


def print_prediction(table: pd.DataFrame, out: Path, *, names: bool, console: Console | None = None) -> None:
    """Say what was scored, what lies outside the training data, and what for.

    :param table: of :func:`sidelight.commands.predict.predict`, written to ``out``.
    :param names: also show notices on the data, which may quote file names and cells.
    """
    console = console or Console(file=sys.stdout)
    outside, missing = int(table["outside"].fillna(False).sum()), int((table["missing"] != "").sum())
    notices = table.attrs["notices"]
    lines = [f"{notice}." for notice in notices if names]
    if notices and not names:
        shows = "it" if len(notices) == 1 else "them"
        lines.append(f"{counted(len(notices), 'remark')} on the data: --names shows {shows}.")
    lines.append(
        f"{len(table)} units scored in {out}; {outside} outside the training data, {missing} with missing inputs."
    )
    lines.append(f"Outside: {table.attrs['outside']}.")
    if "probability" in table:
        lines.append(f"probability is that of {table.attrs['positive']!r}")
    for line in [*lines, table["use"].iloc[0]]:
        console.print(shown(line), markup=False, highlight=False, soft_wrap=True)
