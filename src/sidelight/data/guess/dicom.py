"""DICOM trees: recognised by their files, drafted from what the headers will say."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
