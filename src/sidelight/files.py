"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidelight.errors import ConfigError, RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; what is written there takes the place of ``path`` in one move.

    If the block fails, the old ``path`` stays as it was and the temporary file is removed.

    :raises RunError: when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with explained(path):
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
            flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, private: bool = False) -> Path:
    """Put ``text`` (UTF-8) at ``path``, whole or not at all, and return the path; :raises RunError: when the disk is full.

    :param private: only its owner may read it, or enter a folder that is made for it.
    """
    if private:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if private:
            temporary.unlink(missing_ok=True)
            temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return path


def check_place(out: str | Path, *, folder: bool) -> None:
    """Try, before hours of work, whether ``out`` (a file, or a ``folder``) can be written; nothing is left behind.

    :raises ConfigError: where it cannot, or where a file stands in place of the folder or a folder in place of the file.
    """
    out = place = Path(out)
    try:
        if out.is_file() if folder else out.is_dir():
            is_now, wanted = ("file", "folder") if folder else ("folder", "file")
            raise ConfigError(
                f"{out} is a {is_now}", expected=f"the name of a {wanted}", do="Give another place with --out"
            )
        if not folder:
            place = out.absolute().parent
        while not place.exists():
            place = place.absolute().parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror})", do="Give another place with --out") from None


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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(
            f"The disk is full: {path} could not be written",
            expected="room for it; what stood there before is still whole",
            do="Free some space and run the same command again: it goes on from the last checkpoint",
        ) from error


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


def write_json(path: Path, value: Any) -> Path:
    """Put ``value`` at ``path`` as JSON, as :func:`write_text` does; what JSON cannot say becomes text."""
    return write_text(path, json.dumps(value, indent=1, default=str))
