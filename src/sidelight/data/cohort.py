"""A cohort: items in long form with the levels above them, a view each, joined columns and tasks.

>>> Cohort.open("phantom:ultrasound?patients=8").levels
('patient', 'clip')
"""

import fnmatch
import hashlib
import importlib
import inspect
import os
import pkgutil
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from sidelight.config import load_toml, merge, parse_flags
from sidelight.data import identity, tags
from sidelight.data.columns import derive, describe, find_column, select, without_absent
from sidelight.data.conflicts import column_conflicts, label_conflicts, settled
from sidelight.data.container import split
from sidelight.data.finding import Finding, Record
from sidelight.data.items import list_items
from sidelight.data.pattern import example, stem
from sidelight.data.presets import load_preset, preset_names
from sidelight.data.spec import CohortSpec, TableSpec, TaskSpec, group, parse_spec
from sidelight.data.tables import join, normalise, read_table
from sidelight.data.task import Task, fit_classes, make_task
from sidelight.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from sidelight.data.read import Clip


RARE = "(rare)"


class Phantom(Protocol):
    """A synthetic source of items and pixels whose truth is known."""

    items: pd.DataFrame
    levels: tuple[str, ...]
    tasks: Mapping[str, Mapping[str, Any]]
    channels: int | None

    def read(self, position: int, max_frames: int) -> "Clip":
        """The frames of one item."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Items in long form; made by :meth:`open`."""

    root: Path
    name: str
    items: pd.DataFrame
    """One row per file, clip or series: ``item`` (unique str), ``files`` (tuple of paths relative to ``root``, several
    are a stack of frames in order), a str column per level, ``view`` ("" if none), ``group`` (the outermost level; the
    item's id where there are no levels), then the joined columns, all str with "" for blank."""
    levels: tuple[str, ...] = ()
    tasks: dict[str, Task] = field(default_factory=dict)
    channels: int | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    phantom: Phantom | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        preset: str | None = None,
        *,
        labels: bool = True,
        record: Record | None = None,
        **options: Any,
    ) -> "Cohort":
        """Open a cohort.

        :param path: a folder with ``cohort.toml``, that file itself, any folder with a ``preset``, or a phantom such as
            ``"phantom:ultrasound?patients=40&seed=1"``.
        :param preset: a name of :func:`sidelight.data.presets.preset_names`: a public data set in its own layout.
        :param labels: False for new patients: tasks are passed over, and so is a table that is not there.
        :param record: takes conflicts, tables that do not join and tasks that cannot be used, in place of an error: the
            first value then counts, and such a task is left out. For looking at a cohort, not for learning from it.
        :param options: for a phantom its arguments, else keys of ``cohort.toml`` that replace those of the file.
        :raises DataError: for files, tables and columns that do not say what they should.
        :raises ConfigError: for keys of ``cohort.toml``, presets and phantoms that are unknown.
        """
        if str(path).startswith("phantom:"):
            if preset is not None:
                raise ConfigError(f"{path} is opened with the preset {preset!r}", do="A phantom takes no preset")
            return _open_phantom(str(path), options, record)
        root, values, source = _locate(Path(path), preset)
        spec = parse_spec(merge(values, options), source)
        root = root / spec.root if spec.root else root
        if not root.is_dir():
            raise DataError(f"root = {spec.root!r} in {source} is no folder", do="Mend it, or take it out")
        missing = [] if labels else [table.file for table in spec.tables if not (root / table.file).exists()]
        if not labels:
            tables = tuple(table for table in spec.tables if table.file not in missing)
            spec = spec.model_copy(update={"task": {}, "tables": tables})
        try:
            items, notices = _items(root, spec, record)
        except DataError as error:
            if not missing:
                raise
            lacks = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in {root}"
            raise DataError(
                f"{error.given}; {lacks}", do=f"Put {missing[0]} there, with rows for these items"
            ) from None
        if missing:
            spec = without_absent(spec, items)
        notices += [f"The table {name} is not there: goes without its columns" for name in missing]
        if preset is not None and (root / "cohort.toml").exists():
            notices = [f"cohort.toml is not used: the preset {preset} is", *notices]
        if record is not None:
            record.findings += column_conflicts(items, spec)
            spec = settled(spec)
        items, described = describe(items, spec)
        cohort = cls(
            root=root,
            name=spec.name or root.resolve().name,
            items=_arrange(items, spec.levels),
            levels=spec.levels,
            channels=spec.images.channels,
            spec=spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"root"}),
            notices=(*notices, *(described if record is None else ())),
        )
        return _with_tasks(cohort, spec, record)

    def read(self, position: int, *, max_frames: int, channels: int | None = None, target: int | None = None) -> "Clip":
        """The decoded frames of the item at ``position`` in :attr:`items`, at most ``max_frames``, uniformly spaced.

        :param channels: hint: 1 decodes to grey.
        :param target: hint: side that the frames will be reduced to; much larger ones may be decoded coarsely.
        :raises ReadError: when its files cannot be decoded.
        """
        if self.phantom is not None:
            return self.phantom.read(position, max_frames)
        from sidelight.data.read import read_files  # decoders load when pixels are wanted

        paths = [self.root / name for name in self.items["files"].iloc[position]]
        crop = self.spec.get("images", {}).get("crop")
        return read_files(paths, max_frames=max_frames, channels=channels, target=target, root=self.root, crop=crop)

    @property
    def alias(self) -> str:
        """What runs, results and reports call the cohort: the name it was given; a folder's own name may identify."""
        given = self.phantom is not None or self.spec.get("public") or self.spec.get("name")
        if given or self.name != self.root.resolve().name:
            return self.name
        return f"cohort-{identity.value_hash('cohort', identity.key(self))[:8]}"

    @cached_property
    def views(self) -> "pd.Series[str]":
        """The view of each item as it may be written: one that a single patient has, and no cohort file names, may identify."""
        views, named = self.items["view"], {"", *self.spec.get("views", {}).values()}
        if self.phantom is not None or self.spec.get("public"):
            return views
        patients = self.items.groupby("view")["group"].nunique()
        rare = set(patients.index[patients < 2]) - named
        return views.mask(views.isin(rare), RARE)

    @cached_property
    def hash(self) -> str:
        """16 hex digits over the items, their columns, and the sizes and times of their files."""
        total = hashlib.sha256(self.name.encode() if self.phantom is not None else b"")
        total.update(self.items.to_csv(index=False).encode(errors="surrogateescape"))
        for names in self.items["files"]:
            for name in names:
                try:
                    stat = os.stat(self.root / split(name)[0])
                    total.update(f"{stat.st_size} {stat.st_mtime_ns};".encode())
                except OSError:
                    total.update(b"gone;")
        return total.hexdigest()[:16]

    def item_hash(self, position: int) -> str:
        """The name of an item that tells nothing about whose it is; see ``data/identity.py``."""
        return identity.item_hash(self.items["item"].iloc[position], identity.key(self))


