"""PadChest-GR's reports: of each radiograph sentences, each with the boxes of what it says; and the table of its radiographs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.data.cohort.table_size import read_bytes
from sidelight.data.cohort.tables import read_table
from sidelight.errors import DataError

KNOWN = ("StudyID", "PatientID", "split")
CLASSES = (
    "cardiomegaly", "pleural effusion", "atelectasis", "alveolar pattern", "interstitial pattern", "nodule",
    "pleural thickening", "aortic elongation",
)  # fmt: skip
OTHER = "other"


def read(root: Path, file: str) -> pd.DataFrame:
    """Its reports (``.json``) as a table of boxes, or its table (``.csv``) with one row for each radiograph; all str.

    :returns: of reports one row per box, and one with a blank ``box`` where a radiograph has none: ``ImageID``, ``box`` (x0 y0 x1
        y1 as shares of the sides), ``sentence``, ``sentence_es``, and ``finding``, of :data:`CLASSES` or :data:`OTHER`. Boxes
        that another reader drew (``extra_boxes``) are left out. Of the table ``ImageID``, :data:`KNOWN`, and ``report``: all
        English sentences of the reports beside it, "" where there are none.
    :raises DataError: for a file that is broken or of another kind.
    """
    if file.lower().endswith(".json"):
        rows = [row for image, findings in _reports(root / file) for row in _boxes(image, findings)]
        return pd.DataFrame(rows, columns=["ImageID", "box", "sentence", "sentence_es", "finding"], dtype=str)
    table = read_table(root / file)
    lacks = [name for name in ("ImageID", *KNOWN) if name not in table]
    if lacks:
        raise DataError(f"{file} has no column {lacks[0]!r}", expected="the master_table.csv of PadChest-GR")
    said: dict[str, str] = {}
    for beside in sorted((root / file).parent.glob("grounded_reports*.json")):
        said |= {image: " ".join(filter(None, map(_text, findings))) for image, findings in _reports(beside)}
    table = table[["ImageID", *KNOWN]].drop_duplicates().reset_index(drop=True)
    return table.assign(report=table["ImageID"].map(said).fillna(""))


def _reports(path: Path) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Each radiograph and its findings."""
    try:
        for study in json.loads(read_bytes(path)):
            findings = list(study["findings"])
            if not all(isinstance(one.get(name) or [], list) for one in findings for name in ("boxes", "labels")):
                raise TypeError
            yield str(study["ImageID"]), findings
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else type(error).__name__
        raise DataError(
            f"{path.name} cannot be read as reports of PadChest-GR ({what})",
            expected="a list of radiographs with ImageID and findings",
        ) from None


def _text(finding: Mapping[str, Any], language: str = "en") -> str:
    return " ".join(str(finding.get(f"sentence_{language}") or "").split())


def _boxes(image: str, findings: list[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for finding in findings:
        labels = [str(one).strip().lower() for one in finding.get("labels") or ()]
        name = next((one for one in labels if one in CLASSES), OTHER)
        for box in finding.get("boxes") or ():
            numbers = " ".join(map(str, box)) if isinstance(box, list) else str(box)
            found.append((image, numbers, _text(finding), _text(finding, "es"), name))
    return found or [(image, "", "", "", "")]
