"""The headers of a folder's DICOM files, kept beside its key, so that only new and changed files are opened again.

``.sidelight/headers.parquet`` is for its owner's eyes only and holds what becomes columns of items, by keyed hashes of
paths and identifiers. Free text (``tags.PASSING``) may identify and is never written: a cohort file that uses it has its
headers read anew each time. So has a file with a text in any other element that one patient alone has: it, too, may tell
who that is.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.data import identity
from sidelight.data.dicom import tags
from sidelight.data.dicom.headers import Header, read_headers
from sidelight.errors import RunError
from sidelight.files import write_table

FORMAT = 1
"""To be raised when a header is read otherwise: tables of another format are not used."""
_WHOSE = ("dicom:PatientID", "dicom:StudyInstanceUID", "dicom:SeriesInstanceUID")
_TEXTS = dict.fromkeys((f"dicom:{name}" for name in tags.PASSING), "")
Known = dict[tuple[str, str], Header]


def headers_of(root: Path, paths: Sequence[str], secret: bytes, *, texts: bool = False) -> list[Header | str]:
    """As :func:`sidelight.data.dicom.headers.read_headers`; files that keep their size and time are not opened twice.

    :param texts: also read the columns of ``tags.PASSING``, which are blank without.
    :raises MissingExtra: where pydicom is not installed and a file is to be opened.
    """
    names = [(identity.item_hash(path, secret), _state(root / path)) for path in paths]
    known = _load(root)
    found: list[Header | str | None] = [None if texts else known.get(name) for name in names]
    unread = [path for path, one in zip(paths, found, strict=True) if one is None]
    fresh = iter(read_headers(root, unread, secret) if unread else ())
    whole = [next(fresh) if one is None else one for one in found]
    kept = _common({name: one for name, one in zip(names, whole, strict=True) if isinstance(one, Header) and name[1]})
    if kept.keys() != known.keys():
        _save(root, kept)
    return whole if texts else [one if isinstance(one, str) else _without_texts(one) for one in whole]


def forget_headers(root: Path) -> None:
    """Delete the table; the next opening of a cohort reads the headers that are there then."""
    with contextlib.suppress(OSError):
        _table(root).unlink(missing_ok=True)


def _table(root: Path) -> Path:
    return root / ".sidelight" / "headers.parquet"


def _state(path: Path) -> str:
    """Size and time of modification; "" of a file that is not there."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        return f"{FORMAT} {stat.st_size} {stat.st_mtime_ns}"
    return ""


def _without_texts(header: Header) -> Header:
    return Header(**{**vars(header), "columns": {**header.columns, **_TEXTS}})


def _common(headers: Known) -> Known:
    """Without those that hold a text of one patient alone."""
    whose: dict[str, set[str]] = {}
    for one in headers.values():
        patient = next((one.columns[name] for name in _WHOSE if one.columns[name]), "")
        for text in _written(one):
            whose.setdefault(text, set()).add(patient)
    return {name: one for name, one in headers.items() if all(len(whose[text]) > 1 for text in _written(one))}


def _written(header: Header) -> list[str]:
    """Its texts as they stand in the file; numbers and what is worked out here or hashed are none."""
    own = [text for name, text in header.columns.items() if name not in tags.MADE and not name.startswith("dicom:")]
    return [text for text in (*own, *header.phases) if any(map(str.isalpha, text))]


def _load(root: Path) -> Known:
    """The table by name and state; empty where there is none or it is broken."""
    try:
        rows: list[dict[str, Any]] = pd.read_parquet(_table(root)).to_dict("records")  # type: ignore[assignment]
        return {(row["name"], row["state"]): _header(row) for row in rows}
    except (OSError, ValueError, KeyError):
        return {}


def _header(row: dict[str, Any]) -> Header:
    columns = {name.removeprefix("column "): text for name, text in row.items() if name.startswith("column ")}
    place = [None if pd.isna(row[name]) else row[name] for name in ("position", "number")]
    normal = None if row["normal"] is None else tuple(float(part) for part in row["normal"])
    number = None if place[1] is None else int(place[1])
    return Header({**columns, **_TEXTS}, int(row["frames"]), place[0], normal, number, tuple(row["phases"]), row["uid"])


def _save(root: Path, kept: Known) -> None:
    """Replace the table by these headers alone: of files that have gone nothing stays."""
    rows = [
        {
            **{"name": name, "state": state, "frames": one.frames, "position": one.position, "normal": one.normal},
            **{"number": one.number, "phases": one.phases, "uid": one.uid},
            **{f"column {column}": text for column, text in one.columns.items() if column not in _TEXTS},
        }
        for (name, state), one in kept.items()
    ]
    if (root / ".sidelight" / "key").exists():  # else the folder cannot be written, and hashes protect nobody
        with contextlib.suppress(OSError, RunError):
            write_table(_table(root), pd.DataFrame(rows), private=True)
