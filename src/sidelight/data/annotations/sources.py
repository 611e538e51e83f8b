"""``[task.NAME]`` with ``mask`` or ``boxes`` -> a task that knows what is drawn on which item; pictures stay unread.

``mask`` and ``boxes`` name, for all classes or in a table of classes for each:

- files by a pattern, met by the names in braces that the items have too. ``{label}`` is the class of a file. The suffix says the
  format: ``.json`` COCO (one file for all), ``.xml`` VOC, ``.txt`` YOLO, ``.dcm`` DICOM segmentation objects, else a picture,
  array or volume;
- a column of the items, or of ``table``, which may have several rows for an item: paths of mask files (or companions),
  text as ``mask_format`` says, or numbers of a box as ``box_format`` says; four columns are a box, and as a mask it is filled.

``classes`` names the classes in order; as a table it translates what the source calls them, of mask files their values.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sidelight.data.annotations.drawn import Drawings, Drawn, Truth
from sidelight.data.annotations.marks import Asked, Marks, of_coco, of_columns, of_files, of_text_files
from sidelight.data.annotations.matching import LABEL, is_pattern, rows
from sidelight.data.cells import natural, normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column, select
from sidelight.data.cohort.pattern import parse
from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.task import Task
from sidelight.errors import ColumnError, ConfigError, DataError, nearest

MASKS = {"mask": "mask", "boxes": "box"}
MOST_LISTED = 8


def drawn_task(cohort: Cohort, name: str, spec: TaskSpec) -> tuple[Task | None, list[str]]:
    """Resolve one task of masks or boxes; None, and why, where an optional one finds nothing.

    :raises DataError: where nothing is drawn on any item, or a class is not known.
    :raises ConfigError: for keys that do not fit each other.
    """
    place = f"[task.{name}]"
    where = {find_column(cohort.items, column, f"{place} where"): wanted for column, wanted in spec.where.items()}
    items = cohort.items[select(cohort.items, where, f"{place} where")]
    asked = Asked(cohort, items, spec, place)
    if cohort.phantom is not None:
        return _with_phrases(_known(asked, name), spec, place), []
    if cohort.spec.images.crop == "sector":
        raise ConfigError(
            f"{place} has `{spec.drawn}`, and [images] crop = 'sector' cuts what is not written down",
            do="Take crop out, or cut a number of pixels: crop = 25",
        )
    gone = next((file for file in _single_files(spec) if not (cohort.root / file).is_file()), None)
    if gone and spec.optional:
        return None, [f"Task {name!r} is left out: {gone} is not there"]
    try:
        found, each = _collected(asked)
    except ColumnError as error:
        if not spec.optional:
            raise
        return None, [f"Task {name!r} is left out: {error}".rstrip(".")]
    if not found.marks and not found.seen:
        if spec.optional:
            return None, [f"Task {name!r} is left out: nothing is drawn on any item"]
        raise DataError(f"{place}: no item has a {MASKS[spec.drawn]}: {spec.mask or spec.boxes!r} meets none",
                        do="Mend it, or take the task out")  # fmt: skip
    classes, places, unnamed = _classes(asked, found, name)
    drawings = replace(_drawings(asked, found, places, classes if each else ()), unnamed=unnamed)
    if not drawings.of:
        why = f"; the first: {next(iter(drawings.faulty.values()))}" if drawings.faulty else ""
        do = (
            "Mend it, or say where_missing = 'empty_beside_others'"
            if drawings.partly
            else "Mend it, or take the task out"
        )
        raise DataError(f"{place}: of no item it is known what is drawn on it{why}", do=do)
    drawings = replace(drawings, notes=tuple(f"{name}: {one}" for one in _notes(drawings, spec, len(items))))
    task = Task(name, (), "item", classes, spec.drawn, where=where, drawings=drawings)
    return _with_phrases(task, spec, place), []


def _with_phrases(task: Task, spec: TaskSpec, place: str) -> Task:
    """The task with what its classes are called in reports; :raises ConfigError: for what is no class, or no phrase."""
    for name, phrases in spec.phrases.items():
        if name not in task.classes:
            raise ConfigError(f"{place} phrases of {name!r}, which is no class", do=nearest(name, task.classes))
        if not phrases or not all(one.strip() for one in phrases):
            raise ConfigError(f"{place} phrases of {name!r} are {list(phrases)}", expected="texts with words")
    return replace(task, phrases=dict(spec.phrases))


def _known(asked: Asked, name: str) -> Task:
    """The task of a phantom, whose truth says everything."""
    classes = asked.spec.classes
    names = tuple(classes) if classes else (name,)
    position = {item: place for place, item in enumerate(asked.cohort.items["item"])}
    of = {item: (Truth(asked.cohort.phantom, position[item], names),) for item in asked.items["item"]}
    return Task(name, (), "item", names, asked.spec.drawn, drawings=Drawings(of))


def _collected(asked: Asked) -> tuple[Marks, bool]:
    """All that the sources say, and whether each class has sources of its own."""
    spec = asked.spec
    given = spec.mask or spec.boxes
    assert given is not None
    if not isinstance(given, dict):
        by_label = isinstance(given, str) and is_pattern(given) and LABEL in _names(given)
        return _of(asked, given, ""), by_label
    if spec.classes is not None or spec.label:
        key = "label" if spec.label else "classes"
        raise ConfigError(f"{asked.place} has a {spec.drawn} of each class and `{key}`", do=f"Take `{key}` out")
    whole = Marks()
    for text, source in given.items():
        part = _of(asked, source, text)
        whole.marks += [replace(mark, text=text) for mark in part.marks]
        whole.seen |= part.seen
        whole.faulty |= part.faulty
        whole.strays += part.strays
    return whole, True


def _single_files(spec: TaskSpec) -> list[str]:
    """The files that hold everything: its table, COCO's JSON."""
    given = spec.mask or spec.boxes
    sources = given.values() if isinstance(given, dict) else [given]
    found = [one for one in sources if isinstance(one, str) and one.lower().endswith(".json")]
    return found + ([spec.table.file] if spec.table else [])


