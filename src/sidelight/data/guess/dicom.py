"""DICOM trees: recognised by their files, drafted from what the headers will say."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sidelight.data.guess import words
from sidelight.data.guess.joins import Join, Key
from sidelight.data.guess.levels import Level
from sidelight.data.guess.text import Draft

SUFFIXES = (".dcm", ".dicom", ".ima")
SAMPLE = 20


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix or by ``DICM`` at byte 128."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def dicom_files(root: Path, paths: Sequence[str]) -> list[str]:
    """The DICOM files among ``paths``; files without a suffix of their own are judged by a sample of them."""
    found = [path for path in paths if path.lower().endswith(SUFFIXES)]
    nameless = [path for path in paths if not re.search(r"\.[A-Za-z]\w{1,4}$", os.path.basename(path))]
    sample = nameless[:: max(1, len(nameless) // SAMPLE)][:SAMPLE]
    hits = [is_dicom(root / path) for path in sample]
    return sorted([*found, *nameless]) if sum(hits) > len(hits) / 2 else found


def dicom_pattern(files: Sequence[str]) -> str:
    """One pattern for all of them: ``export/**/*.dcm``, or ``export/**/*`` where suffixes differ or are absent."""
    folder = os.path.commonpath([os.path.dirname(path) for path in files])
    suffixes = {os.path.splitext(path)[1] if path.lower().endswith(SUFFIXES) else "" for path in files}
    suffix = suffixes.pop() if len(suffixes) == 1 else ""
    return f"{folder}/**/*{suffix}" if folder else f"**/*{suffix}"


def modality(root: Path, files: Sequence[str]) -> str:
    """The modality (CR, MR, ...) that most of a sample of files state, read off the first bytes; "" if none does."""
    found: Counter[str] = Counter()
    for path in files[:: max(1, len(files) // SAMPLE)][:SAMPLE]:
        with (root / path).open("rb") as file:
            hit = re.search(rb"\x08\x00\x60\x00(?:CS..|..\x00\x00)([A-Z]{2})", file.read(8192), re.DOTALL)
        found.update([hit[1].decode()] if hit else [])
    return found.most_common(1)[0][0] if found else ""


def dicom_roles(kind: str) -> dict[str, str]:
    """``[roles]`` of a DICOM tree of one modality."""
    roles = {"patient": "dicom:PatientID", "study": "dicom:AccessionNumber"}
    if kind in ("CR", "DX", "MG"):
        roles["view"] = "dicom:ViewPosition"
    elif kind in ("MR", "CT"):
        roles["view"] = "dicom:plane"
    return roles


def draft_dicom(
    root: Path, files: Sequence[str], tables: Mapping[str, pd.DataFrame], unread: Sequence[tuple[str, str]]
) -> Draft:
    """The draft of a DICOM tree: levels and views come from headers; a table is joined by the name of its column."""
    kind, unjoined = modality(root, files), list(unread)
    joins, on = [], {}
    for file, table in tables.items():
        column = next((str(one) for one in table if "accession" in words.plain(str(one))), "")
        column = column or next((str(one) for one in table if words.names_level(str(one)) in ("study", "patient")), "")
        if column:
            level = "patient" if words.names_level(column) == "patient" else "study"
            key = Key(level, pd.Series([], dtype=str))
            joins.append(Join(file, ((key, column),), 0, 0, 0, len(table)))
            on[file] = [f"{level}={column}"]
        else:
            unjoined.append((file, "no column is called accession, study or patient"))
    roles = dicom_roles(kind)
    return Draft(
        media=len(files),
        items=len(files),
        files=((dicom_pattern(files), len(files)),),
        joins=tuple(joins),
        unjoined=tuple(unjoined),
        on=on,
        levels=tuple(Level(name, name, 0, f"header ({roles[name]})", True) for name in ("patient", "study")),
        roles=roles,
        dicom=True,
        todo=(
            f"modality {kind or 'unknown'}: views come from {roles.get('view', 'nothing, none was found')}",
            "metadata and tasks are not guessed for DICOM trees: add [metadata] and [task.NAME] by the tables' columns",
        ),
    )
