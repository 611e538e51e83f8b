"""How large a table becomes, found out before it is there, for a small file can hold a very large one; and what is broken."""

import functools
import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sidelight.errors import DataError, SidelightError
from sidelight.machine import budget

MOST_BYTES = 2 << 30
"""Of a table's text, whatever the machine."""
COPIES = 6
"""How often the text of a table is there at once while it is read, at most."""
DENSEST = 1100
"""Bytes that one byte of gzip can hold."""
BLOCK = 1 << 20
FAR = 1000
"""Columns from which on a sheet must use half of them."""
SPREAD, LEAST_FILLED = 1_000_000, 0.05
"""Cells from which on so large a share of a sheet must be filled."""


P = ParamSpec("P")
R = TypeVar("R")


def explained_table(read: Callable[P, R]) -> Callable[P, R]:
    """``read``, of which whatever else a parser makes of broken bytes is a DataError that names the table and no cell."""

    @functools.wraps(read)
    def told(*args: P.args, **named: P.kwargs) -> R:
        path = Path(str(args[0] if args else named["path"]))
        try:
            return read(*args, **named)
        except SidelightError:
            raise
        except MemoryError:
            raise _too_large(path, "more than there is memory for") from None
        except Exception as error:  # a parser that is fed broken bytes may raise anything
            raise DataError(
                f"The table {path.name} is broken or not what its name says ({type(error).__name__})",
                do="Save it anew, as CSV in UTF-8 where nothing else helps",
            ) from error

    return told


def most_text() -> int:
    """Bytes of text that a table may have here."""
    return min(MOST_BYTES, budget() // COPIES)


def read_bytes(path: Path) -> bytes:
    """The bytes of a table, gzipped or not; :raises DataError: before they are held, where they are too many."""
    packed, most = path.suffix.lower() == ".gz", most_text()
    opened: Callable[[Path, str], Any] = gzip.open if packed else open
    if path.stat().st_size * (DENSEST if packed else 1) > most:
        size = 0
        with opened(path, "rb") as file:
            while size <= most and (part := file.read(BLOCK)):
                size += len(part)
        if size > most:
            raise _too_large(path, f"more than {most / 1e9:.1f} GB of text")
    with opened(path, "rb") as file:
        return b"".join(iter(lambda: file.read(BLOCK), b""))


def check_parquet(path: Path) -> None:
    """:raises DataError: where the cells would be more text than a table may have: columns that repeat are stored once."""
    file, most = parquet.ParquetFile(path), most_text()
    schema = file.schema_arrow
    text = [name for name, kind in zip(schema.names, schema.types, strict=True) if _is_text(kind)]
    size = file.metadata.num_rows * 8 * len(schema)
    size += sum(file.metadata.row_group(place).total_byte_size for place in range(file.num_row_groups))
    repeated = parquet.ParquetFile(path, read_dictionary=text)
    for batch in repeated.iter_batches(batch_size=1 << 16, columns=text) if text and size <= most else ():
        size += sum(_text_bytes(column) for column in batch.columns)
        if size > most:
            break
    if size > most:
        raise _too_large(path, f"more than {most / 1e9:.1f} GB of text, unpacked")


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(inner)
        or pa.types.is_large_string(inner)
        or pa.types.is_binary(inner)
        or pa.types.is_large_binary(inner)
    )


def _text_bytes(column: Any) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).fill_null(0)
    return int(pc.sum(lengths.take(column.indices.fill_null(0))).as_py() or 0) if len(lengths) else 0


def compact(rows: Iterable[Iterable[Any]], path: Path) -> list[tuple[Any, ...]]:
    """The rows of a sheet, each up to its last cell; blank cells are None.

    :raises DataError: where a cell far from the others would make the table wide, or many of them a large one.
    """
    kept: list[tuple[Any, ...]] = []
    columns: set[int] = set()
    cells = filled = width = 0
    most = most_text() // 64
    for row in rows:
        values = tuple(row)
        places = [place for place, value in enumerate(values) if value is not None and value != ""]
        kept.append(values[: places[-1] + 1] if places else ())
        columns.update(places)
        cells, filled, width = cells + len(kept[-1]), filled + len(places), max(width, len(kept[-1]))
        if cells > most:
            raise _too_large(path, f"more than {most:,} cells")
        if cells > SPREAD and filled < LEAST_FILLED * cells:
            break
    if (width > FAR and len(columns) < width / 2) or (cells > SPREAD and filled < LEAST_FILLED * cells):
        raise DataError(
            f"The table {path.name} is {width:,} columns wide, and {len(columns):,} of them hold something: cells lie far apart",
            do="Delete what stands far to the right (Ctrl+End goes to the last cell), or save the table alone as CSV",
        )
    return kept


def _too_large(path: Path, found: str) -> DataError:
    return DataError(
        f"The table {path.name} holds {found}, and tables may have {most_text() / 1e9:.1f} GB on this machine",
        do="Leave out columns that are not needed, or split it; or allow more, six times its text: --set max_memory=GB (of "
        "`sidelight study`: --set evaluate.max_memory=GB)",
    )
