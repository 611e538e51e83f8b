"""Coverage of the 95 % clustered interval over simulated worlds whose true AUROC is known.

A world has G patients with 10 images each. An image's score is d * label + patient effect + own noise, with intraclass correlation
0.7 within a patient and d set so that the AUROC of images of different patients is the truth. Labels are constant within a patient
("constant": the number of positive patients is the prevalence), or drawn image by image ("mixed").

    python benchmarks/intervals.py --worlds 4000 --groups 10 25 40 100 [--auroc 0.7 0.8 0.9] [--json FILE]

The bar is 93-97 %. Besides sidelight's interval the table shows the percentile bootstrap over patients and over rows.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sidelight.metrics.classification import auroc
from sidelight.metrics.intervals import clustered_interval

IMAGES, ICC = 10, 0.7
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """Coverage in one kind of world; ``above`` is the share of worlds whose whole interval lies above the truth."""

    groups: int
    labels: str
    positives: float
    auroc: float
    worlds: int
    without: int
    coverage: float
    above: float
    width: float
    percentile: float
    rows: float
    methods: dict[str, int]
    seconds: float


def world(
    rng: np.random.Generator, groups: int, positives: float, truth: float, constant: bool
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Labels, scores and patient of groups x 10 images."""
    if constant:
        label = np.repeat(np.arange(groups)[:, None] < round(groups * positives), IMAGES, axis=1)
    else:
        label = rng.random((groups, IMAGES)) < positives
    patient, own = rng.standard_normal((groups, 1)), rng.standard_normal((groups, IMAGES))
    score = np.sqrt(2) * ndtri(truth) * label + np.sqrt(ICC) * patient + np.sqrt(1 - ICC) * own
    return label.ravel().astype(np.int64), score.ravel(), np.repeat(np.arange(groups), IMAGES)


def percentile(label: NDArray[np.int64], score: Floats, weights: Floats) -> tuple[float, float]:
    values = auroc(label, score, weights)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def measure(groups: int, positives: float, truth: float, constant: bool, worlds: int, naive: int, seed: int) -> Cell:
    """Run the worlds of one cell; the two percentile bootstraps only in the first ``naive`` of them."""
    rng, started = (
        np.random.default_rng([seed, groups, int(positives * 100), int(truth * 100), constant]),
        time.perf_counter(),
    )
    hits, above, width, rivals, methods = 0, 0, [], {"groups": [], "rows": []}, {}
    for index in range(worlds):
        label, score, patient = world(rng, groups, positives, truth, constant)
        found = clustered_interval(label, score, patient, auroc, seed=index)
        methods[found.method] = methods.get(found.method, 0) + 1
        if found.method != "none":
            hits += found.low <= truth <= found.high
            above += truth < found.low
            width.append(found.high - found.low)
        if index < naive:
            for name, index_of in (("groups", patient), ("rows", np.arange(len(label)))):
                count = index_of[-1] + 1
                drawn = rng.multinomial(count, np.full(count, 1 / count), size=500).astype(float)
                low, high = percentile(label, score, drawn[:, index_of])
                rivals[name].append(low <= truth <= high)
    given = max(len(width), 1)
    return Cell(
        groups, "constant" if constant else "mixed", positives, truth, worlds, worlds - len(width), hits / given, above / given,
        float(np.mean(width)), *(float(np.mean(rivals[name])) if naive else float("nan") for name in ("groups", "rows")),
        methods, time.perf_counter() - started,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worlds", type=int, default=4000)
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 25, 40, 100])
    parser.add_argument("--auroc", type=float, nargs="+", default=[0.7, 0.8, 0.9])
    parser.add_argument("--positives", type=float, nargs="+", default=[0.5, 0.3])
    parser.add_argument("--labels", nargs="+", choices=["constant", "mixed"], default=["constant", "mixed"])
    parser.add_argument("--naive", type=int, default=200, help="worlds in which the percentile bootstraps run too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the cells here")
    arguments = parser.parse_args()
    cells = []
    print(
        "| groups | labels | positives | AUROC | coverage % | too high % | width | percentile, patients % | rows % | method | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for groups in arguments.groups:
        for labels in arguments.labels:
            for positives in arguments.positives:
                for truth in arguments.auroc:
                    cell = measure(
                        groups, positives, truth, labels == "constant", arguments.worlds,
                        min(arguments.naive, arguments.worlds), arguments.seed,
                    )  # fmt: skip
                    cells.append(asdict(cell))
                    methods = ", ".join(f"{name} {count}" for name, count in sorted(cell.methods.items()))
                    print(
                        f"| {groups} | {labels} | {positives} | {truth} | {cell.coverage:.1%} | {cell.above:.1%} | {cell.width:.2f} "
                        f"| {cell.percentile:.1%} | {cell.rows:.1%} | {methods} | {cell.seconds:.0f} |".replace(
                            "%", ""
                        ),
                        flush=True,
                    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "cells": cells}, indent=1))


if __name__ == "__main__":
    main()
