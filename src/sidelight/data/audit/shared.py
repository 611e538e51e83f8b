"""What two cohorts share: files, DICOM objects, pictures. Whom they share is asked in ``stable_names.py``."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from sidelight.data import identity
from sidelight.data.cells import counted
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.dicom.headers import Header, read_headers
from sidelight.data.pixels.comparison import copies_between
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.read.container import split

SERIES = "dicom:SeriesInstanceUID"


def shared_with(cohort: Cohort, pixels: Pixels, other: Cohort, there: Pixels, *, quiet: bool = True) -> list[str]:
    """What of ``other`` is in ``cohort``, too, in sentences that name nobody; none where nothing is.

    :param pixels: of ``cohort``, ``there`` of ``other``.
    """
    said = []
    objects = shared_objects(cohort, other)
    if objects:
        what = "the SOPInstanceUID or SeriesInstanceUID of one of"
        said.append(f"{counted(len(objects), 'item')} of {other.alias} have {what} {cohort.alias}")
    files = shared_files(cohort, other)
    if files:
        said.append(
            f"{counted(len(files), 'item')} of {other.alias} have a file that is in {cohort.alias}, byte for byte"
        )
    pairs = copies_between(cohort, pixels, other, there, quiet=quiet)
    if pairs:
        equal = len({b for _, b, same in pairs if same})
        shown = counted(len({b for _, b, _ in pairs}), "item")
        said.append(f"{shown} of {other.alias} show what items of {cohort.alias} show ({equal} with equal pixels)")
    return said


def shared_files(cohort: Cohort, other: Cohort) -> list[str]:
    """Items of ``other`` that have a file whose bytes are those of a file of ``cohort``; of equal sizes only are hashed."""
    here, there = dict(_sizes(cohort)), dict(_sizes(other))
    common = set(here.values()) & set(there.values())
    known = {_content(path) for path, size in here.items() if size in common}
    same = {path for path, size in there.items() if size in common and _content(path) in known} if known else set()
    items = zip(other.items["item"], other.items["files"], strict=True)
    return [str(item) for item, files in items if any(_path(other, name) in same for name in files)]


def _sizes(cohort: Cohort) -> Iterator[tuple[Path, int]]:
    """Every file of a cohort that is not empty; of a phantom none, and none of those that hold several pictures."""
    names = {name for files in cohort.items["files"] for name in files} if cohort.phantom is None else set()
    for name in sorted(names):
        with contextlib.suppress(OSError):
            path = _path(cohort, name)
            if size := path.stat().st_size:
                yield path, size


def _path(cohort: Cohort, name: str) -> Path:
    return cohort.root / split(name)[0]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return str(path)  # no content, and like no other


def shared_objects(cohort: Cohort, other: Cohort) -> list[str]:
    """Items of ``other`` whose DICOM object or series is in ``cohort``; none unless both were read from DICOM headers."""
    if any(one.phantom is not None or SERIES not in one.items for one in (cohort, other)):
        return []
    secret = identity.values_key(cohort.root)
    known = set().union(*_objects(cohort, secret)) - {""}
    return [str(item) for item, own in zip(other.items["item"], _objects(other, secret), strict=True) if own & known]


def _objects(cohort: Cohort, secret: bytes) -> list[set[str]]:
    """The hashes of object and series of each item."""
    headers = read_headers(cohort.root, [files[0] for files in cohort.items["files"]], secret)
    return [{one.uid, one.columns[SERIES]} if isinstance(one, Header) else set() for one in headers]
