"""Pictures of pairs, of clips and of pair weights, as a run stores them for its report.

Three optional files lie in a run folder. Whether pictures may be stored at all is the writer's decision: phantoms and
public presets do, other data only on request. A report shows what is there.

- ``examples.safetensors``: ``left``, ``right`` uint8 [K,C,S,S]; ``similarity``, ``weight``, ``gap`` float32 [K]
- ``strip.safetensors``: ``frames`` uint8 [F,C,S,S]; ``similarity``, ``weight`` float32 [F]
- ``weights.safetensors``: ``weight`` float32 [N]; optionally ``corrupt`` bool [N]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

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


@dataclass(frozen=True)
class Weights:
    """The weights of N pairs, float32 [N], and which of them were spoilt on purpose, bool [N] or None."""

    weight: Numbers
    corrupt: NDArray[np.bool_] | None


def save_examples(path: str | Path, *, left: Any, right: Any, similarity: Any, weight: Any, gap: Any) -> None:
    """Write pairs. :raises RunError: when shapes or dtypes are not those of :class:`Examples`."""
    _save(path, {"left": left, "right": right}, {"similarity": similarity, "weight": weight, "gap": gap})


def load_examples(path: str | Path) -> Examples:
    """Read pairs. :raises RunError: when the file is not one of :func:`save_examples`."""
    return Examples(**_load(path, ("left", "right"), ("similarity", "weight", "gap")))


def save_strip(path: str | Path, *, frames: Any, similarity: Any, weight: Any) -> None:
    """Write the frames of one clip. :raises RunError: when shapes or dtypes are not those of :class:`Strip`."""
    _save(path, {"frames": frames}, {"similarity": similarity, "weight": weight})


def load_strip(path: str | Path) -> Strip:
    """Read the frames of one clip. :raises RunError: when the file is not one of :func:`save_strip`."""
    return Strip(**_load(path, ("frames",), ("similarity", "weight")))


def save_weights(path: str | Path, *, weight: Any, corrupt: Any = None) -> None:
    """Write the weights of many pairs. :raises RunError: when the lengths differ."""
    numbers = {"weight": weight} if corrupt is None else {"weight": weight, "corrupt": np.asarray(corrupt, np.float32)}
    tensors = _checked(path, {}, numbers)
    if corrupt is not None:
        tensors["corrupt"] = np.asarray(corrupt, dtype=np.bool_)
    save_file(tensors, path)


def load_weights(path: str | Path) -> Weights:
    """Read pair weights. :raises RunError: when the file is not one of :func:`save_weights`."""
    tensors = _read(path)
    corrupt = tensors.pop("corrupt", None)
    weight = _checked(path, {}, {"weight": tensors.get("weight")})["weight"]
    if corrupt is not None and corrupt.shape != weight.shape:
        raise RunError(f"{path}: corrupt has shape {corrupt.shape}", expected=f"{weight.shape}, like weight")
    return Weights(weight, None if corrupt is None else corrupt.astype(np.bool_))


def _save(path: str | Path, pictures: dict[str, Any], numbers: dict[str, Any]) -> None:
    save_file(_checked(path, pictures, numbers), path)


def _load(path: str | Path, pictures: tuple[str, ...], numbers: tuple[str, ...]) -> dict[str, Any]:
    tensors = _read(path)
    return _checked(path, {name: tensors.get(name) for name in pictures}, {name: tensors.get(name) for name in numbers})


def _read(path: str | Path) -> dict[str, NDArray[Any]]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}", do="Delete it; the report is made without it") from None


def _checked(path: str | Path, pictures: dict[str, Any], numbers: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Contiguous arrays of one length; pictures of one shape [K,C,S,S]."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, values in {**pictures, **numbers}.items():
        if values is None:
            raise RunError(f"{path} has no {name!r}", expected=", ".join([*pictures, *numbers]))
        array = np.ascontiguousarray(values)
        if name in pictures and (array.dtype != np.uint8 or array.ndim != 4):
            raise RunError(f"{path}: {name} is {array.dtype} {list(array.shape)}", expected="uint8 [K,C,S,S]")
        if name in numbers and array.ndim != 1:
            raise RunError(f"{path}: {name} has shape {list(array.shape)}", expected="one number per pair, [K]")
        tensors[name] = array if name in pictures else array.astype(np.float32)
    if len({len(array) for array in tensors.values()}) > 1 or len({tensors[name].shape for name in pictures}) > 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in tensors.items())
        raise RunError(f"{path}: the arrays do not fit together: {shapes}", expected="one row per pair in each")
    return tensors
