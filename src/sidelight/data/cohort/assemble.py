"""The items of a cohort file put together: listed, derived, joined, with levels and views, and selected."""

import posixpath
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd

from sidelight.data import identity
from sidelight.data.cells import normalise, readable
from sidelight.data.cohort.columns import derive, find_column, has_column, select, without_absent
from sidelight.data.cohort.items import labels_apart, language, list_items, one_reading
from sidelight.data.cohort.locate import refuse_files
from sidelight.data.cohort.missing_columns import check_names, role
from sidelight.data.cohort.spec import CohortSpec, TableSpec
from sidelight.data.cohort.tables import join, join_keys, read_table
from sidelight.data.dicom import tags
from sidelight.data.findings import Record
from sidelight.data.read.container import split
from sidelight.data.read.formats import stem
from sidelight.errors import ColumnError, ConfigError, DataError, nearest


def assemble(
    root: Path, spec: CohortSpec, record: Record | None = None, *, absent: dict[str, str] | None = None
) -> tuple[pd.DataFrame, list[str], tuple[int, int]]:
    """Items listed, derived, joined, with levels and views, and selected; and items and groups before they were selected.

    :param absent: takes tables that are not there or have no row for any item, and why, in place of an error.
    """
    try:
        for name, why in spec.needs.items():
            if not (root / name).exists():
                raise DataError(f"{root} lacks {name}: {why}", do=f"Put {name} there")
        items, notices = list_items(root, spec, record=record)
    except DataError:
        refuse_files(root, "*", spec.refuse)
        raise
    early = {name: rule for name, rule in spec.derive.items() if all(has_column(items, one) for one in rule.sources)}
    for name, rule in early.items():
        items = derive(items, name, rule)
    tables = [(table, rows_of(root, table, spec)) for table in spec.tables if _is_there(root, table, absent)]
    if absent is None:
        check_names(items, tables, spec)
    for table, rows in tables:
        items, more = _join(root, items, table, rows, spec, record, absent)
        notices += more
    for name, rule in spec.derive.items():
        lost = [one for one in rule.sources if absent and not has_column(items, one)]
        if lost:
            notices.append(f"[derive] {name} is left out: no item has the column {lost[0]!r}")
        elif name not in early:
            items = derive(items, name, rule)
    items, more = _views(*_levels(items, spec), spec)
    keep = select(items, spec.where, "where")
    if not keep.any():
        raise DataError(f"No item of {len(items)} fulfils where = {spec.where}", do="Mend `where`")
    passing = [f"dicom:{name}" for name in tags.PASSING]
    found = len(items), int(items[spec.levels[0]].nunique()) if spec.levels else len(items)
    return items[keep].drop(columns=passing, errors="ignore").reset_index(drop=True), notices + more, found


def assemble_unlabelled(root: Path, spec: CohortSpec) -> tuple[CohortSpec, pd.DataFrame, list[str], tuple[int, int]]:
    """New patients: ``spec`` without its tasks and without tables that tell nothing about them, and as :func:`assemble`.

    :raises DataError: where a level, the view or ``where`` needs a column of such a table.
    """
    absent: dict[str, str] = {}
    drawn = {name: task for name, task in spec.task.items() if task.mask_files}  # whose files are no patients
    try:
        items, notices, found = assemble(root, spec.model_copy(update={"task": drawn}), absent=absent)
        spec = spec.model_copy(update={"task": {}})
    except DataError as error:
        if not absent:
            raise
        lacks = "; ".join(f"{name} {why}" for name, why in absent.items())
        raise DataError(
            f"{error.given}; {lacks}", do=f"Put {next(iter(absent))} into {root}, with rows for these items"
        ) from None
    if absent:
        kept = tuple(table for table in spec.tables if table.file not in absent)
        spec = without_absent(spec.model_copy(update={"tables": kept}), items)
    notices += [f"The table {name} {why}: goes without its columns" for name, why in absent.items()]
    return spec, items, notices, found


def _is_there(root: Path, table: TableSpec, absent: dict[str, str] | None) -> bool:
    """Whether a table is to be read: False where the cohort goes without it, which ``absent`` then says."""
    if (root / table.file).exists() or (table.parser is not None and any(root.glob(table.file))):
        return True
    if absent is not None and not table.optional:
        absent[table.file] = "is not there"
    return absent is None and not table.optional


def _join(
    root: Path,
    items: pd.DataFrame,
    table: TableSpec,
    rows: pd.DataFrame,
    spec: CohortSpec,
    record: Record | None,
    absent: dict[str, str] | None,
) -> tuple[pd.DataFrame, list[str]]:
    """The items with the columns of one of ``tables``; as they are where it goes to ``absent``."""
    ours = [name for name, _ in table.keys]
    lost = [name for name in ours if name not in PATH_KEYS and not has_column(items, role(name, spec))]
    if absent and lost:
        absent[table.file] = f"is joined by {lost[0]!r}, which no item has"
        return items, []
    rows, left, right = keys_of(root, items, table, rows, spec)
    if absent is not None and not _meet(left, [rows[column] for column in right]):
        absent[table.file] = "has no row for any item"
        return items, []
    return join(items, rows, left, right, Path(table.file).name, record)


