"""Weights that somebody gives to start from or to judge: a file, a folder, a name on the hub, or a package's ImageNet.

Only a name that begins with ``hf-hub:`` opens a network connection, and no file is unpickled with code.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from sidelight.errors import EncoderError
from sidelight.models.shipped import IMAGENET, imagenet_weights
from sidelight.models.towers import tower_file, tower_header
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
    return Given(read_weights(path), _normalisation(header or {}))


def hugging_face(folder: Path) -> dict[str, Any] | None:
    """What timm's config.json in a folder of Hugging Face's says: ``architecture`` and normalisation; None for no such folder.

    :raises EncoderError: for a model of transformers' own, whose tensors have other names.
    """
    if not (folder / "config.json").is_file() or not any((folder / file).is_file() for file in FILES):
        return None
    try:
        said: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("architecture"), str):
        kind = f" of {said['model_type']}" if isinstance(said, dict) and said.get("model_type") else ""
        raise EncoderError(
            f"The config.json in {folder} names no architecture of timm",
            expected='one with "architecture", as the hub has it for timm models',
            do=f"Weights{kind} as transformers has them cannot be read: take the timm version of this model",
        )
    return {"architecture": said["architecture"], **_normalisation(said.get("pretrained_cfg") or {})}


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


def _normalisation(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in ("mean", "std") if said.get(key) is not None}


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
