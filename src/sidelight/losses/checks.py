"""What the losses ask of their arguments, and the few steps that all of them share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sidelight.errors import ConfigError

Reduction = Literal["mean", "sum", "none"]


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """No autocast on the device of ``tensor``: half precision has two digits left at a similarity over 0.1."""
    with torch.autocast(tensor.device.type, enabled=False):
        yield


def unit(*tensors: Tensor) -> list[Tensor]:
    """L2-normalise the last dimension, in float64 if any of ``tensors`` is float64 and else in float32."""
    dtype = torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32
    return [F.normalize(x.to(dtype), dim=-1) for x in tensors]


def reduce(each: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """Mean, sum or all of ``each``, weighted by ``weights`` over their mean: equal weights change nothing."""
    if weights is not None:
        weights = weights.to(each.dtype)
        each = each * (weights / weights.mean())
    return each.mean() if reduction == "mean" else each.sum() if reduction == "sum" else each


def check_reduction(reduction: str) -> None:
    """:raises ConfigError: unless it is one of the three."""
    if reduction not in ("mean", "sum", "none"):
        raise ConfigError(f"reduction={reduction!r}", expected='"mean", "sum" or "none"')


def check_vectors(name: str, vectors: Tensor, ndim: int) -> None:
    """:raises ConfigError: unless ``vectors`` are floats [..., N, D] of ``ndim`` dimensions, none of them empty."""
    if not vectors.is_floating_point() or vectors.ndim != ndim or ndim < 2 or vectors.numel() == 0:
        form = "[N, D]" if ndim <= 2 else f"[..., N, D] with {ndim} dimensions"
        raise ConfigError(f"{name} is {describe(vectors)}", expected=f"a float tensor {form}, not empty")


def check_temperature(temperature: float | Tensor) -> float | Tensor:
    """:raises ConfigError: unless it is a positive, finite number or a 0-d float tensor (taken as it is)."""
    if isinstance(temperature, Tensor):
        if temperature.ndim or not temperature.is_floating_point():
            raise ConfigError(f"temperature is {describe(temperature)}", expected="a float or a 0-d float tensor")
    elif not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature={temperature}", expected="a positive number")
    return temperature


def check_weights(weights: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """:raises ConfigError: unless there are none, or numbers >= 0 that fit ``shape`` and are not all 0."""
    if weights is None:
        return None
    _check_shape("weights", weights, shape)
    if true((weights < 0).any() | (weights == 0).all()):
        raise ConfigError("weights has negative values, or only zeros", expected="values >= 0, not all of them 0")
    return weights


def check_integers(name: str, values: Tensor, shape: Sequence[int]) -> Tensor:
    """``values`` as ``shape``; :raises ConfigError: unless they are integers that fit it."""
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ConfigError(f"{name} is {describe(values)}", expected="a tensor of integers")
    return fit(name, values, shape)


def check_indices(targets: Tensor | None, shape: torch.Size, keys: int, device: torch.device) -> Tensor:
    """Index of the positive key per query [L, N]; by default the query's own. :raises ConfigError: if out of range."""
    if targets is None:
        if shape[-1] != keys:
            given = f"targets=None with {shape[-1]} queries and {keys} keys"
            raise ConfigError(given, expected="as many keys as queries, or targets")
        targets = torch.arange(keys, device=device)
    targets = check_integers("targets", targets, shape)
    if true(((targets < 0) | (targets >= keys)).any()):
        raise ConfigError("targets has an index that no key has", expected=f"0 to {keys - 1}")
    return targets.long()


def check_shares(targets: Tensor, shape: Sequence[int]) -> Tensor:
    """Target distributions [L, N, M]; :raises ConfigError: for a negative share or a query without any positive."""
    targets = fit("targets", targets, shape, last=2)
    if true(((targets < 0).any(-1) | (targets == 0).all(-1)).any()):
        raise ConfigError("targets has a negative value or a row of zeros", expected="rows >= 0 with a positive key")
    return targets


def fit(name: str, values: Tensor, shape: Sequence[int], last: int = 1) -> Tensor:
    """``values``, which may lack leading dimensions of ``shape``, as [L, *shape[-last:]]; :raises ConfigError:."""
    _check_shape(name, values, shape, last)
    return values.expand(*shape).reshape(-1, *shape[len(shape) - last :])


def _check_shape(name: str, values: Tensor, shape: Sequence[int], last: int = 1) -> None:
    given, full = tuple(values.shape), tuple(shape)
    if len(given) < last or given != full[len(full) - len(given) :]:
        short = full[len(full) - last :]
        raise ConfigError(f"{name} is {describe(values)}", expected=f"shape {full}" + f" or {short}" * (short != full))


def describe(values: Tensor) -> str:
    """``"float32 (4, 2)"``."""
    return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"


def true(flag: Tensor) -> bool:
    """The value of a 0-d bool; False inside vmap, where values cannot be asked for and their checks are skipped."""
    try:
        return bool(flag)
    except RuntimeError:
        return False
