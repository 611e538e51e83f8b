"""A folder, cohort file, preset or phantom -> a cohort: what ``Cohort.open`` does."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from sidelight.config import merge, parse_flags
from sidelight.data.annotations.sources import drawn_task
from sidelight.data.cohort.assemble import arrange, assemble, assemble_unlabelled
from sidelight.data.cohort.cohort import Cohort, Phantom
from sidelight.data.cohort.columns import describe, find_column
from sidelight.data.cohort.conflicts import column_conflicts, label_conflicts, settled
from sidelight.data.cohort.locate import locate
from sidelight.data.cohort.outside import check_outside
from sidelight.data.cohort.spec import CohortSpec, TaskSpec, group, parse_spec, present
from sidelight.data.cohort.spelling import absent_values, alike, unsaid_values
from sidelight.data.cohort.task import Task, make_task, make_tasks
from sidelight.data.cohort.units import fit_classes
from sidelight.data.findings import Finding, Record
from sidelight.errors import ColumnError, ConfigError, DataError, SidelightError, nearest


def open_cohort(
    path: str | Path,
    preset: str | None,
    labels: bool,
    cohort_file: str | Path | None,
    record: Record | None,
    options: Mapping[str, Any],
    allow_outside: bool = False,
) -> Cohort:
    """As :meth:`sidelight.data.cohort.cohort.Cohort.open`."""
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
    home, file, named = root, _file(Path(path), cohort_file), []
    if preset is None:
        named = check_outside(file, home, spec, None, typed=options, allowed=allow_outside)
    root = root / spec.root if spec.root else root
    if not root.is_dir():
        raise DataError(f"root = {spec.root!r} in {source} is no folder", do="Mend it, or take it out")
    if labels:
        items, notices, found = assemble(root, spec, record)
    else:
        spec, items, notices, found = assemble_unlabelled(root, spec)
    if preset is None and spec.items is not None:
        named += check_outside(file, home, spec, items, typed=options, allowed=allow_outside)
    notices = [*named, *notices]
    if (preset or cohort_file) and (root / "cohort.toml").exists():
        notices = [f"The folder's own cohort.toml is not used: {source} is", *notices]
    if record is not None:
        record.findings += column_conflicts(items, spec)
        spec = settled(spec)
    items, described = describe(items, spec, record)
    cohort = Cohort(
        root=root,
        name=spec.name or root.resolve().name,
        items=arrange(items, spec.levels),
        levels=spec.levels,
        channels=spec.images.channels,
        spec=spec.model_copy(update={"root": None}),
        notices=(*notices, *(described if record is None else ())),
        found=found,
    )
    return _with_tasks(cohort, spec, record)


def _file(path: Path, cohort_file: str | Path | None) -> Path:
    """The cohort file that :func:`locate` found."""
    file = path if cohort_file is None else Path(cohort_file)
    return file / "cohort.toml" if file.is_dir() else file


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
    if one.drawn:
        return drawn_task(cohort, name, one)
    rule = one.conflict or spec.metadata.rule(one.label[0])
    if one.conflict is None and rule in ("first", "latest"):
        one = one.model_copy(update={"conflict": rule})
    date = find_column(cohort.items, spec.metadata.date or "", "[metadata] date") if rule == "latest" else None
    task = make_task(name, one, cohort.items, cohort.levels, date)
    nowhere = absent_values(task, one)
    if record is not None:
        record.findings += [*label_conflicts(cohort, task), *nowhere, *unsaid_values(task), *alike(task, one)]
        task = replace(task, conflict="first") if task.conflict == "error" else task
    fitted, notices = fit_classes(cohort, task, one.optional)
    told = [*nowhere, *unsaid_values(task)]
    return fitted, [*notices, *(found.sentence for found in told if record is None)]


def _check_option(name: str, key: str, value: Any, usual: Any) -> None:
    """:raises ConfigError: for an option of a phantom that is of another type than its default, and for a seed below 0."""
    kinds: dict[type, tuple[Any, str]] = {
        int: (Integral, "a whole number"),
        float: (Real, "a number"),
        str: (str, "a word"),
    }
    kind, said = kinds.get(type(usual), (object, "a value"))
    said += " from 0 on" if key == "seed" else ""
    if not isinstance(value, kind) or isinstance(value, bool) or (key == "seed" and value < 0):
        raise ConfigError(f"phantom:{name} was asked for {key} = {value!r}", expected=said)


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
        _check_option(name, key, settings[key], takes[key].default)
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
