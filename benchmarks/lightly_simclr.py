"""Pre-train a ResNet-18 with lightly's SimCLR on a cohort's images: weights for a study's row `lightly simclr`.

    python benchmarks/lightly_simclr.py DATA --preset pad_ufes_20 --where 'clinical=["True","False"]' --out FILE.safetensors
    sidelight study studies/skin.toml --data DATA --set 'encoders.lightly simclr.weights=FILE.safetensors'

Views, projection head and loss are lightly's; optimiser, rate and temperature are those of its SimCLR tutorial (SGD, 0.06,
momentum 0.9, weight decay 5e-4, cosine, 0.5), and skin is also mirrored top-down and turned. It sees the square pixels that
an evaluation at the same size sees, with ImageNet's normalisation, which is what a study gives to such weights.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms.simclr_transform import SimCLRTransform
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sidelight.config import parse_flags, working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.settings import EvaluateSettings


class Views(Dataset[Any]):
    """Two views of each image."""

    def __init__(self, pixels: Any, rows: Sequence[int], size: int) -> None:
        self.images = [Image.fromarray(pixels.read(row, [0])[0].transpose(1, 2, 0)).convert("RGB") for row in rows]
        self.views = SimCLRTransform(input_size=size, vf_prob=0.5, rr_prob=0.5)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return list(self.views(self.images[index]))


def train(network: nn.Module, views: Views, *, epochs: int, batch: int, workers: int) -> None:
    """SimCLR as lightly's tutorial has it; prints the loss."""
    head, loss = SimCLRProjectionHead(512, 512, 128), NTXentLoss(temperature=0.5)
    batches = DataLoader(views, batch, shuffle=True, drop_last=True, num_workers=workers)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.06, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    network.train()
    began = time.perf_counter()
    for epoch in range(1, epochs + 1):
        losses = []
        for left, right in batches:
            one, other = head(network(torch.cat([left, right]))).chunk(2)
            value = loss(one, other)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(value.detach()))
        if epoch % 10 == 0 or epoch == epochs:
            print(f"epoch {epoch}: loss {np.mean(losses):.3f}, {time.perf_counter() - began:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--preset")
    parser.add_argument("--where", action="append", default=[], help="column=value, as --set has it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    cohort = Cohort.open(given.data, preset=given.preset)
    pixels = open_pixels(cohort, working_size(given.size), EvaluateSettings(cache=given.cache), quiet=True)
    wanted = select(cohort.items, parse_flags(given.where), "where")[pixels.index["position"].to_numpy()]
    views = Views(pixels, np.flatnonzero(wanted).tolist(), given.size)
    network = timm.create_model("resnet18", num_classes=0)
    print(f"lightly's SimCLR on {len(views)} images at {given.size} px, batch {given.batch}", flush=True)
    train(network, views, epochs=given.epochs, batch=given.batch, workers=given.workers)
    save_file(network.state_dict(), given.out)


if __name__ == "__main__":
    main()
