"""What LoVT, its rivals and its control learn from synthetic radiographs: python benchmarks/chest_phantom.py [--json FILE]

The truth of the phantom is known, so that what has no labels on real data can be measured, on patients that no run has seen: how
often the own report is among the first 20, how often a sentence points to its finding (by attention, by similarity), and the Dice
of opacities, effusions and nodules by a linear head on the last feature map. 95 % intervals: Wilson's of shares, the bootstrap
over patients of Dice and its differences. One seed: intervals tell of patients, not of trainings.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

import sidelight
from sidelight.commands.study_cells import fresh_encoder
from sidelight.config import build
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.data.reports.reports import read_reports
from sidelight.evaluation.features import last_maps
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.explaining.content import Question
from sidelight.explaining.reports import pointing
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.overlap import POOLED_DICE, areas
from sidelight.metrics.representation import recall_at, retrieval_ranks
from sidelight.models.joint import load_joint

RIVALS = {
    "lovt": ("lovt", {}),
    "lovt, attend=own": ("lovt", {"attend": "own"}),
    "convirt": ("convirt", {}),
    "lovt, reports shuffled": ("lovt", {"shuffle_pairs": True}),
}
JUDGED, LABELLED, FIRST, SIZE = 300, 120, 20, 128
SHAPE = f"studies=1&views=1&size={SIZE}"
SETTINGS = {
    **{"encoder": "test_byobnet", "image_size": SIZE, "working_size": SIZE, "device": "cpu", "precision": "float32"},
    **{"lr": 2e-3, "warmup": 0.05, "valid_fraction": 0.0, "batch_size": 32, "hidden": 128, "dim": 64, "quiet": True},
    "text": {"width": 64, "layers": 1, "heads": 4},
}
PLAIN = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "noise": 0.0, "blur": 0.0, "brightness": 0.0, "contrast": 0.0}
STILL = {"rotation": 0.0, "shift": 0.0, "scale": (1.0, 1.0)}


class Judge:
    """Radiographs of patients that no run has seen, with all that is true of them."""

    def __init__(self, difficulty: float, cache: str) -> None:
        self.cohort = Cohort.open(f"phantom:chest?patients={JUDGED}&{SHAPE}&difficulty={difficulty}", seed=7)
        self.pixels = open_pixels(self.cohort, SIZE, build(EvaluateSettings, {"cache": cache}), quiet=True)
        self.images = self.pixels.batch(range(len(self.pixels)), [0] * len(self.pixels))
        self.reports = [study.sentences for study in read_reports(self.cohort).studies]

    def joint(self, run) -> dict[str, list[float]]:
        """Shares with their intervals."""
        joint = load_joint(run.folder)
        ranks = retrieval_ranks(joint.embed_images(self.images).numpy(), joint.embed_reports(self.reports).numpy())
        found = {"recall": share(recall_at(ranks, FIRST), len(ranks))}
        table = pointing(joint, Question(run, self.cohort, self.pixels, np.arange(1), (), None)).set_index("by")
        for name, row in table.iterrows():
            found[str(name)] = share(row["hits"], int(row["findings"]))
        return found | {"chance of recall": FIRST / len(ranks), "chance of a region": float(table["chance"].iloc[0])}

    def segmented(self, encoder):
        """Areas [N, 3] of three kinds of finding in the patients that the head has not seen."""
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from mask_probe import fit_segmentation

        maps, parts = last_maps(encoder, self.images, 64), []
        for kind in ("opacity", "effusion", "nodule"):
            masks = np.stack([self.cohort.phantom.mask(n, kind)[2::4, 2::4] for n in range(len(self.images))])
            head = fit_segmentation(maps[:LABELLED], masks[:LABELLED])
            parts.append(areas(head(maps[LABELLED:], SIZE // 4).numpy() > 0, masks[LABELLED:]))
        return np.concatenate(parts)


def share(value: float, count: int) -> list[float]:
    """A share of ``count``, with Wilson's interval."""
    limits = binomtest(round(value * count), count).proportion_ci(method="wilson")
    return [float(value), float(limits.low), float(limits.high)]


def measure(difficulty: float, patients: int, steps: int, crop: float, folder: Path) -> dict:
    """All rivals at one difficulty."""
    judge = Judge(difficulty, str(folder / "cache"))
    data = f"phantom:chest?patients={patients}&{SHAPE}&difficulty={difficulty}"
    shown = {"augment": {**PLAIN, "scale": (crop, 1.0)}, "affine": STILL, "cache": str(folder / "cache")}
    found, tables = {}, {"random": judge.segmented(fresh_encoder(judge.cohort, SETTINGS, initial=None, seed=0))}
    for name, (method, changes) in RIVALS.items():
        run = sidelight.pretrain(
            method, data, folder / name.replace(" ", ""), steps=steps, **SETTINGS, **shown, **changes
        )
        found[name], tables[name] = judge.joint(run), judge.segmented(run.encoder())
    groups = np.tile(judge.cohort.items["group"].to_numpy()[LABELLED:], 3)
    for name, table in tables.items():
        dice = clustered_interval(None, table, groups, POOLED_DICE)
        found.setdefault(name, {})["dice"] = [dice.value, dice.low, dice.high]
        if name != "lovt":
            gap = paired_difference(None, tables["lovt"], table, groups, POOLED_DICE)
            found[name]["lovt minus this"] = [gap.value, gap.low, gap.high]
    return found


def table(found: dict) -> str:
    """A Markdown table, one encoder a row."""
    columns = ("recall", "attention", "similarity beyond the mean image", "dice", "lovt minus this")
    chance = found["lovt"]
    heads = (f"own report in the first {FIRST}", "attention hits", "similarity hits", "Dice", "LoVT's Dice minus this")
    lines = ["| | " + " | ".join(heads) + " |", "|---" * 6 + "|"]
    for name, row in found.items():
        cells = [f"{v[0]:.2f} [{v[1]:.2f}, {v[2]:.2f}]" if (v := row.get(c)) else "" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    guess = (chance["chance of recall"], chance["chance of a region"], chance["chance of a region"])
    lines.append("| chance | " + " | ".join(f"{value:.2f}" for value in guess) + " | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--difficulty", type=float, default=0.5)
    parser.add_argument("--patients", type=int, default=640)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--crop", type=float, default=1.0, help="smallest share of the image that training shows")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(asked.difficulty, asked.patients, asked.steps, asked.crop, Path(folder))
    print(
        f"difficulty {asked.difficulty}, {asked.patients} patients, {asked.steps} steps of 32, crops from {asked.crop}\n"
    )
    print(table(found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
