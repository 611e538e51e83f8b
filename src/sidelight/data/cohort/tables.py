"""Tables as they come: CSV of any separator, decimal comma and encoding, Parquet, Excel. Every cell is text, stripped."""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.cells import normalise, some
from sidelight.data.cohort.encoding import decoded
from sidelight.data.cohort.header_row import LOOKED_AT, check_header
from sidelight.data.cohort.merged import filled, merged_ranges
from sidelight.data.cohort.spec import TAKEN
from sidelight.data.cohort.table_size import check_parquet, compact, explained_table, most_text, read_bytes
from sidelight.data.findings import Finding, Joined, Record
from sidelight.data.numbers import plain_notation
from sidelight.errors import DataError, MissingExtra, nearest

TWO_READINGS = "two readings"
"""Of ``DataFrame.attrs``: columns whose numbers can be read in two ways, each with an example."""
EXCEL_ERRORS = ("#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!")
_TYPED = "\x02"  # before a cell that is a number or a date in its workbook
_GLUE = "\x1f"  # between the parts of a key; no table holds it


@explained_table
def read_table(
    path: Path,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    header: int | None = None,
    columns: Sequence[str] = (),
    fill: Sequence[str] = (),
    keep: Collection[str] = (),
    language: str = "",
) -> pd.DataFrame:
    """Read a CSV (or TSV, TXT; also gzipped), Parquet or Excel table with every cell as text.

    Separator and encoding (UTF-8 with or without mark, UTF-16, Windows-1252) are detected unless given. Columns
    of numbers are brought to one notation, with a decimal point; those that can be read in two ways stay as they are, and
    ``attrs[TWO_READINGS]`` names them (see ``numbers.py``).
    Of a workbook (``.xlsx``) the values are read that its formulas had when it was saved, dates as
    2020-12-31; formats that only show a value otherwise, such as leading zeros, do not count.

    :param sheet: of a workbook the sheet's name; the first one unless given.
    :param header: the row that names the columns, counted from 1 with blank rows; rows above it are passed over.
    :raises TitleRow: where the first row looks like a title or like groups of columns, and ``header`` is not given.
    :param columns: names of the columns of a file without a header, as many as it has.
    :param fill: columns in which a blank cell repeats the one above it.
    :param keep: columns whose commas stand between labels: they are left alone.
    :param language: of the texts, which tells the encoding of some.
    :raises DataError: when the file is missing, of another format or an encoding that is not known, empty, cut short, or a row
        has more cells than the header.
    :raises MissingExtra: where a workbook is to be read and openpyxl is not installed.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"The table {path} {what}", do="Check `file` in the cohort's tables")
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    if path.suffix.lower() in (".xls", ".xlsb", ".ods"):
        raise DataError(
            f"The table {path.name} is a spreadsheet of a kind that is not read",
            do="Save it as .xlsx or CSV and name that file instead",
        )
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        first = 1 if columns and header is None else header
        table = _filled(_tidy(_named(_read_excel(path, sheet, first), columns, path)), fill, path)
        return _noted(table, decimal, None, keep)
    if sheet is not None:
        raise DataError(f"The table {path.name} has no sheets", do="Leave `sheet` out")
    text = _decode(path, encoding, language)
    lines = text.count("\n")
    named = re.match(r"sep=(.)\n", text)  # the line by which spreadsheets mark their separator
    if named:
        separator, text = separator or named[1], text[named.end() :]
    text = text.split("\n", header - 1)[-1] if header else text
    separator = separator or _separator(text)
    if header is None and not columns:
        check_header(path.name, [[cell.strip() for cell in row] for row in _first_rows(text, separator)])
    cells = _cells(text, separator, path.name, lines - text.count("\n"))
    _check_end(text, separator, path.name)
    return _noted(_filled(_tidy(_named(cells, columns, path)), fill, path), decimal, separator, keep)


def _cells(text: str, separator: str, name: str, above: int) -> pd.DataFrame:
    """All cells as text, as many in a row as the first has; :raises DataError: where a row has more that are not blank.

    :param above: lines of the file before ``text``.
    """
    told: dict[str, Any] = {
        "sep": separator,
        "header": None,
        "dtype": str,
        "keep_default_na": False,
        "na_filter": False,
    }
    try:
        cells: pd.DataFrame = pd.read_csv(io.StringIO(text), **told)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        try:
            width, widest = _widths(text, separator, name, above)
        except csv.Error:
            width = widest = 0
        if widest <= width:
            raise DataError(
                f"The table {name} cannot be read: {error}",
                expected=f"a header and rows with as many cells, separated by {separator!r}",
            ) from None
        cells = pd.read_csv(io.StringIO(text), names=range(widest), usecols=range(width), index_col=False, **told)
    return cells


def _widths(text: str, separator: str, name: str, above: int) -> tuple[int, int]:
    """Cells of the first row and of the longest; :raises DataError: where what is beyond the first row is not blank."""
    width = widest = 0
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    for row in filter(None, reader):
        width, widest = width or len(row), max(widest, len(row))
        if any(cell.strip() for cell in row[width:]):
            raise DataError(
                f"Line {above + reader.line_num} of the table {name} has {len(row)} cells, and its first row {width}",
                expected=f"a header and rows with as many cells, separated by {separator!r}",
                do="Where a title stands above the header, say beside the name of the table which row is the header, counted "
                "from 1: header = 2. Where a cell holds the separator, put the cell in quotation marks",
            )
    return width, widest


def _check_end(text: str, separator: str, name: str) -> None:
    """:raises DataError: where the last row has fewer cells than those before it, and the file ends within it."""
    rest, _, last = text.rpartition("\n")
    if not last.strip() or not rest or last.count('"') % 2:
        return
    width = min((len(row) for row in _first_rows(rest, separator) if row), default=0)
    found = len(next(csv.reader([last], delimiter=separator)))
    if found < width:
        raise DataError(
            f"The last row of the table {name} has {found} cells, all before it {width}, and the file ends in it: it seems to be "
            "cut short",
            do="Fetch it again, or, if nothing is missing, end the last row with a line break",
        )


def _filled(table: pd.DataFrame, fill: Sequence[str], path: Path) -> pd.DataFrame:
    """With the cells above in the blank ones of the columns ``fill``."""
    for name in fill:
        if name not in table:
            known = [str(one) for one in table.columns]
            raise DataError(
                f"The table {path.name} has no column {name!r}, which `fill` names", do=nearest(name, known)
            )
        table = table.assign(**{name: table[name].mask(table[name] == "").ffill().fillna("")})
    return table


def _noted(table: pd.DataFrame, decimal: str | None, separator: str | None, keep: Collection[str]) -> pd.DataFrame:
    """The table in plain notation, with its doubts; cells that a workbook holds as numbers are left alone."""
    plain = table.apply(lambda column: column.str.removeprefix(_TYPED))
    asked = table.drop(columns=[name for name in keep if name in table])
    asked = asked.mask(asked.apply(lambda column: column.str.startswith(_TYPED)), "")
    new, doubts = plain_notation(asked, decimal, separator)
    table = plain.assign(**{str(name): new[name].where(asked[name] != "", plain[name]) for name in new})
    table.attrs[TWO_READINGS] = doubts
    return table


def two_readings(file: str, column: str, example: str) -> DataError:
    """The error that asks how the numbers of a column are written."""
    return DataError(
        f"The table {file} writes numbers as {example!r} in column {column!r}: the sign may stand before decimals or thousands",
        do='Say which sign stands before decimals, beside the name of the table: decimal = "," (or ".")',
    )


def _named(cells: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """The cells under a header of ``columns``, if there are any."""
    if not columns:
        return cells
    if len(columns) != cells.shape[1]:
        raise DataError(
            f"The table {path.name} has {cells.shape[1]} columns, `columns` names {len(columns)}",
            do="Name every column, or leave `columns` out where the first row is a header",
        )
    return pd.concat([pd.DataFrame([list(columns)], columns=cells.columns), cells], ignore_index=True)


def _tidy(cells: pd.DataFrame) -> pd.DataFrame:
    """The first row as header; cells stripped; without blank rows and nameless columns."""
    cells = cells.fillna("").apply(lambda column: column.str.strip())
    table = cells.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index(_header([str(name) for name in cells.iloc[0]]))
    return table.loc[(table != "").any(axis=1), [bool(name) for name in table.columns]].reset_index(drop=True)


def _read_excel(path: Path, sheet: str | None, header: int | None) -> pd.DataFrame:
    """All cells of a sheet as text, those below the header that are no text there behind ``_TYPED``; the header comes first,
    without one the first row that is not blank.
    """
    try:
        import openpyxl
    except ImportError:
        raise MissingExtra("openpyxl", "excel", f"Reading the table {path.name}") from None
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > most_text():
            raise DataError(f"The table {path.name} unpacks to {size:,} bytes", do="Save it as CSV")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        try:
            names = [one.title for one in book.worksheets]
            if sheet is not None and sheet not in names:
                raise DataError(f"The table {path.name} has no sheet {sheet!r}", do=nearest(sheet, names))
            source = book[sheet] if sheet is not None else book.worksheets[0]
            source.reset_dimensions()  # some programs write a wrong size, and cells beyond it would be lost
            cells = compact(source.iter_rows(values_only=True), path)
            rows = [[_excel_cell(value) for value in row] for row in cells]
            with zipfile.ZipFile(path) as archive:
                merged = merged_ranges(archive, source._worksheet_path)
        finally:
            book.close()
    except DataError:
        raise
    except Exception as error:  # broken XML may raise anything
        raise DataError(
            f"The table {path.name} cannot be read as an Excel workbook ({str(error) or type(error).__name__})",
            do="Save it anew, without a password",
        ) from None
    if header is None:
        check_header(path.name, _squared([[text for text, _ in row] for row in rows]))
    first = next((place for place, row in enumerate(rows) if any(text for text, _ in row)), 0)
    rows = filled(rows, merged, header or first + 1)
    rows = [row for row in rows[(header or 1) - 1 :] if any(text for text, _ in row)]
    if not rows:
        raise DataError(f"The table {path.name} is empty", do="Name another with `sheet`" if sheet is None else "")
    width = max(map(len, rows))
    rows = [row + [("", False)] * (width - len(row)) for row in rows]
    marked = [[text if is_text or not text else _TYPED + text for text, is_text in row] for row in rows[1:]]
    return pd.DataFrame([[text for text, _ in rows[0]], *marked], dtype=str)


def sheet_names(path: Path) -> list[str]:
    """The sheets of a workbook that :func:`read_table` has read, in their order."""
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, keep_links=False)
    try:
        return [one.title for one in book.worksheets]
    finally:
        book.close()


def _squared(rows: list[list[str]]) -> list[list[str]]:
    """``rows`` up to the last column that holds anything: a sheet may be as wide as its formats."""
    width = max((place + 1 for row in rows for place, text in enumerate(row) if text), default=0)
    return [row[:width] for row in rows]


def _excel_cell(value: Any) -> tuple[str, bool]:
    """A cell as text, and whether it is text in the workbook; an error such as #N/A is blank."""
    if isinstance(value, str):
        return ("", True) if value in EXCEL_ERRORS else (value.strip(), True)
    return _cell(value), False


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        check_parquet(path)
        table = pd.read_parquet(path)
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index()
        return pd.DataFrame({str(name): [_cell(value) for value in table[name]] for name in table.columns}, dtype=str)
    except DataError:
        raise
    except Exception as error:  # broken columns may raise anything
        what = str(error) or type(error).__name__
        raise DataError(f"The table {path.name} cannot be read as Parquet: {what}", do="Write it again") from None


