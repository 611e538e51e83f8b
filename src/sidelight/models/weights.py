"""Foreign weights to an architecture: read a file without unpickling code, find the matching keys, adapt shapes.

Loading that quietly matches nothing is a known way to publish numbers of another network, so nothing here is quiet.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sidelight.errors import EncoderError

PREFIXES = ("module.", "network.", "encoder.", "backbone.", "features.", "model.")
WRAPPERS = ("state_dict", "model")
MOST_MISSING = 0.1


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file, on the CPU; wrappers such as ``state_dict`` are
    opened.

    Files of PyTorch are read with ``weights_only=True``: no code in them runs.
    :raises EncoderError: when the file is missing, is not what its suffix says, or holds no tensors.
    """
    if not path.is_file():
        raise EncoderError(f"The weights file {path} does not exist", do="Check the path")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _unreadable(path, str(error)) from None
    except Exception as error:  # torch reports a refused pickle as pickle.UnpicklingError, of whichever pickle it uses
        if type(error).__name__ != "UnpicklingError":
            raise
        raise _unreadable(path, "it holds more than tensors, and code from a file is never run") from None
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    tensors = (
        {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
        if isinstance(found, Mapping)
        else {}
    )
    if not tensors:
        raise EncoderError(f"{path} holds no tensors", expected="a state dict: names and tensors")
    return tensors


def _unreadable(path: Path, why: str) -> EncoderError:
    return EncoderError(
        f"The weights file {path} cannot be read: {why.splitlines()[0] if why else 'empty'}",
        expected="safetensors, or a PyTorch file of tensors only",
        do="Save the state dict alone, best as safetensors",
    )


def fit_weights(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    source: str,
    name: str,
    adapt: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> dict[str, Tensor]:
    """Those of ``found`` that belong to the architecture, under its keys and in its shapes.

    Prefixes (``module.``, ``encoder.``, ``backbone.``, ...) are stripped when that makes more keys match. Keys the
    architecture lacks, such as a classifier's, are ignored.

    :param wanted: state dict of the architecture.
    :param source: what the messages call the weights; ``name`` is the architecture's.
    :param adapt: for some keys of the architecture, how to bring a tensor to its shape (e.g. :func:`adapt_channels`).
    :raises EncoderError: when no key matches, or more than 10 % of the architecture's keys are missing.
    """
    variants = [_matching(tensors, wanted, adapt or {}) for tensors in _without_prefixes(found)]
    matched = max(variants, key=len)
    needed = [key for key in wanted if not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in matched]
    if len(missing) == len(needed):
        raise EncoderError(
            f"None of the {len(found)} tensors of {source} fits {name}: it has {_some(found)}",
            expected=f"keys and shapes such as {_some(wanted)}",
            do="Name the architecture that these weights were trained with",
        )
    if len(missing) > MOST_MISSING * len(needed):
        raise EncoderError(
            f"Only {len(needed) - len(missing)} of the {len(needed)} tensors of {name} are in {source}; "
            f"missing are {_some(missing)}",
            expected=f"at least {1 - MOST_MISSING:.0%}, in the same shapes",
            do="Name the architecture that these weights were trained with",
        )
    broken = not_finite(matched)
    if broken:
        raise EncoderError(
            f"The tensor {broken!r} of {source} holds numbers that are not finite",
            do="Fetch the weights again, or take those of another step of the training that made them",
        )
    if missing:
        warnings.warn(
            f"{len(needed) - len(missing)} of the {len(needed)} tensors of {name} come from {source}; "
            f"{len(missing)} stay random: {_some(missing)}",
            stacklevel=3,
        )
    return matched


def _without_prefixes(found: Mapping[str, Tensor], depth: int = 3) -> list[Mapping[str, Tensor]]:
    """``found`` first, then what is left of it under each chain of known prefixes."""
    variants = [found]
    for prefix in PREFIXES if depth else ():
        inner = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        variants += _without_prefixes(inner, depth - 1) if inner else []
    return variants


def _matching(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], adapt: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Tensor]:
    matched = {}
    for key, goal in wanted.items():
        value = found.get(key)
        if value is not None and value.shape != goal.shape and key in adapt:
            value = adapt[key](value)
        if value is not None and value.shape == goal.shape:
            matched[key] = value.to(goal.dtype)
    return matched


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """First-convolution weights [O,I,h,w] for another number of input channels; a grey image keeps its response.

    3 to 1: summed over the channels. 1 to 3: repeated and divided by 3. Any other change: returned as they are.
    """
    if weight.ndim == 4 and weight.shape[1] == 3 and channels == 1:
        return weight.sum(dim=1, keepdim=True)
    if weight.ndim == 4 and weight.shape[1] == 1 and channels == 3:
        return weight.repeat(1, 3, 1, 1) / 3
    return weight


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The name of the first tensor that holds NaN or an infinity; "" where every number is finite."""
    return next((name for name, one in tensors.items() if one.is_floating_point() and not one.isfinite().all()), "")


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) over names, dtypes, shapes and bytes in the order of the names; device-independent."""
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _some(keys: Iterable[str]) -> str:
    listed = [repr(key) for key in keys]
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
