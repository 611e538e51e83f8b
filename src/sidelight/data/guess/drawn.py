"""Masks and boxes beside images -> drafted tasks: mask files, COCO, VOC, YOLO, tables; a few files of each are opened."""

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sidelight.data.annotations.coco import read_coco
from sidelight.data.annotations.mask_files import distinct, read_values
from sidelight.data.annotations.voc import read_voc
from sidelight.data.annotations.yolo import class_names, read_yolo
from sidelight.data.guess.drawn_tables import table_tasks
from sidelight.data.read.formats import stem
from sidelight.errors import SidelightError

Block = tuple[str, str, Sequence[str]]
"""A name, what is said of it, and the lines of a task."""
SAMPLE, MOST_CLASSES = 8, 40
MOST_JSON = 64 << 20
LEAST_SHARE = 0.5
"""Of text files, those whose name is that of an image."""


def drawn_tasks(
    root: Path,
    every: Sequence[str],
    images: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    masks: str = "",
    examples: Sequence[str] = (),
) -> list[str]:
    """Blocks of TOML with comments, one per way in which something is drawn on the images.

    :param every: all files below ``root``; ``images`` those that are items.
    :param tables: by file.
    :param masks: the pattern of mask files, "" without; ``examples`` some of them.
    """
    found: list[Block] = [_masks(root, masks, examples)] if masks else []
    found += list(_coco(root, every, images))
    stems = {stem(path) for path in images}
    for suffix in (".xml", ".txt"):
        texts = [path for path in every if path.lower().endswith(suffix) and stem(path) in stems]
        others = [path for path in every if path.lower().endswith(suffix)]
        if texts and len(texts) >= LEAST_SHARE * len(others):
            found += _voc(root, texts) if suffix == ".xml" else _yolo(root, texts)
    return _named([*found, *table_tasks(tables, images)])


def _named(blocks: Sequence[Block]) -> list[str]:
    """Each block under a name of its own: masks, masks_2, boxes, ..."""
    taken: dict[str, int] = {}
    texts = []
    for name, said, lines in blocks:
        taken[name] = taken.get(name, 0) + 1
        title = name if taken[name] == 1 else f"{name}_{taken[name]}"
        texts.append("\n".join(["", f"# {said}", f"[task.{title}]", *lines]))
    return texts


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _masks(root: Path, pattern: str, examples: Sequence[str]) -> Block:
    values: set[int] = set()
    for path in examples[:: max(1, len(examples) // SAMPLE)][:SAMPLE]:
        try:
            values |= set(distinct(read_values(root / path, path)))
        except SidelightError:
            continue  # `check` says which cannot be read
    lines = [f"mask = {_quoted(pattern)}"]
    named = sorted(values - {0})
    if "{label}" in pattern:
        lines.append('# {label} is the class; `classes` chooses some: classes = ["..."]')
        lines.append(
            'where_missing = "empty_beside_others"  # an image with masks of some classes has none of the others'
        )
        return "masks", "Masks by class, a file for each.", lines
    if len(named) > 1 and max(named) < 128 and len(named) <= MOST_CLASSES:
        classes = ", ".join(f'{value} = "class {value}"' for value in named)
        lines.append(f"classes = {{{classes}}}  # what the values mean")
        return "masks", f"Masks of {len(named)} classes by value.", lines
    lines.append('# An image without a mask is left out; where it says that nothing is there: where_missing = "empty"')
    return "masks", "Masks of one class.", lines


def _coco(root: Path, every: Sequence[str], images: Sequence[str]) -> Iterator[Block]:
    stems = {stem(path) for path in images}
    for path in every:
        if not path.lower().endswith(".json") or not 0 < os.path.getsize(root / path) <= MOST_JSON:
            continue
        try:
            said = read_coco(root / path, path)
        except (SidelightError, OSError):
            continue
        met = sum(stem(image) in stems for image in said.images)
        if not met:
            continue
        marks = [mark for image in said.images.values() for mark in image]
        key = "mask" if marks and all(mark.segmentation for mark in marks) else "boxes"
        both = " It has boxes too: boxes in place of mask." if key == "mask" and all(mark.box for mark in marks) else ""
        kinds = len({mark.category for mark in marks})
        text = f"COCO: {len(marks)} marks of {kinds} classes; {met} of {len(said.images)} images are here.{both}"
        yield ("masks" if key == "mask" else "boxes"), text, [f"{key} = {_quoted(path)}"]


def _voc(root: Path, paths: Sequence[str]) -> list[Block]:
    if not any(_reads(read_voc, root, path) for path in paths[:SAMPLE]):
        return []
    return [("boxes", f"Boxes of {len(paths)} VOC files.", [f"boxes = {_quoted(_pattern(paths, '.xml'))}"])]


def _yolo(root: Path, paths: Sequence[str]) -> list[Block]:
    read = [found for path in paths[:SAMPLE] if (found := _reads(read_yolo, root, path)) is not None]
    if len(read) < len(paths[:SAMPLE]) or not any(read):
        return []
    polygons = any(len(numbers) > 4 for one in read for _, numbers in one)
    key, name = ("mask", "masks") if polygons else ("boxes", "boxes")
    lines = [f"{key} = {_quoted(_pattern(paths, '.txt'))}"]
    classes = class_names(root, posixpath.dirname(paths[0]))
    if classes:
        lines.append(f"classes = [{', '.join(map(_quoted, classes))}]")
    else:
        lines.append('# What the numbers mean, from 0 on: classes = ["...", "..."]')
    return [(name, f"{name.capitalize()} of {len(paths)} YOLO files.", lines)]


def _reads(read: object, root: Path, path: str) -> list[tuple[str, tuple[float, ...]]] | None:
    try:
        return list(read(root / path, path))  # type: ignore[operator]
    except (SidelightError, OSError):
        return None


def _pattern(paths: Sequence[str], suffix: str) -> str:
    """The files by the stems of their images, in one folder or below it."""
    folders = {posixpath.dirname(path) for path in paths}
    if len(folders) == 1:
        return f"{folders.pop()}/{{stem}}{suffix}".lstrip("/")
    above = posixpath.commonpath([folder or "." for folder in folders]) if "" not in folders else ""
    return f"{above}/**/{{stem}}{suffix}".lstrip("/")
