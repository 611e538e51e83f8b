"""Two processes that gather their negatives compute the loss and the gradients of one process with the whole batch.

Run as a program, this file is one of the two processes: ``test_two_processes.py RANK FOLDER``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import sidelight
from sidelight.losses import global_alignment, info_nce, local_alignment, nt_xent, spatial_targets
from sidelight.losses.sm3 import modality_contrast, modality_terms

WORLD, PAIRS = 2, 6
GROUPS = torch.tensor([0, 0, 1, 1, 2, 0])  # one group lies in both processes


class AllGather(torch.autograd.Function):
    """[N, ...] of each process -> [world N, ...]; a slice's gradient is summed over the processes."""

    @staticmethod
    def forward(ctx, tensor):
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def whole(tensor: Tensor) -> Tensor:
    return AllGather.apply(tensor) if dist.is_initialized() else tensor


def simclr(left, right, temperature, weights, groups, chunk):
    left, right, weights, groups = whole(left), whole(right), whole(weights), whole(groups)
    return nt_xent(left, right, temperature=temperature, weights=weights, groups=groups, chunk=chunk)


def clip(left, right, temperature, weights, groups, chunk):
    left, right, weights, groups = whole(left), whole(right), whole(weights), whole(groups)
    settings = {"temperature": temperature, "weights": weights, "groups": groups, "chunk": chunk}
    return info_nce(left, right, **settings) + info_nce(right, left, **settings)


def local_anchors(left, right, temperature, weights, groups, chunk):
    """Only the keys are gathered; each process is the anchor of its own queries."""
    first = dist.get_rank() * len(left) if dist.is_initialized() else 0
    settings = {"temperature": temperature, "groups": groups, "key_groups": whole(groups), "chunk": chunk}
    return info_nce(left, whole(right), targets=first + torch.arange(len(left)), **settings)


def lovt(left, right, temperature, weights, groups, chunk):
    """The wholes are contrasted over all processes, regions inside each sample of this one."""
    settings = {"temperature": temperature, "groups": whole(groups), "chunk": chunk}
    regions = [torch.stack([side, side.roll(1, -1), side.flip(-1)], 1) for side in (left, right)]
    local = local_alignment(*regions, temperature=temperature, targets=spatial_targets(1, 3, dtype=left.dtype))
    return global_alignment(whole(left), whole(right), **settings) + sum(local)


def sm3(left, right, temperature, weights, groups, chunk):
    """Two views of two photographs; the second photographs of group 1 are missing."""
    photographs = torch.stack([torch.stack([left, left + right], 1), torch.stack([right, right - left], 1)], 1)
    there = torch.stack([torch.ones_like(groups), (groups != 1).long()], 1)
    photographs, there, groups = whole(photographs), whole(there), whole(groups)
    terms = modality_terms(
        photographs, photographs.flip(3), temperature=temperature, style=2, present=there, groups=groups
    )
    return modality_contrast(terms)


LOSSES = {"lovt": lovt, "simclr": simclr, "clip": clip, "local_anchors": local_anchors, "sm3": sm3}
CASES = [(name, chunk) for name in LOSSES for chunk in (None, 2)]


def step(loss, chunk, rows: slice) -> dict[str, Tensor]:
    """Loss and gradients of a small net, a weight net and a temperature on ``rows`` of the batch."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    weigh = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()).double()
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    views = torch.randn(2, PAIRS, 5, dtype=torch.float64)[:, rows]
    left, right = net(views[0]), net(views[1])
    value = loss(left, right, temperature, weigh(left * right).squeeze(1), GROUPS[rows], chunk)
    parameters = [*net.parameters(), *weigh.parameters(), temperature]
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
    return {"loss": value.detach(), **{str(number): gradient for number, gradient in enumerate(gradients)}}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict[str, Tensor]]:
    """What each process wrote. The files are judged, not the exit codes: gloo may abort once all is done."""
    folder = tmp_path_factory.mktemp("processes")
    here = str(Path(sidelight.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(WORLD)
    ]
    try:
        complaints = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    files = [folder / f"{rank}.safetensors" for rank in range(WORLD)]
    assert all(file.exists() for file in files), "\n".join(complaints)
    return [load_file(file) for file in files]


@pytest.mark.parametrize(("name", "chunk"), CASES)
def test_two_processes_are_one(results, name, chunk):
    alone = step(LOSSES[name], chunk, slice(None))
    assert alone["loss"] > 0.1
    for key, expected in alone.items():
        mean = torch.stack([result[f"{name}.{chunk}.{key}"] for result in results]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=1e-11, atol=1e-13)


def test_without_gathering_it_is_another_loss():
    halves = [step(simclr, None, slice(*bounds))["loss"] for bounds in ((0, 3), (3, 6))]
    assert abs(torch.stack(halves).mean() - step(simclr, None, slice(None))["loss"]) > 0.01


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD)
    share = PAIRS // WORLD
    rows = slice(rank * share, (rank + 1) * share)
    found = {
        f"{name}.{chunk}.{key}": value.contiguous()
        for name, chunk in CASES
        for key, value in step(LOSSES[name], chunk, rows).items()
    }
    save_file(found, folder / f"{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
