"""T3: time and memory of one forward and backward pass of a contrastive loss, against lightly and open_clip.

    pip install 'sidelight[bench]'
    python benchmarks/contrastive_loss.py --json contrastive_loss.json

Each measurement is a process of its own, so that its peak memory is its own; the implementations take turns, as often
as ``--repeats`` says. Before any of it, all must agree on the loss to 1e-5 and on the gradient's norm to 1e-4 of it.
Memory is the peak above what the process held before the pass. Only the ratios of one run mean something.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

DIM, TEMPERATURE = 128, 0.1
PEER = {"NT-Xent": "lightly", "symmetric InfoNCE": "open_clip"}
PACKAGE = {"lightly": "lightly", "open_clip": "open-clip-torch"}
LARGEST = 4096  # pairs, for those that keep the whole matrix
BARS = ((4096, "time", 0.4), (4096, "memory", 0.16))  # NT-Xent: at most this share of lightly's
BAR_16K = 600.0  # MB

Loss = Callable[[Tensor, Tensor], Tensor]


def textbook_nt_xent(left: Tensor, right: Tensor) -> Tensor:
    views = F.normalize(torch.cat([left, right]), dim=-1)
    logits = views @ views.T / TEMPERATURE
    logits.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(views), device=views.device).roll(len(left))
    return F.cross_entropy(logits, partner)


def textbook_clip(left: Tensor, right: Tensor) -> Tensor:
    logits = F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T / TEMPERATURE
    own = torch.arange(len(left), device=left.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def create(name: str) -> Loss:
    """The loss called ``name``; peers are imported only here. :raises ImportError: for a peer that is not installed."""
    from sidelight.losses import info_nce, nt_xent

    kind, _, implementation = name.partition(": ")
    if implementation == "lightly":
        from lightly.loss import NTXentLoss

        return NTXentLoss(temperature=TEMPERATURE)  # type: ignore[no-any-return]
    if implementation == "open_clip":
        from open_clip.loss import ClipLoss

        clip = ClipLoss()
        return lambda a, b: clip(F.normalize(a, dim=-1), F.normalize(b, dim=-1), 1 / TEMPERATURE)  # type: ignore[no-any-return]
    if implementation == "textbook":
        return textbook_nt_xent if kind == "NT-Xent" else textbook_clip
    chunk = None if implementation == "sidelight, plain" else "auto"
    if kind == "NT-Xent":
        return lambda a, b: nt_xent(a, b, temperature=TEMPERATURE, chunk=chunk)
    return lambda a, b: (
        (info_nce(a, b, temperature=TEMPERATURE, chunk=chunk) + info_nce(b, a, temperature=TEMPERATURE, chunk=chunk))
        / 2
    )


def names(kind: str) -> list[str]:
    return [f"{kind}: {name}" for name in ("sidelight", "sidelight, plain", "textbook", PEER[kind])]


def measure(name: str, pairs: int, device: str, passes: int) -> dict[str, float]:
    """Median of ``passes`` passes in this process: seconds of wall and CPU time, MB of memory, loss, gradient."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    loss = create(name)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(pairs, DIM, generator=generator).to(device).requires_grad_() for _ in range(2))
    loss(left[:512], right[:512]).backward()  # warm-up: thread pools, and what checkpointing imports when first used
    seconds, cpu_seconds = [], []
    held = reset_peak(device)
    for _ in range(passes):
        left.grad = right.grad = None
        start, cpu_start = time.perf_counter(), time.process_time()
        value = loss(left, right)
        value.backward()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    memory = peak(device) - held
    assert left.grad is not None
    return {
        "seconds": statistics.median(seconds),
        "cpu_seconds": statistics.median(cpu_seconds),
        "memory": memory,
        "loss": value.item(),
        "gradient": left.grad.double().norm().item(),
    }