def _names(pattern: str) -> tuple[str, ...]:
    return parse(pattern).names


def _of(asked: Asked, source: str | Sequence[str], text: str) -> Marks:
    """What one source says: a pattern, a column, or four."""
    if isinstance(source, str) and is_pattern(source):
        suffix = source.lower().rpartition(".")[2]
        if asked.spec.table is not None or asked.spec.mask_format or asked.spec.box_format:
            raise ConfigError(
                f"{asked.place} names files and `table`, `mask_format` or `box_format`",
                do="Take these out: they are of columns",
            )
        if asked.spec.label:
            raise ConfigError(
                f"{asked.place} names files and `label`", do="A file says its classes itself: take it out"
            )
        if suffix == "json":
            return of_coco(asked, source)
        if suffix in ("xml", "txt"):
            return of_text_files(asked, source)
        if asked.spec.boxes:
            raise ConfigError(
                f"{asked.place} boxes = {source!r}", expected="COCO (.json), VOC (.xml) or YOLO (.txt) files"
            )
        return of_files(asked, source)
    names = (source,) if isinstance(source, str) else tuple(source)
    if len(names) not in (1, 4):
        raise ConfigError(
            f"{asked.place} {asked.spec.drawn} names {len(names)} columns", expected="one, or four of a box"
        )
    if (asked.spec.boxes or len(names) == 4) and asked.spec.box_format is None:
        raise ConfigError(
            f"{asked.place} has boxes in columns", do='Say what the numbers are, for example box_format = "xywh"'
        )
    table, strays = rows(asked.cohort, asked.items, asked.spec.table)
    found = of_columns(asked, names, table, text)
    return replace(found, strays=[*found.strays, *strays])


