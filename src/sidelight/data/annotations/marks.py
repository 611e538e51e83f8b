"""What each way of writing masks and boxes says: marks, each of one item, with the text of its class or none."""

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from sidelight.data.annotations.boxes import numbers_of
from sidelight.data.annotations.coco import box_of, mask_of_mark, read_coco
from sidelight.data.annotations.dicom_seg import SegmentationObject, is_segmentation, references
from sidelight.data.annotations.drawn import Box, Drawn, Polygons, TextMask
from sidelight.data.annotations.mask_files import MaskFile, plane_of
from sidelight.data.annotations.matching import ITEM, files, frames_of, named_items
from sidelight.data.annotations.object_cxr import ObjectCxr, shapes
from sidelight.data.annotations.voc import read_voc
from sidelight.data.annotations.yolo import read_yolo
from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column
from sidelight.data.cohort.pattern import Found
from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.read.formats import by_suffix, is_kind
from sidelight.errors import ConfigError, DataError, ReadError

Make = Callable[[int], Drawn]


@dataclass(frozen=True)
class Mark:
    """One mask or box: its item, the text of its class ("" where nothing says it), and what makes it of the class's place."""

    item: str
    text: str
    make: Make


@dataclass
class Marks:
    """All marks of a source; ``seen`` items are known, also those without a mark."""

    marks: list[Mark] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    faulty: dict[str, str] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)

    def add(self, item: str, text: str, make: Make) -> None:
        """One more mark."""
        self.seen.add(item)
        self.marks.append(Mark(item, text, make))


@dataclass(frozen=True)
class Asked:
    """A task that is being resolved: the cohort, those of its items that the task is of, its keys and how errors call it."""

    cohort: Cohort
    items: pd.DataFrame
    spec: TaskSpec
    place: str

    @property
    def values(self) -> Mapping[int, str] | None:
        """The class of each value of a mask by value; None where no value is named.

        :raises ConfigError: where one is no whole number.
        """
        named = self.spec.classes
        if not isinstance(named, dict):
            return None
        wrong = [one for one in (*named, *self.spec.ignore) if not one.lstrip("-").isdecimal()]
        if wrong:
            raise ConfigError(
                f"{self.place} classes names the value {wrong[0]!r} of a mask", expected="whole numbers: {1 = NAME}"
            )
        return {int(value): name for value, name in named.items()}

    @property
    def ignored(self) -> frozenset[int]:
        """Values of a mask by value that are background."""
        return frozenset(int(one) for one in self.spec.ignore if one.lstrip("-").isdecimal())


def of_coco(asked: Asked, file: str) -> Marks:
    """Boxes or masks of a COCO file; crowds are no boxes."""
    said, found = read_coco(asked.cohort.root / file, file), Marks()
    made = mask_of_mark if asked.spec.mask else box_of
    met = named_items(asked.items, list(said.images), posixpath.dirname(file))
    every = named_items(asked.cohort.items, list(said.images), posixpath.dirname(file))
    found.strays += [f"annotation {number + 1} of no image" for number in range(said.strays)]
    found.faulty |= {item: why for image, why in said.faulty.items() for item in met[image]}
    for image, marks in said.images.items():
        found.strays += [] if every[image] else [image]
        for item in met[image]:
            found.seen.add(item)
            for mark in marks:
                try:
                    made(mark, 0)
                except DataError as error:
                    found.faulty[item] = str(error)
                    continue
                if asked.spec.mask or not mark.crowd:
                    found.add(item, mark.category, partial(made, mark))
    return found


def of_text_files(asked: Asked, pattern: str) -> Marks:
    """Boxes of VOC's XML files, or boxes or polygons of YOLO's text files."""
    met, found = files(asked.cohort, asked.items, pattern, asked.place), Marks()
    found.strays += met.strays
    voc = pattern.lower().endswith(".xml")
    if voc and asked.spec.mask:
        raise ConfigError(f"{asked.place} mask = {pattern!r}: VOC files hold boxes", do=f"Say boxes = {pattern!r}")
    names = _yolo_classes(asked) if not voc else {}
    for item, of in met.of.items():
        found.seen.add(item)
        try:
            for one in (one for parts in of.values() for one in parts):
                path = asked.cohort.root / one.path
                if voc:
                    for text, four in read_voc(path, one.path):
                        found.add(item, text, partial(Box, four, "xyxy"))
                else:
                    for number, numbers in read_yolo(path, one.path):
                        found.add(item, names.get(number, number), _of_yolo(asked, numbers, one.path))
        except (ReadError, OSError) as error:
            found.faulty[item] = str(error)
    return found


def _yolo_classes(asked: Asked) -> dict[str, str]:
    """A list of classes names them by their places; a table of classes translates their numbers itself."""
    classes = asked.spec.classes
    return {str(place): name for place, name in enumerate(classes)} if isinstance(classes, tuple) else {}


def _of_yolo(asked: Asked, numbers: tuple[float, ...], name: str) -> Make:
    if (len(numbers) == 4) == bool(asked.spec.mask):
        kind, key = ("a box", "boxes") if len(numbers) == 4 else ("a polygon", "mask")
        raise ReadError(f"{name}: holds {kind}", do=f"Say `{key}` in the task")
    if len(numbers) == 4:
        a, b, c, d = numbers
        return partial(Box, (a, b, c, d), "cxcywh_relative")
    return partial(Polygons, (numbers,), relative=True)


def of_files(asked: Asked, pattern: str) -> Marks:
    """Masks of files: binary, by value, one per class by ``{label}``, or segmentation objects."""
    met, found, root = files(asked.cohort, asked.items, pattern, asked.place), Marks(), asked.cohort.root
    found.strays += met.strays
    own = dict(zip(asked.items["item"], asked.items["files"], strict=True))
    for item, of in met.of.items():
        found.seen.add(item)
        for text, ones in of.items():
            try:
                _one_item(asked, found, item, own[item], text, ones, root)
            except ReadError as error:
                found.faulty[item] = str(error)
    return found


