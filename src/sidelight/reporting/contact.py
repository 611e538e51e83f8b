"""The contact sheet: random items with everything that was joined to them, so that a shifted join is seen at a glance.

It shows pictures, paths and table rows as they are, but for identifiers joined to those of DICOM headers: it contains
patient data and is written for its owner's eyes only.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.annotations import annotations_of
from sidelight.data.annotations.drawn import Shape
from sidelight.data.cohort.assemble import keys_of, rows_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import TableSpec
from sidelight.data.cohort.tables import join_keys
from sidelight.data.dicom import tags
from sidelight.data.read.clip import Clip
from sidelight.errors import SidelightError
from sidelight.files import write_text
from sidelight.reporting import html
from sidelight.reporting.drawn import key, with_boxes, with_outlines
from sidelight.reporting.tables import Table

SHOWN = 12
HEIGHT = 150
FRAMES = 3
LONG = 90  # characters from which a cell is a paragraph of its own
LONGEST = 700  # characters of one cell


@dataclass(frozen=True)
class Rows:
    """One table beside the items: the row (0-based) of each item, -1 where it has none, and its key columns."""

    file: str
    table: pd.DataFrame
    keys: tuple[str, ...]
    row: np.ndarray[Any, np.dtype[np.int64]]
    header: int
    """The line of the header."""


def render_contact(cohort: Cohort, out: Path, *, count: int = SHOWN, seed: int = 0) -> Path:
    """Write the contact sheet of ``count`` random items to ``out`` (mode 0600), one HTML file; returns its path."""
    tables = beside(cohort)
    chosen = sorted(random.Random(seed).sample(range(len(cohort.items)), min(count, len(cohort.items))))
    levels = [f"{cohort.items[level].nunique()} {level}" for level in cohort.levels]
    body = [
        html.note(
            "**Contains patient data; do not send.** Pictures, paths and rows stand here as they are on the disk"
            + (", identifiers that meet those of DICOM headers as keyed hashes." if _hashes(cohort) else ".")
        ),
        html.section("Tables", _joined(tables, len(cohort.items)), html.listing(list(cohort.notices))),
        html.section(
            "Items",
            *(_item(cohort, position, tables) for position in chosen),
            intro="Does each picture fit the rows beside it? If not, mend the join in `cohort.toml`.",
        ),
    ]
    text = html.page(
        f"Contact sheet of {cohort.name}",
        "\n".join(body),
        lead=f"{len(chosen)} random items, each with its place in the cohort and the rows that were joined to it.",
        facts=[f"{len(cohort.items)} items", *levels, *(f"task {name}" for name in cohort.tasks)],
    )
    return write_text(out, text, private=True)


def _hashes(cohort: Cohort) -> bool:
    """Whether a table is joined by an identifier of DICOM headers."""
    roles = cohort.spec.roles
    left = [ours for table in cohort.spec.tables for ours, _ in table.keys]
    return any(roles.get(name, name).startswith("dicom:") for name in left)


def beside(cohort: Cohort) -> list[Rows]:
    """Every table of the cohort with the row that each item took from it."""
    return [one for table in cohort.spec.tables if (one := _rows(cohort, table)) is not None]


def _rows(cohort: Cohort, table: TableSpec) -> Rows | None:
    try:
        rows, left, right = keys_of(
            cohort.root, cohort.items, table, rows_of(cohort.root, table, cohort.spec), cohort.spec
        )
    except SidelightError:
        return None  # a key that only was there while tables were joined
    ours, theirs = join_keys(left), join_keys([rows[column] for column in right])
    first = {key: place for place, key in reversed(list(enumerate(theirs))) if key}
    places = np.array([first.get(key, -1) for key in ours], dtype=np.int64)
    return Rows(table.file, rows, tuple(right), places, table.header or 1)


def _joined(tables: list[Rows], items: int) -> str:
    header = ("table", "joined by", "items with a row", "items without", "rows used", "rows unused")
    lines = []
    for one in tables:
        met, used = int((one.row >= 0).sum()), len(set(one.row[one.row >= 0].tolist()))
        numbers = (met, items - met, used, len(one.table) - used)
        lines.append((one.file, ", ".join(one.keys), *map(str, numbers)))
    return Table(header, tuple(lines), numeric=frozenset(range(2, 6))).html() or html.empty("No table is joined.")


def _item(cohort: Cohort, position: int, tables: list[Rows]) -> str:
    row = cohort.items.iloc[position]
    places = [f"{level} <strong>{html.escape(row[level])}</strong>" for level in cohort.levels]
    places += [f"view <strong>{html.escape(row['view'])}</strong>"] if row["view"] else []
    places += [f"{len(row['files'])} files"] if len(row["files"]) > 1 else []
    blocks = [_row(one, position, cohort) for one in tables]
    loose = _own(cohort, position, tables)
    return (
        f'<article class="item"><div class="thumbs">{_pictures(cohort, position)}</div><div>'
        f'<p class="path"><code>{html.escape(row["item"])}</code></p>'
        f'<p class="places">{" · ".join(places)}</p>{loose}<div class="rows">{"".join(blocks)}</div></div></article>'
    )


def _own(cohort: Cohort, position: int, tables: list[Rows]) -> str:
    """What path and header alone say of an item, beyond its levels and view."""
    joined = {str(column) for one in tables for column in one.table.columns}
    joined |= {f"{Path(one.file).stem}.{column}" for one in tables for column in one.table.columns}
    skip = {"item", "files", "group", "view", *cohort.levels, *joined}
    row = cohort.items.iloc[position]
    stem = Path(row["item"]).stem
    values = {str(name): str(row[name]) for name in cohort.items.columns if name not in skip and row[name]}
    values = {name: value for name, value in values.items() if value != stem and not tags.is_hashed(name)}
    source = "header" if "dicom:PatientID" in row else "path"
    return (
        f"<p>From the {source}: {html.escape(', '.join(f'{key} = {value}' for key, value in values.items()))}</p>"
        if values
        else ""
    )


def _row(one: Rows, position: int, cohort: Cohort) -> str:
    place = int(one.row[position])
    if place < 0:
        return f'<div class="row">{html.note(f"**No row in {one.file}.**")}</div>'
    labels = {label for task in cohort.tasks.values() for label in task.label}
    cells = []
    for column in one.table.columns:
        value = str(one.table[column].iloc[place])
        if not value:
            continue
        kind = "key" if column in one.keys else "label" if column in labels else ""
        shown = value if len(value) <= LONGEST else f"{value[:LONGEST]} ..."
        size = ' class="long"' if len(value) > LONG else ""
        pair = f'<dt>{html.escape(column)}</dt><dd class="{kind}">{html.escape(shown)}</dd>'
        cells.append(f"<div{size}>{pair}</div>")
    name = f"{html.escape(one.file)}, line {place + one.header + 1}"  # as a spreadsheet counts
    inside = "".join(sorted(cells, key=_is_long))
    return f'<div class="row" style="flex-grow: {len(cells)}"><h3>{name}</h3><dl>{inside}</dl></div>'


def _is_long(cell: str) -> bool:
    return cell.startswith('<div class="long"')


def _pictures(cohort: Cohort, position: int) -> str:
    try:
        clip = cohort.read(position, max_frames=FRAMES, target=2 * HEIGHT)
    except SidelightError as error:
        return html.note(f"Not readable: {error}")
    plain = "".join(f'<img src="{html.picture(_planes(frame), side=HEIGHT)}" alt="">' for frame in clip.frames)
    localized = [name for name, task in cohort.tasks.items() if task.localized]
    return plain + "".join(_drawn(cohort, name, position, clip) for name in localized)


def _drawn(cohort: Cohort, name: str, position: int, clip: Clip) -> str:
    """The same frames with what a task of masks or boxes draws on them, under its name; nothing of an item it does not know."""
    annotations = annotations_of(cohort, name)
    if cohort.items["item"].iloc[position] not in annotations.drawings.of:
        return ""
    shape, frames = Shape(clip.length, *clip.source_size), [_bytes(frame) for frame in clip.frames]
    try:
        if annotations.task.localized == "mask":
            masks = annotations.masks(position, clip.indices.tolist(), shape=shape)
            shown = [with_outlines(frame, mask, HEIGHT) for frame, mask in zip(frames, masks, strict=True)]
        else:
            boxes = annotations.boxes(position, shape=shape)
            marks = boxes.corners, boxes.label.tolist(), HEIGHT, clip.source_size
            shown = [with_boxes(frame, *marks) for frame in frames]
    except SidelightError as error:
        return html.note(f"{name}: {error}")
    said = ", ".join(
        f'<span style="color: {colour}">{html.escape(text)}</span>' for colour, text in key(annotations.classes)
    )
    images = "".join(f'<img src="{html.picture(one, side=HEIGHT)}" alt="">' for one in shown)
    return f"{images}<p>{html.escape(name)}: {said}</p>"


def _bytes(frame: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One frame [H,W] or [H,W,3] as uint8."""
    planes = _planes(frame)
    return planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1)


def _planes(frame: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One frame [H,W] or [H,W,3] as uint8 [C,H,W]; deeper grey is stretched to its own range."""
    if frame.dtype != np.uint8:
        low, high = float(frame.min()), float(frame.max())
        frame = ((frame - low) * (255 / max(high - low, 1.0))).astype(np.uint8)
    return frame[None] if frame.ndim == 2 else np.moveaxis(frame, -1, 0)
