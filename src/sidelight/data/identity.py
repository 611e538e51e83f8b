"""Items named without identity: keyed hashes, mapped back only with a private key file beside the data."""

import contextlib
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from sidelight.errors import DataError
from sidelight.files import write_first


def item_hash(item: str, secret: bytes) -> str:
    """The name of one item under a key of 32 bytes."""
    return hashlib.blake2b(item.encode(errors="surrogateescape"), key=secret, digest_size=8).hexdigest()


def value_hash(value: str, secret: bytes) -> str:
    """An identifier as 16 hex digits under a key of 32 bytes; blank stays blank."""
    if not value:
        return ""
    data = value.encode(errors="surrogateescape")
    return hashlib.blake2b(data, key=secret, digest_size=8, person=b"identifier").hexdigest()


def values_key(root: Path) -> bytes:
    """The key of a folder for :func:`value_hash`; where it cannot be written made from the names in the folder."""
    return folder_key(root, lambda: "\n".join(sorted(path.name for path in root.iterdir())))


def folder_key(root: Path, otherwise: Callable[[], str]) -> bytes:
    """The key of a folder, 32 bytes: ``.sidelight/key`` in it, made on first use for its owner's eyes only.

    Where the folder cannot be written the key is derived from ``otherwise``: names are then stable, but whoever has the
    data can work them out.

    :raises RunError: when the disk is full: a key that comes later would change every name.
    :raises DataError: for a key that is not whole.
    """
    path = root / ".sidelight" / "key"
    with contextlib.suppress(OSError):
        if not path.exists():
            if not root.stat().st_mode & 0o222:
                raise PermissionError(f"{root} is read-only")  # also for root, whom modes do not stop
            write_first(path, secrets.token_bytes(32))
        secret = path.read_bytes()
        if len(secret) != 32:
            raise DataError(
                f"The key {path} has {len(secret)} bytes",
                expected="32: it was not written whole, and names under another key would be others",
                do="Put it back from a copy of the folder; or delete it, and what was named before names nobody any more",
            )
        return secret
    return name_key(otherwise)


def name_key(names: Callable[[], str]) -> bytes:
    """A key, 32 bytes, that whoever knows the names can work out."""
    return hashlib.sha256(f"sidelight:{names()}".encode(errors="surrogateescape")).digest()
