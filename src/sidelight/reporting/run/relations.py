"""What a run with several labels per lesion shows of them: attention between labels, and where each looks on both photographs."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from sidelight.explaining.content import overlay
from sidelight.reporting import html
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


def attention(folder: Path) -> list[str]:
    """The average attention of a run's labels and that of some lesions, as HTML; nothing where the run has none."""
    path = folder / "relations.safetensors"
    if not path.is_file():
        return []
    try:
        stored, (names, lesions) = load_file(path), _names(path)
        parts = ["<h3>On average</h3>" + _matrix(names, stored["attention"]).html()]
        for lesion, own in zip(lesions, stored["cases"], strict=True):
            parts.append(html.details(f"Lesion {lesion[:16]}", _matrix(names, own).html()))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        return [html.note(f"{path.name} cannot be read: {type(error).__name__}")]
    return parts


def _names(path: Path) -> tuple[list[str], list[str]]:
    """The labels and the lesions that the header of ``relations.safetensors`` names."""
    with safe_open(path, "np") as file:
        said = file.metadata() or {}
    labels, lesions = ([str(one) for one in json.loads(said[name])] for name in ("labels", "lesions"))
    return labels, lesions


def _matrix(names: list[str], rows: np.ndarray) -> Table:
    lines = tuple((name, *(f"{value:.2f}" for value in row)) for name, row in zip(names, rows, strict=True))
    return Table(("reads", *names), lines, numeric=frozenset(range(1, len(names) + 1)))


def looks(folder: Path) -> list[str]:
    """Rows of pictures, one per lesion and photograph, as HTML; nothing where the run keeps no pictures."""
    path = folder / "saliency.safetensors"
    if not path.is_file():
        return []
    try:
        stored = load_file(path)
        photographs, heat = stored["photographs"], stored["heat"].astype(np.float32)
        names, _ = _names(folder / "relations.safetensors")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        return [html.note(f"saliency.safetensors cannot be read: {type(error).__name__}")]
    rows = []
    for lesion, (both, maps) in enumerate(zip(photographs, heat, strict=True), 1):
        for slot, which in enumerate(("first", "second")):
            if both[slot].any():
                rows.append(f"<p>Lesion {lesion}, {which} photograph</p>{_row(both[slot], maps[slot], names)}")
    return rows


def _row(photograph: np.ndarray, maps: np.ndarray, names: list[str]) -> str:
    plain = np.ascontiguousarray(np.moveaxis(photograph, 0, -1))
    shown = [(plain, ""), *((overlay(plain, one), name) for one, name in zip(maps, names, strict=True))]
    figures = "".join(
        f'<figure class="small"><img src="{html.picture(np.moveaxis(image, -1, 0), side=2 * SIDE)}" height="{SIDE}" alt="" '
        f'loading="lazy"><figcaption>{html.escape(caption)}</figcaption></figure>'
        for image, caption in shown
    )
    return f'<div class="pictures strip">{figures}</div>'
