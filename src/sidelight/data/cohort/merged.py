"""Merged cells of a worksheet: the file holds a value for the first one only, and means it for all of them."""

import re
import zipfile
from collections.abc import Sequence

CHUNK = 1 << 16
_RANGE = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
Range = tuple[int, int, int, int]


def merged_ranges(archive: zipfile.ZipFile, part: str) -> list[Range]:
    """Of a worksheet's XML the merged ranges: first row, first column, last row, last column, counted from 0.

    :param part: the worksheet's name in the archive.
    """
    found: list[Range] = []
    with archive.open(part) as file:
        tail = b""
        while chunk := file.read(CHUNK):
            text = tail + chunk
            end = 0
            for hit in _RANGE.finditer(text):
                found.append((int(hit[2]) - 1, _column(hit[1]), int(hit[4]) - 1, _column(hit[3])))
                end = hit.end()
            tail = text[max(end, len(text) - 200) :]
    return found


def filled(
    rows: Sequence[Sequence[tuple[str, bool]]], ranges: Sequence[Range], above: int
) -> list[list[tuple[str, bool]]]:
    """``rows`` with the value of each merged range in all of its cells; ranges that begin in the first ``above`` rows stay."""
    table = [list(row) for row in rows]
    for top, left, bottom, right in ranges:
        if top < above or top >= len(table) or left >= len(table[top]):
            continue
        value = table[top][left]
        for row in table[top : bottom + 1]:
            row += [("", False)] * (min(right + 1, len(table[top])) - len(row))
            for place in range(left, min(right + 1, len(row))):
                row[place] = value
    return table


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number - 1
