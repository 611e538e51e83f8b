"""Do intervals of masks and boxes hold the truth, and are equal rivals told apart? python benchmarks/localized_intervals.py

Simulated worlds of G patients with three images each; two thirds of the images hold something. Masks: areas are log-normal, and
a patient has a share of its pixels found that is its own, beside false ones in proportion. Boxes: an image has one to four, each
found with a probability that is the patient's own, a little off, beside false alarms in proportion. Heat maps: contrast, overlap
and the chance that the hottest place lies in the region are the patient's own; contrast is skewed, or log-normal (long tail).
In half of the worlds one patient has twenty times the pixels or boxes (not of FROC, whose false positives per image would be
others, and not of heat maps, of which each image counts once). The truth is the value of very many patients. The rival is another
draw of the same kind on the same images.
"""

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from sidelight.metrics.boxes import box_row, stacked
from sidelight.metrics.detection import FROC, MAP
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.heat import CNR, CONTRAST, HEAT, MIOU, OVERLAP, POINTING, POINTS
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.overlap import COLUMNS, MEAN_DICE, POOLED_DICE

IMAGES, HEAVY, MANY = 3, 20, 4000
METRICS = {"dice": POOLED_DICE, "dice by image": MEAN_DICE, "map": MAP, "froc": FROC,
           "cnr": CNR, "cnr, long tail": CNR, "miou": MIOU, "pointing": POINTING}  # fmt: skip


def masks(patients: int, heavy: bool, world: int, rivals: int) -> list[np.ndarray]:
    """Rows [N, 6] of each rival on the same images."""
    rng = np.random.default_rng([world, patients, 0])
    area = rng.lognormal(5, 0.7, (patients, IMAGES)) * (rng.random((patients, IMAGES)) < 2 / 3)
    area[0] *= HEAVY if heavy else 1
    found = []
    for rival in range(rivals):
        own = np.random.default_rng([world, patients, 1, rival])
        skill = own.beta(6, 3, (patients, 1)) * own.uniform(0.8, 1, area.shape)
        rows = np.zeros((area.size, 6))
        rows[:, 0], rows[:, 2] = (area * skill).ravel(), area.ravel()
        rows[:, 1] = rows[:, 0] + area.ravel() * own.exponential(0.3, area.size)
        found.append(rows)
    return found


def boxes(patients: int, heavy: bool, world: int, rivals: int) -> list[np.ndarray]:
    """Rows of each rival on the same images, of one width."""
    rng = np.random.default_rng([world, patients, 2])
    counts = rng.integers(1, 5, (patients, IMAGES)) * (rng.random((patients, IMAGES)) < 2 / 3)
    counts[0] *= HEAVY if heavy else 1
    found = []
    for rival in range(rivals):
        own, rows = np.random.default_rng([world, patients, 3, rival]), []
        skills = own.beta(6, 3, patients)
        for patient, image in np.ndindex(counts.shape):
            left = 100.0 * np.arange(counts[patient, image])
            truth = np.stack([left, 0 * left, left + 20, 0 * left + 20], axis=1)
            seen = truth[own.random(len(truth)) < skills[patient]]
            off = seen + own.normal(0, 1, seen.shape)
            alarms = own.poisson(0.3 * len(truth))
            far = 50.0 + 100 * np.arange(alarms)
            false = np.stack([far, 0 * far, far + 10, 0 * far + 10], axis=1)
            scores = np.concatenate([own.beta(3, 2, len(off)), own.beta(2, 3, alarms)])
            rows.append(box_row(np.concatenate([off, false]), scores, truth))
        found.append(rows)
    width = max(len(row) for rows in found for row in rows)
    return [stacked(rows, width) for rows in found]


def maps(patients: int, heavy: bool, world: int, rivals: int, *, tail: bool = False) -> list[np.ndarray]:
    """Rows of each rival on the same images; NaN where an image holds nothing."""
    rng = np.random.default_rng([world, patients, 4])
    holds = rng.random((patients, IMAGES)) < 2 / 3
    found = []
    for rival in range(rivals):
        own, rows = (
            np.random.default_rng([world, patients, 5, rival]),
            np.full((holds.size, len(COLUMNS) + len(HEAT)), np.nan),
        )
        rows[:, 2] = holds.ravel()
        skill = own.beta(3, 3, (patients, 1))
        rows[:, POINTS] = (own.random(holds.shape) < skill).ravel()
        typical = own.lognormal(-1, 1, (patients, 1)) if tail else own.gamma(2, 0.4, (patients, 1))
        rows[:, CONTRAST] = (typical * own.lognormal(0, 0.4, holds.shape)).ravel()
        rows[:, OVERLAP] = (skill * own.uniform(0.2, 1, holds.shape)).ravel()
        rows[~holds.ravel(), POINTS:] = np.nan
        found.append(rows)
    return found


MADE = {"dice": masks, "dice by image": masks, "map": boxes, "froc": boxes, "cnr, long tail": partial(maps, tail=True)}


def cell(name: str, patients: int, heavy: bool, worlds: int) -> dict:
    """Shares of worlds."""
    metric, made = METRICS[name], MADE.get(name, maps)
    real = metric(None, made(MANY, False, 0, 1)[0])
    held, apart, without = 0, 0, 0
    groups = np.repeat(np.arange(patients), IMAGES)
    for world in range(1, worlds + 1):
        one, other = made(patients, heavy, world, 2)
        labels = (one[:, 0 if name in ("map", "froc") else 2] > 0).astype(int)
        found = clustered_interval(labels, one, groups, metric, resamples=400)
        gap = paired_difference(labels, one, other, groups, metric, resamples=400, permutations=2)
        without += found.method == "none"
        held += found.low <= real <= found.high
        apart += gap.low > 0 or gap.high < 0
    counted = max(worlds - without, 1)
    return {"metric": name, "patients": patients, "heavy": heavy, "coverage": held / counted, "told apart": apart / counted,
            "without": without / worlds}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--groups", type=int, nargs="+", default=[12, 25, 50])
    parser.add_argument("--metrics", nargs="+", default=list(METRICS), choices=METRICS)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    error = 100 * np.sqrt(0.05 * 0.95 / asked.worlds)
    print(f"{asked.worlds} worlds a row; standard error of a share of 95 or 5 %: {error:.1f}\n")
    print("| metric | patients | one has 20 times as much | coverage % | equal rivals told apart % | no interval % |")
    print("|---" * 6 + "|")
    found = []
    for name, patients, heavy in product(asked.metrics, asked.groups, (False, True)):
        if heavy and name not in ("dice", "dice by image", "map"):
            continue
        row = cell(name, patients, heavy, asked.worlds)
        shares = " | ".join(f"{100 * row[key]:.0f}" for key in ("coverage", "told apart", "without"))
        print(f"| {name} | {patients} | {'yes' if heavy else 'no'} | {shares} |", flush=True)
        found.append(row)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
