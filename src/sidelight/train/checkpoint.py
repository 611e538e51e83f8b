"""One safetensors file per checkpoint: weights, optimiser, the method's own state, and JSON notes in the header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor
from torch.optim import Optimizer

from sidelight.errors import RunError
from sidelight.files import write_bytes

if TYPE_CHECKING:
    from sidelight.methods.base import MethodBase

NOTES = "sidelight"
"""Key of the header under which the notes stand."""


def save(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``notes`` (anything JSON can say) to ``path``, whole or not at all.

    :raises RunError: when the disk is full; the file that stood there before stays.
    """
    on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    places = {tensor.data_ptr(): name for name, tensor in on_host.items()}
    apart = {name: t if places[t.data_ptr()] == name else t.clone() for name, t in on_host.items()}  # tied weights
    write_bytes(path, serialize(apart, metadata={NOTES: json.dumps(notes)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote: tensors on the CPU, and the notes; :raises RunError: when the file is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()[NOTES])
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is not a checkpoint of this library ({error})",
            expected="a safetensors file with notes in its header",
            do="Remove the file, or choose another run folder",
        ) from error


def capture(method: "MethodBase", optimizer: Optimizer | None = None) -> dict[str, Tensor]:
    """All tensors that a resumed run needs, by name: ``model.*``, ``optimizer.<parameter>.<slot>``, ``method.*``.

    Without ``optimizer`` only the model's own.
    """
    model = {f"model.{name}": tensor for name, tensor in method.state_dict().items()}
    if optimizer is None:
        return model
    return {
        **model,
        **{
            f"optimizer.{index}.{slot}": value
            for index, state in optimizer.state_dict()["state"].items()
            for slot, value in state.items()
            if isinstance(value, Tensor)  # SGD keeps None before its first step
        },
        **{f"method.{name}": tensor for name, tensor in method.state_tensors().items()},
    }


def model_tensors(path: Path) -> dict[str, Tensor]:
    """The model's own tensors of a checkpoint, under the names of its state dict."""
    return _part(load(path)[0], "model.")


def restore(tensors: Mapping[str, Tensor], method: "MethodBase", optimizer: Optimizer | None = None) -> None:
    """Put what :func:`capture` took back into place; without ``optimizer`` only the model's own tensors.

    :raises RunError: when names or shapes do not fit the model.
    """
    try:
        method.load_state_dict(_part(tensors, "model."))
    except RuntimeError as error:
        raise RunError(
            f"The checkpoint does not fit the model: {error}",
            do="Choose another run folder, or use the version of this library that wrote it",
        ) from error
    if optimizer is not None:
        _restore_optimizer(_part(tensors, "optimizer."), optimizer)
        method.load_state_tensors(_part(tensors, "method."))


def _restore_optimizer(tensors: Mapping[str, Tensor], optimizer: Optimizer) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        index, slot = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:  # same strides as the parameter, so that the same kernels run
            value = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
        optimizer.state[parameter][slot] = value


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
