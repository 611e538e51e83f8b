"""Average precision and FROC of many resamples: python benchmarks/detection_metrics.py [--json FILE]

A thousand images with about two true boxes and a hundred detections each. The peer repeats the images that a resample drew and
evaluates the repeated list as one data set, sorted once per resample (numpy, no loop over detections). Both must agree. Ratios of
one run on one thread.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from sidelight.metrics.boxes import RSNA, box_row, stacked
from sidelight.metrics.detection import FROC, MAP, RATES, RECALLS

IMAGES, FALSE, RESAMPLES, NAIVE = 1000, 98, 1000, 10


def world(seed: int) -> np.ndarray:
    """Rows of images: two thirds of the true boxes are found, a little off, beside many false alarms."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(IMAGES):
        corner = rng.uniform(0, 160, (rng.integers(0, 5), 2))
        truth = np.concatenate([corner, corner + rng.uniform(20, 60, corner.shape)], axis=1)
        seen = truth[rng.random(len(truth)) < 2 / 3] + rng.normal(0, 4, 4)
        alarm = rng.uniform(0, 160, (FALSE, 2))
        boxes = np.concatenate([seen, np.concatenate([alarm, alarm + rng.uniform(20, 60, alarm.shape)], axis=1)])
        scores = np.concatenate([rng.beta(4, 2, len(seen)), rng.beta(1, 4, FALSE)])
        rows.append(box_row(boxes, scores, truth))
    return stacked(rows)


def repeated(rows: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """mAP and FROC of one resample, its images repeated."""
    drawn = np.repeat(rows, weights.astype(int), axis=0)
    found = drawn[:, 1:].reshape(-1, 4)
    found = found[~np.isnan(found[:, 0])]
    found = found[np.argsort(-found[:, 0], kind="stable")]
    total, each = drawn[:, 0].sum(), []
    for bit in range(len(RSNA)):
        hit = found[:, 1].astype(int) >> bit & 1
        right = np.cumsum(hit)
        precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
        at = np.searchsorted(right / total, RECALLS)
        each.append(np.where(at < len(right), precision[np.minimum(at, len(right) - 1)], 0).mean())
    false = np.cumsum(found[:, 3] < 0) / len(drawn)
    hits = np.concatenate([[0], np.cumsum(np.maximum(found[:, 3], 0))])
    return float(np.mean(each)), float(np.mean([hits[np.searchsorted(false, rate, "right")] for rate in RATES]) / total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = world(0)
    drawn = np.random.default_rng(1).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), RESAMPLES).astype(float)
    started = time.perf_counter()
    naive = np.array([repeated(rows, weights) for weights in drawn[:NAIVE]])
    peer = (time.perf_counter() - started) / NAIVE * RESAMPLES
    seconds = {}
    for place, metric in enumerate((MAP, FROC)):
        started = time.perf_counter()
        values = metric(None, rows, drawn)
        seconds[metric.name] = time.perf_counter() - started
        assert np.allclose(values[:NAIVE], naive[:, place], atol=1e-12), metric.name
    ours = sum(seconds.values())
    print(f"{IMAGES} images, {int((~np.isnan(rows[:, 1::4])).sum())} detections, {RESAMPLES} resamples, one thread\n")
    print("| | seconds |\n|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.1f} |")
    print(f"| peer, both (of {NAIVE} resamples) | {peer:.0f} |\n\npeer / ours: {peer / ours:.1f}x")
    if asked.json:
        asked.json.write_text(json.dumps({"seconds": seconds, "peer": peer, "ratio": peer / ours}, indent=1))


if __name__ == "__main__":
    main()
