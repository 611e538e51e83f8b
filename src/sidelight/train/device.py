"""Where the tensors live and how wide they are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from sidelight.errors import ConfigError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``; process ``local_rank`` gets its own GPU.

    :raises ConfigError: for another name, or a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or not (number.isdigit() or name == "cuda"):
        raise ConfigError(f"Setting device = {name!r}", expected="auto, cpu, cuda or cuda:N")
    index, count = int(number or local_rank), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(
            f"Setting device = {name!r}, but torch sees {count} CUDA devices here",
            do="Use device=cpu, or install a torch build for this GPU and its driver",
        )
    return torch.device("cuda", index)


def pick_dtype(
    precision: Literal["auto", "float32", "bf16"], device: torch.device, network: nn.Module | None = None
) -> torch.dtype:
    """The type of the forward pass; ``auto`` is bfloat16 where the device has instructions for it, else float32.

    On a CPU with such instructions a ResNet-18 trains twice as fast with them, but depthwise convolutions have no kernel that
    uses them, and an EfficientNet-lite0 loses a third (``benchmarks/precision.py``): a ``network`` with such convolutions is
    float32 there.
    """
    if precision == "auto":
        slow = device.type == "cpu" and network is not None and any(map(_depthwise, network.modules()))
        return torch.bfloat16 if has_fast_bf16(device) and not slow else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _depthwise(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 runs on this device's own instructions (CPU: avx512_bf16 or AMX), not through an emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for these two
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context of a forward pass: bfloat16 where ``dtype`` says so, otherwise nothing changes."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def place(module: nn.Module, device: torch.device) -> None:
    """Move ``module`` to ``device``; convolutional nets get channels-last weights, which their kernels prefer."""
    module.to(device)
    if sum(isinstance(part, nn.Conv2d) for part in module.modules()) > 1:  # a ViT has one, its patch embedding
        module.to(memory_format=torch.channels_last)


def seed_torch(device: torch.device, *numbers: int) -> None:
    """Start torch's own random numbers, on the CPU and on ``device``, anew from ``numbers`` (>= 0)."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)  # torch.manual_seed costs a stack trace where CUDA sleeps
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Choose kernels that repeat bit for bit, where torch has them.

    On the CPU they all do, for one torch version and one thread count. On CUDA cuDNN and attention are held to their
    deterministic kernels; an operation that has none still runs, and torch warns once that it may differ in the last
    bit.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS takes its promise to repeat from here only
    cudnn, before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    warn_only, flags = torch.is_deterministic_algorithms_warn_only_enabled(), (cudnn.deterministic, cudnn.benchmark)
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark = flags
