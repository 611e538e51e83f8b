"""COCO JSON: images, categories and what is drawn on each image: boxes, polygons, run lengths packed or plain; boxes written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidelight.data.annotations.boxes import Four
from sidelight.data.annotations.drawn import Box, Counts, Drawn, Polygons
from sidelight.errors import DataError

MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Marked:
    """One annotation: its category's name, its box and its mask, if it has them."""

    category: str
    box: Four | None
    segmentation: Any
    crowd: bool = False


@dataclass(frozen=True)
class Coco:
    """A COCO file: of each image, by its path as the file says it, what is drawn on it; nothing is drawn on some."""

    images: Mapping[str, tuple[Marked, ...]]
    categories: tuple[str, ...] = ()
    faulty: Mapping[str, str] = field(default_factory=dict)
    """Images with an annotation that cannot be read, and why."""
    strays: int = 0
    """Annotations of images that the file does not list."""


def read_coco(path: Path, name: str) -> Coco:
    """Read a COCO file.

    :param name: what errors call it.
    :raises DataError: for a file that is missing, too large, no JSON, or lacks images, categories or annotations.
    """
    if not path.is_file():
        raise DataError(f"The file {name} does not exist", do="Check `mask` or `boxes` of the task")
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{name} has {path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,}")
    try:
        said = json.loads(path.read_bytes())
        images = {one["id"]: str(one["file_name"]) for one in said["images"]}
        names = {one["id"]: str(one["name"]) for one in said["categories"]}
        annotations = list(said["annotations"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "lacks " + repr(error.args[0]) if isinstance(error, KeyError) else type(error).__name__
        raise DataError(f"{name} is no whole COCO file ({what})", expected="images, categories, annotations") from None
    found: dict[str, list[Marked]] = {file: [] for file in images.values()}
    if len(found) < len(images):
        raise DataError(f"{name} names {len(images) - len(found)} of its {len(images)} images twice")
    faulty, strays = {}, 0
    for one in annotations:
        try:
            file = images[one["image_id"]]
        except (KeyError, TypeError):
            strays += 1
            continue
        try:
            found[file].append(_marked(one, names))
        except (KeyError, ValueError, TypeError):
            faulty[file] = (
                f"{name}: annotation {one.get('id')} has no known category, or a bbox that is not four numbers"
            )
    return Coco({file: tuple(marks) for file, marks in found.items()}, tuple(names.values()), faulty, strays)


@dataclass(frozen=True)
class Boxed:
    """An image with its boxes, for :func:`coco_of`.

    :ivar said: what stands beside its file name and size, such as the unit's hash.
    :ivar corners: of each box ``x0, y0, x1, y1`` in pixels; ``labels`` places among the categories; ``scores`` in [0, 1].
    """

    file: str
    height: int
    width: int
    corners: Sequence[Sequence[float]]
    labels: Sequence[int]
    scores: Sequence[float]
    said: Mapping[str, Any] = field(default_factory=dict)


def coco_of(images: Sequence[Boxed], categories: Sequence[str], info: Mapping[str, Any]) -> dict[str, Any]:
    """Boxes as COCO has them: ``bbox`` is x, y, width and height; images, categories and annotations count from 1."""
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        for (left, top, right, bottom), label, score in zip(image.corners, image.labels, image.scores, strict=True):
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "score": score,
                }
            )
    listed = [
        {"id": number, "file_name": one.file, "width": one.width, "height": one.height, **one.said}
        for number, one in enumerate(images, 1)
    ]
    named = [{"id": number, "name": name} for number, name in enumerate(categories, 1)]
    return {"info": dict(info), "images": listed, "categories": named, "annotations": annotations}


def _marked(one: Mapping[str, Any], names: Mapping[Any, str]) -> Marked:
    box, drawn = one.get("bbox") or None, one.get("segmentation") or None
    if box is not None:
        x, y, width, height = (float(number) for number in box)
        box = (x, y, width, height)
    return Marked(names[one["category_id"]], box, drawn, bool(one.get("iscrowd")))


def box_of(mark: Marked, label: int) -> Box:
    """The box of an annotation; :raises DataError: where it has none."""
    if mark.box is None:
        raise DataError(f"an annotation of category {mark.category!r} has no bbox")
    return Box(mark.box, "xywh", label)


def mask_of_mark(mark: Marked, label: int) -> Drawn:
    """The mask of an annotation; :raises DataError: where it has none, or one that COCO does not know."""
    drawn = mark.segmentation
    if isinstance(drawn, list) and all(isinstance(part, list) for part in drawn):
        return Polygons(tuple(tuple(part) for part in drawn), label)
    if isinstance(drawn, Mapping) and isinstance(drawn.get("counts"), str | list):
        size, counts = drawn.get("size"), drawn["counts"]
        if isinstance(size, list) and len(size) == 2 and all(isinstance(one, int) for one in size):
            return Counts(counts if isinstance(counts, str) else tuple(counts), (size[0], size[1]), label)
    raise DataError(
        f"an annotation of category {mark.category!r} has {'no' if not drawn else 'an unknown'} segmentation",
        expected="polygons, or run lengths with their size",
    )
