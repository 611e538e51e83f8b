"""DICOM headers -> columns, without pixels; identifiers are hashed before anything else sees them."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from sidelight.data import identity
from sidelight.data.cells import normalise
from sidelight.data.dicom import tags
from sidelight.data.read.dicom import seconds_per_frame
from sidelight.data.read.dicom_frames import read_header
from sidelight.errors import ReadError
from sidelight.machine import cores

if TYPE_CHECKING:
    from pydicom import Dataset

PHASES = (
    "ImageType", "TemporalPositionIdentifier", "EchoNumbers", "EchoTime", "InversionTime", "DiffusionBValue",
    "AcquisitionNumber", "TriggerTime", "NominalPercentageOfCardiacPhase", "ConvolutionKernel",
)  # fmt: skip
"""What may tell volumes of one series apart, in the order in which it is asked."""
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber", "SOPInstanceUID")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_REST = (
    "ImageLaterality", "PhotometricInterpretation", "UltrasoundColorDataPresent", "SequenceOfUltrasoundRegions",
    "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "BitsAllocated",
)  # fmt: skip
READ = (*tags.HASHED, *tags.PASSING, *tags.PLAIN, *PHASES, *_PLACE, *_GROUPS, *_REST)
_REGIONS = {1: "tissue", 2: "colour flow", 3: "pw spectral", 4: "cw spectral", 5: "pw spectral", 6: "cw spectral"}
_PLANES = ("sagittal", "coronal", "axial")
STRAIGHT = math.cos(math.radians(45))

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Header:
    """One DICOM image file.

    :param columns: what ``tags.py`` allows, as text, "" where it is blank.
    :param frames: at least 1.
    :param position: millimetres along ``normal``; None where the file does not say.
    :param normal: of the image plane, unit length, in patient coordinates.
    :param number: its InstanceNumber.
    :param phases: values of ``PHASES``.
    :param uid: hash of its SOPInstanceUID, "" where it has none.
    """

    columns: dict[str, str]
    frames: int
    position: float | None
    normal: Vector | None
    number: int | None
    phases: tuple[str, ...]
    uid: str


def read_headers(root: Path, paths: Sequence[str], secret: bytes) -> list[Header | str]:
    """The headers of ``paths``, or why a file is no item, in their order; with a bar when it takes over two seconds.

    :param secret: key of the hashes, 32 bytes.
    :raises MissingExtra: where pydicom is not installed.
    """

    def one(path: str) -> Header | str:
        try:
            header, _ = read_header(root / path, path, READ)
        except ReadError as error:
            return error.given.removeprefix(f"{path}: ")
        return "no image" if not (header.get("Rows") and header.get("BitsAllocated")) else _header(header, secret)

    with ThreadPoolExecutor(min(8, cores())) as pool:
        return list(_watched(pool.map(one, paths, chunksize=1), len(paths)))


def _watched(results: Iterable[Header | str], total: int) -> Iterator[Header | str]:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        bar = None
        for done, one in enumerate(results, 1):
            if bar is None and time.monotonic() - began > 2:
                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task = bar.add_task("reading DICOM headers", total=total)
            if bar is not None:
                bar.update(task, completed=done)
            yield one


def _header(header: "Dataset", secret: bytes) -> Header:
    there = header.dir()  # asking pydicom for an element that is absent costs as much as reading one
    asked = (keyword for keyword in READ if keyword not in (*_GROUPS, _REST[3]))
    texts = {keyword: _text(header, keyword) if keyword in there else "" for keyword in asked}
    columns = {f"dicom:{name}": identity.value_hash(texts[name], secret) for name in tags.HASHED}
    columns |= {f"dicom:{name}": texts[name] for name in tags.PASSING}
    columns |= {name: texts[keyword] for keyword, name in tags.PLAIN.items()}
    frames = int(texts["NumberOfFrames"]) if texts["NumberOfFrames"].isdecimal() else 1
    orientation = _numbers(_placed(header, "ImageOrientationPatient"), 6)
    normal = None if orientation is None else _normal(orientation)
    origin = _numbers(_placed(header, "ImagePositionPatient"), 3)
    types = texts["ImageType"].upper().split("\\")
    columns |= {
        "laterality": texts["ImageLaterality"] or texts["Laterality"],
        "patient_age": _years(texts["PatientAge"]),
        "frames": str(max(frames, 1)),
        "frame_time": _milliseconds(header),
        "plane": "" if normal is None else _plane(normal),
        "colour": _colour(texts),
        "localizer": _flag("LOCALIZER" in types),
        "derived": _flag("DERIVED" in types or "SECONDARY" in types),
        "ultrasound": _regions(header),
    }
    return Header(
        columns,
        max(frames, 1),
        None if origin is None or normal is None else sum(a * b for a, b in zip(origin, normal, strict=True)),
        normal,
        int(texts["InstanceNumber"]) if texts["InstanceNumber"].lstrip("-").isdecimal() else None,
        tuple(texts[name] for name in PHASES),
        identity.value_hash(texts["SOPInstanceUID"], secret),
    )


def _text(header: "Dataset", keyword: str) -> str:
    """An element as text, several values joined by a backslash; "" where it is absent or broken."""
    with contextlib.suppress(Exception):  # pydicom parses on access, and broken values may raise anything
        value = header.get(keyword)
        if value is not None and not isinstance(value, bytes):
            many = isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"
            return normalise("\\".join(str(part) for part in value) if many else value)
    return ""


def _placed(header: "Dataset", keyword: str) -> Any:
    """An element of the file, or of an enhanced file's functional groups for its first frame."""
    with contextlib.suppress(Exception):  # as above
        if header.get(keyword):
            return header[keyword].value
        for name in _GROUPS:
            for element in (header.get(name) or [()])[0]:
                inner = element.value[0] if element.VR == "SQ" and element.value else None
                if inner is not None and inner.get(keyword):
                    return inner[keyword].value
    return None


