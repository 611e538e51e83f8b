"""Several processes that train as one: ``torchrun`` starts them, each takes its slice of every batch.

The contrast runs over the gathered batch, so every process computes the loss of all pairs. :func:`gather` sums
gradients over the processes on the way back and :func:`mean_over_processes` averages them over the parameters:
together they give the gradient of one process that sees the whole batch, whether a loss is computed over gathered or
over local anchors.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """Which of how many processes this is; ``local`` counts on its own machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and talks."""
        return self.rank == 0


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started (its protocol is the environment), or be alone.

    NCCL on CUDA devices, gloo on the CPU. A process group that the caller has made is used and left as it is.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    if dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size(), local)
    elif int(os.environ.get("WORLD_SIZE", 1)) > 1:
        on_gpu = device != "cpu" and torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(local)
        dist.init_process_group("nccl" if on_gpu else "gloo")
        try:
            yield World(dist.get_rank(), dist.get_world_size(), local)
        finally:
            dist.destroy_process_group()
    else:
        yield World()


def meet(world: World) -> None:
    """Wait until every process is here: one that goes ahead would look for the next group where the last one still is."""
    if world.size > 1:
        dist.barrier()


def gather(tensor: Tensor) -> Tensor:
    """``[N, ...]`` of every process -> ``[world * N, ...]``, in rank order; alone it returns ``tensor`` itself.

    N must be the same everywhere. Differentiable in reverse (gradients are summed over the processes), forward and
    double-backward mode, so that a meta step passes through it.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    if tensor.is_floating_point():
        gathered: Tensor = _Gather.apply(tensor)
        return gathered
    return _all_gather(tensor)


def mean_over_processes(parameters: Iterable[nn.Parameter], numbers: Sequence[float | Tensor], world: World) -> Tensor:
    """Replace every gradient by its mean over the processes, in one message; return means of ``numbers``, float32 [K].

    The numbers (a loss, a wish to stop) ride along, so that all processes take the same decisions from them.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    device = gradients[0].device if gradients else torch.device("cpu")
    extra = torch.stack([torch.as_tensor(number, dtype=torch.float32, device=device).detach() for number in numbers])
    if world.size == 1:
        return extra
    flat = torch.cat([extra, *(gradient.flatten() for gradient in gradients)])  # cat widens to the widest type
    dist.all_reduce(flat)
    flat /= world.size
    parts = flat[len(extra) :].split([gradient.numel() for gradient in gradients])  # type: ignore[no-untyped-call]
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return flat[: len(extra)].float()


def agree_on_weights(module: nn.Module, world: World) -> None:
    """Give every process the parameters and buffers of rank 0."""
    if world.size > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            whole = tensor.detach().contiguous()
            dist.broadcast(whole, src=0)
            tensor.detach().copy_(whole)


def _all_gather(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def _own_sum(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total.chunk(dist.get_world_size())[dist.get_rank()].clone()


class _Gather(torch.autograd.Function):
    """Concatenation over the processes; linear, and its transpose is :class:`_OwnSum`."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return _all_gather(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing to keep: the map is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _OwnSum.apply(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Any:
        return _Gather.apply(tangent)


class _OwnSum(torch.autograd.Function):
    """Sum over the processes of their gathered gradients, cut down to this process's slice."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return _own_sum(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing to keep: the map is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Gather.apply(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Any:
        return _OwnSum.apply(tangent)