def _locate(path: Path, preset: str | None) -> tuple[Path, dict[str, Any], str]:
    """The folder, the raw cohort file and its name in errors."""
    if preset is not None:
        values = load_preset(preset)
        if not path.is_dir():
            raise DataError(f"{path} is no folder", expected=f"the folder of the data set {preset}")
        return path, values, f"preset {preset}"
    if not path.exists():
        raise DataError(f"{path} does not exist", expected="a folder with cohort.toml, a cohort.toml, or phantom:NAME")
    if path.is_file() and path.suffix != ".toml":
        _refuse(path.parent, path.name)
        raise DataError(f"{path} is one file", expected="a folder with cohort.toml, or that file")
    file = path / "cohort.toml" if path.is_dir() else path
    if not file.exists():
        _refuse(path, "*")
        raise DataError(
            f"{path} holds no cohort.toml and no preset was named. {example(path)}",
            do='Write a cohort.toml, at least files = "{patient}/{clip}.*" and levels = ["patient"], '
            f"or name a preset: {', '.join(preset_names())}",
        )
    return file.parent, load_toml(file), file.name


def _refuse(root: Path, name: str, refuse: Mapping[str, str] | None = None) -> None:
    """:raises DataError: where ``root`` holds a refused file called like ``name``; it says what to do instead."""
    if refuse is None:
        refuse = {glob: why for preset in preset_names() for glob, why in load_preset(preset).get("refuse", {}).items()}
    for glob, why in refuse.items():
        for path in sorted(root.glob(glob)):
            if fnmatch.fnmatch(path.name, name):
                raise DataError(f"{path.name} is not read: {why}")


