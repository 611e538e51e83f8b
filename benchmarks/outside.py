"""How often `predict` calls new patients of the same kind "outside the training data", and how often other pictures.

Cohorts are phantom ultrasound of G patients with two clips each; new patients come from the same phantom with another
seed. Other pictures are the new patients' clips as negatives, upside down, or with their pixels shuffled. Encoders: random
weights, SimCLR trained on the cohort itself, and fine-tuned on its labels; the latter two know the labelled patients,
which the limit cannot make up for.

    python benchmarks/outside.py --cohorts 4 --patients 10 30 60 200 --json outside.json

The bar: false alarms at most at the stated share, 5 % from 19 patients on, up to twice the standard error.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import sidelight
from sidelight.data.cohort.cohort import Cohort, Phantom
from sidelight.data.read.clip import Clip
from sidelight.evaluation.model.model import read_model

SIZE, FRAMES, NEW = 32, 4, 60
PRETRAIN = {
    "encoder": "test_resnet", "image_size": SIZE, "batch_size": 16, "max_frames": FRAMES, "device": "cpu", "quiet": True
}  # fmt: skip
JUDGED = {
    "image_size": SIZE, "max_frames": FRAMES, "device": "cpu", "frames": 2, "folds": 2, "seeds": 1, "resamples": 100
}  # fmt: skip
ENCODERS = ("random", "simclr", "finetuned")
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same kind": lambda frames: frames,
    "negative": lambda frames: 255 - frames,
    "upside down": lambda frames: frames[:, ::-1],
    "shuffled": lambda frames: np.random.default_rng(0).permutation(frames.reshape(-1)).reshape(frames.shape),
}


@dataclass(frozen=True)
class Altered:
    """A phantom whose frames are changed."""

    source: Phantom
    change: Callable[[np.ndarray], np.ndarray]

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def read(self, position: int, max_frames: int) -> Clip:
        """The clip of the source, changed."""
        clip = self.source.read(position, max_frames)
        return replace(clip, frames=np.ascontiguousarray(self.change(clip.frames)))


@dataclass(frozen=True)
class Cell:
    """Shares of the new clips called outside, per cohort."""

    patients: int
    encoder: str
    stated: float
    outside: dict[str, list[float]]


def measure(cell: tuple[int, str], *, cohorts: int, steps: int, cache: str) -> Cell:
    """Train a model on each cohort and show it new patients of each kind; ``cache`` keeps the pixels of all."""
    patients, encoder = cell
    torch.set_num_threads(1)
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
    stated = 0.0
    for seed in range(cohorts):
        with tempfile.TemporaryDirectory() as place:
            data = f"phantom:ultrasound?patients={patients}&seed={seed}&frames={FRAMES}&size=48"
            judge(encoder, data, Path(place), cache, steps)
            model = read_model(Path(place, "judged"))
            stated = model.facts.false_alarms
            new = Cohort.open(f"phantom:ultrasound?patients={NEW}&seed={seed + 1000}&frames={FRAMES}&size=48")
            assert new.phantom is not None
            for kind, change in KINDS.items():
                other = replace(new, name=kind, phantom=Altered(new.phantom, change))
                table = sidelight.predict(model, other, other_kind=True, cache=cache, device="cpu", quiet=True)
                shares[kind].append(float(table["outside"].mean()))
    return Cell(patients, encoder, stated, shares)


def judge(encoder: str, data: str, home: Path, cache: str, steps: int) -> None:
    """Save the model of one cohort at ``home / "judged"``."""
    start: str | sidelight.Run = "test_resnet"
    more: dict[str, object] = {"random": True}
    if encoder == "simclr":
        start = sidelight.pretrain("simclr", data, home / "run", steps=steps, cache=cache, **PRETRAIN)
        more = {}
    elif encoder == "finetuned":
        more |= {"protocol": "finetune", "finetune": {"steps": steps, "checks": 2}}
    sidelight.evaluate(start, data, "diagnosis", out=home / "judged", cache=cache, **JUDGED, **more)


def line(cell: Cell) -> str:
    """One row of the table."""
    false = pd.Series(cell.outside["same kind"])
    error = float(false.sem())
    met = "met" if false.mean() <= cell.stated + 2 * error else "missed"
    rates = [f"{100 * share:.1f}" for share in (cell.stated, *map(np.mean, cell.outside.values()), error)]
    return "| " + " | ".join([str(cell.patients), cell.encoder, *rates, met]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cohorts", type=int, default=4, help="per row, at least 2")
    parser.add_argument("--patients", type=int, nargs="+", default=[10, 30, 60, 200])
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--steps", type=int, default=100, help="of SimCLR and of fine-tuning")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the shares here")
    given = parser.parse_args()
    columns = ["patients", "encoder", "stated %", *(f"{kind} %" for kind in KINDS), "standard error", "bar"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    cells = []
    with tempfile.TemporaryDirectory() as cache, ProcessPoolExecutor(given.workers) as pool:
        one = partial(measure, cohorts=given.cohorts, steps=given.steps, cache=cache)
        for cell in pool.map(one, product(given.patients, given.encoders)):
            cells.append(asdict(cell))
            print(line(cell), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"new_patients": NEW, "cells": cells}, indent=1))


if __name__ == "__main__":
    main()
