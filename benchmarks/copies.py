"""How many planted copies of each kind are found, and how many different groups are taken for copies.

Copies of half of a cohort's pictures are put in as new groups, all kinds side by side, each original once; they go through
the pixel cache as any other item. A copy is found where the search pairs it with an item of its original's group.

    python benchmarks/copies.py --phantoms chest skin ultrasound knee
    python benchmarks/copies.py --data chest=FOLDER hannover_cxr=FOLDER pad_ufes_20=FOLDER ham10000=FOLDER

``NAME=FOLDER``: the preset NAME is used where there is one, else FOLDER/cohort.toml, or for the sets in ``FILES`` what stands
there. "pairs" and the groups are of the untouched cohort; on real data they are to be looked at (``sidelight check --html``),
for some are real copies.
"""

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.data.pixels.duplicates import duplicate_items, merge_groups, merging
from sidelight.data.read.clip import Clip

SIZE = 128
PHANTOMS = {"chest": "patients=300", "skin": "patients=100", "ultrasound": "patients=60", "knee": "exams=60"}
PRESETS = {"chest": "covid_chestxray"}
FILES = {
    "hannover_cxr": 'files = "images/{image}.jpg"\nlevels = ["patient"]\n'
    'tables = [{file = "data.csv", on = ["image=image_id"]}]\n[roles]\npatient = "column:patient_id"\n'
}
Change = Callable[[np.ndarray], np.ndarray]


