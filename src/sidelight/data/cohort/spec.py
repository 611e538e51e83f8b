"""The grammar of ``cohort.toml``: every key that it may hold; an unknown one is an error that names the nearest."""

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from sidelight.config import Settings, build
from sidelight.data.dicom import tags
from sidelight.errors import ConfigError, nearest

Rule = Literal["error", "first", "latest", "mean"]
TaskRule = Literal["error", "first", "latest", "mean", "any"]
RESERVED = ("item", "files", "group")
PATH_WORDS = ("file", "name", "stem")
"""What a table's key may call an item's path; a table's own column of such a name comes as ``TABLE.name``."""
TAKEN = (*RESERVED, "view", *PATH_WORDS)
"""Names that a column does not get from a table."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else [value]


def _as_texts(value: Any) -> Any:
    return [str(one) for one in _as_list(value)] if value is not None else None


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
Where = dict[str, str | int | float | bool | list[str | int | float | bool]]


class TableFile(Settings):
    """How a table is read where looking at it does not tell."""

    separator: str | None = Field(default=None, description="of the columns; none looks for it")
    decimal: Literal[".", ","] | None = Field(default=None, description="sign of numbers; none looks for it")
    encoding: str | None = Field(default=None, description="of the text, e.g. cp1252; none looks for it")
    sheet: str | None = Field(default=None, description="of a workbook; the first one unless named")
    header: int | None = Field(default=None, ge=1, description="the row that names the columns, counted from 1")
    base: str = Field(default="", description="folder that the paths in the table are relative to")
    columns: Names = Field(default=(), description="names of the columns, of a file without a header")
    fill: Names = Field(default=(), description="columns in which a blank cell repeats the one above it")

    @property
    def reading(self) -> dict[str, Any]:
        """What ``read_table`` is told."""
        return self.model_dump(include={"separator", "decimal", "encoding", "sheet", "header", "columns", "fill"})


class TableSpec(TableFile):
    """A further table and its keys, each ``left=right``: what the items call it, what the table calls it."""

    file: str = Field(description="its path, from the cohort file")
    on: Names = Field(description="keys, `ours=theirs`, by which its rows are joined to the items")
    also: Names = Field(default=(), description="further files with the same columns, whose rows follow")
    parser: Literal["acdc", "padchest_gr"] | None = Field(
        default=None, description="of files that are no table: data/cohort/presets/NAME.py; ``file`` may be a glob"
    )
    optional: bool = Field(default=False, description="where it is not there, the cohort goes without its columns")

    @property
    def keys(self) -> list[tuple[str, str]]:
        """What the items and what the table call each key."""
        pairs = [[part.strip() for part in pair.partition("=")] for pair in self.on]
        return [(ours, theirs or ours) for ours, _, theirs in pairs]


class ItemsSpec(TableFile):
    """A table that lists the items itself: one row per file, or per folder of frames."""

    table: str = Field(description="its path, from the cohort file")
    path: str = Field(description="the column that holds the path")


class DeriveSpec(Settings):
    """A new column, translated by ``values``. Of one column ``from``: the first group of ``pattern``, blank without a match,
    or whether its number lies within bounds, 1 or 0, blank where it is. Of several: the names of those that say yes.
    """

    sources: Names = Field(alias="from", min_length=1, description="the column that it is made of, or several")
    pattern: str | None = Field(default=None, description="regular expression, whose first group is the value")
    at_least: float | None = Field(default=None, description="1 where the number is as large, else 0")
    at_most: float | None = Field(default=None, description="1 where the number is as small, else 0")
    values: dict[str, str] = Field(default={}, description="what becomes of a value; others stay as they are")

    @property
    def bounded(self) -> bool:
        """Whether it asks for a number's bounds."""
        return self.at_least is not None or self.at_most is not None


