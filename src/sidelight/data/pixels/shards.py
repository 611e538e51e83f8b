"""The files of a pixel cache: one flat shard per group, an index, a header; written whole or not at all.

Nothing in them names anybody: items and groups stand there as keyed hashes. A shard is ``<group>.<version>.bin``;
deleting it deletes that patient's pixels, and the next look at the index notices.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field

from sidelight.config import Stored, read_json
from sidelight.data.read.clip import Array
from sidelight.errors import DataError, RunError
from sidelight.files import draft, locked, put, write_json, write_table, write_text
from sidelight.machine import cores

HEADER, INDEX, LOCK, VERIFIED = "header.json", "index.parquet", ".lock", "verified.json"
Row = dict[str, Any]


class _Header(Stored):
    """What a cache says of itself, where it says it."""

    salt: str = Field("00", pattern=r"^([0-9a-f]{2}){1,64}$")
    root: str = ""
    channels: Literal[1, 3] | None = None
    size: int = Field(1, ge=1)
    max_frames: int = Field(1, ge=1)
    sample: str = ""


def hashed(salt: str, name: str) -> str:
    """What stands in the cache for an item or group: 16 hex digits."""
    return hashlib.blake2b(name.encode(errors="surrogateescape"), key=bytes.fromhex(salt), digest_size=8).hexdigest()


def prepare(folder: Path) -> None:
    """Make ``folder`` for its owner's eyes only; :raises DataError: where it cannot be written."""
    try:
        there = next(part for part in [folder, *folder.parents] if part.exists())
        if not there.stat().st_mode & 0o222:
            raise PermissionError(errno.EACCES, "read-only")  # also for root, whom modes do not stop
        for part in [*reversed(folder.parents), folder]:
            if not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"The pixel cache cannot be written to {folder} ({error.strerror})",
            do="Give a folder that can with --cache FOLDER",
        ) from None


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Row]]:
    """Header and index rows by item hash, without those whose shard is gone; empty where there is no whole cache."""
    try:
        header = read_json((folder / HEADER).read_bytes())
        _Header.model_validate(header)
        table = pd.read_parquet(folder / INDEX) if (folder / INDEX).exists() else pd.DataFrame()
        rows: list[Row] = [{str(name): row[name] for name in row} for row in table.to_dict("records")]
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".bin")}
        whole = {row["key"]: row for row in rows if row["offset"] + row["bytes"] <= sizes.get(row["shard"], -1)}
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):  # whatever Arrow makes of broken bytes
        return {}, {}
    return header, whole


def intact(folder: Path, rows: Mapping[str, Row], *, again: bool = False) -> dict[str, Row]:
    """Those of ``rows`` whose pixels are what was stored, by their digests; a shard is looked at when it has changed.

    :param again: look at every shard, also at those that have kept size and time since they were looked at: disks go bad.
    """
    stamps = {} if again else _stamps(folder)
    now: dict[str, list[int]] = {}
    for name in sorted({row["shard"] for row in rows.values()}):
        now[name] = []
        with contextlib.suppress(OSError):  # another process made it anew just now
            stat = (folder / name).stat()
            now[name] = [stat.st_size, stat.st_mtime_ns]
    doubtful = [key for key, row in rows.items() if stamps.get(row["shard"]) != now[row["shard"]]]
    if not doubtful and stamps.keys() == now.keys():
        return dict(rows)
    with ThreadPoolExecutor(min(8, cores())) as pool:
        whole = dict(zip(doubtful, pool.map(lambda key: _is_whole(folder, rows[key]), doubtful), strict=True))
    broken = {rows[key]["shard"] for key, is_whole in whole.items() if not is_whole}
    with contextlib.suppress(OSError, RunError):  # of a cache that is only read
        write_json(folder / VERIFIED, {name: stamp for name, stamp in now.items() if name not in broken}, private=True)
    return {key: row for key, row in rows.items() if whole.get(key, True)}