def _numbers(values: Any, count: int) -> Vector | None:
    with contextlib.suppress(TypeError, ValueError):
        numbers = tuple(float(value) for value in values)
        if len(numbers) == count and all(map(math.isfinite, numbers)):
            return numbers
    return None


def _normal(orientation: Vector) -> Vector | None:
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    cross = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*cross)
    return tuple(part / length for part in cross) if length > 0.5 else None


def _plane(normal: Vector) -> str:
    """The plane that the image lies within 45 degrees of, else "oblique"."""
    largest = max(range(3), key=lambda axis: abs(normal[axis]))
    return _PLANES[largest] if abs(normal[largest]) > STRAIGHT else "oblique"


def _years(age: str) -> str:
    """``045Y`` -> ``45``; months, weeks and days as parts of a year."""
    parts = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
    if age[:-1].isdecimal() and age[-1:] in parts:
        return f"{int(age[:-1]) / parts[age[-1]]:.3g}"
    return age if age.isdecimal() else ""


def _milliseconds(header: "Dataset") -> str:
    with contextlib.suppress(Exception):  # as above
        seconds = seconds_per_frame(header)
        if seconds is None and header.get("FrameTimeVector"):
            steps = [float(step) for step in header.FrameTimeVector][1:]
            seconds = sum(steps) / len(steps) / 1000
        if seconds:
            return f"{1000 * seconds:.6g}"
    return ""


def _colour(texts: dict[str, str]) -> str:
    """ "grey" also for grey images stored as RGB, where an ultrasound machine says so."""
    stored = "grey" if texts["PhotometricInterpretation"].startswith("MONOCHROME") else "rgb"
    return "grey" if texts["UltrasoundColorDataPresent"] == "0" else stored


def _regions(header: "Dataset") -> str:
    """The kinds of an ultrasound image's regions, for example ``colour flow, tissue``."""
    with contextlib.suppress(Exception):  # as above
        kinds = {int(region.RegionDataType) for region in header.get("SequenceOfUltrasoundRegions") or ()}
        return ", ".join(sorted({_REGIONS.get(kind, "other") for kind in kinds}))
    return ""


def _flag(value: bool) -> str:
    return "true" if value else "false"
