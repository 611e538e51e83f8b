"""Two equal encoders: how often is one called better, and a label saving claimed? And how often is a real one found?

A world has P patients with two images each and two encoders, whose features carry the label equally well; patients, and with
them both encoders' features, are drawn anew in each world. Folds, draws, linear probes, intervals, p-values and verdicts are the
product's own. With ``--gain`` the first encoder carries that much more: the share of verdicts is then the power.

    python benchmarks/comparisons.py --worlds 400 --patients 40 --workers 2

At most 6 % of equal encoders may get a verdict, and of label counts a saving. "Before Holm" are savings (or the reverse) that a
factor's interval alone would claim, with those that have no interval: what is claimed is a part of them.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from sidelight.evaluation.labelled import Labelled, make_folds
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.scores import Ready, collect_scores, further_draws, half_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.comparisons import differences, efficiency
from sidelight.reporting.study.answer import claims, verdict


@dataclass(frozen=True)
class World:
    """What is drawn: patients, how many are positive, length of the features and of what separates the classes in them."""

    patients: int = 40
    positives: float = 0.5
    width: int = 16
    strength: float = 1.2
    gain: float = 0.0
    labels: int = 16


def scores_of(world: World, number: int) -> pd.DataFrame:
    """Scores of both encoders, as a study makes them."""
    rng = np.random.default_rng([number, world.patients])
    group = np.repeat(np.arange(world.patients), 2)
    label = (group < round(world.patients * world.positives)).astype(int)
    table = pd.DataFrame({
        "unit": [f"u{at:04d}" for at in range(len(group))], "group": [f"g{at:04d}" for at in group], "label": label,
        "rows": [[at] for at in range(len(group))],
    })  # fmt: skip
    settings = EvaluateSettings(labels=[world.labels], seeds=2)
    folds: Labelled = make_folds(table, {"": ("no", "yes")}, settings)
    parts = []
    for name, strength in (("one", world.strength + world.gain), ("other", world.strength)):
        axis = rng.standard_normal(world.width)
        noise = rng.standard_normal((world.patients, world.width))[group] + rng.standard_normal(
            (len(group), world.width)
        )
        vectors = (label[:, None] * strength * axis / np.linalg.norm(axis) + np.sqrt(0.5) * noise).astype(np.float32)
        ready = Ready(None, None, folds, learned("linear"), settings, vectors)  # type: ignore[arg-type]
        own: list[pd.DataFrame] = []
        for seed in range(settings.seeds):
            own += [collect_scores(ready, seed, None, draw)[0] for draw in (0, *further_draws(ready))]
            own += half_scores(ready, seed)
        parts.append(pd.concat(own).assign(encoder=name, task="t", protocol="linear"))
    return pd.concat(parts, ignore_index=True)


def judged(number: int, world: World, resamples: int) -> list[dict[str, object]]:
    """A row per label count: verdict, whether the interval holds 0, whether the factor's holds 1, and what it claims."""
    scores = scores_of(world, number)
    gaps = differences(scores, resamples=resamples)
    gaps = gaps[gaps["metric"] == "auroc"]
    factors = efficiency(scores, gaps, resamples=resamples)
    rows = []
    for _, row in gaps.iterrows():
        factor = factors[(factors["labels"] == row["labels"]) & (factors["encoder"] == row["encoder"])].iloc[0]
        rows.append({
            "labels": row["labels"], "difference": row["difference"], "verdict": verdict(row) in ("better", "worse"),
            "holds": row["low"] <= 0 <= row["high"], "factor holds": not (factor["low"] > 1 or factor["high"] < 1),
            "before": claims(factor) != "none", "claims": claims(factor) in ("fewer", "more"), "width": row["high"] - row["low"],
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--patients", type=int, nargs="+", default=[40])
    parser.add_argument("--positives", type=float, default=0.5)
    parser.add_argument("--gain", type=float, nargs="+", default=[0.0], help="what the first encoder carries more")
    parser.add_argument("--labels", type=int, default=16)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    heads = ("patients", "gain", "labels", "difference", "sd", "verdict %", "interval holds 0 %", "factor holds 1 %",
             "saving before Holm %", "saving claimed %", "mean width", "worlds", "s")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n" + "|---:" * len(heads) + "|", flush=True)
    with ProcessPoolExecutor(given.workers) as pool:
        for patients in given.patients:
            for gain in given.gain:
                started = time.perf_counter()
                world = World(patients, given.positives, gain=gain, labels=given.labels)
                found = pool.map(
                    partial(judged, world=world, resamples=given.resamples), range(given.worlds), chunksize=2
                )
                table = pd.DataFrame([row for rows in found for row in rows])
                for labels, own in table.groupby("labels"):
                    share = [
                        f"{100 * own[name].mean():.1f}"
                        for name in ("verdict", "holds", "factor holds", "before", "claims")
                    ]
                    values = [patients, gain, labels, f"{own['difference'].mean():+.3f}", f"{own['difference'].std():.3f}",
                              *share, f"{own['width'].mean():.2f}", len(own), f"{time.perf_counter() - started:.0f}"]  # fmt: skip
                    print("| " + " | ".join(map(str, values)) + " |", flush=True)


if __name__ == "__main__":
    main()
