"""Weights that somebody gives to start from or to judge: a file, a folder, a name on the hub, or a package's ImageNet.

Only a name that begins with ``hf-hub:`` opens a network connection, and no file is unpickled with code.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from pydantic import Field, PositiveFloat, ValidationError
from torch import Tensor

from sidelight.config import Stored, fault, read_json
from sidelight.errors import EncoderError
from sidelight.models.shipped import IMAGENET, imagenet_weights
from sidelight.models.towers import tower_file, tower_header, tower_tensors
from sidelight.models.weights import read_weights

HUB = "hf-hub:"
FILES = ("model.safetensors", "pytorch_model.bin")
"""What Hugging Face calls the weights in a folder."""


@dataclass(frozen=True, eq=False)
class Given:
    """Tensors and, where their source says so, what the inputs were normalised by (``mean``, ``std`` in units of [0, 1])."""

    tensors: Mapping[str, Tensor]
    normalisation: dict[str, Any] = field(default_factory=dict)


def read_given(source: str, name: str, own: Iterable[str]) -> Given:
    """The weights that ``source`` names, for timm's architecture ``name`` with the tensors ``own``, in order.

    :param source: a weights file, a tower, run or Hugging Face folder, ``hf-hub:owner/model``, or ``imagenet``.
    :raises EncoderError: where nothing is there, or nothing that is read here.
    """
    path = Path(source)
    if source.startswith(HUB):
        donor = from_hub(source, num_classes=0)
        return Given(donor.state_dict(), _normalisation(donor.pretrained_cfg))
    if source == IMAGENET and not path.exists():
        return Given(imagenet_weights(name, own))
    said = hugging_face(path)
    if said is not None:
        return Given(read_weights(next(path / file for file in FILES if (path / file).is_file())), said)
    path = tower_file(path, "image") if path.is_dir() else path
    header = tower_header(path) if path.suffix == ".safetensors" and path.is_file() else None
    return Given(tower_tensors(path, header) if header else read_weights(path), _normalisation(header or {}))


def hugging_face(folder: Path) -> dict[str, Any] | None:
    """What timm's config.json in a folder of Hugging Face's says: ``architecture`` and normalisation; None for no such folder.

    :raises EncoderError: for a model of transformers' own, whose tensors have other names.
    """
    if not (folder / "config.json").is_file() or not any((folder / file).is_file() for file in FILES):
        return None
    try:
        said = read_json((folder / "config.json").read_bytes())
    except (ValueError, OSError):
        said = {}
    if not isinstance(said.get("architecture"), str):
        kind = f" of {said['model_type']!r}" if said.get("model_type") else ""
        raise EncoderError(
            f"The config.json in {folder} names no architecture of timm",
            expected='one with "architecture", as the hub has it for timm models',
            do=f"Weights{kind} as transformers has them cannot be read: take the timm version of this model",
        )
    norm = said.get("pretrained_cfg")
    return {"architecture": said["architecture"], **_normalisation(norm if isinstance(norm, dict) else {})}


def from_hub(name: str, **options: Any) -> Any:
    """A timm network of the hub with its weights; :raises EncoderError: in one sentence, where it cannot be had."""
    try:
        with _quiet("huggingface_hub"):
            return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError, ValueError) as error:  # what is raised without a network is an OSError
        raise EncoderError(
            f"{name} cannot be fetched: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}",
            do="Check the name and the network, or fetch it elsewhere and give the folder in place of the name",
        ) from None


class _Normalisation(Stored):
    mean: tuple[float, ...] | None = Field(None, min_length=1, max_length=3)
    std: tuple[PositiveFloat, ...] | None = Field(None, min_length=1, max_length=3)


def _normalisation(said: Mapping[str, Any]) -> dict[str, Any]:
    """``mean`` and ``std`` where they are said; :raises EncoderError: for those that are no normalisation."""
    try:
        found = _Normalisation.model_validate({key: said.get(key) for key in ("mean", "std")})
    except ValidationError as error:
        raise EncoderError(f"The weights are said to be normalised by {fault(error)}", do="Fetch them again") from None
    return {key: value for key, value in found.model_dump().items() if value is not None}


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without the warnings of a package, such as one for each of its attempts."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
