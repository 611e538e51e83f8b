"""DICOM files -> items: a file of its own, or the slices of one volume in the order of their positions.

Single-frame CT, MR and PET files of one series (SeriesInstanceUID, patient and study, for some exports give one number to
several patients) are a volume each, apart by size, orientation,
localizer, and, where a position comes several times, by phase, echo, b-value or acquisition. Every other file is an
item. A volume whose positions leap lacks slices, and a notice says so. Slices are sorted along the normal of their
plane; without positions by InstanceNumber, then by name.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from sidelight.data.cells import natural
from sidelight.data.dicom.header_cache import headers_of
from sidelight.data.dicom.headers import PHASES, Header
from sidelight.data.read.dicom_frames import read_header
from sidelight.errors import ReadError

VOLUME_MODALITIES = ("CT", "MR", "PT")
PARALLEL = 0.999
LEAP, LEAST_STEPS = 1.5, 3
"""A gap is so many times the median step between slices, of at least so many steps."""


@dataclass(frozen=True)
class DicomItem:
    """One item: its files in order and the columns of its headers."""

    files: tuple[str, ...]
    columns: dict[str, str]


Slice = tuple[str, Header]


def dicom_items(
    root: Path, paths: Sequence[str], secret: bytes, *, texts: bool = False
) -> tuple[list[DicomItem], list[str]]:
    """The items among ``paths`` (relative to ``root``), in the order of their first files, and notices.

    :param secret: key of the hashes; see ``identity.values_key``.
    :param texts: also the columns of ``tags.PASSING``.
    :raises MissingExtra: where pydicom is not installed.
    """
    good, notices = _images(root, paths, headers_of(root, paths, secret, texts=texts))
    groups: dict[tuple[str, ...], list[Slice]] = {}
    for path, header in good:
        groups.setdefault(_group(path, header), []).append((path, header))
    items: list[DicomItem] = []
    mixed, torn = 0, []
    for slices in groups.values():
        for volume in _parallel(slices):
            parts, left = _phases(volume)
            mixed += left
            items += [_item(part) for part in parts]
            torn += [gap for part in parts if (gap := _gap(part))]
    if mixed:
        notices.append(
            f"{mixed} series show positions several times, and no tag tells their volumes apart: each is one item"
        )
    if torn:
        notices.append(
            f"{len(torn)} series lack slices: their positions have a gap, for example between {torn[0][0]!r} and {torn[0][1]!r}; "
            "they are read as if none were missing"
        )
    order = {path: place for place, path in enumerate(paths)}
    items.sort(key=lambda item: min(order[path] for path in item.files))
    return items, notices


def sorted_slices(
    root: Path, stacks: Sequence[Sequence[str]], secret: bytes, *, texts: bool = False
) -> list[DicomItem | None]:
    """Each of ``stacks`` as one item, in the order of positions; None where none of its files is a DICOM image."""
    paths = [path for stack in stacks for path in stack]
    read = dict(zip(paths, headers_of(root, paths, secret, texts=texts), strict=True))
    good = [[(path, header) for path in stack if isinstance(header := read[path], Header)] for stack in stacks]
    return [_item(slices) if slices else None for slices in good]


def _images(root: Path, paths: Sequence[str], headers: Sequence[Header | str]) -> tuple[list[Slice], list[str]]:
    """The files that are images, each once, and notices on the others.

    A copy is what has the number (SOPInstanceUID), the patient, the study and the pixels of another file.
    """
    good: list[Slice] = []
    seen: dict[tuple[str, ...], list[str]] = {}
    bad: dict[str, list[str]] = {}
    reused: list[str] = []
    for path, header in zip(paths, headers, strict=True):
        if isinstance(header, str):
            bad.setdefault(header, []).append(path)
            continue
        before = seen.setdefault((header.uid, *_whose(header)), []) if header.uid else []
        if any(_same_pixels(root / path, root / other) for other in before):
            bad.setdefault("a second copy of an image", []).append(path)
            continue
        reused += [path] if before else []
        before.append(path)
        good.append((path, header))
    quiet = [path for path in bad.get("no image", []) if Path(path).name.upper() == "DICOMDIR"]
    notices = []
    for why, names in bad.items():
        names = [name for name in names if name not in quiet]
        if names:
            notices.append(f"{len(names)} DICOM files are left out, for example {names[0]!r}: {why}")
    if reused:
        notices.append(
            f"{len(reused)} DICOM files have the number (SOPInstanceUID) of another one and other pixels, for example "
            f"{reused[0]!r}: they are images of their own"
        )
    return good, notices


def _whose(header: Header) -> tuple[str, str]:
    return header.columns["dicom:PatientID"], header.columns["dicom:StudyInstanceUID"]


def _same_pixels(path: Path, other: Path) -> bool:
    """Whether two DICOM files hold the same bytes of pixels."""
    first, second = (_pixel_digest(one) for one in (path, other))
    return first is not None and first == second


def _pixel_digest(path: Path) -> str | None:
    """A digest of the bytes from the pixel data on; None where they cannot be read."""
    try:
        _, start = read_header(path, path.name, ("Rows",))
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ReadError):
        return None


def _group(path: str, header: Header) -> tuple[str, ...]:
    columns = header.columns
    series = columns["dicom:SeriesInstanceUID"]
    if header.frames > 1 or columns["modality"] not in VOLUME_MODALITIES or not series:
        return (path,)
    return series, *_whose(header), columns["rows"], columns["columns"], columns["localizer"]


def _parallel(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices apart by the orientation of their planes."""
    stacks: list[list[Slice]] = []
    for one in slices:
        for stack in stacks:
            if _same_plane(one[1], stack[0][1]):
                stack.append(one)
                break
        else:
            stacks.append([one])
    return stacks


