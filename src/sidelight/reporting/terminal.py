"""Results and checks as tables in the terminal."""

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelight.reporting import tables
from sidelight.reporting.check_page import check_line, check_tables
from sidelight.reporting.labels import label_table
from sidelight.reporting.numbers import estimate, metric_name


def results_table(results: pd.DataFrame, notes: tuple[str, ...] = (), *, console: Console | None = None) -> None:
    """Print the headline metrics of ``results`` with their intervals, then ``notes``."""
    console = console or Console(file=sys.stdout)
    table = Table(title="95 % intervals resample patients or recording groups")
    several = len(set(results["task"])) > 1  # an external test stands beside the own folds
    names = ("task", "labels", "metric", "value", "seed sd", "units", "groups", "note")
    for name in names if several else names[1:]:
        table.add_column(name, justify="left" if name in ("task", "metric", "note") else "right")
    shown = results[(results["target"] == "") & ~results["metric"].str.contains(":|micro ")]
    for row in shown.to_dict("records"):
        marks = [
            row.get("interval_note") or "",
            "selected on test" if row["selected_on"] == "test" else "",
            "split leaks" if row.get("leaks") else "",
            "last step" if row["protocol"].endswith("last step") else "",
        ]
        table.add_row(
            *([str(row["task"])] if several else []),
            f"{row['labels']}{' (all)' if row['all_labels'] else ''}",
            metric_name(row["metric"]),
            estimate(row["value"], row["low"], row["high"]),
            "" if pd.isna(row["seed_sd"]) else f"{row['seed_sd']:.3f}",
            str(row["units"]),
            str(row["groups"]),
            "; ".join(mark for mark in marks if mark),
        )
    console.print(table)
    for task, own in results[results["target"] != ""].groupby("task", sort=False):
        console.print(_rich(label_table(own), f"{task}: each label at all labels; above, their mean"))
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def _rich(one: tables.Table, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(one.header):
        table.add_column(name, justify="right" if place in one.numeric else "left", overflow="fold")
    for row in one.rows:
        table.add_row(*map(Text, row))
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
        console.print(f"- {notice}", markup=False, highlight=False)
    for severity, kind, sentence, example in findings.rows if findings else ():
        line = Text(f"{severity:<8}", style=COLOURS[severity]).append(f"{kind}: {sentence}", style="default")
        console.print(line.append(f"; for example {example}" if example else "", style="dim"), highlight=False)
    console.print(check_line(values), style="bold", highlight=False)
