"""The page of an explanation: rows of images with their sentences, and tables, in one HTML file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sidelight.explaining.content import Part
from sidelight.files import write_csv
from sidelight.reporting.document import Document, Listing, Section, Text, picture_row, write
from sidelight.reporting.document import Part as Piece
from sidelight.reporting.html import slug
from sidelight.reporting.tables import Table
from sidelight.train.card import USE

SIDE = 144


def render_explanation(parts: Sequence[Part], folder: Path, *, title: str, data: str) -> Path:
    """Write ``folder/index.html`` and each table as ``folder/NAME.csv``; returns the page's path."""
    sections = []
    for part in parts:
        found: list[Piece] = [Listing(part.facts)]
        if part.table is not None:
            found.append(frame_table(part.table))
            write_csv(folder / f"{slug(part.title)}.csv", part.table)
        for one in part.pictures:
            found += [Text(one.sentence), picture_row(one.images, one.captions, height=SIDE)]
        sections.append(Section(part.title, found, intro=part.intro))
    lead = f"{USE} This page shows images of {data}: treat it as patient data."
    return write(Document(title, sections, lead=lead), folder / "index.html", private=True)


def frame_table(frame: pd.DataFrame) -> Table:
    """A data frame as a table; numbers with three decimals at most."""
    numeric = {at for at, name in enumerate(frame.columns) if pd.api.types.is_numeric_dtype(frame[name])}
    rows = tuple(tuple(_cell(cell) for cell in row) for row in frame.itertuples(index=False))
    return Table(tuple(map(str, frame.columns)), rows, numeric=frozenset(numeric))


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)
