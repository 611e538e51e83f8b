"""The hashes by which a saved model knows whether it is still what was saved.

They find what a bad disk, a cut copy or a wrong edit did. They are no signature: whoever may write the folder can write other
hashes, too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidelight.errors import RunError

FACTS, HEAD = "model.json", "head.safetensors"
SEALS = ("files", "seal")
"""Keys of ``model.json``: the SHA-256 of each file beside it, and that of everything else in it; since format 6."""


def sealed(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """``facts`` with the hashes of the files in ``folder`` and their own."""
    said = json.loads(json.dumps({**facts, "files": _files(folder)}, default=str))
    return {**said, "seal": _seal(said)}


def check_sealed(folder: Path, said: Mapping[str, Any]) -> None:
    """:raises RunError: where ``folder`` is not what it says that it was; formats before 6 say nothing."""
    if "seal" not in said:
        return
    there, expected = _files(folder), said.get("files")
    differs = FACTS if said["seal"] != _seal(said) or not isinstance(expected, dict) else ""
    if not differs and isinstance(expected, dict):
        differs = next((name for name in sorted({*there, *expected}) if there.get(name) != expected.get(name)), "")
    if differs:
        raise RunError(
            f"The model in {folder} is damaged: {differs} is not what was saved, by the hash in {FACTS}",
            expected="the folder as evaluate wrote it: nothing is predicted",
            do="Copy it again from where it was made, or make it again with evaluate",
        )


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of head and towers by their names in the folder."""
    found = {}
    for path in [folder / HEAD, *sorted((folder / "towers").glob("*.safetensors"))]:
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _seal(said: Mapping[str, Any]) -> str:
    plain = json.dumps({key: value for key, value in said.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()
