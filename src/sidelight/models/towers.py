"""A run's trained networks as files: one safetensors file per tower, tensors and a description of how to rebuild it.

Which class a tower is, its description says under ``kind``; an image encoder's has none.
"""

import json
import re
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sidelight.errors import EncoderError
from sidelight.files import write_bytes
from sidelight.models.weights import read_weights

VERSION = 1


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
    return write_bytes(
        path, save(tensors, {"sidelight": json.dumps({**tower.describe(), "role": role}, sort_keys=True)})
    )


def read_tower(
    path: str | Path, role: str = "image", *, kind: str = "image"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a tower.

    :param path: a run folder, or the tower's own file.
    :param kind: what the tower must be.
    :raises EncoderError: where there is none, or one of another kind or of a newer version.
    """
    file = tower_file(Path(path), role) if Path(path).is_dir() else Path(path)
    header = tower_header(file) if file.suffix == ".safetensors" else None
    if header is None or "version" not in header:
        raise EncoderError(
            f"{file} does not say which architecture its weights belong to",
            expected="a tower that sidelight saved",
            do="Name it: --encoder NAME (in Python architecture=NAME), a timm name such as resnet50",
        )
    if header["version"] > VERSION:
        raise EncoderError(
            f"{file} was written by a newer sidelight (format {header['version']})", do="Update sidelight"
        )
    if header.get("kind", "image") != kind:
        raise EncoderError(
            f"{file} is a tower for {header.get('kind', 'image')}", expected=f"one for {kind}", do="Name another role"
        )
    return header, read_weights(file)


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
    return json.loads(text) if text else None
