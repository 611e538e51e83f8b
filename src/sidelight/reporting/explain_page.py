"""The page of an explanation: rows of images with their sentences, and tables, in one HTML file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sidelight.explaining.content import Part, Picture
from sidelight.files import write_csv, write_text
from sidelight.reporting import html
from sidelight.reporting.tables import Table
from sidelight.train.card import USE

SIDE = 144


def render_explanation(parts: Sequence[Part], folder: Path, *, title: str, data: str) -> Path:
    """Write ``folder/index.html`` and each table as ``folder/NAME.csv``; returns the page's path."""
    sections = [
        html.section(
            part.title,
            html.listing(list(part.facts)),
            "" if part.table is None else frame_table(part.table).html(),
            *map(_row, part.pictures),
            intro=part.intro,
        )
        for part in parts
    ]
    for part in parts:
        if part.table is not None:
            write_csv(folder / f"{html.slug(part.title)}.csv", part.table)
    body = "\n".join([html.contents(sections), *sections])
    lead = f"{USE} This page shows images of {data}: treat it as patient data."
    return write_text(folder / "index.html", html.page(title, body, lead=lead), private=True)


def frame_table(frame: pd.DataFrame) -> Table:
    """A data frame as a table; numbers with three decimals at most."""
    numeric = {at for at, name in enumerate(frame.columns) if pd.api.types.is_numeric_dtype(frame[name])}
    rows = tuple(tuple(_cell(cell) for cell in row) for row in frame.itertuples(index=False))
    return Table(tuple(map(str, frame.columns)), rows, numeric=frozenset(numeric))


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def _row(picture: Picture) -> str:
    """A sentence and, under it, images [H,W,3] side by side."""
    figures = "".join(
        f'<figure class="small"><img src="{html.picture(np.moveaxis(image, -1, 0), side=2 * SIDE)}" height="{SIDE}" '
        f'alt="" loading="lazy"><figcaption>{html.escape(caption)}</figcaption></figure>'
        for image, caption in zip(picture.images, picture.captions, strict=True)
    )
    return f'<p>{html.inline(picture.sentence)}</p><div class="pictures strip">{figures}</div>'