def _stamps(folder: Path) -> dict[str, Any]:
    try:
        return read_json((folder / VERIFIED).read_bytes())
    except (OSError, ValueError):
        return {}


def _is_whole(folder: Path, row: Row) -> bool:
    left, found = int(row["bytes"]), hashlib.blake2b(digest_size=16)
    with contextlib.suppress(OSError), (folder / row["shard"]).open("rb") as file:
        file.seek(row["offset"])
        while left and (part := file.read(min(left, 1 << 20))):
            found.update(part)
            left -= len(part)
    return not left and found.hexdigest() == row["digest"]


def save_header(folder: Path, header: Mapping[str, Any]) -> None:
    """Replace the header."""
    write_text(folder / HEADER, json.dumps(header, indent=1), private=True)


def save_index(folder: Path, rows: Iterable[Row]) -> None:
    """Replace the index."""
    write_table(folder / INDEX, pd.DataFrame(list(rows)), private=True)


def prune(folder: Path, rows: Iterable[Row]) -> None:
    """Delete shards that no row names and what a killed builder left behind."""
    named = {row["shard"] for row in rows}
    for path in folder.iterdir():
        if path.suffix == ".tmp" or (path.suffix == ".bin" and path.name not in named):
            path.unlink(missing_ok=True)


def forget(folder: Path, group: str) -> int:
    """Delete one group's pixels from every cache in ``folder`` or below, and all that was computed from them.

    Features and other results kept in a subfolder of such a cache are deleted whole, for they hold this group's too. As
    long as the source files stay in the cohort, the next build decodes them again.

    :param group: value of the cohort's outermost level, for example a patient id.
    :returns: bytes of pixels that were deleted.
    """
    freed = 0
    for header in sorted(Path(folder).rglob(HEADER)):
        home = header.parent
        with locked(home / LOCK):
            salt = load(home)[0].get("salt")
            whose = hashed(salt, group) if salt else ""  # of a damaged cache nobody knows: all of it can be made again
            for shard in home.glob(f"{whose}*.bin"):
                freed += shard.stat().st_size
                shard.unlink()
            save_index(home, load(home)[1].values())
            for derived in home.iterdir():
                if derived.is_dir():
                    shutil.rmtree(derived)
    return freed


class Shard:
    """A shard being written: ``add`` arrays, then ``commit``; left without commit it leaves nothing behind."""

    def __init__(self, folder: Path, group: str) -> None:
        self.folder, self.group = folder, group
        self._rows: list[Row] = []
        self._path = draft(folder)
        self._file: IO[bytes] = self._path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, row: Row, pixels: Array) -> None:
        """Append an item; ``row`` is completed with where and what its pixels are."""
        raw = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        digest = hashlib.blake2b(raw.data, digest_size=16).hexdigest()
        place = {"offset": self._file.tell(), "bytes": raw.size, "dtype": str(pixels.dtype), "digest": digest}
        self._file.write(raw.data)
        self._rows.append({**row, **place, "frames": len(pixels)})

    def copy(self, row: Row) -> None:
        """Append an item of an older shard, not decoded again."""
        count = row["bytes"] // np.dtype(row["dtype"]).itemsize
        raw = np.fromfile(self.folder / row["shard"], row["dtype"], count, offset=row["offset"])
        self.add(row, raw.reshape(row["frames"], -1))
        if self._rows[-1]["digest"] != row["digest"]:
            raise DataError(
                f"The cache file {row['shard']} in {self.folder} changed while it was read", do="Run the command again"
            )

    def commit(self) -> list[Row]:
        """Put the file in its place and return the rows; ``save_index`` then puts its name on the disk with its own."""
        self._file.close()
        version = hashlib.blake2b("".join(row["digest"] for row in self._rows).encode(), digest_size=4).hexdigest()
        name = f"{self.group}.{version}.bin"
        put(self._path, self.folder / name)
        return [{**row, "shard": name} for row in self._rows]
