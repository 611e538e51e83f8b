"""Pictures of pairs, of clips and of pair weights, as a run stores them for its report; the method writes them.

Three optional files lie in a run folder. Whether pictures may be stored at all is the writer's decision: phantoms and
public presets do, other data only on request. A report shows what is there and checks it first.

- ``examples.safetensors``: ``left``, ``right`` uint8 [K,C,S,S]; ``similarity``, ``weight``, ``gap`` float32 [K]
- ``strip.safetensors``: ``frames`` uint8 [F,C,S,S]; ``similarity``, ``weight`` float32 [F]
- ``weights.safetensors``: ``weight`` float32 [N]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sidelight.errors import RunError

EXAMPLES, STRIP, WEIGHTS = "examples.safetensors", "strip.safetensors", "weights.safetensors"
Image = NDArray[np.uint8]
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """K pairs: pictures uint8 [K,C,S,S], numbers float32 [K]; ``gap`` is in frames."""

    left: Image
    right: Image
    similarity: Numbers
    weight: Numbers
    gap: Numbers


@dataclass(frozen=True)
class Strip:
    """F frames of one clip in order, uint8 [F,C,S,S], each paired with the first; numbers float32 [F]."""

    frames: Image
    similarity: Numbers
    weight: Numbers


def load_examples(path: str | Path) -> Examples:
    """Read pairs. :raises RunError: when the file is not one with pairs."""
    return Examples(**_checked(path, ("left", "right"), ("similarity", "weight", "gap")))


def load_strip(path: str | Path) -> Strip:
    """Read the frames of one clip. :raises RunError: when the file is not one with frames."""
    return Strip(**_checked(path, ("frames",), ("similarity", "weight")))


def load_weights(path: str | Path) -> Numbers:
    """Read the weights of N pairs, float32 [N]. :raises RunError: when the file is not one of them."""
    weight: Numbers = _checked(path, (), ("weight",))["weight"]
    return weight


def _read(path: str | Path) -> dict[str, NDArray[Any]]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        name = Path(path).name  # the report repeats it, and a whole path may identify
        raise RunError(f"{name} cannot be read: {error}", do="Delete it; the report is made without it") from None


def _checked(path: str | Path, pictures: tuple[str, ...], numbers: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of one length; pictures of one shape [K,C,S,S]."""
    stored, tensors, place = _read(path), {}, Path(path).name
    for name in (*pictures, *numbers):
        if name not in stored:
            raise RunError(f"{place} has no {name!r}", expected=", ".join([*pictures, *numbers]))
        array = stored[name]
        if name in pictures and (array.dtype != np.uint8 or array.ndim != 4):
            raise RunError(f"{place}: {name} is {array.dtype} {list(array.shape)}", expected="uint8 [K,C,S,S]")
        if name in numbers and array.ndim != 1:
            raise RunError(f"{place}: {name} has shape {list(array.shape)}", expected="one number per pair, [K]")
        tensors[name] = array if name in pictures else array.astype(np.float32)
    if len({len(array) for array in tensors.values()}) > 1 or len({tensors[name].shape for name in pictures}) > 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in tensors.items())
        raise RunError(f"{place}: the arrays do not fit together: {shapes}", expected="one row per pair in each")
    return tensors