def _items(root: Path, spec: CohortSpec, record: Record | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Items listed, derived, joined, with levels and views, and selected."""
    try:
        for name, why in spec.needs.items():
            if not (root / name).exists():
                raise DataError(f"{root} lacks {name}: {why}", do=f"Put {name} there")
        items, notices = list_items(root, spec)
    except DataError:
        _refuse(root, "*", spec.refuse)
        raise
    early = {name: rule for name, rule in spec.derive.items() if rule.source in items}
    for name, rule in early.items():
        items = derive(items, name, rule)
    for table in spec.tables:
        items, more = _join(root, items, table, spec, record)
        notices += more
    for name, rule in spec.derive.items():
        if name not in early:
            items = derive(items, name, rule)
    items, more = _views(*_levels(items, spec), spec)
    keep = select(items, spec.where, "where")
    if not keep.any():
        raise DataError(f"No item of {len(items)} fulfils where = {spec.where}", do="Mend `where`")
    passing = [f"dicom:{name}" for name in tags.PASSING]
    return items[keep].drop(columns=passing, errors="ignore").reset_index(drop=True), notices + more


def _join(
    root: Path, items: pd.DataFrame, table: TableSpec, spec: CohortSpec, record: Record | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The items with the columns of one of ``tables``."""
    rows, left, right = keys_of(root, items, table, spec)
    return join(items, rows, left, right, Path(table.file).name, record)


def keys_of(
    root: Path, items: pd.DataFrame, table: TableSpec, spec: CohortSpec
) -> tuple[pd.DataFrame, list["pd.Series[str]"], list[str]]:
    """The rows of one of ``tables``, the items' side of its keys, and the columns that are the table's side.

    The items' side is a column, a role, or ``file``, ``stem``, ``name`` of the item.
    :raises DataError: for a table or a column that is not there.
    """
    rows = read_table(
        root / table.file,
        separator=table.separator,
        decimal=table.decimal,
        encoding=table.encoding,
        sheet=table.sheet,
    )
    left, right = [], []
    pairs = list(zip(items["item"], items["files"], strict=True))
    for pair in table.on:
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        theirs = theirs or ours
        if theirs not in rows:
            raise DataError(f"{table.file} has no column {theirs!r}", do=nearest(theirs, rows.columns))
        if ours in PATH_KEYS and ours not in items:
            left.append(pd.Series([PATH_KEYS[ours](_path(*one), table.base) for one in pairs], dtype=str))
        else:
            column = find_column(items, _role(ours, spec), f"tables {table.file} on {pair!r}")
            left.append(items[column])
            if tags.is_hashed(column):
                secret = identity.values_key(root)
                rows[theirs] = [identity.value_hash(normalise(cell), secret) for cell in rows[theirs]]
        if ours == "file":
            rows[theirs] = [posixpath.normpath(cell.replace("\\", "/")) if cell else "" for cell in rows[theirs]]
        right.append(theirs)
    return rows, left, right


def _path(item: str, files: tuple[str, ...]) -> str:
    """What an item is called on disk: its file, or the folder of its frames."""
    alone = len(files) == 1 and files[0] == posixpath.normpath(item.replace("\\", "/"))
    return split(files[0])[0] if alone else posixpath.dirname(files[0])


PATH_KEYS: dict[str, Callable[[str, str], str]] = {
    "file": lambda path, base: posixpath.relpath(path, base or "."),
    "name": lambda path, base: posixpath.basename(path),
    "stem": lambda path, base: stem(path),
}
"""What a key's left side may be though no column is called so, made from the item's path and the table's ``base``."""


def _role(name: str, spec: CohortSpec) -> str:
    """The column behind a level or ``view``: what ``[roles]`` says, else the name itself."""
    return spec.roles.get(name, name).removeprefix("column:").strip()


def _levels(items: pd.DataFrame, spec: CohortSpec) -> tuple[pd.DataFrame, list[str]]:
    """A column per level; an item whose level is blank is alone in it."""
    notices: list[str] = []
    values = {level: items[find_column(items, _role(level, spec), f"The level {level}")] for level in spec.levels}
    for level, column in values.items():
        ids = column.map(normalise)
        blank = ids == ""
        if blank.any():
            who = items["item"][blank].iloc[0]
            notices.append(f"{int(blank.sum())} items have no {level}, for example {who!r}: each is its own")
        items = items.assign(**{level: ids.mask(blank, items["item"])})
    return items, notices


def _views(items: pd.DataFrame, notices: list[str], spec: CohortSpec) -> tuple[pd.DataFrame, list[str]]:
    """The column ``view``, with raw names translated by ``views``; "" throughout where nothing names a view."""
    if "view" not in spec.roles and "view" not in items:
        if spec.views:
            raise ConfigError(
                "`views` is given but nothing names a view", do="Use {view} in `files`, or [roles] view = COLUMN"
            )
        return items.assign(view=""), notices
    raw = items[find_column(items, _role("view", spec), "[roles] view")].map(normalise)
    strange = sorted(set(raw) - set(spec.views) - {""}) if spec.views else []
    if strange:
        notices = [*notices, f"`views` does not name {', '.join(map(repr, strange[:5]))}: kept as they are"]
    return items.assign(view=raw.map(lambda value: spec.views.get(value, value))), notices


def _arrange(items: pd.DataFrame, levels: tuple[str, ...]) -> pd.DataFrame:
    """The columns in their documented order, with ``group``."""
    items = items.assign(group=items[levels[0]] if levels else items["item"])
    first = ["item", "files", *levels, "view", "group"]
    return items[[*first, *(column for column in items.columns if column not in first)]]


def _with_tasks(cohort: Cohort, spec: CohortSpec, record: Record | None = None) -> Cohort:
    tasks: dict[str, Task] = {}
    notices = list(cohort.notices)
    for name, one in spec.task.items():
        try:
            fitted, more = _task(cohort, spec, name, one, record)
        except DataError as error:
            if record is None:
                raise
            what = f"Task {name!r} cannot be used: its column, values or classes do not fit what is here"
            record.findings.append(Finding("task", "error", what, {"task": name}))
            notices.append(str(error))  # may quote cells, which a finding must not
            continue
        notices += more
        if fitted is not None:
            tasks[name] = fitted
    return replace(cohort, tasks=tasks, notices=tuple(notices))


def _task(
    cohort: Cohort, spec: CohortSpec, name: str, one: TaskSpec, record: Record | None
) -> tuple[Task | None, list[str]]:
    rule = one.conflict or spec.metadata.rule(one.label[0])
    if one.conflict is None and rule in ("first", "latest"):
        one = one.model_copy(update={"conflict": rule})
    date = find_column(cohort.items, spec.metadata.date or "", "[metadata] date") if rule == "latest" else None
    task = make_task(name, one, cohort.items, cohort.levels, date)
    if record is not None:
        record.findings += label_conflicts(cohort, task)
        task = replace(task, conflict="first") if task.conflict == "error" else task
    return fit_classes(cohort, task, one.optional)


def _open_phantom(path: str, options: Mapping[str, Any], record: Record | None = None) -> Cohort:
    """``phantom:NAME?key=value&...``; ``options`` win over the query."""
    import sidelight.data.phantoms as phantoms

    name, _, query = path.removeprefix("phantom:").partition("?")
    known = [module.name for module in pkgutil.iter_modules(phantoms.__path__) if not module.name.startswith("_")]
    if name not in known:
        raise ConfigError(f"Unknown phantom {name!r}", do=nearest(name, known))
    make = importlib.import_module(f"sidelight.data.phantoms.{name}").phantom
    settings = {**parse_flags(part for part in query.split("&") if part), **options}
    takes = inspect.signature(make).parameters
    for key in settings:
        if key not in takes:
            raise ConfigError(f"Unknown option {key!r} of phantom:{name}", do=nearest(key, takes))
    source: Phantom = make(**settings)
    levels = tuple(source.levels)
    items = source.items if "view" in source.items else source.items.assign(view="")
    cohort = Cohort(
        root=Path(),
        name=f"phantom:{name}",
        items=_arrange(items.reset_index(drop=True), levels),
        levels=levels,
        channels=source.channels,
        spec={"phantom": name, "options": settings, "public": True, "metadata": getattr(source, "metadata", {})},
        phantom=source,
    )
    places = {
        key: group(
            TaskSpec, {part: value for part, value in task.items() if part in TaskSpec.model_fields}, f"task {key}"
        )
        for key, task in source.tasks.items()
    }
    return _with_tasks(cohort, CohortSpec(task=places), record)
