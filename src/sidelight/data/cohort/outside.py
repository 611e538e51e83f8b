"""What a cohort file reads outside its folder: refused unless the user says so, for a file may come from somebody else.

A table, a list of items or an archive of reports elsewhere would become metadata, labels and a vocabulary. Links in the folder
are followed: who made the folder made them.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from sidelight.data.cells import listed
from sidelight.data.cohort.spec import CohortSpec
from sidelight.errors import DataError
from sidelight.files import append_line


def check_outside(
    file: Path, home: Path, spec: CohortSpec, items: pd.DataFrame | None, *, typed: Iterable[str], allowed: bool
) -> list[str]:
    """A notice that names what lies outside, where it is ``allowed``, or where ``sidelight init`` wrote it for this user.

    :param file: the cohort file; ``home`` its folder.
    :param items: None before they are listed; then the files that a table names are looked at, too.
    :param typed: keys that the user gave, not the file.
    :raises DataError: for what is not allowed.
    """
    base = home / spec.root if spec.root else home
    found = [
        path
        for key, path in _said(spec)
        if key not in typed and _leads_out(home if key == "root" else base, path, home)
    ]
    if items is not None:
        found = sorted({name for files in items["files"] for name in files if _leads_out(base, name, home)})
    if not found:
        return []
    if not allowed and not all(_marked(file, path) for path in found):
        raise DataError(
            f"The cohort file {file.name} reads outside its folder: {listed(found)}",
            expected=f"files in {home}",
            do="If you know who wrote it and why: --allow-outside (allow_outside=True)",
        )
    return [f"{file.name} reads outside its folder: {listed(found)}"]


def remember(file: Path, spec: CohortSpec) -> None:
    """Note for this user that the cohort ``file`` was drafted here, with the paths that it names."""
    for key, path in _said(spec):
        base = file.parent / spec.root if spec.root and key != "root" else file.parent
        if _leads_out(base, path, file.parent) and not _marked(file, path):
            place = _marks()
            try:
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                append_line(place, _mark(file, path))
            except OSError:  # a home that cannot be written: the next command asks for --allow-outside
                return


def _said(spec: CohortSpec) -> Iterator[tuple[str, str]]:
    """Keys of a cohort file and the paths that they name."""
    if spec.root:
        yield "root", spec.root
    for table in spec.tables:
        for file in (table.file, *table.also):
            yield "tables", file
    if spec.items is not None:
        yield "items", spec.items.table
        yield "items", spec.items.base
    if spec.report is not None:
        for text in spec.report.files:
            yield "report", text.partition("::")[0]


def _leads_out(base: Path, path: str, home: Path) -> bool:
    """Whether ``path``, relative to ``base``, lies neither below it nor below ``home``."""
    whole = os.path.normpath(os.path.join(os.path.abspath(base), path.replace("\\", "/")))
    inside = {os.path.abspath(home)} if base == home else {os.path.abspath(home), os.path.abspath(base)}
    return not any(whole == one or whole.startswith(one.rstrip(os.sep) + os.sep) for one in inside)


def _marks() -> Path:
    """Where a user's drafts are noted: no data set brings this file along."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "sidelight" / "drafts"


def _marked(file: Path, path: str) -> bool:
    try:
        return _mark(file, path) in _marks().read_text(encoding="utf-8").split()
    except (OSError, RuntimeError, UnicodeDecodeError):
        return False


def _mark(file: Path, path: str) -> str:
    """A digest of a cohort file's place and of a path that it names."""
    return hashlib.sha256(f"{file.resolve()}\0{path}".encode(errors="surrogateescape")).hexdigest()
