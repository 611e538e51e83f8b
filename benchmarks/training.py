"""T7: end-to-end SimCLR from the cache against the compute limit, and against lightly's SimCLR.

    python benchmarks/training.py [--size 224] [--batch 32] [--steps 6] [--repeats 5] [--precision float32] [--json FILE]

Every row trains the same ResNet-18 with the same projector, optimiser and precision on the same synthetic one-channel clips:

- limit: the step alone on random tensors that already lie in memory;
- sidelight: cached pixels, batched augmentation, the step;
- lightly: its SimCLR views (PIL) of the same images through a DataLoader, its NT-Xent, the same step.

Rows take turns; the figure is images per second as a ratio to the limit of the same turn. Bar: sidelight at 0.90 of the limit
on the CPU, ahead of lightly. Without lightly its row says so.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidelight.commands.evaluate import open_pixels
from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.losses import nt_xent
from sidelight.methods import load_method
from sidelight.methods.base import resolve
from sidelight.train.device import autocast, pick_device, pick_dtype, place
from sidelight.train.loader import plan


def step(
    net: Any, left: Tensor, right: Tensor, optimizer: torch.optim.Optimizer, dtype: torch.dtype, loss: Any
) -> None:
    with autocast(left.device, dtype):
        z = net.projector(net.encoder(torch.cat([left, right])))
    one, other = z.float().chunk(2)
    optimizer.zero_grad(set_to_none=True)
    loss(one, other).backward()
    optimizer.step()


def ours(feed: Any, batch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(10**6):
        for rows, draws in plan(0, epoch, feed.train_rows, feed.draws, batch):
            pairs = feed.finish(feed.raw(epoch, rows, draws, "train"), device)
            yield pairs.left, pairs.right


def theirs(pixels: Any, size: int, batch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    from lightly.transforms.simclr_transform import SimCLRTransform
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    views = SimCLRTransform(input_size=size)

    class Frames(Dataset[Any]):
        def __len__(self) -> int:
            return len(pixels) * 4

        def __getitem__(self, index: int) -> list[Tensor]:
            frame = pixels.read(index % len(pixels), [index % 3])[0, 0]
            return [view[:1] for view in views(Image.fromarray(frame).convert("RGB"))]

    while True:
        for left, right in DataLoader(Frames(), batch_size=batch, shuffle=True, drop_last=True):
            yield left.to(device), right.to(device)


def resident(shape: tuple[int, ...], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    left, right = torch.rand(shape, device=device), torch.rand(shape, device=device)
    while True:
        yield left, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = pick_device(options.device)
    dtype = pick_dtype(options.precision, device)
    kind = load_method("simclr")
    with tempfile.TemporaryDirectory() as folder:
        settings = resolve(
            kind,
            {"image_size": options.size, "encoder": options.encoder, "batch_size": options.batch, "cache": folder},
        )
        cohort = Cohort.open(f"phantom:ultrasound?patients=40&clips=2&frames=4&size={working_size(options.size)}")
        pixels = open_pixels(cohort, working_size(options.size), settings, quiet=True)
        net = kind(settings, channels=1)
        place(net, device)
        net.train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
        shape = (options.batch, 1, options.size, options.size)
        rows: dict[str, Iterator[tuple[Tensor, Tensor]]] = {
            "limit": resident(shape, device),
            "sidelight": ours(net.feed(pixels), options.batch, device),
        }
        losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = dict.fromkeys(
            rows, lambda a, b: nt_xent(a, b, temperature=0.5)
        )
        try:
            from lightly.loss import NTXentLoss

            rows["lightly"] = theirs(pixels, options.size, options.batch, device)
            losses["lightly"] = NTXentLoss(temperature=0.5)
        except ImportError:
            print("lightly is not installed: pip install 'sidelight[bench]'")
        print(table(measure(net, rows, losses, optimizer, dtype, device, options), options))


def measure(net: nn.Module, rows: Any, losses: Any, optimizer: Any, dtype: Any, device: Any, options: Any) -> Any:
    speed: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(options.repeats + 1):  # the first one warms up
        for name, batches in rows.items():
            began = time.perf_counter()
            for _ in range(options.steps):
                step(net, *next(batches), optimizer, dtype, losses[name])
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                speed[name].append(2 * options.batch * options.steps / (time.perf_counter() - began))
    return speed


def table(speed: dict[str, list[float]], options: argparse.Namespace) -> str:
    lines = [
        f"{options.encoder}, {options.size} px, batch {options.batch}, {options.precision}, median of {options.repeats}"
    ]
    for name, found in speed.items():
        ratio = np.array(found) / np.array(speed["limit"])
        lines.append(
            f"{name:10} {statistics.median(found):8.1f} images/s   {np.median(ratio):.3f} of the limit "
            f"({ratio.min():.3f}-{ratio.max():.3f})"
        )
    if options.json:
        options.json.write_text(json.dumps({"options": {**vars(options), "json": str(options.json)}, "speed": speed}))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
