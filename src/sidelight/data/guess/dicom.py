"""DICOM trees: recognised by their files, drafted from what the headers will say."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sidelight.data import identity
from sidelight.data.audit.ids import PATIENT, patient_gap
from sidelight.data.cells import normalise
from sidelight.data.cohort.items import list_items
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.dicom.tags import HASHED, MADE, PASSING, PLAIN
from sidelight.data.guess import words
from sidelight.data.guess.chain import doubts, join_all
from sidelight.data.guess.columns import Column
from sidelight.data.guess.fields import fill
from sidelight.data.guess.joins import Join, Key, path_keys
from sidelight.data.guess.levels import MOST_BLANK, Level, name_all
from sidelight.data.guess.selection import sequences, suggest
from sidelight.data.guess.text import Draft
from sidelight.data.guess.views import find_views
from sidelight.data.read.dicom import has_preamble
from sidelight.data.read.formats import is_kind
from sidelight.errors import SidelightError

SAMPLE = 20
DESCRIBING = ("patient_sex", "patient_age", "body_part", "laterality", "manufacturer", "model")
"""Columns of headers that may describe a patient or an exam; the others say how the file was made."""
HASHES = tuple(f"dicom:{name}" for name in HASHED)
TECHNICAL = (*(f"dicom:{name}" for name in PASSING), *MADE, *(one for one in PLAIN.values() if one not in DESCRIBING))


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its suffix or by ``DICM`` at byte 128."""
    if is_kind(path.name, "dicom"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return has_preamble(file.read(132))


def dicom_files(root: Path, paths: Sequence[str]) -> list[str]:
    """The DICOM files among ``paths``; files without a suffix of their own are judged by a sample of them."""
    found = [path for path in paths if is_kind(path, "dicom")]
    nameless = [path for path in paths if not re.search(r"\.[A-Za-z]\w{1,4}$", os.path.basename(path))]
    sample = nameless[:: max(1, len(nameless) // SAMPLE)][:SAMPLE]
    hits = [is_dicom_file(root / path) for path in sample]
    return sorted([*found, *nameless]) if sum(hits) > len(hits) / 2 else found


def dicom_pattern(files: Sequence[str]) -> str:
    """One pattern for all of them: ``export/**/*.dcm``, or ``export/**/*`` where suffixes differ or are absent."""
    folder = os.path.commonpath([os.path.dirname(path) for path in files])
    suffixes = {os.path.splitext(path)[1] if is_kind(path, "dicom") else "" for path in files}
    suffix = suffixes.pop() if len(suffixes) == 1 else ""
    return f"{folder}/**/*{suffix}" if folder else f"**/*{suffix}"


def modality(root: Path, files: Sequence[str]) -> str:
    """The modality (CR, MR, ...) that most of a sample of files state, read off the first bytes; "" if none does."""
    found: Counter[str] = Counter()
    for path in files[:: max(1, len(files) // SAMPLE)][:SAMPLE]:
        if not (root / path).is_file():
            continue
        with (root / path).open("rb") as file:
            hit = re.search(rb"\x08\x00\x60\x00(?:CS..|..\x00\x00)([A-Z]{2})", file.read(8192), re.DOTALL)
        found.update([hit[1].decode()] if hit else [])
    return found.most_common(1)[0][0] if found else ""


def draft_dicom(
    root: Path, files: Sequence[str], tables: Mapping[str, pd.DataFrame], unread: Sequence[tuple[str, str]]
) -> Draft:
    """The draft of a DICOM tree: items, levels and views come from headers; tables join by what the headers hold."""
    pattern = dicom_pattern(files)
    try:
        spec = CohortSpec(files=(pattern,), levels=("study",), roles={"study": "dicom:StudyInstanceUID"})
        items, notices = list_items(root, spec, texts=True)
    except SidelightError as error:
        return _by_names(root, files, tables, unread, str(error).rstrip("."))
    levels = _header_levels(items)
    met = join_all(items, _keys(items, levels, identity.values_key(root)), tables, unread)
    if all(level.name != "patient" for level in levels):
        levels = [*(level for level in name_all(met.items, (), (), False).levels if level.name == "patient"), *levels]
    frame = met.items.drop(columns=[name for name in (*TECHNICAL, *HASHES) if name in items])
    blank = [name for name in DESCRIBING if name in items and (items[name] == "").all()]
    own = [name for name in met.sources if words.names_level(name.rpartition(".")[2])]
    frame = frame.drop(columns=[*blank, *own])
    for level in levels:
        ids = met.items[level.column].map(normalise)
        frame[level.name] = ids.mask(ids == "", frame["item"])
    role, column = _view(items)
    if column:
        frame[column] = items[column]
    draft = Draft(
        media=len(files),
        items=len(items),
        files=((pattern, sum(map(len, items["files"]))),),
        joins=met.joins,
        unjoined=met.unjoined,
        on={one.file: [f"{key.name}={theirs}" for key, theirs in one.on] for one in met.joins},
        levels=tuple(levels),
        where=suggest(items),
        sequences=sequences(items),
        dicom=True,
        todo=(
            *_gap(items, levels),
            *doubts(met.joins, met.unjoined, levels),
            *(notice.rstrip(".") for notice in notices),
        ),
    )
    draft = fill(find_views(draft, frame, role, column), frame, met.sources, {})
    named = tuple(Column(name, "out", "an identifier") for name in own if all(name != one.column for one in levels))
    return replace(draft, left_out=(*draft.left_out, *named))


def _header_levels(items: pd.DataFrame) -> list[Level]:
    """Patient and study by the tags that tell them apart; the study always, by its UID where nothing else does."""
    found = []
    for name, tags in (("patient", ("PatientID",)), ("study", ("AccessionNumber", "StudyInstanceUID"))):
        for tag in tags:
            ids = items[f"dicom:{tag}"]
            units = ids[ids != ""].nunique()
            if tag == "StudyInstanceUID" or ((ids == "").mean() <= MOST_BLANK and units > 1):
                found.append(Level(name, f"dicom:{tag}", int(units), f"tag {tag}", True))
                break
    return found


def _gap(items: pd.DataFrame, levels: Sequence[Level]) -> list[str]:
    """What the headers lack to tell patients apart, unless a table tells them."""
    why, levels_called_patient = patient_gap(items), [level.column for level in levels if level.name == "patient"]
    return [why] if why and levels_called_patient in ([], [PATIENT]) else []


def _keys(items: pd.DataFrame, levels: Sequence[Level], secret: bytes) -> list[Key]:
    """What tables may join by: identifiers of the headers, the study first, and paths."""
    names = {level.column: level.name for level in reversed(levels)}
    order = [*names, *(name for name in HASHES if name not in names)]
    tags = [Key(names.get(column, column), items[column], secret=secret) for column in order]
    return [*tags, *path_keys(items["files"].tolist(), items["item"].tolist())]


def _view(items: pd.DataFrame) -> tuple[str, str]:
    """The role and the column of views that headers state: the projection, else the plane of volumes."""
    for role, column in (("dicom:ViewPosition", "view_position"), ("dicom:plane", "plane")):
        if (items[column] != "").any():
            return role, column
    return "", ""


def _by_names(
    root: Path, files: Sequence[str], tables: Mapping[str, pd.DataFrame], unread: Sequence[tuple[str, str]], why: str
) -> Draft:
    """The draft of a tree whose headers cannot be read: a table is joined by the name of its column."""
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
    roles = {"patient": "dicom:PatientID", "study": "dicom:AccessionNumber"}
    if kind in ("CR", "DX", "MG"):
        roles["view"] = "dicom:ViewPosition"
    elif kind in ("MR", "CT"):
        roles["view"] = "dicom:plane"
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
            f"the headers could not be read, so metadata and tasks are not guessed: {why}",
        ),
    )