class ImagesSpec(Settings):
    """What the pixels are."""

    channels: Literal[1, 3] | None = Field(default=None, description="grey or colour; none looks at some")
    range: tuple[int, int] | None = Field(
        default=None,
        description="black and white of images and arrays of 16 bits that use a part of them, such as [0, 4095]",
    )
    crop: Literal["sector"] | Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="keep the sector of ultrasound images alone, or cut so many pixels off every side"
    )
    fit: Literal["squash", "pad"] = Field(
        default="squash", description="frames fill their square, or keep their sides' ratio and are centred on black"
    )
    equalize: bool = Field(
        default=False,
        description="spread the grey values of each frame evenly by its histogram, as LoVT does with radiographs; channels = 1",
    )

    @model_validator(mode="after")
    def _grey(self) -> Self:
        if self.equalize and self.channels != 1:
            raise ValueError("equalize = true needs channels = 1")
        return self


LOOKS = ("crop", "fit", "equalize", "range")
"""Of ``[images]`` what makes the same file look otherwise: data on which it differs are not seen alike."""


class MetadataSpec(Settings):
    """Columns that describe each level; ``unknown`` values are blank, ``conflict`` settles what is not constant."""

    columns: dict[str, Names] = Field(
        default={}, description="written as LEVEL = [COLUMNS]: what describes a patient, a lesion or an item"
    )
    unknown: Texts = Field(default=(), description="values that are as good as a blank cell")
    asked: Texts = Field(default=(), description="values that say: asked, but not known; kept apart from blank cells")
    same: dict[str, str] = Field(default={}, description="spellings of a value that mean another one")
    numeric: Names = Field(default=(), description="columns of numbers; without it, a column of many numbers is one")
    categorical: Names = Field(default=(), description="columns of values, also where many of them are numbers")
    censored: Literal["limit", "blank"] | None = Field(
        default=None, description="what becomes of `<20` and `>90` in columns of numbers: the limit, or a blank cell"
    )
    checkbox: Names = Field(default=(), description="columns whose cells name several options, separated by ; or |")
    never: dict[str, str] = Field(default={}, description="columns that may not describe anything, and why")
    conflict: Rule | dict[str, Rule] = Field(
        default="error", description="what holds where a column differs within its level; or one by column"
    )
    date: str | None = Field(default=None, description="the column that orders rows for conflict = 'latest'")

    def rule(self, column: str) -> Rule:
        """How conflicts in ``column`` are settled."""
        return self.conflict.get(column, "error") if isinstance(self.conflict, dict) else self.conflict


MaskFormat = Literal["rle", "rle_rows", "rle_siim", "rle_coco", "polygon", "object_cxr"]
BoxFormat = Literal["xywh", "xyxy", "cxcywh", "xywh_relative", "xyxy_relative", "cxcywh_relative", "object_cxr"]
DRAWN = ("mask", "boxes")


