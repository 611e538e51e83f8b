"""T8: a run that gets SIGKILL at a random step and is started again ends with the same weights, bit for bit.

    python benchmarks/resume.py --kills 20 --json resume.json

For 0 and for 2 loader workers: one run is left alone; then ``--kills`` others are killed from outside, each when its
log reaches a step drawn at random (wherever in that step or in a checkpoint it happens to be), and started again.
Meta-USCL is the method, because it has the most to remember: two optimisers, batch statistics, a momentum.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = 40
SETTINGS: dict[str, Any] = {
    "method": "meta_uscl",
    "data": "phantom:ultrasound?patients=24&seed=1",
    "encoder": "resnet10t",
    "image_size": 32,
    "batch_size": 8,
    "steps": STEPS,
    "checkpoint_every": 3,
    "device": "cpu",
    "quiet": True,
}


def train(folder: str, cache: str, workers: int, threads: int) -> None:
    multiprocessing.set_start_method("fork", force=True)  # for the loader: the parent's way would import torch again
    import torch

    import sidelight

    torch.set_num_threads(threads)
    sidelight.pretrain(out=folder, cache=cache, workers=workers, **SETTINGS)


def start(*arguments: Any) -> multiprocessing.process.BaseProcess:
    """A process of its own that has torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sidelight.commands.evaluate", "sidelight.methods.meta_uscl", "torch._dynamo"])
    process = context.Process(target=train, args=arguments)
    process.start()
    return process


def kill_at(process: multiprocessing.process.BaseProcess, folder: Path, step: int) -> int:
    """Kill ``process`` once its log has ``step`` steps; returns how many it had when it died."""
    while process.is_alive() and steps_of(folder) < step:
        time.sleep(0.002)
    if process.pid and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise SystemExit(f"the run in {folder} ended with {process.exitcode} before it could be killed at step {step}")
    return steps_of(folder)


def steps_of(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b'"kind": "step"') if path.exists() else 0


def finish(folder: Path, *arguments: Any) -> str:
    """Run to the end and return the hash of the weights."""
    process = start(str(folder), *arguments)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the run in {folder} failed with {process.exitcode}")
    return str(json.loads((folder / "done.json").read_text())["weights"])


def trials(root: Path, workers: int, kills: int, threads: int, seed: int) -> dict[str, Any]:
    numbers, arguments = random.Random(seed), (str(root / "cache"), workers, threads)
    whole = finish(root / f"whole-{workers}", *arguments)
    rows = []
    for trial in range(kills):
        folder = root / f"killed-{workers}-{trial}"
        asked = numbers.randint(1, STEPS - 1)
        died = kill_at(start(str(folder), *arguments), folder, asked)
        rows.append({"killed_after_step": died, "same": finish(folder, *arguments) == whole})
        print(
            f"{workers} workers, killed after step {died:2d}: {'same' if rows[-1]['same'] else 'DIFFERENT'}", flush=True
        )
    return {"workers": workers, "weights": whole, "trials": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="of torch; few, when the machine is shared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        results = [trials(Path(root), workers, options.kills, options.threads, options.seed) for workers in (0, 2)]
    same = all(row["same"] for result in results for row in result["trials"])
    same_for_workers = results[0]["weights"] == results[1]["weights"]
    print(f"\n{options.kills} kills each with 0 and 2 workers: {'all' if same else 'NOT all'} ended the same;")
    print(f"0 and 2 workers gave {'the same' if same_for_workers else 'DIFFERENT'} weights.")
    if options.json:
        options.json.write_text(json.dumps({"settings": SETTINGS, "results": results}, indent=1) + "\n")
    sys.exit(not (same and same_for_workers))


if __name__ == "__main__":
    main()
