"""Masks and boxes that do not fit their images, or say nothing: what `check` finds when it reads all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sidelight.data.annotations.annotations import Annotations, Boxes, annotations_of
from sidelight.data.annotations.drawn import Bools, Misdrawn
from sidelight.data.audit.joins import misjoined
from sidelight.data.cells import counted, listed, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Task
from sidelight.data.findings import Finding, Severity
from sidelight.data.pixels.pixels import Pixels
from sidelight.errors import ReadError

Pairs = list[tuple[int, int, bool]]
FAULTS = {
    "size": "are of another size than their image",
    "slices": "have other slices than their series",
    "values": "hold values that are no class",
    "broken": "cannot be read, or run beyond their image",
}
BEYOND = 1.0
"""Pixels that a box may go beyond its image: rounding does that."""
SAME = 0.9
"""Overlap (intersection over union) from which two masks of one picture say the same."""


@dataclass
class _Seen:
    """Names of items by what was found on them, and how many have each class."""

    items: dict[str, list[str]] = field(default_factory=dict)
    read: int = 0
    boxes: dict[str, int] = field(default_factory=lambda: {"outside": 0, "degenerate": 0, "all": 0})
    held: set[int] = field(default_factory=set)

    def add(self, what: str, item: str) -> None:
        self.items.setdefault(what, []).append(item)


def annotation_findings(cohort: Cohort, task: Task, pixels: Pixels | None, pairs: Pairs) -> list[Finding]:
    """All that is found on the masks or boxes of one task; nothing for a task of classes.

    :param pairs: of :func:`sidelight.data.audit.leaks.same_pictures`.
    """
    if task.drawings is None:
        return []
    found = _opening(cohort, task)
    if pixels is None:
        return found
    annotations = annotations_of(cohort, task)
    seen = _read(annotations, pixels)
    found += _faults(task, seen)
    found += _boxes(task, seen) if task.localized == "boxes" else _masks(task, seen)
    absent = [name for label, name in enumerate(task.classes) if label not in seen.held]
    if absent and seen.read:
        found.append(
            _finding(task, "warning", f"nothing is drawn of the class {listed(absent)}", {"absent": len(absent)})
        )
    if task.localized == "mask":
        found += _torn(annotations, pixels, pairs)
    return found


def _finding(task: Task, severity: Severity, text: str, numbers: dict[str, int], items: Sequence[str] = ()) -> Finding:
    return Finding("mask", severity, f"Task {task.name!r}: {text}", {"task": task.name, **numbers}, some(items))


def _opening(cohort: Cohort, task: Task) -> list[Finding]:
    """What opening the cohort already knew."""
    drawings, what = task.drawings, {"mask": "mask", "boxes": "box"}[task.localized or "mask"]
    assert drawings is not None
    known, found = len(drawings.of), []
    if drawings.missing:
        text = (
            f"{len(drawings.missing)} of {len(cohort.items)} items have no {what} (where_missing says what that means)"
        )
        found.append(_finding(task, "note", text, {"missing": len(drawings.missing), "known": known}, drawings.missing))
    if drawings.partly:
        text = f"{len(drawings.partly)} items have a {what} of some classes only (where_missing says what that means)"
        severity: Severity = "note" if drawings.partly[0] in drawings.of else "warning"  # they are used, or left out
        found.append(_finding(task, severity, text, {"partly": len(drawings.partly)}, drawings.partly))
    if drawings.strays:
        text = f"{len(drawings.strays)} {what} files or rows belong to no item"
        found.append(_finding(task, "warning", text, {"strays": len(drawings.strays)}, drawings.strays))
    if drawings.faulty:
        text = f"what is said of {counted(len(drawings.faulty), 'item')} is no {what}, so they are left out"
        examples = [f"{item}: {why}" for item, why in drawings.faulty.items()]
        found.append(_finding(task, "warning", text, {"faulty": len(drawings.faulty)}, examples))
    if drawings.unnamed:
        text = f"`classes` does not name {counted(len(drawings.unnamed), 'label')} of files, which are passed over"
        examples = [f"{name} ({count} files)" for name, count in drawings.unnamed.items()]
        found.append(_finding(task, "note", text, {"unnamed": len(drawings.unnamed)}, examples))
    return found + _of_others(cohort, task)


def _of_others(cohort: Cohort, task: Task) -> list[Finding]:
    """Mask files whose names hold the id of another patient than their item's."""
    assert task.drawings is not None
    paths = {
        item: part.read_from() for item, parts in task.drawings.of.items() for part in parts[:1] if part.read_from()
    }
    items = cohort.items[cohort.items["item"].isin(paths.keys())]
    if items.empty:
        return []
    items = items.assign(files=pd.Series([paths[item] for item in items["item"]], index=items.index, dtype=object))
    found = []
    for level, (wrong, names) in misjoined(items, cohort.levels).items():
        text = f"the name of {int(wrong.sum())} of {names} mask files holds another {level} than their image has"
        numbers = {"items": names, "other": int(wrong.sum())}
        found.append(_finding(task, "error", text, numbers, items["item"][wrong].tolist()))
    return found


