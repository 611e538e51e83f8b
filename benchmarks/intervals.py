"""Coverage of the 95 % clustered interval over simulated worlds whose true AUROC and accuracy are known.

A world has G patients with 10 images each. An image's score is d * label + patient effect + own noise, with intraclass
correlation 0.7 within a patient and d set so that the AUROC of images of different patients is the truth. Labels are
constant within a patient ("constant": the share of positive patients is given), or drawn image by image ("mixed").

    python benchmarks/intervals.py --worlds 4000 --groups 10 25 40 100 --workers 8 --json coverage.json

``--rare`` runs the cells of a rare class: 5, 10 and 20 positive of 40, 100 and 600 patients, whose label is constant:

    python benchmarks/intervals.py --rare --worlds 1000

The bar is 93-97 % for AUROC. Beside sidelight's interval stand the percentile bootstraps over patients and over rows.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

from sidelight.metrics import METRICS
from sidelight.metrics.intervals import clustered_interval

IMAGES, ICC = 10, 0.7
MEASURED = ("auroc", "accuracy")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """One kind of world; ``naive`` of the ``worlds`` also run the percentile bootstraps."""

    metric: str
    groups: int
    labels: str
    positives: float
    auroc: float
    worlds: int
    naive: int
    seed: int
    images: int = IMAGES


@dataclass(frozen=True)
class Coverage:
    """Shares of worlds whose interval holds the truth; ``above``: of those whose whole interval lies above it."""

    coverage: float
    above: float
    width: float
    percentile_groups: float
    percentile_rows: float
    methods: dict[str, int]
    seconds: float


def world(cell: Cell, rng: np.random.Generator) -> tuple[Ints, Floats, Ints]:
    """Labels, probabilities and patient of G x M images; with d, accuracy at 0.5 is Phi(d / 2) for either class."""
    shape = (cell.groups, cell.images)
    if cell.labels == "constant":
        label = np.repeat(np.arange(cell.groups)[:, None] < round(cell.groups * cell.positives), cell.images, axis=1)
    else:
        label = rng.random(shape) < cell.positives
    noise = np.sqrt(ICC) * rng.standard_normal((cell.groups, 1)) + np.sqrt(1 - ICC) * rng.standard_normal(shape)
    score = expit((label - 0.5) * np.sqrt(2) * ndtri(cell.auroc) + noise)
    return label.ravel().astype(np.int64), score.ravel(), np.repeat(np.arange(cell.groups), cell.images)


def percentile_holds(truth: float, cell: Cell, data: tuple[Ints, Floats, Ints], rng: np.random.Generator) -> bool:
    """Whether the percentile bootstrap (500 resamples of the groups given) holds the truth."""
    label, score, group = data
    count = int(group[-1]) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=500).astype(float)
    low, high = np.nanquantile(METRICS[cell.metric](label, score, drawn[:, group]), [0.025, 0.975])
    return bool(low <= truth <= high)


def measure(cell: Cell) -> Coverage:
    """Run all worlds of one cell; each has its own random numbers."""
    started = time.perf_counter()
    truth = cell.auroc if cell.metric == "auroc" else float(ndtr(ndtri(cell.auroc) / np.sqrt(2)))
    found, patients, rows = [], [], []
    for index in range(cell.worlds):
        rng = np.random.default_rng([cell.seed, cell.groups, int(cell.positives * 100), int(cell.auroc * 100), index])
        label, score, patient = world(cell, rng)
        found.append(clustered_interval(label, score, patient, METRICS[cell.metric], seed=index))
        if index < cell.naive:
            patients.append(percentile_holds(truth, cell, (label, score, patient), rng))
            rows.append(percentile_holds(truth, cell, (label, score, np.arange(len(label))), rng))
    given = [one for one in found if one.method != "none"]
    methods = [one.method for one in found]
    return Coverage(
        coverage=float(np.mean([one.low <= truth <= one.high for one in given])) if given else float("nan"),
        above=float(np.mean([truth < one.low for one in given])) if given else float("nan"),
        width=float(np.mean([one.high - one.low for one in given])) if given else float("nan"),
        percentile_groups=float(np.mean(patients)) if patients else float("nan"),
        percentile_rows=float(np.mean(rows)) if rows else float("nan"),
        methods={name: methods.count(name) for name in sorted(set(methods))},
        seconds=time.perf_counter() - started,
    )


def line(cell: Cell, got: Coverage) -> str:
    """One row of the table."""
    shares = [got.coverage, got.above, got.percentile_groups, got.percentile_rows]
    values = [
        cell.metric,
        cell.groups,
        cell.labels,
        f"{cell.positives:.2g}",
        cell.auroc,
        *(f"{share * 100:.1f}" for share in shares),
    ]
    methods = ", ".join(f"{name} {count}" for name, count in got.methods.items())
    return "| " + " | ".join(map(str, [*values, f"{got.width:.2f}", methods, f"{got.seconds:.0f}"])) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--worlds", type=int, default=4000)
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 25, 40, 100])
    parser.add_argument("--auroc", type=float, nargs="+", default=[0.7, 0.8, 0.9], help="true AUROC")
    parser.add_argument("--positives", type=float, nargs="+", default=[0.5, 0.3])
    parser.add_argument("--labels", nargs="+", choices=["constant", "mixed"], default=["constant", "mixed"])
    parser.add_argument(
        "--rare", action="store_true", help="the cells of a rare class in place of --groups and --positives"
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="of each patient")
    parser.add_argument("--metric", nargs="+", choices=MEASURED, default=["auroc"])
    parser.add_argument("--naive", type=int, default=200, help="worlds in which the percentile bootstraps run too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the cells here")
    given = parser.parse_args()
    kinds = product(given.metric, given.groups, given.labels, given.positives, given.auroc)
    if given.rare:
        kinds = (
            (metric, groups, "constant", positive / groups, auroc)
            for metric, groups, positive, auroc in product(given.metric, (40, 100, 600), (5, 10, 20), given.auroc)
        )
    cells = [Cell(*kind, given.worlds, given.naive, given.seed, given.images) for kind in kinds]
    heads = (
        "metric, groups, labels, share positive, AUROC, coverage %, too high %, percentile over patients %, over rows %"
    )
    columns = [*heads.split(", "), "mean width", "methods", "s"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    done = []
    with ProcessPoolExecutor(given.workers) as pool:
        for cell, got in zip(cells, pool.map(measure, cells), strict=True):
            done.append(asdict(cell) | asdict(got))
            print(line(cell, got), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"icc": ICC, "cells": done}, indent=1))


if __name__ == "__main__":
    main()
