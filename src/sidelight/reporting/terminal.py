"""Results as a table in the terminal."""

import sys

import pandas as pd
from rich.console import Console
from rich.table import Table

from sidelight.reporting.numbers import estimate, metric_name


def results_table(results: pd.DataFrame, notes: tuple[str, ...] = (), *, console: Console | None = None) -> None:
    """Print the headline metrics of ``results`` with their intervals, then ``notes``."""
    console = console or Console(file=sys.stdout)
    table = Table(title="95 % intervals resample patients or recording groups")
    for name in ("labels", "metric", "value", "seed sd", "units", "groups", "note"):
        table.add_column(name, justify="left" if name in ("metric", "note") else "right")
    shown = results[~results["metric"].str.contains(":")]
    for row in shown.to_dict("records"):
        marks = [
            row.get("interval_note") or "",
            "selected on test" if row["selected_on"] == "test" else "",
            "last step" if row["protocol"].endswith("last step") else "",
        ]
        table.add_row(
            f"{row['labels']}{' (all)' if row['all_labels'] else ''}",
            metric_name(row["metric"]),
            estimate(row["value"], row["low"], row["high"]),
            "" if pd.isna(row["seed_sd"]) else f"{row['seed_sd']:.3f}",
            str(row["units"]),
            str(row["groups"]),
            "; ".join(mark for mark in marks if mark),
        )
    console.print(table)
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)
