"""What a run with several labels per lesion shows of them: attention between labels, and where each looks on both photographs."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from sidelight.explaining.content import overlay
from sidelight.reporting.document import Detail, Figure, Part, Text, picture_row, under
from sidelight.reporting.tables import Table

RELATIONS = (
    "Each row is a label that reads, and its numbers add up to 1. Labels carry the names of the checklist, but their "
    "pseudo-classes were found by clustering."
)
LOOKS = (
    "The photograph, then for every label how sensitive its pseudo-class is to the pixels (size of the gradient, smoothed, each "
    "photograph scaled to its maximum): where a small change would matter, not what was recognised."
)
SIDE = 96


def attention(folder: Path) -> list[Part]:
    """The average attention of a run's labels and that of some lesions; nothing where the run has none."""
    path = folder / "relations.safetensors"
    if not path.is_file():
        return []
    try:
        stored, (names, lesions) = load_file(path), _names(path)
        parts = under("On average", _matrix(names, stored["attention"]))
        for lesion, own in zip(lesions, stored["cases"], strict=True):
            parts.append(Detail(f"Lesion {lesion[:16]}", [_matrix(names, own)]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        return [Text(f"{path.name} cannot be read: {type(error).__name__}", "note")]
    return parts


def _names(path: Path) -> tuple[list[str], list[str]]:
    """The labels and the lesions that the header of ``relations.safetensors`` names."""
    with safe_open(path, "np") as file:
        values = file.metadata() or {}
    labels, lesions = ([str(one) for one in json.loads(values[name])] for name in ("labels", "lesions"))
    return labels, lesions


def _matrix(names: list[str], rows: np.ndarray) -> Table:
    lines = tuple((name, *(f"{value:.2f}" for value in row)) for name, row in zip(names, rows, strict=True))
    return Table(("reads", *names), lines, numeric=frozenset(range(1, len(names) + 1)))


def looks(folder: Path) -> list[Part]:
    """Rows of pictures, one per lesion and photograph; nothing where the run keeps no pictures."""
    path = folder / "saliency.safetensors"
    if not path.is_file():
        return []
    try:
        stored = load_file(path)
        photographs, heat = stored["photographs"], stored["heat"].astype(np.float32)
        names, _ = _names(folder / "relations.safetensors")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        return [Text(f"saliency.safetensors cannot be read: {type(error).__name__}", "note")]
    rows: list[Part] = []
    for lesion, (both, maps) in enumerate(zip(photographs, heat, strict=True), 1):
        for slot, which in enumerate(("first", "second")):
            if both[slot].any():
                rows += [Text(f"Lesion {lesion}, {which} photograph"), _row(both[slot], maps[slot], names)]
    return rows


def _row(photograph: np.ndarray, maps: np.ndarray, names: list[str]) -> Figure:
    plain = np.ascontiguousarray(np.moveaxis(photograph, 0, -1))
    return picture_row([plain, *(overlay(plain, one) for one in maps)], ["", *names], height=SIDE)