def _one_item(
    asked: Asked, found: Marks, item: str, own: tuple[str, ...], text: str, ones: Sequence[Found], root: Path
) -> None:
    """The mask files of one item and one text of ``{label}``."""
    if is_kind(ones[0].path, "dicom"):
        for one in ones:
            _segments(asked, found, item, own, one.path)
        return
    dicom = is_kind(own[0], "dicom") or (by_suffix(own[0]) is None and "dicom:SeriesInstanceUID" in asked.items)
    if dicom and is_kind(ones[0].path, "volume"):
        raise ReadError(
            f"{ones[0].path}: a volume as the mask of DICOM files",
            do="How they lie to each other is not known here: save a DICOM segmentation object, or the images as volumes",
        )
    frames = frames_of(asked.cohort, own, ones)
    for paths in [frames] if frames else [(one.path,) for one in ones]:
        _mask(asked, found, item, paths, text, plane_of(own[0]))


def _mask(asked: Asked, found: Marks, item: str, paths: tuple[str | None, ...], text: str, plane: str) -> None:
    values, root = asked.values if not text else None, asked.cohort.root
    if values is None:
        found.add(item, text, lambda label: MaskFile(root, paths, label, plane=plane))
        return
    places = {name: place for place, name in enumerate(dict.fromkeys(values.values()))}
    labels = {value: places[name] for value, name in values.items()}
    first = next(iter(places))
    found.add(item, first, lambda label: MaskFile(root, paths, labels, asked.ignored, plane))


def _segments(asked: Asked, found: Marks, item: str, own: tuple[str, ...], path: str) -> None:
    """Each segment of a segmentation object, under its label, or its number where ``classes`` names numbers."""
    root = asked.cohort.root
    if not is_segmentation(root / path, path):
        raise ReadError(f"{path}: is a DICOM image", expected="a segmentation object", do="Save masks as PNG or NIfTI")
    named = asked.spec.classes if isinstance(asked.spec.classes, dict) else {}
    for number, label in enumerate(references(root / path, path)[1], 1):
        text = str(number) if str(number) in named else label or str(number)
        found.add(item, text, partial(_segment, root, path, own, number))


def _segment(root: Path, path: str, own: tuple[str, ...], number: int, label: int) -> SegmentationObject:
    return SegmentationObject(root, path, own, {number: label})


def of_columns(asked: Asked, names: Sequence[str], rows: pd.DataFrame, text: str = "") -> Marks:
    """Boxes of four columns or one, or masks of a column: paths, companions, or text as ``mask_format`` says.

    In a table of the task's own, a row without numbers says that nothing is there; a blank cell of an item says nothing.
    """
    spec, found = asked.spec, Marks()
    columns = [find_column(rows, one.removeprefix("column:"), f"{asked.place} {spec.drawn}") for one in names]
    own = {item: files[0] for item, files in zip(asked.items["item"], asked.items["files"], strict=True)}
    label = find_column(rows, spec.label[0], f"{asked.place} label") if spec.label else None
    labels: Iterable[str] = [text] * len(rows) if label is None else rows[label].map(normalise)
    cells = zip(*(rows[one] for one in columns), strict=True)
    about = rows[find_column(rows, spec.sentence, f"{asked.place} sentence")] if spec.sentence else [""] * len(rows)
    for item, said, sentence, given in zip(rows[ITEM], labels, about, cells, strict=True):
        if isinstance(given[0], tuple):  # companions
            for path in given[0]:
                _mask(asked, found, item, (path,), said, plane_of(own[item]))
            continue
        try:
            make = _of_cells(asked, given, sentence)
        except DataError as error:
            found.faulty[item] = str(error)
            continue
        if make is not None and label is not None and not said:
            found.faulty[item] = f"a {spec.drawn.removesuffix('es')} without a class: {spec.label[0]!r} is blank"
        elif make is not None and given != ("-1",):
            _add_cell(asked, found, item, said, given, make)
        elif make is not None or spec.table is not None:
            found.seen.add(item)
    return found


def _words(sentence: str) -> str:
    """A sentence on one line; "" for one without a letter or digit, of which a text model would read nothing."""
    return " ".join(sentence.split()) if any(letter.isalnum() for letter in sentence) else ""


def _add_cell(asked: Asked, found: Marks, item: str, said: str, given: tuple[str, ...], make: Make) -> None:
    if asked.spec.mask and len(given) == 1 and asked.spec.mask_format is None:
        base = asked.spec.table.base if asked.spec.table else ""
        path = posixpath.normpath(posixpath.join(base, given[0].replace("\\", "/")))
        _mask(asked, found, item, (path,), said, "")
    else:
        found.add(item, said, make)


def _of_cells(asked: Asked, given: tuple[str, ...], sentence: str) -> Make | None:
    """What makes a mask or box of cells; None where they are blank."""
    spec = asked.spec
    if "object_cxr" in (spec.mask_format, spec.box_format):
        shapes(given[0])
        return partial(ObjectCxr, given[0]) if given[0].strip() else None
    if spec.mask and len(given) == 1:
        form = spec.mask_format
        if not given[0].strip():
            return None
        return partial(TextMask, given[0], form or "rle")
    numbers, form_of_box = numbers_of(given), spec.box_format
    if numbers is None:
        return None
    if form_of_box is None:
        raise ConfigError(f"{asked.place} has boxes in columns", do='Say what the numbers are: box_format = "xywh"')
    return partial(Box, numbers, form_of_box, sentence=_words(sentence))
