"""The items of a cohort before anything is joined to them: from file patterns, or from a table that lists files."""

import contextlib
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.data import identity
from sidelight.data.cells import counted, natural, readable, some
from sidelight.data.cohort.number_columns import number_columns
from sidelight.data.cohort.pattern import Found, Pattern, example, find, fitting, parse, walk
from sidelight.data.cohort.spec import RESERVED, TAKEN, CohortSpec
from sidelight.data.cohort.tables import TWO_READINGS, read_table, two_readings
from sidelight.data.dicom import tags
from sidelight.data.findings import Finding, Record
from sidelight.data.read.container import MARK, split
from sidelight.data.read.formats import SUFFIXES, by_suffix, is_kind
from sidelight.errors import ConfigError, DataError, nearest


def list_items(
    root: Path, spec: CohortSpec, *, texts: bool | None = None, record: Record | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """One row per item: ``item``, ``files`` (tuple of paths relative to ``root``) and what path or table says about it.

    :param texts: whether headers are asked for free text; unless given, where ``where`` or ``derive`` uses it.
    :param record: takes the files that a table lists and that are missing, in place of a notice.
    :returns: the items in natural order (of a table: in its order) and notices on what was left out.
    :raises DataError: when there is no item.
    """
    if spec.parser:
        parse_layout = import_module(f"sidelight.data.cohort.presets.{spec.parser}").list_items
        items, notices = parse_layout(root, spec.task)
        return items, notices
    texts = _wants_texts(spec) if texts is None else texts
    return _from_table(root, spec, texts, record) if spec.items else _from_files(root, spec, texts)


def _from_files(root: Path, spec: CohortSpec, texts: bool) -> tuple[pd.DataFrame, list[str]]:
    companions = {name: [parse(text) for text in texts] for name, texts in spec.companions.items()}
    masks = [parse(text) for task in spec.task.values() for text in task.mask_files]
    beside = [*masks, *(one for patterns in companions.values() for one in patterns)]
    own = {"cohort.toml", *(os.path.normpath(table.file) for table in spec.tables)}
    found, empty, passed = find(root, spec.files, beside, own)
    names = list(dict.fromkeys(name for one in found for name in one.pattern.names if name != spec.stack))
    for name in names:
        if name in RESERVED:
            raise ConfigError(f"`files` cannot use the name {name!r}", do="Give it another name in the braces")
    notices = []
    if empty:
        notices.append(f"{len(empty)} folders hold nothing that `files` matches, for example {empty[0]!r}: left out")
    notices += [f"Passed over: {passed}"] if passed else []
    rows = _stacks(found, spec.stack) if spec.stack else {one.path: [one] for one in found}
    items = pd.DataFrame(
        {
            "item": [readable(name) for name in rows],
            "files": [tuple(one.path for one in ones) for ones in rows.values()],
            **{name: [ones[0].values.get(name, "") for ones in rows.values()] for name in names},
        }
    )
    if not spec.stack:
        items, more = _with_headers(root, items, spec, texts)
        notices += more
    elif "frames" not in names:
        items["frames"] = [str(len(files)) for files in items["files"]]
    for name, patterns in companions.items():
        parts = [_companions(root, items, pattern, names) for pattern in patterns]
        items[name] = [sum(files, ()) for files in zip(*(files for files, _ in parts), strict=True)]
        lost = [path for _, strays in parts for path in strays]
        if lost:
            notices.append(f"{len(lost)} files of [companions] {name} belong to no item, for example {lost[0]!r}")
    return items, notices


def _with_headers(root: Path, items: pd.DataFrame, spec: CohortSpec, texts: bool) -> tuple[pd.DataFrame, list[str]]:
    """The items with the columns of their DICOM headers, the slices of one volume as one; others are left alone.

    Where a role wants a tag, files that are not DICOM are left out. Names in braces come before tags.
    """
    wanted = _wants_tags(spec)
    rows = {files[0]: place for place, files in enumerate(items["files"]) if _is_dicom(root, files[0], wanted)}
    if not rows:
        if wanted:
            raise DataError(f"[roles] wants DICOM tags, and no file of {len(items)} is DICOM", do=example(root))
        return items, []
    from sidelight.data.dicom.series import dicom_items

    made, notices = dicom_items(root, list(rows), identity.values_key(root), texts=texts)
    other = [place for place, files in enumerate(items["files"]) if files[0] not in rows]
    if wanted and other:
        are = f"{counted(len(other), 'file')} {'is' if len(other) == 1 else 'are'}"
        notices.append(f"{are} not DICOM, for example {items['item'][other[0]]!r}: left out")
        other = []
    if not made:
        raise DataError(f"None of {len(rows)} DICOM files is an image", do=". ".join(notices[:3]))
    first = [min(rows[path] for path in one.files) for one in made]
    headed = items.iloc[first].assign(
        files=pd.Series([one.files for one in made], index=items.index[first], dtype=object)
    )
    new = [name for name in made[0].columns if name not in items]
    headed = headed.assign(**{name: [one.columns[name] for one in made] for name in new})
    both = pd.concat([headed, items.iloc[other]]).sort_index().reset_index(drop=True)
    return both.fillna(dict.fromkeys(new, "")), notices


def _wants_tags(spec: CohortSpec) -> bool:
    return any(column.startswith("dicom:") for column in spec.roles.values())


def _wants_texts(spec: CohortSpec) -> bool:
    keys = (ours for table in spec.tables for ours, _ in table.keys)
    used = {*spec.where, *(one for rule in spec.derive.values() for one in rule.sources), *spec.roles.values(), *keys}
    return any(name.removeprefix("dicom:").strip() in tags.PASSING for name in used)


def _is_dicom(root: Path, path: str, sure: bool = False) -> bool:
    """By the suffix; a file that has no known one, or may not be what its suffix says, by how it begins."""
    if is_kind(path, "dicom") or (by_suffix(path) is not None and not sure):
        return is_kind(path, "dicom")
    from sidelight.data.read.dicom import is_dicom

    if not (root / path).is_file():  # opening a pipe waits for ever
        return False
    try:
        with (root / path).open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def _stacks(found: list[Found], frame: str) -> Mapping[str, list[Found]]:
    """Files that differ only in the name ``frame``, in its order, under the path that they share."""
    if not any(frame in one.pattern.names for one in found):
        known = {name for one in found for name in one.pattern.names}
        raise ConfigError(f"stack = {frame!r} is no name in `files`", do=nearest(frame, known))
    stacks: dict[str, list[Found]] = {}
    for one in found:
        key = one.pattern.without(one.path, frame) if frame in one.pattern.names else one.path
        stacks.setdefault(key, []).append(one)
    return {key: sorted(ones, key=lambda one: natural(one.values.get(frame, ""))) for key, ones in stacks.items()}


def _companions(root: Path, items: pd.DataFrame, pattern: Pattern, names: list[str]) -> tuple[list[Any], list[str]]:
    """The companion files of each item (a tuple, perhaps empty), met by the names that both patterns use."""
    shared = [name for name in pattern.names if name in names]
    if not shared:
        raise ConfigError(
            f"The companion pattern {pattern.text!r} shares no name with `files`", expected=f"one of {', '.join(names)}"
        )
    met: dict[tuple[str, ...], list[str]] = {}
    for path in walk(root, pattern.folder, pattern.text).files:
        for one in fitting(root, path, pattern):
            met.setdefault(tuple(one.values[name] for name in shared), []).append(one.path)
    keys = list(zip(*(items[name] for name in shared), strict=True))
    lost = [path for key in met.keys() - set(keys) for path in met[key]]
    return [tuple(met.get(key, ())) for key in keys], sorted(lost, key=natural)


def _from_table(root: Path, spec: CohortSpec, texts: bool, record: Record | None) -> tuple[pd.DataFrame, list[str]]:
    source = spec.items
    assert source is not None
    if spec.stack or spec.companions:
        raise ConfigError(
            "`stack` and [companions] belong to `files`", do="With [items], a path may name a folder of frames"
        )
    table = read_table(root / source.table, **source.reading, keep=labels_apart(spec), language=language(spec))
    table = one_reading(table, source.table, spec)
    if source.path not in table:
        raise DataError(f"{source.table} has no column {source.path!r}", do=nearest(source.path, table.columns))
    stem = Path(source.table).stem
    named = table[table[source.path] != ""].drop_duplicates().reset_index(drop=True)
    files = [_files(root, source.base, cell) for cell in named[source.path]]
    missing = [cell for cell, paths in zip(named[source.path], files, strict=True) if not paths]
    if len(missing) == len(named):
        raise DataError(
            f"None of the {len(named)} files in column {source.path!r} of {source.table} is in {root / source.base}",
            do=f"{example(root)}, the table says {missing[0]!r}" if missing else "The column is blank throughout",
        )
    items = named.rename(columns={name: f"{stem}.{name}" for name in TAKEN})
    items.insert(0, "item", [os.path.normpath(os.path.join(source.base, cell)) for cell in named[source.path]])
    items.insert(1, "files", pd.Series(files, index=items.index, dtype=object))
    items = items[[bool(paths) for paths in files]].reset_index(drop=True)
    items = _headed(root, items, _wants_tags(spec), texts)
    twice = items["item"][items["item"].duplicated()]
    if len(twice):
        raise DataError(
            f"{source.table} has several rows for {twice.iloc[0]!r}",
            do="Keep one row per file, or use `files` and `tables`",
        )
    if not missing:
        return items, []
    what = (
        f"{len(missing)} of {len(named)} files that {source.table} names {'is' if len(missing) == 1 else 'are'} missing"
    )
    if record is None:
        return items, [f"{what}: {missing[:5]}"]
    numbers = {"table": source.table, "files": len(named), "missing": len(missing)}
    record.findings.append(Finding("file", "warning", what, numbers, some(missing)))
    return items, []


def labels_apart(spec: CohortSpec) -> set[str]:
    """Columns whose commas or points stand between labels, not within numbers."""
    return {name for task in spec.task.values() for name in task.label if task.separator in (",", ".")}


def language(spec: CohortSpec) -> str:
    """The language of the reports, where they are said to be in another one than English."""
    return spec.report.language if spec.report is not None else ""


def one_reading(table: pd.DataFrame, file: str, spec: CohortSpec) -> pd.DataFrame:
    """The table, where the cohort file asks for no number of it that can be read in two ways; :raises DataError: else."""
    stem = Path(file).stem
    wanted = number_columns(spec)
    for name, cell in table.attrs.pop(TWO_READINGS, {}).items():
        if wanted & {name, f"{stem}.{name}"}:
            raise two_readings(file, name, cell)
    return table


def _headed(root: Path, items: pd.DataFrame, wanted: bool, texts: bool) -> pd.DataFrame:
    """The items of a table with the columns of their DICOM headers; the slices of a folder in order."""
    places = [place for place, files in enumerate(items["files"]) if _is_dicom(root, files[0], wanted)]
    if not places:
        return items
    from sidelight.data.dicom.series import sorted_slices

    stacks = [items["files"][place] for place in places]
    found = sorted_slices(root, stacks, identity.values_key(root), texts=texts)
    made = {place: one for place, one in zip(places, found, strict=True) if one is not None}
    names = [name for name in next(iter(made.values())).columns if name not in items] if made else []
    columns = {name: [made[at].columns[name] if at in made else "" for at in range(len(items))] for name in names}
    files = [made[at].files if at in made else files for at, files in enumerate(items["files"])]
    return items.assign(files=pd.Series(files, index=items.index, dtype=object), **columns)


def _files(root: Path, base: str, cell: str) -> tuple[str, ...]:
    """The file that a table's cell names, or the frames in the folder that it names; nothing where neither exists."""
    plain, member = split(cell)
    path = root / base / plain.replace("\\", "/")
    if not path.exists() and not plain.isascii():  # a name in the Windows-1252 of an old archive
        with contextlib.suppress(UnicodeEncodeError):
            path = root / base / os.fsdecode(plain.replace("\\", "/").encode("cp1252"))
    if path.is_dir():
        frames = [name for name in os.listdir(path) if name.lower().endswith(SUFFIXES) and name[0] != "."]
        return tuple(os.path.relpath(path / name, root) for name in sorted(frames, key=natural))
    name = os.path.relpath(path, root)
    return (f"{name}{MARK}{member}" if member else name,) if path.is_file() else ()
