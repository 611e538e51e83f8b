"""A check as tables, for the terminal and for one HTML file; both are made from what its JSON says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sidelight.data.cells import counted
from sidelight.data.read.clip import Array
from sidelight.reporting.document import Document, Figure, Section, picture_row, write
from sidelight.reporting.numbers import duration, significant
from sidelight.reporting.tables import Table

EXAMPLES = 3
MOST_CLASSES = 30
"""Of a task with more the largest are shown; JSON has all."""
LARGEST = 10
HEIGHT = 96
Rows = Sequence[Mapping[str, Any]]


def check_tables(values: Mapping[str, Any]) -> dict[str, Table]:
    """Tables by title; one without rows is left out.

    :param values: of ``Check.to_dict``; for a terminal with names in the place of hashes.
    """
    counts = values["counts"]
    tables = {
        "Findings": _findings(values["findings"]),
        "Levels": _counts(counts["levels"], {"level": "level"}, _LEVELS),
        "Views": _counts(counts["views"], {"view": "view", "unit": "unit"}, _VIEWS),
        "Tables": _counts(counts["tables"], {"table": "table"}, _JOINS),
        "Tasks": _tasks(counts["tasks"]),
        "Reports": _counts(counts.get("reports", []), {"finding": "finding"}, _REPORTS),
        "Files": _files(counts["files"]),
        "Methods": _methods([row for row in values["costs"] if not row["missing"]]),
        "Methods that this cohort cannot feed": _impossible([row for row in values["costs"] if row["missing"]]),
    }
    return {title: table for title, table in tables.items() if table.rows}


def check_line(values: Mapping[str, Any]) -> str:
    """The whole check in one sentence."""
    counts = values["counts"]
    numbers = dict.fromkeys(("error", "warning", "note"), 0)
    for finding in values["findings"]:
        numbers[finding["severity"]] += 1
    words = ", ".join(f"{count} {severity}{'s' * (count != 1)}" for severity, count in numbers.items() if count)
    held = f"{counted(counts['items'], 'item')} in {counted(counts['groups'], 'group')}"
    return f"{held}: {words or 'nothing found'}"


def render_check(values: Mapping[str, Any], out: Path, copies: Sequence[tuple[str, str, Array, Array]] = ()) -> Path:
    """Write the HTML file; ``values`` must be those with hashes.

    :param copies: of ``Check.copies``; a page that shows them is for its owner's eyes only (mode 0600).
    """
    intros = {
        "Findings": "Errors stop other commands or make their numbers wrong; warnings want a look. Items by hash.",
        "Methods": "With default settings on the machine that ran the check; hours of training steps alone.",
    }
    sections = [Section(title, [table], intro=intros.get(title, "")) for title, table in check_tables(values).items()]
    if copies:
        intro = "Pictures of different groups that show the same, as their groups are merged: are they? Do not send this page on."
        sections.insert(1, Section("Copies", [_pair(*one) for one in copies], intro=intro))
    return write(Document(f"Check of {values['name']}", sections, lead=check_line(values)), out, private=bool(copies))


def _pair(left: str, right: str, one: Array, other: Array) -> Figure:
    images = [np.broadcast_to(np.moveaxis(image, 0, -1), (*image.shape[1:], 3)) for image in (one, other)]
    return picture_row(images, [left, right], height=HEIGHT)


def _findings(rows: Rows) -> Table:
    cells = []
    for row in rows:
        examples = ", ".join(row["items"][:EXAMPLES]) + (", ..." if len(row["items"]) > EXAMPLES else "")
        cells.append((row["severity"], row["kind"], row["sentence"], examples))
    return Table(("", "kind", "finding", "for example"), tuple(cells))


def _counts(rows: Rows, words: Mapping[str, str], numbers: Mapping[str, str]) -> Table:
    """Some fields of each row, words before numbers; the mappings say what their columns are called."""
    cells = tuple((*(row[name] or "(none)" for name in words), *_numbers(row, *numbers)) for row in rows)
    header = (*words.values(), *numbers.values())
    return Table(header, cells, numeric=frozenset(range(len(words), len(header))))


def _tasks(rows: Rows) -> Table:
    """The classes of each task; of many the largest, and how many units the others have."""
    shown: list[Mapping[str, Any]] = []
    each: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        each.setdefault(row["task"], []).append(row)
    for own in each.values():
        if len(own) <= MOST_CLASSES:
            shown += own
            continue
        *first, last = sorted(own, key=lambda row: -row["units"])[: LARGEST + 1]
        units = sorted(row["units"] for row in own)[:-LARGEST]
        rest = f"{len(units):,} others of {units[0]:,} to {last['units']:,} units"
        shown += [*first, {**last, "class": rest, "units": sum(units), "groups": None}]
    return _counts(shown, _TASK, {"units": "units", "groups": "groups"})


_LEVELS = {"units": "units", "fewest": "items: fewest", "median": "median", "most": "most", "repeats": "repeats"}
_VIEWS = {"items": "items", "units": "units", "with_all_views": "units with every view"}
_JOINS = {"items": "items", "with_row": "with a row", "rows": "keys", "rows_without_item": "keys of no item"}
_REPORTS = {name: name for name in ("present", "uncertain", "absent", "unmentioned")}
_TASK = {"task": "task", "class": "class", "unit": "unit"}


def _files(facts: Mapping[str, Any]) -> Table:
    names = ("readable", "unreadable", "stills", "clips", "frames", "channels")
    shown = [name for name in names if name in facts]
    return Table((*shown, "size"), ((*_numbers(facts, *shown), _size(facts["bytes"])),), numeric=frozenset(range(7)))


def _methods(rows: Rows) -> Table:
    header = ("method", "pixels", "steps", "per step", "run", "memory", "on")
    cells = []
    for row in rows:
        steps = "–" if row["steps"] is None else f"{row['steps']:,}"
        step = "–" if row["seconds_per_step"] is None else f"{significant(row['seconds_per_step'])} s"
        whole = "–" if row["hours"] is None else duration(3600 * row["hours"])
        numbers = (_size(row["cache_bytes"]), steps, step, whole, _size(row["memory_bytes"]))
        cells.append((row["method"], *numbers, row["device"] or "–"))
    return Table(header, tuple(cells), numeric=frozenset(range(1, 6)))


def _impossible(rows: Rows) -> Table:
    """Each thing that is missing once, with the methods that need it."""
    lacking: dict[str, list[str]] = {}
    for row in rows:
        lacking.setdefault(row["missing"], []).append(row["method"])
    return Table(("methods", "what is missing"), tuple((", ".join(names), what) for what, names in lacking.items()))


def _numbers(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    shown = ((row[name], ",g" if isinstance(row[name], float) else ",") for name in names)
    return tuple("–" if value is None else format(value, form) for value, form in shown)


def _size(count: int | None) -> str:
    """``55 MB``; a dash for none."""
    if not count:
        return "–"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
