"""At which scale SSLM's patches and whole slices are best shown: synthetic knees, timm's smallest network, equal steps.

    python benchmarks/patches.py --json benchmarks/results/patches.json > benchmarks/results/patches.txt

A network of stride 32 sees a patch of 18 pixels as one pixel. Either the patch is enlarged (``patch_size``) and whole slices are
read as they are or as much enlarged, or everything is shown larger (``image_size``). Solved puzzles are of patients kept for
validation, others than those of the log; AUROC is that of a linear probe, mean over three labels, on exams whose labels it has
not seen (the encoder has met their slices without a label).
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch

import sidelight
from sidelight.commands.study_cells import fresh_encoder
from sidelight.config import build, working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import PixelSettings, open_pixels
from sidelight.methods.sslm import SSLM
from sidelight.models.image import Encoder

PHANTOM = "phantom:knee?exams=240&slices=8&size=72&difficulty=0.1"
PRETRAIN = {
    "encoder": "test_resnet", "steps": 300, "batch_size": 24, "lr": 3e-3, "warmup": 0.05, "max_frames": 8, "device": "cpu",
    "precision": "float32",
}  # fmt: skip
JUDGED = {"labels": [60], "frames": 8, "max_frames": 8, "folds": 3, "device": "cpu", "precision": "float32"}
GEOMETRIES = (
    ({"image_size": 72}, (72, 144)),
    ({"image_size": 72, "patch_size": 36}, (72, 144)),
    ({"image_size": 144}, (144,)),
)
"""Settings of pre-training, and the sides at which whole slices are then read."""
PUZZLES = 240


def main() -> None:
    """Pre-train, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cohort, rows = Cohort.open(PHANTOM), []
    with TemporaryDirectory() as cache, patch.object(SSLM, "_check_patches"):  # the first geometry is refused today
        for size in (72, 144):
            encoder = fresh_encoder(cohort, {**PRETRAIN, "image_size": size}, initial=None, seed=0)
            rows.append({"trained": "not", "read": size, "seed": 0, **judged(encoder, cohort, size, cache)})
        for settings, sizes in GEOMETRIES:
            for seed in range(given.seeds):
                folder = f"{cache}/{'-'.join(map(str, settings.values()))}-{seed}"
                run = sidelight.pretrain(
                    "sslm", cohort, folder, seed=seed, cache=cache, quiet=True, **PRETRAIN, **settings
                )
                shown = build(SSLM.Settings, run.config["settings"]).recipe
                told = f"slices of {shown.size}, patches of {shown.patch} px shown at {shown.side}"
                share = solved(run, cohort, cache)
                for size in sizes:
                    found = judged(run.encoder(), cohort, size, cache)
                    rows.append({"trained": told, "read": size, "seed": seed, "solved": share, **found})
    print("| trained | slices read at | seed | puzzles solved | AUROC, 60 labels | AUROC, all 160 |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        share = f"{row['solved']:.0%}" if "solved" in row else "-"
        print(f"| {row['trained']} | {row['read']} | {row['seed']} | {share} | {row['few']} | {row['all']} |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def solved(run: sidelight.Run, cohort: Cohort, cache: str) -> float:
    """Share of puzzles of the kept-back patients that are solved; by chance 1 %."""
    settings = build(SSLM.Settings, run.config["settings"])
    net = SSLM(settings, channels=1)
    net.load_state_dict(run.tensors())
    asked = PixelSettings(cache=cache, max_frames=8)
    feed = net.feed(open_pixels(cohort, working_size(settings.image_size), asked, quiet=True))
    rows = np.resize(feed.valid_rows, PUZZLES)
    raw = feed.raw(1, rows, np.arange(PUZZLES) // len(feed.valid_rows), "valid")
    return net.accuracy(feed.finish(raw, torch.device("cpu")).puzzles)


def judged(encoder: Encoder, cohort: Cohort, size: int, cache: str) -> dict[str, str]:
    """AUROC with its interval by patient, with few and with all labels, where whole slices are read at ``size`` pixels."""
    encoder.image_size = size
    table = sidelight.evaluate(encoder, cohort, "diagnosis", cache=cache, **JUDGED).results
    own = table[(table["metric"] == "auroc") & (table["target"] == "") & (table["selected_on"] == "validation")]
    return {
        "all" if row.all_labels else "few": f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
        for row in own.itertuples()
    }


if __name__ == "__main__":
    main()
