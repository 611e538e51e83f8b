"""T11: what learned pair weights cost: a training step of Meta-USCL with each form of the meta step, against SimCLR's.

    python benchmarks/meta_step.py --json meta_step.json

The look-ahead's forward pass serves the main step too, so the meta part is what a step costs beyond a SimCLR step; the time
of the call that makes the meta step, forward pass included, stands beside it. ResNet-18, 64 px, 32 pairs and 32 meta pairs,
one channel, float32, random pixels that lie ready. The four kinds of step take turns ``--repeats`` times in one process;
ratios are medians of the ratios within a turn. Peak memory is measured in a process of its own for each. Before any of it,
the gradients of ``jvp`` and ``exact`` must agree. Only ratios of one run mean something.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sidelight.config import build
from sidelight.methods.meta_uscl import MetaUSCL
from sidelight.methods.simclr import SimCLR
from sidelight.views.clips import ClipPairs

FORMS = ("exact", "jvp", "head")
PLAIN = "SimCLR"
BARS = (("jvp", "meta part", 2.7), ("jvp", "whole step", 3.8), ("head", "whole step", 2.0))
AGREEMENT = 1e-5


def pairs(count: int, size: int, seed: int, device: str) -> ClipPairs:
    views = torch.rand(2, count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    number, gap = torch.arange(count), torch.ones(count)
    return ClipPairs(views[0], views[1], item=number, group=number, gap=gap, max_gap=gap).to(device)


class Bench:
    """One method with its optimiser and its two batches on the device."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.device = options.device
        values = {
            "encoder": options.encoder,
            "image_size": options.size,
            "batch_size": options.pairs,
            "optimizer": "sgd",
            "lr": 0.05,
        }
        if name == PLAIN:
            self.method: SimCLR | MetaUSCL = SimCLR(build(SimCLR.Settings, values), channels=1)
        else:
            self.method = MetaUSCL(build(MetaUSCL.Settings, values | {"meta_step": name}), channels=1)
        self.method.to(options.device)
        self.optimizer = torch.optim.SGD(self.method.parameters_to_train(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        self.batch, self.extra = (pairs(options.pairs, options.size, seed, options.device) for seed in (0, 1))

    def step(self) -> dict[str, float]:
        """Seconds of wall and processor time of one step: the call of the meta step and the whole."""
        start = self.clock()
        self.method.before_batch(self.batch, self.extra, self.optimizer)
        middle = self.clock()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.loss(self.batch).backward()
        self.optimizer.step()
        end = self.clock()
        return {
            "meta call": middle[0] - start[0],
            "whole step": end[0] - start[0],
            "meta call, cpu": middle[1] - start[1],
            "whole step, cpu": end[1] - start[1],
        }

    def clock(self) -> tuple[float, float]:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def agreement(options: argparse.Namespace) -> float:
    """Relative distance of the gradient by jvp from that by differentiating twice, at one state."""
    bench = Bench("exact", options)
    bench.step()
    gradients = []
    for form in ("exact", "jvp"):
        bench.method.settings = bench.method.settings.model_copy(update={"meta_step": form})
        found = bench.method.meta_gradient(bench.batch, bench.extra, bench.optimizer)
        gradients.append(torch.cat([gradient.flatten() for gradient in found.gradients]))
    return float((gradients[0] - gradients[1]).norm() / gradients[0].norm())


def measure(options: argparse.Namespace) -> list[dict[str, dict[str, float]]]:
    """Times of every kind of step, one entry per turn; the first two turns only warm up."""
    benches = {name: Bench(name, options) for name in (PLAIN, *FORMS)}
    turns = [{name: bench.step() for name, bench in benches.items()} for _ in range(options.repeats + 2)]
    return turns[2:]


def peak(name: str, options: argparse.Namespace) -> float:
    """Peak memory in MB of three steps in a process of their own, above what it held before them."""
    given = [f"--{key}={getattr(options, key)}" for key in ("encoder", "size", "pairs", "device", "threads")]
    process = subprocess.run(
        [sys.executable, __file__, "--peak", name, *given], check=True, capture_output=True, text=True
    )
    return float(process.stdout.split()[-1])


def print_peak(options: argparse.Namespace) -> None:
    bench = Bench(options.peak, options)
    if options.device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far: a new process inherits its parent's
        before = memory_of("VmRSS")
    else:
        before = torch.cuda.memory_allocated() / 1e6
    for _ in range(3):
        bench.step()
    print((memory_of("VmHWM") if options.device == "cpu" else torch.cuda.max_memory_allocated() / 1e6) - before)


def memory_of(field: str) -> float:
    """A line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3


def ratios(turns: list[dict[str, dict[str, float]]], name: str, what: str) -> list[float]:
    """``what`` of ``name`` in units of the SimCLR step of the same turn, sorted."""
    clock = ", cpu" if what.endswith("cpu") else ""
    if what.startswith("meta part"):
        return [ratio - 1 for ratio in ratios(turns, name, f"whole step{clock}")]
    return sorted(turn[name][what] / turn[PLAIN][f"whole step{clock}"] for turn in turns)


def table(turns: list[dict[str, dict[str, float]]], memory: dict[str, float]) -> list[str]:
    kinds = ("whole step", "whole step, cpu", "meta part", "meta call")
    lines = [
        f"| step | seconds | {' | '.join(f'{kind} / SimCLR' for kind in kinds)} | memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (PLAIN, *FORMS):
        seconds = statistics.median(turn[name]["whole step"] for turn in turns)
        cells = [f"{seconds:.3f}"]
        for what in kinds:
            found = ratios(turns, name, what)
            cells.append(f"{statistics.median(found):.2f} ({found[0]:.2f}-{found[-1]:.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {memory[name]:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(options)
        return
    error = agreement(options)
    turns = measure(options)
    memory = {name: peak(name, options) for name in (PLAIN, *FORMS)}
    print(*table(turns, memory), sep="\n")
    verdicts: list[dict[str, Any]] = [{"what": "jvp against exact, relative", "found": error, "bar": AGREEMENT}]
    for name, what, bar in BARS:
        verdicts.append(
            {"what": f"{name}, {what} / SimCLR", "found": statistics.median(ratios(turns, name, what)), "bar": bar}
        )
    for verdict in verdicts:
        outcome = "met" if verdict["found"] <= verdict["bar"] else "MISSED"
        print(f"{verdict['what']}: {verdict['found']:.3g}, bar {verdict['bar']:g}: {outcome}")
    if options.json:
        facts = {
            "torch": torch.__version__,
            "threads": options.threads,
            "device": options.device,
            "encoder": options.encoder,
        }
        raw = {
            **facts,
            "size": options.size,
            "pairs": options.pairs,
            "turns": turns,
            "memory_mb": memory,
            "verdicts": verdicts,
        }
        options.json.write_text(json.dumps(raw, indent=1))


if __name__ == "__main__":
    main()