def _same_plane(a: Header, b: Header) -> bool:
    if a.normal is None or b.normal is None:
        return a.normal is b.normal
    return abs(sum(x * y for x, y in zip(a.normal, b.normal, strict=True))) > PARALLEL


def _phases(slices: list[Slice]) -> tuple[list[list[Slice]], int]:
    """Slices apart by what tells repeated positions apart, and how many parts still repeat one."""
    repeats = _repeats(slices)
    if repeats == 1:
        return [slices], 0
    for place in range(len(PHASES)):
        parts: dict[str, list[Slice]] = {}
        for one in slices:
            parts.setdefault(one[1].phases[place], []).append(one)
        if 1 < len(parts) <= repeats:  # more values than volumes: it numbers the slices
            done = [_phases(part) for part in parts.values()]
            return [volume for volumes, _ in done for volume in volumes], sum(left for _, left in done)
    return [slices], 1


def _repeats(slices: Iterable[Slice]) -> int:
    """How often the most frequent position comes; 1 where positions are unknown."""
    counts = Counter(None if h.position is None else round(h.position, 2) for _, h in slices)
    return 1 if None in counts else max(counts.values())


def _gap(slices: Sequence[Slice]) -> tuple[str, str] | None:
    """The two slices between which positions leap, if they do: by more than ``LEAP`` times the usual step."""
    if len(slices) < LEAST_STEPS + 1 or any(header.position is None for _, header in slices):
        return None
    ordered = sorted((header.position or 0.0, path) for path, header in slices)
    steps = [after[0] - before[0] for before, after in pairwise(ordered)]
    usual = median(step for step in steps if step > 0.01) if max(steps) > 0.01 else 0.0
    widest = max(range(len(steps)), key=steps.__getitem__)
    return (ordered[widest][1], ordered[widest + 1][1]) if usual and steps[widest] > LEAP * usual else None


def _item(slices: Sequence[Slice]) -> DicomItem:
    ordered = sorted(slices, key=lambda one: natural(one[0]))
    headers = [header for _, header in ordered]
    if all(header.number is not None for header in headers):
        ordered.sort(key=lambda one: one[1].number or 0)
    if all(header.position is not None for header in headers):
        ordered.sort(key=lambda one: one[1].position or 0.0)
    first = ordered[0][1]
    frames = str(len(ordered)) if len(ordered) > 1 else first.columns["frames"]
    return DicomItem(tuple(path for path, _ in ordered), {**first.columns, "frames": frames})
