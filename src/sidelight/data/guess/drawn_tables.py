"""Tables of boxes or run lengths, one row per finding -> drafted tasks."""

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from sidelight.data.guess import words
from sidelight.data.read.formats import stem

BOXES = (
    (("x", "y", "width", "height"), "xywh"),
    (("x", "y", "w", "h"), "xywh"),
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("x0", "y0", "x1", "y1"), "xyxy"),
    (("left", "top", "width", "height"), "xywh"),
)
"""What four columns are called, without capitals and signs, and what they are then."""
RUNS = ("rle", "encodedpixels", "segmentation", "mask")
LEAST_MET = 0.5
"""Of the values of a key, those that are images."""
MOST_KINDS = 50
Block = tuple[str, str, Sequence[str]]


def table_tasks(tables: Mapping[str, pd.DataFrame], images: Sequence[str]) -> list[Block]:
    """Blocks as ``drawn.py`` makes them, of tables whose rows name images and hold boxes or run lengths."""
    found: list[Block] = []
    for file, table in tables.items():
        plain = {re.sub(r"[^a-z0-9]", "", str(column).lower()): str(column) for column in table}
        key = _key(table, images)
        if not key:
            continue
        lines = [f"table = {{file = {_quoted(file)}, on = [{_quoted(key)}]}}"]
        lines += [f"label = {_quoted(kind)}"] if (kind := _kind(table, key, plain)) else []
        for names, form in BOXES:
            if all(name in plain for name in names):
                four = [plain[name] for name in names]
                shown = ", ".join(map(_quoted, four))
                guessed = f'box_format = "{form}"  # pixels? Look at the contact sheet'
                blank = int((table[four] == "").all(axis=1).sum())
                said = f"Boxes of {len(table) - blank} rows of {file}; {blank} rows say that there is none."
                found.append(("boxes", said, [f"boxes = [{shown}]", guessed, *lines]))
                break
        for column in (plain[name] for name in plain if any(word in name for word in RUNS)):
            if form := _runs(table[column]):
                guessed = f'mask_format = "{form}"  # or another one: look at the contact sheet'
                found.append(("masks", f"Run lengths of {file}.", [f"mask = {_quoted(column)}", guessed, *lines]))
    return found


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _key(table: pd.DataFrame, images: Sequence[str]) -> str:
    """``stem=COLUMN`` or ``name=COLUMN``: the column that holds images; "" where none does."""
    known = {"name": {posixpath.basename(path) for path in images}, "stem": {stem(path) for path in images}}
    for column in table:
        values = {str(value) for value in table[column]} - {""}
        for word, names in known.items():
            if values and len(values & names) >= LEAST_MET * len(values):
                return f"{word}={column}"
    return ""


def _kind(table: pd.DataFrame, key: str, plain: Mapping[str, str]) -> str:
    """The column that says what a row is of; "" where none looks so, or only numbers do."""
    for column in plain.values():
        values = set(table[column]) - {""}
        named = words.meets(column, words.LABELS) and column != key.partition("=")[2]
        if named and 0 < len(values) <= MOST_KINDS and not all(re.fullmatch(r"[-+.\d]+", one) for one in values):
            return column
    return ""


def _runs(cells: "pd.Series[str]") -> str:
    """``rle`` where starts only rise, as Kaggle counts, else ``rle_siim``, which counts gaps; "" for other text."""
    filled = [cell for cell in cells if cell not in ("", "-1")]
    if not filled or not all(re.fullmatch(r"\d+([ ,]+\d+)*", cell) for cell in filled[:MOST_KINDS]):
        return ""
    rows = [[int(word) for word in re.split(r"[ ,]+", cell)][::2] for cell in filled[:MOST_KINDS]]
    return "rle" if all(one <= other for row in rows for one, other in pairwise(row)) else "rle_siim"
