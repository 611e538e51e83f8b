"""A cohort: items in long form with the levels above them, a view each, joined columns and tasks.

>>> Cohort.open("phantom:ultrasound?patients=8").levels
('patient', 'clip')
"""

import hashlib
import importlib
import inspect
import os
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from sidelight.config import merge, parse_flags
from sidelight.data import identity
from sidelight.data.cohort.assemble import arrange, assemble, assemble_unlabelled
from sidelight.data.cohort.columns import describe, find_column
from sidelight.data.cohort.conflicts import column_conflicts, label_conflicts, settled
from sidelight.data.cohort.locate import locate
from sidelight.data.cohort.spec import CohortSpec, TaskSpec, group, parse_spec, present
from sidelight.data.cohort.spelling import alike, named_nowhere
from sidelight.data.cohort.task import Task, fit_classes, make_task, make_tasks
from sidelight.data.findings import Finding, Record
from sidelight.data.read.container import split
from sidelight.errors import ColumnError, ConfigError, DataError, SidelightError, nearest

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
    spec: CohortSpec = field(default_factory=CohortSpec)
    """Its cohort file; without ``root``, which may identify. Of a phantom what it says of its metadata and reports."""
    notices: tuple[str, ...] = ()
    phantom: Phantom | None = None
    broken: Mapping[str, str] = field(default_factory=dict)
    """Tasks that do not fit what is here, and why; nothing but asking for one stops. The reason may quote cells."""

    @classmethod
    def open(
        cls,
        path: str | Path,
        preset: str | None = None,
        *,
        labels: bool = True,
        cohort_file: str | Path | None = None,
        record: Record | None = None,
        **options: Any,
    ) -> "Cohort":
        """Open a cohort.

        :param path: a folder with ``cohort.toml``, that file itself, any folder with a ``preset``, or a phantom such as
            ``"phantom:ultrasound?patients=40&seed=1"``.
        :param preset: a name of :func:`sidelight.data.cohort.presets.preset_names`: a public data set in its own layout.
        :param labels: False for new patients: tasks are passed over, and so are tables that are not there or have no row
            for any item.
        :param cohort_file: a ``cohort.toml``, or the folder that holds it, to be used in place of the folder's own; its
            ``root`` does not count.
        :param record: takes conflicts, tables that do not join and tasks that cannot be used: the first value then counts.
            For looking at a cohort, not for learning from it.
        :param options: for a phantom its arguments, else keys of ``cohort.toml`` that replace those of the file.
        A task that does not fit is :attr:`broken` and told in a notice.

        :raises DataError: for files, tables and columns that do not say what they should.
        :raises ConfigError: for keys of ``cohort.toml``, presets and phantoms that are unknown.
        """
        if str(path).startswith("phantom:"):
            if preset is not None or cohort_file is not None:
                raise ConfigError(
                    f"{path} is opened with {preset or cohort_file!r}",
                    do="A phantom takes no preset and no cohort file",
                )
            return _open_phantom(str(path), options, record)
        root, values, source = locate(Path(path), preset, cohort_file, labels)
        values = merge(values, options)
        spec = parse_spec(present(root / str(values.get("root", "")), values), source)
        root = root / spec.root if spec.root else root
        if not root.is_dir():
            raise DataError(f"root = {spec.root!r} in {source} is no folder", do="Mend it, or take it out")
        if labels:
            items, notices = assemble(root, spec, record)
        else:
            spec, items, notices = assemble_unlabelled(root, spec)
        if (preset or cohort_file) and (root / "cohort.toml").exists():
            notices = [f"The folder's own cohort.toml is not used: {source} is", *notices]
        if record is not None:
            record.findings += column_conflicts(items, spec)
            spec = settled(spec)
        items, described = describe(items, spec)
        cohort = cls(
            root=root,
            name=spec.name or root.resolve().name,
            items=arrange(items, spec.levels),
            levels=spec.levels,
            channels=spec.images.channels,
            spec=spec.model_copy(update={"root": None}),
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
        crop = self.spec.images.crop
        return read_files(paths, max_frames=max_frames, channels=channels, target=target, root=self.root, crop=crop)

    def task(self, name: str) -> Task:
        """The task ``name``.

        :raises ConfigError: where there is none of that name.
        :raises DataError: where it does not fit what is here: why.
        """
        if name in self.broken:
            raise DataError(f"The task {name!r} of {self.name} cannot be used. {self.broken[name]}")
        if name not in self.tasks:
            raise ConfigError(f"{self.name} has no task {name!r}", do=nearest(name, [*self.tasks, *self.broken]))
        return self.tasks[name]

    @property
    def alias(self) -> str:
        """What runs, results and reports call the cohort: the name it was given; a folder's own name may identify."""
        given = self.phantom is not None or self.spec.public or self.spec.name
        if given or self.name != self.root.resolve().name:
            return self.name
        return f"cohort-{identity.value_hash('cohort', identity.key(self))[:8]}"

    @cached_property
    def views(self) -> "pd.Series[str]":
        """The view of each item as it may be written: one that a single patient has, and no cohort file names, may identify."""
        views, named = self.items["view"], {"", *self.spec.views.values()}
        if self.phantom is not None or self.spec.public:
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


def _with_tasks(cohort: Cohort, spec: CohortSpec, record: Record | None = None) -> Cohort:
    tasks: dict[str, Task] = {}
    broken: dict[str, str] = {}
    notices = list(cohort.notices)
    for name, one in sorted(spec.task.items(), key=lambda each: bool(each[1].tasks)):  # those of other tasks come last
        fitted: Task | None
        try:
            if one.tasks:
                fitted, more = make_tasks(name, one, tasks, list(spec.task))
            else:
                fitted, more = _task(cohort, spec, name, one, record)
        except (DataError, ConfigError) as error:
            broken[name] = str(error)
            if record is None:
                notices.append(f"The task {name!r} cannot be used: {error}".rstrip("."))
            else:
                record.findings.append(_unusable(name, error))
            continue
        notices += more
        if fitted is not None:
            tasks[name] = fitted
    return replace(cohort, tasks=tasks, notices=tuple(notices), broken=broken)


def _unusable(name: str, error: SidelightError) -> Finding:
    """The finding on a task; what may quote cells stands among its examples, which leave this host by hash only."""
    if isinstance(error, ColumnError | ConfigError):
        return Finding("task", "error", f"Task {name!r} cannot be used: {error}".rstrip("."), {"task": name})
    what = f"Task {name!r} cannot be used: its values or classes do not fit what is here"
    return Finding("task", "error", what, {"task": name}, (str(error),))


def _task(
    cohort: Cohort, spec: CohortSpec, name: str, one: TaskSpec, record: Record | None
) -> tuple[Task | None, list[str]]:
    rule = one.conflict or spec.metadata.rule(one.label[0])
    if one.conflict is None and rule in ("first", "latest"):
        one = one.model_copy(update={"conflict": rule})
    date = find_column(cohort.items, spec.metadata.date or "", "[metadata] date") if rule == "latest" else None
    task = make_task(name, one, cohort.items, cohort.levels, date)
    nowhere = named_nowhere(task, one)
    if record is not None:
        record.findings += [*label_conflicts(cohort, task), *nowhere, *alike(task, one)]
        task = replace(task, conflict="first") if task.conflict == "error" else task
    fitted, notices = fit_classes(cohort, task, one.optional)
    return fitted, [*notices, *(found.sentence for found in nowhere if record is None)]


def _open_phantom(path: str, options: Mapping[str, Any], record: Record | None = None) -> Cohort:
    """``phantom:NAME?key=value&...``; ``options`` win over the query."""
    from sidelight.data import phantoms

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
        items=arrange(items.reset_index(drop=True), levels),
        levels=levels,
        channels=source.channels,
        spec=CohortSpec(public=True, metadata=getattr(source, "metadata", {}), **getattr(source, "spec", {})),
        phantom=source,
    )
    places = {
        key: group(
            TaskSpec, {part: value for part, value in task.items() if part in TaskSpec.model_fields}, f"task {key}"
        )
        for key, task in source.tasks.items()
    }
    return _with_tasks(cohort, CohortSpec(task=places), record)