def _read(annotations: Annotations, pixels: Pixels) -> _Seen:
    """Every known item that can be read, looked at once."""
    seen, known = _Seen(), set(annotations.positions)
    for row, position in enumerate(pixels.index["position"].tolist()):
        if position not in known:
            continue
        item = str(pixels.index["item"].iloc[row])
        try:
            shape = annotations.shape_of(pixels, row)
            if annotations.task.localized == "boxes":
                _look_at_boxes(seen, item, annotations.boxes(position, shape=shape), shape.height, shape.width)
            else:
                drawn = bool(annotations.drawings.of[item])
                _look_at_masks(seen, item, annotations.masks(position, shape=shape), drawn=drawn)
        except ReadError as error:
            seen.add(error.fault if isinstance(error, Misdrawn) else "broken", item)
            continue
        seen.read += 1
    return seen


def _look_at_masks(seen: _Seen, item: str, masks: Bools, *, drawn: bool) -> None:
    covered = masks.sum((0, 2, 3))
    seen.held |= set(np.flatnonzero(covered).tolist())
    if drawn and not covered.any():
        seen.add("empty", item)
    if (covered == masks[:, 0].size).any():
        seen.add("full", item)


def _look_at_boxes(seen: _Seen, item: str, boxes: Boxes, height: int, width: int) -> None:
    corners = boxes.corners
    degenerate = (corners[:, 2] <= corners[:, 0]) | (corners[:, 3] <= corners[:, 1])
    beyond = corners[:, 2:] - np.array([width, height]) > BEYOND
    outside = (corners[:, :2] < -BEYOND).any(axis=1) | beyond.any(axis=1)
    seen.held |= set(boxes.label.tolist())
    seen.boxes["all"] += len(corners)
    seen.boxes["degenerate"] += int(degenerate.sum())
    seen.boxes["outside"] += int(outside.sum())
    for what, hit in (("degenerate", degenerate), ("outside", outside)):
        if hit.any():
            seen.add(what, item)


def _faults(task: Task, seen: _Seen) -> list[Finding]:
    found, total = [], seen.read + sum(len(seen.items.get(fault, ())) for fault in FAULTS)
    for fault, said in FAULTS.items():
        items = seen.items.get(fault, [])
        if items:
            what = "masks" if task.localized == "mask" else "lists of boxes"
            text = f"{len(items)} of {total} {what} {said}"
            found.append(_finding(task, "error", text, {fault: len(items), "items": total}, items))
    return found


def _masks(task: Task, seen: _Seen) -> list[Finding]:
    found = []
    if empty := seen.items.get("empty"):
        text = f"{len(empty)} of {seen.read} masks are empty: they say that nothing is there"
        found.append(_finding(task, "note", text, {"empty": len(empty), "items": seen.read}, empty))
    if full := seen.items.get("full"):
        text = f"{len(full)} of {seen.read} masks have a class that covers the whole image"
        found.append(_finding(task, "warning", text, {"full": len(full), "items": seen.read}, full))
    return found


def _boxes(task: Task, seen: _Seen) -> list[Finding]:
    found, total = [], seen.boxes["all"]
    said = {
        "outside": "go beyond their image: is `box_format` right?",
        "degenerate": "have no width or no height",
    }
    for what, text in said.items():
        if count := seen.boxes[what]:
            numbers = {what: count, "boxes": total}
            found.append(_finding(task, "error", f"{count} of {total} boxes {text}", numbers, seen.items[what]))
    return found


def _torn(annotations: Annotations, pixels: Pixels, pairs: Pairs) -> list[Finding]:
    """Equal pictures with different masks."""
    rows, torn = {position: row for row, position in enumerate(pixels.index["position"].tolist())}, []
    known = set(annotations.positions)
    for one, other, equal in pairs:
        if not equal or one not in known or other not in known:
            continue
        try:
            first, second = (annotations.masks_in(pixels, rows[at]) for at in (one, other))
        except ReadError:
            continue
        union = (first | second).sum()
        if union and (first & second).sum() < SAME * union:
            torn.append((one, other))
    if not torn:
        return []
    names = annotations.cohort.items["item"].tolist()
    text = f"{counted(len(torn), 'pair')} of items with equal pixels have different masks"
    return [
        _finding(annotations.task, "warning", text, {"pairs": len(torn)}, [names[at] for pair in torn for at in pair])
    ]
