"""Who took part: the flow from files to tested units, and table 1, of every task that has them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sidelight.reporting.document import Part, under
from sidelight.reporting.numbers import decimal, plural, share
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table

INTRO = (
    "How many were there, and how many were left at each step. A patient is lost with the last of its images. Values that fewer "
    "than 10 patients have are pooled. Numbers are mean (sd) and median [quartiles]."
)


def sections(content: Content) -> list[Part]:
    """Per task the flow and the characteristics of who remained."""
    parts: list[Part] = []
    for task, found in content.participants.items():
        title = content.task_title(task)
        parts += under(title, flow_table(found), characteristics_table(found))
    return parts


def flow_table(found: Mapping[str, Any]) -> Table:
    """One row per step, and one under it for each reason for which something was lost."""
    patients, unit = plural(str(found["patient"])), str(found["unit"])
    units = unit not in ("item", found["patient"])
    lines: list[tuple[str, ...]] = []
    for step in found["steps"]:
        for lost in step["lost"]:
            counts = (f"−{lost['items']:,}", f"−{lost['patients']:,}", *([""] if units else []))
            lines.append((f"– {lost['reason']}", *counts))
        counts = (
            f"{step['items']:,}",
            f"{step['patients']:,}",
            *([f"{step['units']:,}"] if units and "units" in step else []),
        )
        lines.append((f"**{step['step']}**", *counts, *([""] if units and "units" not in step else [])))
    header = ("step", "images or series", patients, *([plural(unit)] if units else []))
    merged = found["steps"][-1]["patients"] - found["groups"]
    note = f"; near-duplicates make them {found['groups']:,} groups" if merged > 0 else ""
    return Table(
        header, tuple(lines), numeric=frozenset(range(1, len(header))), caption=f"From files to tested units{note}"
    )


def characteristics_table(found: Mapping[str, Any]) -> Table:
    """Table 1: a row per class, value or number, a column per side of the split."""
    words = {
        "patients": plural(str(found["patient"])),
        "units": plural(str(found["unit"])),
        "images": "images or series",
    }
    lines = []
    for row in found["rows"]:
        counts = words[row["counts"]]
        whole = row["name"] in words and not row["value"]
        name = counts if whole else f"{row['name']}: {row['value']}" if row["value"] else str(row["name"])
        cells = tuple(_cell(row["sides"].get(side), whole) for side in found["sides"])
        lines.append((name, "" if whole else counts, *cells))
    header = ("", "of", *("all" if side == "all" else str(side) for side in found["sides"]))
    return Table(
        header, tuple(lines), numeric=frozenset(range(2, len(header))), caption="Who remained, by side of the split"
    )


def _cell(facts: Mapping[str, Any] | None, whole: bool) -> str:
    if facts is None:
        return "–"
    if whole:
        return f"{facts['count']:,}"
    if "mean" in facts:
        numbers = {key: decimal(facts[key], 1) for key in ("mean", "sd", "median", "q1", "q3")}
        return "{mean} ({sd}); {median} [{q1}, {q3}]".format(**numbers)
    return f"{facts['count']:,} ({share(facts['count'] / facts['of'])})" if facts["of"] else "0"


def flow_rows(content: Content) -> pd.DataFrame:
    """Every flow as one long table: a row per step, and one per reason for which something was lost at it."""
    rows = []
    for task, found in content.participants.items():
        for step in found["steps"]:
            left = {name: step.get(name) for name in ("items", "patients", "units")}
            rows += [
                {"task": task, "step": step["step"], "lost": lost["reason"], **_counts(lost)} for lost in step["lost"]
            ]
            rows.append({"task": task, "step": step["step"], "lost": "", **left})
    return pd.DataFrame(rows)


def _counts(lost: Mapping[str, Any]) -> dict[str, int]:
    return {"items": lost["items"], "patients": lost["patients"]}


def characteristics_rows(content: Content) -> pd.DataFrame:
    """Every table 1 as one long table: a row per line and side."""
    return pd.DataFrame(
        {"task": task, "side": side, "name": row["name"], "value": row["value"], "counts": row["counts"], **facts}
        for task, found in content.participants.items()
        for row in found["rows"]
        for side, facts in row["sides"].items()
    )