def reset_peak(device: str) -> float:
    """Start a new peak; MB held now."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak(device)
    return status("VmRSS")


def peak(device: str) -> float:
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        return status("VmHWM")
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return float(line.split()[1]) * 1024 / 1e6


def in_own_process(name: str, pairs: int, device: str, passes: int, threads: int) -> dict[str, float] | str:
    """What `measure` finds, or why it found nothing."""
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--pairs",
        str(pairs),
        "--device",
        device,
        "--passes",
        str(passes),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return "not installed" if "ModuleNotFoundError" in last else last[:100]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def check_quality(kind: str, device: str, threads: int) -> dict[str, str]:
    """``{name: reason}`` of those that cannot be measured: not installed, or another loss."""
    absent, reference = {}, measure(f"{kind}: textbook", 1024, device, 1)
    for name in names(kind):
        found = in_own_process(name, 1024, device, 1, threads)
        if isinstance(found, str):
            absent[name] = found
            continue
        error = abs(found["loss"] - reference["loss"])
        slope = abs(found["gradient"] / reference["gradient"] - 1)
        print(f"  {name}: loss {found['loss']:.6f}, off by {error:.1e}; gradient norm off by {slope:.1e} of itself")
        if error > 1e-5 or slope > 1e-4:
            absent[name] = "another value"
    return absent


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def report(kind: str, pairs: int, found: dict[str, list[dict[str, float]]], absent: dict[str, str]) -> dict[str, float]:
    """Print one table; return sidelight's ratios to the peer where both were measured."""
    peer, ratios = f"{kind}: {PEER[kind]}", {}
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
        if runs
    }
    print(f"\n**{kind}, {pairs} pairs, D = {DIM}, float32, forward + backward**\n")
    print(f"| implementation | wall s | CPU s | MB | x {PEER[kind]}'s time | x its memory |\n|---|---|---|---|---|---|")
    for name in names(kind):
        short = name.partition(": ")[2]
        if name not in medians:
            print(f"| {short} | {absent.get(name, 'not run: keeps the whole matrix')} | | | | |")
            continue
        cells = [spread([run[key] for run in found[name]], 0 if key == "memory" else 3) for key in KEYS]
        shares = ["", ""]
        if peer in medians:
            share = {key: medians[name][key] / medians[peer][key] for key in ("seconds", "memory")}
            shares = [f"{value:.2f}" for value in share.values()]
            ratios = {"time": share["seconds"], "memory": share["memory"]} if short == "sidelight" else ratios
        print(f"| {short} | {' | '.join([*cells, *shares])} |")
    return ratios


KEYS = ("seconds", "cpu_seconds", "memory")


def verdict(text: str, value: float, bar: float) -> None:
    print(f"{'met ' if value <= bar else 'MISSED'} {text}: {value:.2f}, bar {bar:g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384], help="numbers of pairs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--passes", type=int, default=3, help="passes per process, of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where the raw measurements go")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.pairs, options.device, options.passes)))
        return

    versions = {"torch": torch.__version__}
    for package in PACKAGE.values():
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    print(", ".join(f"{name} {version}" for name, version in versions.items()), f"- {options.threads} threads")
    raw = []
    for kind in PEER:
        print(f"\n{kind}, quality first (1,024 pairs):")
        absent = check_quality(kind, options.device, options.threads)
        for pairs in options.sizes:
            candidates = [n for n in names(kind) if n not in absent and (pairs <= LARGEST or n.endswith(": sidelight"))]
            found: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
            for repeat in range(options.repeats):
                for name in candidates:
                    passes = options.passes if pairs <= LARGEST else 1
                    run = in_own_process(name, pairs, options.device, passes, options.threads)
                    if isinstance(run, str):
                        absent[name] = run
                        continue
                    found[name].append(run)
                    raw.append({"name": name, "pairs": pairs, "repeat": repeat, **run})
            ratios = report(kind, pairs, found, absent)
            print()
            for size, what, bar in BARS:
                if kind == "NT-Xent" and size == pairs and what in ratios:
                    verdict(f"{what} relative to lightly's", ratios[what], bar)
            if kind == "NT-Xent" and pairs == 16384 and found[f"{kind}: sidelight"]:
                memory = statistics.median(run["memory"] for run in found[f"{kind}: sidelight"])
                verdict("MB at 16,384 pairs", memory, BAR_16K)
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "threads": options.threads, "runs": raw}, indent=1))


if __name__ == "__main__":
    main()
