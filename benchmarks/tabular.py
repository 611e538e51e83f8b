"""What the tabular towers of SLIMP add to a step on the images alone, at the same batch.

    python benchmarks/tabular.py [--size 112] [--patients 32] [--repeats 5] [--json FILE]

Both rows train the same ResNet-18 on the same photographs of phantom skin, already augmented and in memory:

- image: encoder, projection, symmetric InfoNCE with the projection of the same photographs shifted by one;
- slimp: encoder, projection, lesion and patient tower, both contrasts.

Rows take turns, the first of a turn is the last of the next; seconds are the processor's, so that other work on the machine
does not count. The figure is the median over turns of slimp / image. Bar: 1.15.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.losses.nested import clip_loss
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.slimp import Slimp


def seconds(net: Any, batch: Any, optimizer: torch.optim.Optimizer, image_only: bool) -> float:
    began = time.process_time()
    optimizer.zero_grad(set_to_none=True)
    if image_only:
        z = net.image_head(net.encoder(batch.left))
        loss = clip_loss(z, z.roll(1, 0), temperature=0.07)
    else:
        loss = net.loss(batch)
    loss.backward()
    optimizer.step()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--patients", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cohort = Cohort.open(f"phantom:skin?patients={given.patients}&size={given.size}")
    with tempfile.TemporaryDirectory() as cache:
        pixels = open_pixels(cohort, working_size(given.size), EvaluateSettings(cache=cache), quiet=True)
        rows = np.arange(len(pixels), dtype=np.int64)
        settings = resolve(Slimp, {"image_size": given.size, "valid_fraction": 0.0, "batch_size": given.patients})
        net = Slimp(settings, source=MethodData(cohort, pixels, rows, cohort.key))
        feed = net.feed(pixels)
        draws = np.zeros(len(feed.train_rows), np.int64)
        batch = feed.finish(feed.raw(0, feed.train_rows, draws, "train"), torch.device("cpu"))
        optimizer = torch.optim.AdamW(net.parameters_to_train(), lr=1e-4)
        turns = []
        for turn in range(given.repeats + 1):
            order = (True, False) if turn % 2 else (False, True)
            turns.append({image_only: seconds(net, batch, optimizer, image_only) for image_only in order})
    turns = turns[1:]  # the first one warms up
    ratio = statistics.median(turn[False] / turn[True] for turn in turns)
    found = {
        "lesions": len(batch),
        "image": statistics.median(turn[True] for turn in turns),
        "slimp": statistics.median(turn[False] for turn in turns),
        "ratio": ratio,
        "threads": torch.get_num_threads(),
    }
    print(f"{len(batch)} lesions of {given.patients} patients at {given.size} px")
    print(f"image {found['image']:.3f} s, slimp {found['slimp']:.3f} s, ratio {ratio:.3f} (bar 1.15)")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