class TaskSpec(Settings):
    """What is predicted; see ``data/cohort/task.py``, and of masks and boxes ``data/annotations/sources.py``."""

    label: Names = Field(default=(), description="the column that holds the class, or several of yes and no")
    tasks: Names = Field(default=(), description="in place of `label`: other tasks of the same unit, predicted at once")
    headline: dict[str, str] = Field(
        default={}, description="of `tasks`: the class of each that headline numbers are of, one against the rest"
    )
    points: dict[str, int] = Field(
        default={}, description="of `tasks`: what that class adds to a score, such as that of the seven-point checklist"
    )
    suspect: int = Field(
        default=3, ge=1, description="points from which the headline label without points is suspected"
    )
    views: Names = Field(
        default=(), max_length=2, description="two views of a unit that are read side by side, each by its own encoder"
    )
    unit: str = Field(default="item", description="what is predicted for: an item or a level, e.g. lesion")
    positive: Texts | None = Field(default=None, description="values that are class 1 of two")
    negative: Texts | None = Field(default=None, description="beside `positive`: any other value is then an error")
    classes: Texts | dict[str, str] | None = Field(
        default=None, description="their order, or value = class; none is every value that there is"
    )
    ignore: Texts = Field(default=(), description="values whose units are left out")
    uncertain: Literal["ignore", "positive", "negative"] | None = Field(
        default=None, description="what becomes of labels that say that it is uncertain, such as -1"
    )
    separator: str | None = Field(
        default=None, min_length=1, description="what stands between several labels in one cell"
    )
    where: Where = Field(default={}, description="items that take part, by column")
    conflict: TaskRule | None = Field(default=None, description='"any": a unit is positive if one of its items is')
    optional: bool = Field(default=False, description="absent classes are left out with a notice instead of an error")
    mask: str | tuple[str, ...] | dict[str, str] | None = Field(
        default=None,
        description="a pattern of files, a column, four columns of boxes that are filled; or one per class",
    )
    boxes: str | tuple[str, ...] | dict[str, Names] | None = Field(
        default=None, description="a pattern of files, four columns, a column with four numbers; or one per class"
    )
    table: TableSpec | None = Field(default=None, description="of masks or boxes: a table with several rows per item")
    mask_format: MaskFormat | None = Field(default=None, description="how a cell says a mask; none is a path")
    box_format: BoxFormat | None = Field(default=None, description="what the four numbers of a box are")
    where_missing: Literal["unknown", "empty", "empty_beside_others"] = Field(
        default="unknown", description="what no mask or box says: nothing, or that the class is not there"
    )
    sentence: str | None = Field(
        default=None, description="of boxes in columns: the column of the sentence that each box belongs to"
    )
    phrases: dict[str, Texts] = Field(
        default={}, description="of masks or boxes: what a report would say of a class; none is the class's name"
    )

    @property
    def drawn(self) -> str:
        """ "mask" or "boxes"; "" of a task of classes."""
        return next((key for key in DRAWN if getattr(self, key)), "")

    @property
    def mask_files(self) -> list[str]:
        """The patterns of its mask files, which are no items."""
        given = self.mask.values() if isinstance(self.mask, dict) else [self.mask]
        return [one for one in given if isinstance(one, str) and re.search(r"[/{*]", one) and "column:" not in one]


class ReportSpec(Settings):
    """Where the reports are and how they are read; see ``data/reports/reports.py``. ``report = "COLUMN"`` alone is enough."""

    column: Names = Field(
        default=(), description="columns that hold the text; several are joined, absent ones passed over"
    )
    files: Names = Field(
        default=(), description="patterns of text files, or ARCHIVE.zip::PATTERN, met by the names that items have too"
    )
    language: str = Field(default="en", description="of the headers and sentences, e.g. de")
    findings: Texts = Field(default=(), description="further headers of the findings")
    impression: Texts = Field(default=(), description="further headers of the impression")
    without: Literal["whole", "drop"] = Field(
        default="whole", description="what becomes of a report that has neither section: it is read whole, or left out"
    )
    splitter: Literal["rules", "spacy", "stanza"] = Field(default="rules", description="what parts sentences")
    least_words: int = Field(default=1, ge=1, description="reports with fewer are left out")
    hide: Texts = Field(default=(), description="words that are taken out, such as those that name the label")
    exclude: dict[str, Texts] = Field(default={}, description="values of columns whose reports are left out")


class CohortSpec(Settings):
    """A whole ``cohort.toml``."""

    name: str | None = Field(
        default=None, description="of the data, in reports; none is `cohort-` and eight digits, never the folder's name"
    )
    public: bool = Field(default=False, description="the items may be shown in reports without being asked for")
    root: str | None = Field(default=None, description="folder of the files where it is not the cohort file's own")
    files: Names = Field(default=(), description="patterns of the files, with names in braces")
    stack: str | None = Field(
        default=None, description="files that differ only in this name are the frames of one item"
    )
    companions: dict[str, Names] = Field(
        default={}, description="patterns of files that belong to items without being items"
    )
    items: ItemsSpec | None = None
    parser: Literal["derm7pt", "medmnist"] | None = Field(
        default=None, description="of files that say more than the grammar can: data/cohort/presets/NAME.py"
    )
    tables: tuple[TableSpec, ...] = ()
    derive: dict[str, DeriveSpec] = Field(default={})
    levels: Names = Field(default=(), description="from the outermost, e.g. patient, lesion")
    roles: dict[str, str] = Field(
        default={}, description="where a level or the view is found: a name in braces, column:NAME or dicom:TAG"
    )
    views: dict[str, str] = Field(default={}, description="what the values of the view mean")
    where: Where = Field(default={}, description="items that are used, by column")
    metadata: MetadataSpec = MetadataSpec()
    images: ImagesSpec = ImagesSpec()
    report: ReportSpec | None = None
    task: dict[str, TaskSpec] = Field(default={})
    needs: dict[str, str] = Field(default={}, description="files without which the cohort cannot be opened, and why")
    refuse: dict[str, str] = Field(default={}, description="files that are not read, and what to do instead")


