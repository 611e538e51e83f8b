"""A run's trained networks as files: one safetensors file per tower, tensors and a description of how to rebuild it.

Which class a tower is, its description says under ``kind``; an image encoder's has none. ``hash`` is of description and tensors
together: a tower whose bits have changed since is not read, nor is one with a number that is not finite. It is no signature:
whoever may write the file can write another hash.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sidelight.config import Stored, fault, read_json
from sidelight.errors import EncoderError, SidelightError
from sidelight.files import write_bytes
from sidelight.models.weights import hash_tensors, not_finite, read_weights

VERSION = 1
AGAIN = "Take it from its run or evaluation again: what is read from it would be wrong"


Width = Annotated[int, Field(ge=1, le=1 << 14)]
"""Of a layer, or how many there are: a network is made before its tensors show that they do not fit."""


class Description(Stored):
    """What every tower says of itself; each kind adds what rebuilds it."""

    version: int = Field(ge=1)
    kind: str = "image"
    role: str = ""
    hash: str = ""


class Tower(Protocol):
    """A network that a run saves under a role."""

    def describe(self) -> dict[str, Any]:
        """What rebuilding it needs beside its tensors, as JSON: ``version``, ``kind``, architecture, vocabulary."""

    def state_dict(self) -> dict[str, Any]:
        """Its tensors."""


def save_tower(tower: Tower, folder: str | Path, role: str = "image") -> Path:
    """Write ``folder/<role>.safetensors``: tensors and description in one file, whole or not at all."""
    path = Path(folder) / file_name(role)
    tensors = {key: value.detach().cpu().contiguous() for key, value in tower.state_dict().items()}
    said = {**tower.describe(), "role": role}
    said["hash"] = _hash(said, tensors)
    return write_bytes(path, save(tensors, {"sidelight": json.dumps(said, sort_keys=True)}))


def read_tower(
    path: str | Path, role: str = "image", *, kind: str = "image", form: type[Description] = Description
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a tower: as they were saved, and every number finite.

    :param path: a run folder, or the tower's own file.
    :param kind: what the tower must be; ``form`` what a description of that kind holds.
    :raises EncoderError: where there is none, one that is damaged, or one of another kind or of a newer version.
    """
    file = tower_file(Path(path), role) if Path(path).is_dir() else Path(path)
    header = tower_header(file) if file.suffix == ".safetensors" else None
    if header is None or "version" not in header:
        raise EncoderError(
            f"{file} does not say which architecture its weights belong to",
            expected="a tower that sidelight saved",
            do="Name it: --encoder NAME (in Python architecture=NAME), a timm name such as resnet50",
        )
    said = _checked(file, header, Description)
    if said.version > VERSION:
        raise EncoderError(f"{file} was written by a newer sidelight (format {said.version})", do="Update sidelight")
    if said.kind != kind:
        raise EncoderError(f"{file} is a tower for {said.kind}", expected=f"one for {kind}", do="Name another role")
    known = {**header, **_checked(file, header, form).model_dump()}
    return known, tower_tensors(file, header)


def tower_tensors(file: Path, header: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a tower that says ``header``; :raises EncoderError: where they are not those that were saved with it."""
    tensors = read_weights(file)
    broken = not_finite(tensors)
    if broken:
        raise EncoderError(f"{file} is damaged: its tensor {broken!r} holds numbers that are not finite", do=AGAIN)
    if header.get("hash") and header["hash"] != _hash(header, tensors):
        raise EncoderError(f"{file} is damaged: it is not what was saved, by the hash that it holds", do=AGAIN)
    return tensors


@contextmanager
def rebuilding(path: str | Path, role: str = "image") -> Iterator[None]:
    """Whatever a network raises whose description or tensors do not fit becomes an EncoderError that names the tower."""
    try:
        yield
    except SidelightError:
        raise
    except Exception as error:  # any layer may refuse a number that somebody changed
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderError(
            f"The tower {role!r} in {path} cannot be rebuilt from its description: {why}", do=AGAIN
        ) from None


def _checked(file: Path, header: dict[str, Any], form: type[Description]) -> Description:
    try:
        return form.model_validate(header)
    except ValidationError as error:
        raise EncoderError(f"{file} is damaged: its description says {fault(error)}", do=AGAIN) from None


def _hash(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) of a description, but for its hash, and of its tensors."""
    plain = json.dumps({key: value for key, value in said.items() if key != "hash"}, sort_keys=True)
    return hashlib.sha256(f"{plain} {hash_tensors(tensors)}".encode()).hexdigest()


def file_name(role: str) -> str:
    """What the file of a tower is called: roles may be views, and a view may hold what leads out of a folder."""
    return re.sub(r"[^\w. -]", lambda found: f"%{ord(found[0]):02X}", role) + ".safetensors"


def tower_file(folder: Path, role: str) -> Path:
    """Where the tower ``role`` of a run lies; :raises EncoderError: that names the roles it has."""
    names = (role, "dermoscopic") if role == "image" else (role,)  # of two photographs the dermoscopic one
    candidates = [place / file_name(name) for name in names for place in (folder / "towers", folder)]
    for path in candidates:
        if path.is_file():
            return path
    model = folder / "model" / "towers"
    if (model / file_name(role)).is_file():
        raise EncoderError(
            f"{folder} is no run, it holds a model that evaluate saved",
            do=f"Name {model} for its encoder, which may have learnt the labels, or the run that was evaluated",
        )
    there = sorted(path.stem for path in candidates[0].parent.glob("*.safetensors"))
    has = f"it has {', '.join(there)}" if there else "no encoder has been saved in it yet"
    raise EncoderError(f"{folder} has no tower {role!r}: {has}", do="Name a finished run, or another role")


def tower_header(path: Path) -> dict[str, Any] | None:
    """The description inside a tower's file, or None in a safetensors file that sidelight did not write."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("sidelight")
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"{path} is not a readable safetensors file: {error}", do="Write it again from its run"
        ) from None
    try:
        return read_json(text) if text else None
    except ValueError as error:
        raise EncoderError(f"{path} is damaged: of its description, {error}", do=AGAIN) from None
