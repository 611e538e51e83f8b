"""T5: one shuffled epoch of the loader alone, no model: the pixel cache against torchvision's ImageFolder and PIL.

    python benchmarks/loader.py --json loader.json

Synthetic grey JPEGs of 1024 x 1024, in one process and one thread. ``pixels``: uint8 batches at the working size.
``view``: float batches of one random view (crop, flip, brightness, contrast) each; the peer crops the full resolution,
sidelight the working size, which is what the cache gives up. The peer is also run with ``draft``
decoding, which its users can have with a loader of their own. Building the cache is paid once; its time stands beside.
The contestants take turns; only the ratios of one run mean something.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from sidelight import Cohort
from sidelight.data.pixels.cache import Pixels, build
from sidelight.views.augment import NUMBERS, Augment, augment
from sidelight.views.randomness import uniform

BAR = 4.0
COHORT = 'files = "images/grey/{shot}.jpg"\n[images]\nchannels = 1\n'
Epoch = Callable[[int], Iterable[Tensor]]


def write_images(folder: Path, count: int, side: int) -> None:
    """Anatomy of a few waves, speckle on top: about as hard to compress as ultrasound."""
    (folder / "images" / "grey").mkdir(parents=True)
    (folder / "cohort.toml").write_text(COHORT)
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(20, 236, (12, 12), np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        fine = Image.fromarray(rng.integers(0, 256, (side // 3, side // 3), np.uint8)).resize((side, side))
        Image.blend(coarse, fine, 0.3).save(folder / "images" / "grey" / f"{number:05d}.jpg", quality=90)


class Cached(Dataset[Tensor]):
    """A batch by its rows: what sidelight's loader does for still images."""

    def __init__(self, pixels: Pixels, epoch: int, view: Augment | None) -> None:
        self.pixels, self.epoch, self.view = pixels, epoch, view

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: list[int]) -> Tensor:
        batch = torch.from_numpy(self.pixels.batch(rows, np.zeros(len(rows), np.int64)))
        if self.view is None:
            return batch
        numbers = torch.from_numpy(uniform(0, self.epoch, np.array(rows), 0, 0, NUMBERS))
        return augment(batch, self.view, numbers, size=batch.shape[-1])


def cached(pixels: Pixels, view: Augment | None, batch: int) -> Epoch:
    def epoch(number: int) -> Iterable[Tensor]:
        data = Cached(pixels, number, view)
        return DataLoader(data, sampler=BatchSampler(RandomSampler(data), batch, drop_last=False), batch_size=None)

    return epoch


def image_folder(folder: Path, size: int, view: bool, draft: bool, batch: int) -> Epoch:
    def load(path: str) -> Image.Image:
        with Image.open(path) as image:
            if draft:
                image.draft("L", (2 * size, 2 * size))
            return image.convert("L")

    steps = [v2.Resize((size, size)), v2.PILToTensor()]
    if view:
        crop = v2.RandomResizedCrop(size, (0.5, 1), (0.8, 1.25))
        jitter = v2.ColorJitter(0.4, 0.4)
        steps = [crop, v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), jitter]
    data = ImageFolder(folder / "images", transform=v2.Compose(steps), loader=load)
    return lambda number: (images for images, _ in DataLoader(data, batch, shuffle=True))


def measure(epoch: Epoch, number: int, count: int) -> dict[str, float]:
    torch.manual_seed(number)
    wall, cpu = time.perf_counter(), time.process_time()
    seen = sum(len(images) for images in epoch(number))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if seen != count:
        raise RuntimeError(f"the epoch held {seen} of {count} images")
    return {"seconds": wall, "cpu_seconds": cpu, "images_per_second": count / wall}


def same_pictures(pixels: Pixels, folder: Path, size: int) -> float:
    """Mean difference in grey levels of the cache from the peer's full decoding and resizing, of the same files."""
    steps = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])
    files = [folder / item for item in pixels.index["item"][:16]]
    peer = torch.stack([steps(Image.open(file).convert("L")) for file in files]).numpy()
    return float(np.abs(pixels.batch(range(len(files)), [0] * len(files)).astype(int) - peer).mean())


def report(kind: str, runs: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n**{kind}**\n\n| loader | wall s | CPU s | images/s | x ImageFolder + PIL |\n|---|---|---|---|---|")
    base = statistics.median(run["seconds"] for run in next(iter(runs.values())))
    for name, found in runs.items():
        wall, cpu, rate = ([run[key] for run in found] for key in ("seconds", "cpu_seconds", "images_per_second"))
        spread = f"{statistics.median(wall):.3f} ({min(wall):.3f}-{max(wall):.3f})"
        times = base / statistics.median(wall)
        print(f"| {name} | {spread} | {statistics.median(cpu):.3f} | {statistics.median(rate):,.0f} | {times:.1f} |")
    print(f"\n{'met' if times >= BAR else 'MISSED'}: {times:.1f} times the samples/s, bar {BAR:g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=1024, help="of the JPEGs in pixels")
    parser.add_argument("--size", type=int, default=224, help="working size in pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the raw measurements go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "pillow")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()), f"- {os.cpu_count()} cores, 1 thread")
    raw: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, options.images, options.side)
        began = time.perf_counter()
        pixels = build(Cohort.open(folder), size=options.size)
        built, size = time.perf_counter() - began, options.size
        print(f"{options.images} JPEGs; cache built once in {built:.2f} s, {os.cpu_count()} cores")
        print(f"mean difference of its pixels from the peer's: {same_pictures(pixels, folder, size):.2f} of 255")
        recipe = Augment(scale=(0.5, 1.0), ratio=(0.8, 1.25), brightness=0.4, contrast=0.4, blur=0.0, noise=0.0)
        for kind, view in (("pixels", None), ("view", recipe)):
            contestants = {
                "ImageFolder + PIL": image_folder(folder, size, view is not None, False, options.batch),
                "ImageFolder + PIL draft": image_folder(folder, size, view is not None, True, options.batch),
                "sidelight cache": cached(pixels, view, options.batch),
            }
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
            for repeat in range(options.repeats):
                for contestant, epoch in contestants.items():
                    run = measure(epoch, repeat, options.images)
                    runs[contestant].append(run)
                    raw.append({"kind": kind, "loader": contestant, "repeat": repeat, **run})
            report(kind, runs)
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "build_seconds": built, "runs": raw}, indent=1))


if __name__ == "__main__":
    main()