G = TypeVar("G", bound=Settings)


def present(root: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """A raw cohort file in which each list inside ``tables`` is replaced by the first table of it whose file is there."""

    def first(one: Any) -> Any:
        if not isinstance(one, list):
            return one
        there = (table for table in one if isinstance(table, Mapping) and (root / str(table.get("file"))).is_file())
        return next(there, one[-1] if one else {})

    tables = values.get("tables")
    return {**values, "tables": [first(one) for one in tables]} if isinstance(tables, list) else dict(values)


def parse_spec(values: Mapping[str, Any], source: str) -> CohortSpec:
    """Check a whole cohort file; ``source`` names it in errors.

    :raises ConfigError: for an unknown key (with the nearest known one), a wrong value, or keys that do not fit.
    """
    raw = dict(values)
    _known(CohortSpec, raw, source)
    kinds: dict[str, type[Settings]] = {"items": ItemsSpec, "images": ImagesSpec, "report": ReportSpec}
    if isinstance(raw.get("report"), str | list):
        raw["report"] = {"column": raw["report"]}
    for key, kind in kinds.items():
        if key in raw:
            raw[key] = group(kind, raw[key], f"{source} [{key}]")
    if "tables" in raw:
        raw["tables"] = [group(TableSpec, one, f"{source} tables") for one in _as_list(raw["tables"])]
    many: dict[str, type[Settings]] = {"task": TaskSpec, "derive": DeriveSpec}
    for key, kind in many.items():
        if isinstance(raw.get(key), Mapping):
            raw[key] = {name: group(kind, one, f"{source} [{key}.{name}]") for name, one in raw[key].items()}
    if isinstance(raw.get("metadata"), Mapping):
        raw["metadata"] = _metadata(raw["metadata"], raw.get("levels", ()), source)
    spec = group(CohortSpec, raw, source)
    _check(spec, source)
    return spec


def group(kind: type[G], values: Any, place: str) -> G:
    """Validate one group of keys; ``place`` names it in errors."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place} is {values!r}", expected="a table of keys")
    _known(kind, values, place)
    try:
        return build(kind, values)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.given}", expected=error.expected, do=error.do) from None


def _known(kind: type[Settings], values: Mapping[str, Any], place: str) -> None:
    known = [field.alias or name for name, field in kind.model_fields.items()]
    for key in values:
        if key not in known:
            raise ConfigError(f"Unknown key {key!r} in {place}", do=nearest(key, known))


def _metadata(values: Mapping[str, Any], levels: Any, source: str) -> MetadataSpec:
    """``[metadata]`` names its groups of columns by level, beside its own keys."""
    own = [name for name in MetadataSpec.model_fields if name != "columns"]
    known = [*own, *_as_list(levels), "item"]
    for key in values:
        if key not in known:
            raise ConfigError(f"Unknown key {key!r} in {source} [metadata]", do=nearest(key, known))
    columns = {key: columns for key, columns in values.items() if key not in own}
    rest = {key: value for key, value in values.items() if key in own}
    return group(MetadataSpec, {**rest, "columns": columns}, f"{source} [metadata]")


def _check(spec: CohortSpec, source: str) -> None:
    """What single keys cannot tell."""
    ways = sum(bool(one) for one in (spec.files, spec.items, spec.parser))
    if ways != 1:
        raise ConfigError(f"{source} names its items {'twice' if ways else 'nowhere'}", expected="files or [items]")
    for level in spec.levels:
        if level in (*RESERVED, "view"):
            raise ConfigError(f"{source}: a level cannot be called {level!r}", do="Give it another name, with [roles]")
    for role, column in spec.roles.items():
        if role not in (*spec.levels, "view"):
            raise ConfigError(f"Unknown role {role!r} in {source} [roles]", do=nearest(role, [*spec.levels, "view"]))
        if column.startswith("dicom:"):
            tags.column(column, f"{source} [roles] {role}")
            if spec.stack:
                raise ConfigError(
                    f"{source}: `stack` and {column!r}",
                    do="Leave `stack` out: headers put the series of DICOM together",
                )
    if spec.report is not None and bool(spec.report.column) == bool(spec.report.files):
        given = "names its reports twice" if spec.report.files else "has [report] but names no text"
        raise ConfigError(f"{source} {given}", expected="[report] column or [report] files")
    for name, rule in spec.derive.items():
        if (len(rule.sources) > 1) + (rule.pattern is not None) + rule.bounded != 1:
            raise ConfigError(
                f"{source} [derive.{name}]", expected="one column with a pattern, or with bounds, or several columns"
            )
    for name, task in spec.task.items():
        _check_task(task, f"{source} [task.{name}]")
        if task.separator and len(task.label) != 1:
            raise ConfigError(
                f"{source} [task.{name}] has `separator`", expected="one label column, whose cells it parts"
            )
    _check_metadata(spec.metadata, source)
    rules = spec.metadata.conflict
    used = set(rules.values() if isinstance(rules, dict) else [rules]) | {task.conflict for task in spec.task.values()}
    if "latest" in used and spec.metadata.date is None:
        raise ConfigError(
            f"{source}: conflict = 'latest' needs to know what is latest", do="Name it: [metadata] date = COLUMN"
        )


def _check_task(task: TaskSpec, place: str) -> None:
    """Which keys of a task go together."""
    if not task.drawn:
        if bool(task.label) == bool(task.tasks):
            raise ConfigError(place, expected="either label or tasks, or mask, or boxes")
        for key in ("table", "mask_format", "box_format", "phrases", "sentence"):
            if getattr(task, key) not in (None, {}):
                raise ConfigError(f"{place} has `{key}`, but neither `mask` nor `boxes`", do="Take it out")
        return
    if task.mask and task.boxes:
        raise ConfigError(f"{place} has `mask` and `boxes`", do="Make a task of each")
    for key in ("tasks", "positive", "negative", "headline", "points", "views", "conflict"):
        if getattr(task, key) not in (None, (), {}):
            raise ConfigError(f"{place} has `{task.drawn}` and `{key}`", do=f"Take `{key}` out: it is for classes")
    if task.unit != "item":
        raise ConfigError(f"{place} unit = {task.unit!r} with `{task.drawn}`", expected="item: it is drawn on an image")
    if task.sentence and (not task.boxes or isinstance(task.boxes, dict) or task.box_format in (None, "object_cxr")):
        raise ConfigError(f"{place} has `sentence`", expected="boxes as numbers in columns, each of one sentence")
    if task.mask_format and (task.boxes or isinstance(task.mask, tuple)):
        raise ConfigError(f"{place} has `mask_format` and boxes", do="Take it out")


def _check_metadata(metadata: MetadataSpec, source: str) -> None:
    """Columns that are refused, and kinds of columns that describe nothing."""
    described = {name for names in metadata.columns.values() for name in names}
    for name in described & metadata.never.keys():
        raise ConfigError(
            f"{source} [metadata] names the column {name!r}: {metadata.never[name]}",
            expected="columns that are known without the outcome",
            do="Take it out",
        )
    for name in {*metadata.numeric, *metadata.checkbox, *metadata.categorical}:
        if described and name not in described:
            raise ConfigError(
                f"{source} [metadata] says what kind the column {name!r} is, but it describes no level",
                do=nearest(name, described),
            )
    kinds = {"numeric": metadata.numeric, "checkbox": metadata.checkbox, "categorical": metadata.categorical}
    for (one, names), (other, more) in combinations(kinds.items(), 2):
        if twice := set(names) & set(more):
            raise ConfigError(f"{source} [metadata] calls {min(twice)!r} {one} and {other}", expected="one of them")