def _meet(left: list["pd.Series[str]"], right: list["pd.Series[str]"]) -> bool:
    """Whether any key of the items is one of the table's."""
    return bool(set(join_keys(left)) & set(join_keys(right)) - {""})


def keys_of(
    root: Path, items: pd.DataFrame, table: TableSpec, rows: pd.DataFrame, spec: CohortSpec
) -> tuple[pd.DataFrame, list["pd.Series[str]"], list[str]]:
    """The ``rows`` of one of ``tables``, the items' side of its keys, and the columns that are the table's side.

    The items' side is a name in braces, a role, a column, or ``file``, ``stem``, ``name`` of the item, which no table's
    column hides.
    :raises ColumnError: for a column that is not there.
    """
    rows, left = rows.copy(deep=False), []
    pairs = list(zip(items["item"], items["files"], strict=True))
    for ours, theirs in table.keys:
        if theirs not in rows:
            raise ColumnError(f"{table.file} has no column {theirs!r}", do=nearest(theirs, rows.columns))
        if ours in PATH_KEYS and ours not in items and ours not in spec.roles:
            left.append(pd.Series([PATH_KEYS[ours](item_path(*one), table.base) for one in pairs], dtype=str))
        else:
            column = find_column(items, role(ours, spec), f"`on` of {table.file}")
            left.append(items[column])
            if tags.is_hashed(column):
                secret = identity.values_key(root)
                rows[theirs] = [identity.value_hash(normalise(cell), secret) for cell in rows[theirs]]
        if ours == "file":
            rows[theirs] = [posixpath.normpath(cell.replace("\\", "/")) if cell else "" for cell in rows[theirs]]
    return rows, left, [theirs for _, theirs in table.keys]


def rows_of(root: Path, table: TableSpec, spec: CohortSpec) -> pd.DataFrame:
    """All rows of one of ``tables``; :raises DataError: where a file of it is not there or cannot be read."""
    return pd.concat([_rows(root, table, file, spec) for file in (table.file, *table.also)], ignore_index=True)


def _rows(root: Path, table: TableSpec, file: str, spec: CohortSpec) -> pd.DataFrame:
    """One file of a table, by its parser if it has one."""
    if table.parser:
        parsed: pd.DataFrame = import_module(f"sidelight.data.cohort.presets.{table.parser}").read(root, file)
        return parsed
    read = read_table(root / file, **table.reading, keep=labels_apart(spec), language=language(spec))
    return one_reading(read, file, spec)


def item_path(item: str, files: tuple[str, ...]) -> str:
    """What an item is called on disk: its file, or the folder of its frames."""
    first = readable(files[0])
    alone = len(files) == 1 and first == posixpath.normpath(item.replace("\\", "/"))
    return split(first)[0] if alone else posixpath.dirname(first)


PATH_KEYS: dict[str, Callable[[str, str], str]] = {
    "file": lambda path, base: posixpath.relpath(path, base or "."),
    "name": lambda path, base: posixpath.basename(path),
    "stem": lambda path, base: stem(path),
}
"""What ``PATH_WORDS`` mean: made from the item's path and the table's ``base``."""


def _levels(items: pd.DataFrame, spec: CohortSpec) -> tuple[pd.DataFrame, list[str]]:
    """A column per level; an item whose level is blank is alone in it."""
    notices: list[str] = []
    values = {level: items[find_column(items, role(level, spec), f"The level {level}")] for level in spec.levels}
    for level, column in values.items():
        ids = column.map(normalise)
        blank = ids == ""
        if blank.any():
            who = items["item"][blank].iloc[0]
            said = f"{int(blank.sum())} items have no {level}, for example {who!r}: each is its own"
            column_of = role(level, spec).rpartition(".")[2]
            said += (
                f'. If a blank cell repeats the one above it: fill = ["{column_of}"] beside the table'
                if spec.tables
                else ""
            )
            notices.append(said)
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
    raw = items[find_column(items, role("view", spec), "[roles] view")].map(normalise)
    unknown = sorted(set(raw) - set(spec.views) - {""}) if spec.views else []
    if unknown:
        notices = [*notices, f"`views` does not name {', '.join(map(repr, unknown[:5]))}: kept as they are"]
    return items.assign(view=raw.map(lambda value: spec.views.get(value, value))), notices


def arrange(items: pd.DataFrame, levels: tuple[str, ...]) -> pd.DataFrame:
    """The columns in their documented order, with ``group``."""
    items = items.assign(group=items[levels[0]] if levels else items["item"])
    first = ["item", "files", *levels, "view", "group"]
    return items[[*first, *(column for column in items.columns if column not in first)]]
