"""T2: how long `sidelight --help` and `import sidelight` take, as whole processes, against importing torch.

    python benchmarks/startup.py [--repeats 9] [--json FILE]

Bars: --help in at most 0.2 s, the import in at most 0.05 s more than the bare interpreter.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import sidelight": [sys.executable, "-c", "import sidelight"],
    "sidelight --help": [str(Path(sys.executable).with_name("sidelight")), "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def once(command: list[str]) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": time.perf_counter() - began, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for command in COMMANDS.values():
        once(command)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS}
    for _ in range(options.repeats):
        for name, command in COMMANDS.items():
            runs[name].append(once(command))
    print(f"{'command':20} {'wall s (min-max)':>24} {'cpu s':>8}")
    for name, found in runs.items():
        wall = [run["wall"] for run in found]
        cpu = statistics.median(run["cpu"] for run in found)
        print(f"{name:20} {statistics.median(wall):8.3f} ({min(wall):.3f}-{max(wall):.3f}) {cpu:8.3f}")
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
