"""The page of a suite: one table of encoders and tasks, the papers' beside it, and what is absent or broken, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.data.cells import counted
from sidelight.reporting.document import Document, Listing, Part, Section, Text, write
from sidelight.reporting.numbers import estimate, metric_name
from sidelight.reporting.study.tables import published
from sidelight.reporting.tables import Table


@dataclass(frozen=True)
class Place:
    """A data set: what the suite says of it, and what became of it.

    :ivar state: "done", or why it has no numbers: that it is absent, or could not be read.
    :ivar split: where its sides are from, and how many items each has; ``hashes`` of the splits that were judged.
    :ivar notes: what was left out, and what leaks.
    """

    name: str
    says: str = ""
    state: str = ""
    split: str = ""
    hashes: list[str] = field(default_factory=list)
    data: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """A task: its title and metric, and why it has no numbers, if it has none."""

    title: str
    metric: str
    fault: str = ""


def render_suite(
    plan: Any,
    places: Sequence[Place],
    columns: Sequence[Column],
    table: pd.DataFrame,
    out: str | Path,
    absent_rows: Sequence[str] = (),
) -> Path:
    """Write the page, HTML or Markdown by the name of ``out``; returns its path.

    :param plan: the suite file: ``title``, ``question``, ``published``, ``limits``.
    :param absent_rows: sentences on encoders that have no numbers in tasks that others have.
    """
    done = [column for column in columns if not column.fault]
    absent = [place for place in places if place.state.startswith("absent")]
    broken = [column for column in columns if column.fault and not column.fault.startswith("absent")]
    said = f"{len(done)} of {counted(len(columns), 'task')} have numbers"
    opening: list[Part] = [Text(f"**{said}.**")]
    if absent:
        opening.append(Text(f"Absent: {', '.join(place.name for place in absent)}."))
    opening += [Text(f"{column.title}: {column.fault}", "note") for column in broken]
    opening += [Text(one, "note") for one in absent_rows]
    sections = [
        Section(
            "Scores with all labels",
            [_scores(done, table)],
            _SCORES,
        ),
        Section("Data sets", [_places(places)]),
        Section("Left out, and leaks", [Listing([f"{one.name}, {note}" for one in places for note in one.notes])]),
        Section("Published numbers", [published(entry.model_dump()) for entry in plan.published], _PUBLISHED),
        Section("What we could not show", [Listing(plan.limits)]),
    ]
    return write(
        Document(plan.title, sections, lead=plan.question, opening=Section("Answer", opening), files={"tasks": table}),
        Path(out),
    )


_SCORES = (
    "The step and the learning rate are those that validation chose; intervals resample patients where they are known, and the "
    "report of each data set, in the folder of its name beside this page, has differences, label counts and failures."
)
_PUBLISHED = (
    "From the papers, as data: other splits, networks and selection rules. They stand beside ours and are not compared."
)


def _scores(columns: Sequence[Column], table: pd.DataFrame) -> Table:
    encoders, rows = list(dict.fromkeys(table["encoder"])), []
    for column in columns:
        own = table[table["task"] == column.title].set_index("encoder")
        cells = [estimate(*own.loc[one, ["value", "low", "high"]]) if one in own.index else "" for one in encoders]
        rows.append((column.title, metric_name(column.metric), *cells))
    return Table(("task", "metric", *encoders), tuple(rows), frozenset(range(2, len(encoders) + 2)))


def _places(places: Sequence[Place]) -> Table:
    rows = [(place.name, place.state, place.says, place.split, " ".join(place.hashes), place.data) for place in places]
    return Table(("data set", "state", "what is read", "split", "split hashes", "data hash"), tuple(rows))
