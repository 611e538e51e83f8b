"""Items named without identity: keyed hashes, mapped back only with a private key file beside the data."""

import contextlib
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from sidelight.data.cohort.spec import CohortSpec
from sidelight.files import write_first


class Named(Protocol):
    """What a name is made from."""

    @property
    def root(self) -> Path:
        """The folder that keeps the key."""

    @property
    def name(self) -> str:
        """The cohort's name."""

    @property
    def spec(self) -> CohortSpec:
        """Where ``public`` says that nobody's identity is at stake."""

    @property
    def items(self) -> pd.DataFrame:
        """With the column ``item``."""

    @property
    def phantom(self) -> Any:
        """Not None where nobody's identity is at stake."""


def item_hash(item: str, secret: bytes) -> str:
    """The name of one item under a key of 32 bytes."""
    return hashlib.blake2b(item.encode(errors="surrogateescape"), key=secret, digest_size=8).hexdigest()


def value_hash(value: str, secret: bytes) -> str:
    """An identifier as 16 hex digits under a key of 32 bytes; blank stays blank."""
    if not value:
        return ""
    data = value.encode(errors="surrogateescape")
    return hashlib.blake2b(data, key=secret, digest_size=8, person=b"identifier").hexdigest()


def key(cohort: Named) -> bytes:
    """The cohort's key, 32 bytes; see :func:`folder_key`.

    For public data and phantoms, and where the folder cannot be written, it is derived from the names of the cohort and its
    items: hashes are then the same in every copy of the data, but whoever has the data can work them out.
    """

    def names() -> str:
        return "\0".join([cohort.name, *map(str, cohort.items["item"])])

    if cohort.phantom is None and not cohort.spec.public:
        return folder_key(cohort.root, names)
    return _derived(names())


def values_key(root: Path) -> bytes:
    """The key of a folder for :func:`value_hash`; where it cannot be written made from the names in the folder."""
    return folder_key(root, lambda: "\n".join(sorted(path.name for path in root.iterdir())))


def folder_key(root: Path, otherwise: Callable[[], str]) -> bytes:
    """The key of a folder, 32 bytes: ``.sidelight/key`` in it, made on first use for its owner's eyes only.

    Where the folder cannot be written the key is derived from ``otherwise``: names are then stable, but whoever has the
    data can work them out.
    """
    path = root / ".sidelight" / "key"
    with contextlib.suppress(OSError):
        if not path.exists():
            if not root.stat().st_mode & 0o222:
                raise PermissionError(f"{root} is read-only")  # also for root, whom modes do not stop
            write_first(path, secrets.token_bytes(32))
        secret = path.read_bytes()
        if len(secret) == 32:
            return secret
    return _derived(otherwise())


def _derived(text: str) -> bytes:
    return hashlib.sha256(f"sidelight:{text}".encode(errors="surrogateescape")).digest()
