"""The one place that writes. A file is whole or not there: written beside its place, flushed to the disk, then renamed."""

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sidelight.errors import ConfigError, RunError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

HELD = ".lock"
"""The file of :func:`held`."""

try:
    import fcntl
except ImportError:  # not POSIX: atomic renames alone keep two writers apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; what is written there takes the place of ``path`` in one move.

    If the block fails, the old ``path`` stays as it was and the temporary file is removed.

    :param private: only its owner may read it, or enter a folder that is made for it; and the temporary file has a name of
        its own, so that two processes may write at once.
    :raises RunError: when the disk is full.
    """
    path.parent.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    temporary = draft(path.parent) if private else path.with_name(f"{path.name}.tmp")
    try:
        with explained(path):
            yield temporary
            put(temporary, path)
            flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def draft(folder: Path) -> Path:
    """An empty file in ``folder`` under a name of its own that ends in ``.tmp``, for its owner's eyes only."""
    handle, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
    os.close(handle)
    return Path(name)


def put(temporary: Path, path: Path) -> None:
    """Move a file that is written to its place beside it, its content on the disk; the new name is after ``flush(folder)``."""
    flush(temporary)
    os.replace(temporary, path)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> Path:
    """Put ``content`` at ``path`` as :func:`replacing` does, and return the path."""
    with replacing(path, private=private) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, text: str, *, private: bool = False) -> Path:
    """Put ``text`` at ``path`` as UTF-8; a character that it cannot say becomes ``?``."""
    return write_bytes(path, text.encode(errors="replace"), private=private)


def write_json(path: Path, value: Any, *, private: bool = False) -> Path:
    """Put ``value`` at ``path`` as JSON; what JSON cannot say becomes text."""
    return write_text(path, json.dumps(value, indent=1, default=str), private=private)


def write_table(path: Path, table: "pd.DataFrame", *, private: bool = False) -> Path:
    """Put ``table`` without its index at ``path`` as Parquet."""
    with replacing(path, private=private) as temporary:
        table.to_parquet(temporary, index=False)
    return path


def write_csv(path: Path, table: "pd.DataFrame", *, float_format: str | None = None, private: bool = False) -> Path:
    """Put ``table`` without its index at ``path`` as CSV, its text as :func:`harmless` has it."""
    with replacing(path, private=private) as temporary:
        plain = table.rename(columns=harmless)
        for place, kind in enumerate(table.dtypes):
            if kind.kind not in "biufcmM":
                plain.isetitem(place, table.iloc[:, place].map(harmless).to_numpy())
        plain.to_csv(temporary, index=False, float_format=float_format)
    return path


def harmless(cell: Any) -> Any:
    """Text that neither a spreadsheet calculates nor a terminal obeys; a number in text, and what is no text, stays.

    Names of files, cells and classes are somebody's words: ``=HYPERLINK(...)`` gets an apostrophe, an escape sign is spelt out.
    """
    if not isinstance(cell, str):
        return cell
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda sign: f"\\u{ord(sign[0]):04X}", cell)
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    return text if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE) else f"'{text}"


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[np.generic]]") -> Path:
    """Put ``arrays`` at ``path`` as safetensors."""
    import numpy as np  # not for whoever only checks a place
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    return path