def _classes(asked: Asked, found: Marks, name: str) -> tuple[tuple[str, ...], dict[str, int], dict[str, int]]:
    """The classes in order, the place of each text, and labels in names of files that are not asked for.

    :raises DataError: for a text that is no class; those that ``ignore`` names have no place.
    """
    texts = Counter(mark.text for mark in found.marks)
    spec, given = asked.spec, asked.spec.mask or asked.spec.boxes
    if isinstance(given, dict):
        return tuple(given), {text: place for place, text in enumerate(given)}, {}
    if set(texts) <= {""} and not isinstance(spec.classes, dict):
        names = spec.classes or (name,)
        if len(names) > 1 and texts:
            raise ConfigError(f"{asked.place} has {len(names)} classes, and nothing says which a {MASKS[spec.drawn]} is of",
                              do="Name a column `label`, values in `classes`, or {label} in the pattern")  # fmt: skip
        return tuple(names), {"": 0}, {}
    if isinstance(spec.classes, dict):
        named = {normalise(text): one for text, one in spec.classes.items()}
    else:
        ignored = {normalise(one) for one in spec.ignore}
        every = spec.classes or sorted((one for one in texts if normalise(one) not in ignored), key=natural)
        named = {normalise(one): one for one in every}
    classes = tuple(dict.fromkeys(named.values()))
    places = {text: classes.index(named[normalise(text)]) for text in texts if normalise(text) in named}
    places |= {one: place for place, one in enumerate(classes) if one in texts}  # a mask by value brings all of them
    left = {normalise(one) for one in spec.ignore}
    unknown = {text: count for text, count in texts.items() if text not in places and normalise(text) not in left}
    if isinstance(given, str) and is_pattern(given) and LABEL in _names(given):
        return classes, places, unknown
    if unknown:
        shown = ", ".join(f"{text!r} ({count})" for text, count in list(unknown.items())[:MOST_LISTED])
        rest = f" and {len(unknown) - MOST_LISTED} more" if len(unknown) > MOST_LISTED else ""
        raise DataError(f"{asked.place}: {shown}{rest} are no class", do="Name each in `classes`, or in `ignore`")
    return classes, places, {}


def _drawings(asked: Asked, found: Marks, places: Mapping[str, int], each: Sequence[str]) -> Drawings:
    """What is drawn on each item that is known.

    :param each: the classes, where each has a source of its own, so that one may be missing beside others.
    """
    of: dict[str, list[Drawn]] = {item: [] for item in sorted(found.seen - found.faulty.keys())}
    held: dict[str, set[int]] = {}
    for mark in found.marks:
        if mark.item in of and mark.text in places:
            of[mark.item].append(mark.make(places[mark.text]))
            held.setdefault(mark.item, set()).add(places[mark.text])
    rule = asked.spec.where_missing
    if each and rule != "empty_beside_others":
        of = {item: parts for item, parts in of.items() if parts}
    partly = [item for item in of if each and len(held.get(item, ())) < len(each)]
    missing = [item for item in asked.items["item"] if item not in of and item not in found.faulty]
    if rule == "empty":
        of |= {item: [] for item in missing}
    elif rule == "unknown":
        of = {item: parts for item, parts in of.items() if item not in set(partly)}
    return Drawings(
        {item: tuple(parts) for item, parts in of.items()},
        found.faulty,
        tuple(found.strays),
        tuple(partly),
        tuple(missing),
    )


def _notes(drawings: Drawings, spec: TaskSpec, items: int) -> list[str]:
    """What the task goes without, in sentences that name nobody."""
    what, said = MASKS[spec.drawn], []
    if drawings.missing:
        means = "they are left out" if spec.where_missing != "empty" else "none of its classes is there"
        said.append(f"{len(drawings.missing)} of {items} items have no {what}: {means} (where_missing)")
    if drawings.partly:
        means = "they are left out" if spec.where_missing == "unknown" else "the others are not there"
        said.append(f"{len(drawings.partly)} items have a {what} of some classes only: {means} (where_missing)")
    if drawings.faulty:
        said.append(
            f"what is said of {len(drawings.faulty)} items cannot be used, so they are left out (see `sidelight check`)"
        )
    if drawings.strays:
        said.append(f"{len(drawings.strays)} {what} files or rows belong to no item")
    return said
