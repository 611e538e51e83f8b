"""What readers make of broken files: mutants of the small seeds in `tests/fuzz/seeds`, thousands for each reader.

A mutant may be read or refused with one sentence. Whatever else a reader raises, more than 10 s, more than 2 GiB of addresses
beside the process's own, or the end of the process is a defect. Mutants have numbers: `--first` finds one again.

    python benchmarks/fuzz.py --mutants 10000 --out benchmarks/results/fuzz.txt

The bar: no defect.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
HEADROOM = 2 << 30
COLUMNS = ("reader", "files", "read", "refused", "traceback", "hang", "memory", "crash", "more MB", "CPU s")


def one(reader: str, mutants: int, first: int) -> None:
    """In a process of its own: print what became of the mutants as JSON."""
    sys.path.insert(0, str(TESTS))
    from fuzzing import fuzz, reads, SEEDS  # noqa: I001 (after the path)

    with tempfile.TemporaryDirectory() as folder:
        for seed in (SEEDS / reader).iterdir():  # what readers load when they are first used is not the mutants'
            reads(reader, seed, Path(folder))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, resource.getrlimit(resource.RLIMIT_AS)[1]))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(reader, mutants, Path(folder), first=first)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    said = {"counts": found.counts, "defects": found.defects, "more": more, "seconds": time.process_time() - began}
    print(json.dumps(said))


def row(reader: str, mutants: int, first: int) -> tuple[list[str], list[str]]:
    """A line of the table, and the defects."""
    words = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--only",
        reader,
        "--mutants",
        str(mutants),
        "--first",
        str(first),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return [reader, str(mutants), *["-"] * 5, "1", "-", "-"], [
            f"{reader}: the process ended with {done.returncode}"
        ]
    said = json.loads(done.stdout.splitlines()[-1])
    counts = [str(said["counts"].get(kind, 0)) for kind in COLUMNS[2:7]]
    return [reader, str(mutants), *counts, "0", f"{said['more']:.0f}", f"{said['seconds']:.0f}"], said["defects"]


def main() -> None:
    sys.path.insert(0, str(TESTS))
    from fuzzing import READERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=list(READERS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        one(asked.only, asked.mutants, asked.first)
        return
    lines, defects = [COLUMNS], []
    for reader in asked.readers:
        line, more = row(reader, asked.mutants, asked.first)
        lines, defects = [*lines, line], [*defects, *more]
        print(*line, flush=True)
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    text += "".join(f"\n{defect}" for defect in defects) + f"\n{len(defects)} defects\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