def jpeg(quality: int) -> Change:
    def change(frame: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return change


def half(frame: np.ndarray) -> np.ndarray:
    small = (frame.shape[1] // 2, frame.shape[0] // 2)
    return np.asarray(Image.fromarray(frame).resize(small, Image.Resampling.BICUBIC))


def grey_curve(curve: Change) -> Change:
    table = np.clip(np.rint(255 * curve(np.arange(256) / 255)), 0, 255).astype(np.uint8)
    return lambda frame: table[frame]


def blur(frame: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(0.01 * min(frame.shape[:2]))))


def crop(left: float, top: float, right: float, bottom: float) -> Change:
    def change(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        return frame[
            round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
        ]

    return change


def turn(degrees: float) -> Change:
    return lambda frame: np.asarray(Image.fromarray(frame).rotate(degrees, Image.Resampling.BICUBIC))


def border(value: int) -> Change:
    def change(frame: np.ndarray) -> np.ndarray:
        wide = int(0.08 * max(frame.shape[:2]))
        return np.pad(frame, [(wide, wide), (wide, wide), *[(0, 0)] * (frame.ndim - 2)], constant_values=value)

    return change


def caption(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=max(8, int(0.06 * image.height)))
    draw.text((0.03 * image.width, 0.02 * image.height), "ST. MARY HOSPITAL  12-03", fill="white", font=font)
    draw.text((0.6 * image.width, 0.92 * image.height), "R 0042", fill="white", font=font)
    return np.asarray(image)


KINDS: dict[str, Change] = {
    "JPEG 90": jpeg(90),
    "JPEG 50": jpeg(50),
    "JPEG 20": jpeg(20),
    "half size": half,
    "contrast x 0.7": grey_curve(lambda x: 0.7 * x + 0.1),
    "gamma 0.6": grey_curve(lambda x: x**0.6),
    "gamma 1.6": grey_curve(lambda x: x**1.6),
    "blur, 1 % of the side": blur,
    "negative": lambda frame: 255 - frame,
    "mirrored": lambda frame: frame[:, ::-1],
    "turned by 90 degrees": np.rot90,
    "turned by 90 degrees, mirrored": lambda frame: np.rot90(frame)[:, ::-1],
    "turned by 2 degrees": turn(2),
    "turned by 5 degrees": turn(5),
    "turned by 10 degrees": turn(10),
    "black border of 8 %": border(0),
    "white border of 8 %": border(255),
    "captions burnt in": caption,
    "5 % cut off each side": crop(0.05, 0.05, 0.05, 0.05),
    "10 % cut off each side": crop(0.1, 0.1, 0.1, 0.1),
    "15 % cut off each side": crop(0.15, 0.15, 0.15, 0.15),
    "10 % cut off left and right": crop(0.1, 0, 0.1, 0),
    "10 % cut off one corner": crop(0.1, 0.1, 0, 0),
    "mirrored, 5 % cut off, JPEG 50": lambda frame: jpeg(50)(
        np.ascontiguousarray(crop(0.05, 0.05, 0.05, 0.05)(frame)[:, ::-1])
    ),
}


@dataclass(frozen=True)
class Planted:
    """Some items of a cohort, and behind them changed copies of the middle frames of some of these, each a group of its own."""

    source: Cohort
    kept: tuple[int, ...]
    copied: tuple[int, ...]
    phantom = "planted"

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    @property
    def items(self) -> pd.DataFrame:
        names = [f"~copy {k}" for k in range(len(self.copied))]
        more = pd.DataFrame({"item": names, "files": [()] * len(names), "group": names})
        here = self.source.items.iloc[list(self.kept)]
        return pd.concat([here[["item", "files", "group"]], more], ignore_index=True)

    @property
    def views(self) -> pd.Series:
        return pd.Series([""] * (len(self.kept) + len(self.copied)))

    def read(self, position: int, **wanted: object) -> Clip:
        number = position - len(self.kept)
        if number < 0:
            return self.source.read(self.kept[position], **wanted)
        frame = self.source.read(self.kept[self.copied[number]], max_frames=1).frames[0]
        if frame.dtype == np.uint16:
            frame = (frame // 257).astype(np.uint8)
        kind = list(KINDS.values())[number % len(KINDS)]
        return Clip(np.ascontiguousarray(kind(frame))[None], np.zeros(1), np.zeros(1, np.int64), 1)


def judge(cohort: Cohort, most: int, rounds: int, folder: Path) -> dict[str, float]:
    """Of each kind the share found, and what merging does to the untouched cohort."""
    rng = np.random.default_rng(0)
    kept = tuple(np.sort(rng.permutation(len(cohort.items))[:most]).tolist())
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    row: dict[str, float] = {}
    for number in range(rounds + 1):
        copied = rng.permutation(len(kept))[: len(kept) // 2 // len(KINDS) * len(KINDS)] if number else []
        world = Planted(cohort, kept, tuple(int(one) for one in copied))
        pixels = build(world, size=SIZE, folder=folder / str(number), max_bad_fraction=1.0)
        groups, began = pixels.index["group"].tolist(), time.perf_counter()
        pairs = duplicate_items(pixels)
        if not number:
            across = [(a, b) for a, b in pairs if groups[a] != groups[b]]
            joined = merging(groups, merge_groups(groups, across))
            row = {"items": len(pixels), "seconds": time.perf_counter() - began, "groups": joined.before,
                   "groups left": joined.after, "largest": joined.largest, "pairs": len(across)}  # fmt: skip
            continue
        position = pixels.index["position"].tolist()
        met = {(groups[a], position[b]) for pair in pairs for a, b in (pair, pair[::-1])}
        owners = world.items["group"].tolist()
        for copy, original in enumerate(world.copied):
            kind = list(KINDS)[copy % len(KINDS)]
            found[kind].append((owners[original], len(kept) + copy) in met)
    return row | {kind: float(np.mean(hits)) if hits else np.nan for kind, hits in found.items()}


def opened(name: str, folder: Path) -> Cohort:
    """A cohort by its preset, or what stands in ``FILES``, or its own cohort.toml."""
    if name in FILES:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "cohort.toml"
            file.write_text(FILES[name], encoding="utf-8")
            return Cohort.open(folder, cohort_file=file)
    own = (folder / "cohort.toml").exists()
    return Cohort.open(folder, preset=None if own else PRESETS.get(name, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--phantoms", nargs="*", default=[], choices=list(PHANTOMS))
    parser.add_argument("--most", type=int, default=1000, help="items of a cohort that are used, at most")
    parser.add_argument("--rounds", type=int, default=2, help="of planting; each takes other originals")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = {}
    named = [(f"phantom:{one}?{PHANTOMS[one]}", None) for one in given.phantoms]
    named += [(one.partition("=")[0], Path(one.partition("=")[2])) for one in given.data]
    for name, folder in named:
        if folder is not None and not folder.is_dir():
            print(f"{name}: {folder} is absent")
            continue
        cohort = Cohort.open(name) if folder is None else opened(name, folder)
        with tempfile.TemporaryDirectory() as place:
            rows[name.partition("?")[0]] = judge(cohort, given.most, given.rounds, Path(place))
    table = pd.DataFrame(rows)
    for fact in table.index:
        share = fact in KINDS
        cells = [f"{100 * value:.0f} %" if share else f"{value:,.0f}" for value in table.loc[fact]]
        if fact == table.index[0]:
            print("| |", " | ".join(table.columns), "|\n|---|" + "---:|" * len(table.columns))
        print("|", fact, "|", " | ".join(cells), "|")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