def write_first(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` for its owner's eyes only, unless a file is there: the first of two processes wins.

    :raises RunError: when the disk is full; then nothing is there.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = draft(path.parent)
    try:
        with explained(path):
            temporary.write_bytes(content)
            flush(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        flush(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add one line to a log; a kill may cut it short; :raises RunError: when the disk is full."""
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@contextmanager
def filling(folder: Path, *, listed: str | None = None) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``, made where it is not there; the files that are put there take their places in
    ``folder`` once all of them are whole.

    If the block fails, ``folder`` stays as it was.

    :param listed: name of a list of these files, to be kept in ``folder``: those that an earlier list names and this one does
        not are taken away then, and no others.
    :raises RunError: when the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        with explained(folder):
            yield place
            names = sorted(one.relative_to(place).as_posix() for one in place.rglob("*") if one.is_file())
            before = set() if listed is None else _listed(folder / listed)
            if listed is not None:  # of both, so that a kill from here on leaves nothing unlisted
                write_json(folder / listed, sorted(before | set(names)))
            for name in names:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                put(place / name, target)
            if listed is not None:
                _take_away(folder, before - set(names))
                write_json(folder / listed, names)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _listed(path: Path) -> set[str]:
    """The names in a list of :func:`filling`; none where it is not there or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return set()
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()


def _take_away(folder: Path, names: set[str]) -> None:
    """Delete files of ``folder``, and folders in it that are empty then; a name that leads out of it is left alone."""
    for name in sorted(names):
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            path.unlink()
            for parent in Path(name).parents[:-1]:
                with contextlib.suppress(OSError):  # not empty
                    (folder / parent).rmdir()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, one process at a time; where the file system has no locks, atomic renames must do."""
    with path.open("a") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep ``folder`` for this process: a file in it says who holds it. The lock of a process that has died is taken over.

    :raises RunError: where another process holds it; says which, on which host and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / HELD
    file = _opened(path)
    try:
        who = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        file.truncate(0)
        file.write(json.dumps(who))
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing else came of it


def _opened(path: Path) -> IO[str]:
    """The lock file, locked; :raises RunError: where another process has it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        file.seek(0)
        said = file.read()
        if not _lock(file, said):
            file.close()
            raise RunError(
                f"Another process is at work in {path.parent}: {_holder(said)}",
                expected="one process at a time",
                do=f"Wait until it has ended, or choose another folder; if there is no such process, delete {path}",
            )
        with contextlib.suppress(OSError):
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # its holder was just done and took it away


def _lock(file: IO[str], said: str) -> bool:
    """Whether the lock is this process's now; where the file system has none, whether its holder on this host is alive."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        who = json.loads(said)
        if who["host"] != socket.gethostname():
            return False
        os.kill(int(who["pid"]), 0)
        return int(who["pid"]) == os.getpid()
    return True


def _holder(said: str) -> str:
    try:
        who = json.loads(said)
        return f"process {int(who['pid'])} on {str(who['host'])!r} since {str(who['since'])!r}"
    except (ValueError, KeyError, TypeError):
        return "it has not yet said which"


def check_place(out: str | Path, *, folder: bool, option: str = "--out") -> None:
    """Try, before hours of work, whether ``out`` (a file, or a ``folder``) can be written; nothing is left behind.

    :param option: of the command line, by which another place is given.
    :raises ConfigError: where it cannot, or where a file stands in place of the folder or a folder in place of the file.
    """
    out = place = Path(out)
    try:
        if out.is_file() if folder else out.is_dir():
            is_now, wanted = ("file", "folder") if folder else ("folder", "file")
            raise ConfigError(
                f"{out} is a {is_now}", expected=f"the name of a {wanted}", do=f"Give another place with {option}"
            )
        if not folder:
            place = out.absolute().parent
        while not place.exists():
            place = place.absolute().parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written ({error.strerror})", do=f"Give another place with {option}"
        ) from None


def check_suffix(out: Path, suffixes: Sequence[str], given: str, do: str) -> None:
    """See whether ``out`` is called as what will be written there; a name without an ending is.

    :param given: what will be written, as the error says it.
    :raises ConfigError: for the ending of another kind of file.
    """
    if out.suffix and out.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{out.name}: {given} no {out.suffix[1:].upper()} file",
            expected=f"a name that ends in {', '.join(suffixes)}",
            do=do,
        )


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's "no space left" into a RunError that says what is still whole."""
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise RunError(
            f"The disk is full: {path} could not be written",
            expected="room for it; what stood there before is still whole",
            do="Free some space and run the same command again: it goes on from the last checkpoint",
        ) from error


def _is_full(error: Exception) -> bool:
    """Whether a disk had no room; the writers of Parquet and of safetensors say so in words alone."""
    words = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(one in str(error) for one in words)


def check_targets(out: Path, targets: Sequence[Path], force: bool) -> None:
    """:raises ConfigError: where ``targets`` (``out`` itself, or files in it) cannot be written or, unless ``force``, exist."""
    if out not in targets:
        check_place(out, folder=True)
    for path in targets:
        check_place(path, folder=False)
    taken = [path for path in targets if path.exists()] + (sorted(out.iterdir()) if out.is_dir() else [])
    if taken and not force:
        raise ConfigError(
            f"{taken[0]} exists already", do="Choose another name with --out, or replace it with --force (force=True)"
        )