def _cell(value: Any) -> str:
    if isinstance(value, date) and not isinstance(value, type(pd.NaT)):
        return value.isoformat().removesuffix("T00:00:00")
    return normalise(value)


def _decode(path: Path, encoding: str | None, language: str) -> str:
    """The text of a file of cells, whose lines end in ``\\n``: also those of old Macs, and none within a cell."""
    text = decoded(_unpacked(path), path.name, encoding, language).replace("\r\n", "\n")
    ends = text.count("\r") > text.count("\n")
    return text.replace("\r", "\n" if ends else " ")


def _unpacked(path: Path) -> bytes:
    """The bytes of a table, gzipped or not; :raises DataError: where it is broken or too large."""
    try:
        return read_bytes(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The table {path.name} cannot be unpacked: {error}", do="Fetch it again") from None


def _separator(text: str) -> str:
    """The separator under which most of the first rows have as many cells as the header, and the header most cells."""
    fallback = ","
    for above in range(LOOKED_AT):  # a title has no separator, or another
        best, score = "", (0.0, 1)
        for candidate in ",;\t|":
            rows = [row for row in _first_rows(text, candidate)[above:] if row]
            cells = len(rows[0]) if rows else 0
            fit = sum(len(row) == cells for row in rows) / max(len(rows), 1)
            if cells > 1 and (fit, cells) > score:
                best, score = candidate, (fit, cells)
        if best and score[0] > 0.5:
            return best
        fallback = best if best and not above else fallback
    return fallback


def _first_rows(text: str, separator: str) -> list[list[str]]:
    """The rows at the top, blank ones too; one that was cut off is left out."""
    rows = list(csv.reader(io.StringIO(text[:60_000]), delimiter=separator))
    return rows[:-1] if len(text) > 60_000 else rows


def _header(names: Sequence[str]) -> list[str]:
    """Column names: nameless columns stay "" (and are dropped), a repeated name gets a number."""
    seen: dict[str, int] = {}
    header = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        header.append(name if seen[name] == 1 or not name else f"{name}.{seen[name]}")
    return header


def join(
    items: pd.DataFrame,
    table: pd.DataFrame,
    left: Sequence["pd.Series[str]"],
    right: Sequence[str],
    name: str,
    record: Record | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Add the columns of ``table`` to the rows of ``items`` whose keys ``left`` equal its columns ``right``.

    :param left: one Series per key, aligned with ``items``.
    :param name: the table's file name; a column comes as ``stem.column`` where ``items`` already has it with other values,
        or ``spec.TAKEN`` keeps its name for something else.
    :param record: takes what would be raised; the first of several rows then counts, and a table that meets nothing
        gives blank columns.
    :returns: the wider frame and notices on what met nothing.
    :raises DataError: when no key joins, or when rows with one key differ.
    """
    ours, theirs = join_keys(left), join_keys([table[column] for column in right])
    keyless = _keyless(table[list(dict.fromkeys(right))], name)
    if record is not None:
        table, theirs = _recorded(table, ours, theirs, name, record, keyless)
    rows = table.drop(columns=list(right)).assign(**{_GLUE: theirs})
    rows = rows[theirs.isin(set(ours) - {""}).to_numpy()].drop_duplicates()
    if rows.empty and record is None:
        raise DataError(
            f"No item has a row in {name}: " + _sides(ours, theirs, right), do="Check `on` and the spelling of the keys"
        )
    repeated = rows[rows[_GLUE].duplicated(keep=False)]
    if not repeated.empty:
        key = repeated[_GLUE].iloc[0]
        same = repeated[repeated[_GLUE] == key]
        differ = {column: same[column].unique().tolist() for column in same.columns if len(set(same[column])) > 1}
        raise DataError(
            f"{name} has {len(same)} rows for {_show(key)} that differ in {_some(differ)}",
            do="Join by a further key, or keep one row per key",
        )
    joined = rows.set_index(_GLUE).reindex(ours.to_numpy()).set_axis(items.index).fillna("")
    return _beside(items, joined, name, _loose(ours, theirs, name, keyless) if record is None else [])


def _recorded(
    table: pd.DataFrame, ours: "pd.Series[str]", theirs: "pd.Series[str]", name: str, record: Record, keyless: str
) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """Write down how the keys met; the first row of each key, and its key."""
    known, wanted = set(theirs) - {""}, set(ours) - {""}
    met = ours.isin(known)
    strays = theirs[~theirs.isin(wanted) & (theirs != "")].drop_duplicates()
    record.joins.append(Joined(name, len(ours), int(met.sum()), len(known), len(strays)))
    numbers = {"table": name, "items": len(ours), "with_row": int(met.sum()), "rows_without_item": len(strays)}
    if not met.any():
        what = f"No item has a row in {name}: its keys are spelled otherwise, or `on` names other columns"
        record.findings.append(Finding("join", "error", what, numbers, some(map(_show, ours))))
    elif not met.all():
        what = f"{(~met).sum()} of {len(ours)} items have no row in {name}"
        record.findings.append(Finding("join", "warning", what, numbers, some(map(_show, ours[~met]))))
    if keyless:
        record.findings.append(Finding("join", "warning", keyless, {"table": name, "rows": int((theirs == "").sum())}))
    if met.any() and len(strays):
        what = f"{len(strays)} of {len(known)} keys of {name} belong to no item"
        record.findings.append(Finding("join", "note", what, numbers, some(map(_show, strays))))
    rows = table.assign(**{_GLUE: theirs})[theirs.isin(wanted)].drop_duplicates()
    torn = rows[_GLUE][rows[_GLUE].duplicated()].drop_duplicates()
    if len(torn):
        what = (
            f"{name} has several rows that differ for {len(torn)} of {len(wanted & known)} keys: join by a further key"
        )
        numbers = {"table": name, "keys": len(wanted & known), "repeated": len(torn)}
        record.findings.append(Finding("table", "error", what, numbers, some(map(_show, torn))))
    first = ~theirs.duplicated()
    return table[first].reset_index(drop=True), theirs[first].reset_index(drop=True)


def join_keys(parts: Sequence["pd.Series[str]"]) -> "pd.Series[str]":
    """Keys of one part or several as text that compares equal where they match; "" where a part is blank."""
    columns = [part.map(normalise) for part in parts]
    blank = np.logical_or.reduce([(column == "").to_numpy() for column in columns])
    glued = columns[0].str.cat(pd.concat(columns[1:], axis=1), sep=_GLUE) if len(columns) > 1 else columns[0]
    return glued.mask(blank, "")


def _beside(items: pd.DataFrame, joined: pd.DataFrame, name: str, notices: list[str]) -> tuple[pd.DataFrame, list[str]]:
    new: dict[str, Any] = {}
    for column in joined.columns:
        values = joined[column]
        if column in TAKEN:
            new[f"{Path(name).stem}.{column}"] = values
        elif column not in items:
            new[column] = values
        elif ((items[column] == values) | (items[column] == "") | (values == "")).all():
            items = items.assign(**{column: items[column].mask(items[column] == "", values)})
        else:
            new[f"{Path(name).stem}.{column}"] = values
            notices.append(
                f"{name}: column {column!r} is there already with other values; it is {Path(name).stem}.{column}"
            )
    return pd.concat([items, pd.DataFrame(new, index=items.index)], axis=1), notices


def _keyless(keys: pd.DataFrame, name: str) -> str:
    """What is said of rows in which a part of the key is blank; "" where there are none."""
    blank = keys.map(normalise) == ""
    rows, columns = int(blank.any(axis=1).sum()), [str(column) for column in blank if blank[column].any()]
    if not rows:
        return ""
    said = f"{rows} of {len(keys)} rows of {name} have no key ({' or '.join(columns)} is blank) and are not used"
    fill = ", ".join(f'"{column}"' for column in columns)
    return f"{said}: if a blank repeats the cell above it, say fill = [{fill}] beside the name of the table"


def _loose(ours: "pd.Series[str]", theirs: "pd.Series[str]", name: str, keyless: str) -> list[str]:
    notices = []
    rowless = ours[~ours.isin(set(theirs) - {""})]
    itemless = theirs[~theirs.isin(set(ours)) & (theirs != "")]
    if len(rowless):
        notices.append(
            f"{len(rowless)} of {len(ours)} items have no row in {name}, for example {_show(rowless.iloc[0])}"
        )
    if len(itemless):
        notices.append(f"{len(itemless)} rows of {name} belong to no item, for example {_show(itemless.iloc[0])}")
    return [*notices, keyless] if keyless else notices


def _sides(ours: "pd.Series[str]", theirs: "pd.Series[str]", right: Sequence[str]) -> str:
    mine = f"the items say for example {_show(ours.iloc[0])}"
    return f"{mine}, its column{'s' * (len(right) > 1)} {', '.join(right)} " + (
        f"{_show(theirs.iloc[0])}" if len(theirs) else "nothing"
    )


def _show(key: str) -> str:
    return repr(key.replace(_GLUE, " / ")) if key else "a blank key"


def _some(differ: dict[str, list[str]]) -> str:
    shown = [f"{column} ({', '.join(map(repr, values[:3]))})" for column, values in list(differ.items())[:3]]
    return ", ".join(shown) + (f" and {len(differ) - 3} more columns" if len(differ) > 3 else "")
