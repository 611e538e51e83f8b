"""Draw the README's figure from real clips under CC BY and from a study's table.

    python docs/figures/overview.py --data FOLDER --study work/ultrasound-cpu [--part all_sources]

FOLDER is the POCUS set (preset covid19_ultrasound). Only items whose licence is CC BY are drawn; the attribution stands in the
figure. The curve on the right is read from the study's results.parquet, whatever it shows.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sidelight.data.cohort.cohort import Cohort

SHOWN = {
    "random": ("#8a8f98", "random"),
    "from scratch": ("#444444", "from scratch"),
    "simclr": ("#0072b2", "SimCLR"),
    "meta-uscl meta": ("#d55e00", "Meta-USCL"),
}


def clips(cohort: Cohort) -> tuple[list[np.ndarray], list[str]]:
    """Three grey frames of each of three clips from three recordings, CC BY only; and the DOIs of their sources."""
    items = cohort.items
    free = items[items["license"].isin(["CC BY 4.0"]) & (items["type"] == "video")]
    chosen = free.drop_duplicates("group").head(3).index
    sources = free.loc[chosen, "DOI"].str.removeprefix("https://doi.org/").unique().tolist()
    frames = [cohort.read(int(position), max_frames=9, channels=1).frames[[0, 4, 8]] for position in chosen]
    return frames, sources


def square(frame: np.ndarray) -> np.ndarray:
    grey = frame if frame.ndim == 2 else frame.mean(axis=2)
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    return grey[top : top + side, left : left + side]


def draw(found: list[np.ndarray], sources: list[str], table: pd.DataFrame, out: Path) -> None:
    figure = plt.figure(figsize=(11, 3.4), dpi=160)
    titles = (
        (0.135, "1  recordings: a patient's clips"),
        (0.4, "2  pairs: mixed frames of one clip"),
        (0.575, "3  encoder"),
        (0.83, "4  evidence: score by labels, unseen recordings"),
    )
    for x, title in titles:
        figure.text(x, 0.94, title, ha="center", fontsize=9, weight="bold")
    for row, frames in enumerate(found):
        for column, frame in enumerate(frames):
            place(figure, (0.01 + 0.085 * column, 0.63 - 0.29 * row), square(frame))
        first, middle, last = (square(frame).astype(float) for frame in frames)
        for column, mixed in enumerate((0.62 * first + 0.38 * middle, 0.62 * last + 0.38 * middle)):
            place(figure, (0.315 + 0.09 * column, 0.63 - 0.29 * row), mixed)
        figure.text(0.398, 0.755 - 0.29 * row, "↔", ha="center", va="center", fontsize=12)
    for x in (0.285, 0.505, 0.635):
        figure.text(x, 0.47, "→", ha="center", va="center", fontsize=20, color="#555")
    figure.text(0.57, 0.47, "f", ha="center", va="center", fontsize=26, style="italic",
                bbox={"boxstyle": "round,pad=0.6", "fc": "#f2f4f7", "ec": "#555"})  # fmt: skip
    figure.text(0.57, 0.2, "same clip attracts,\nother clips repel,\neach pair has a weight", ha="center", fontsize=7.5)
    axes = figure.add_axes((0.71, 0.2, 0.27, 0.65))
    for encoder, part in table.groupby("encoder"):
        colour, label = SHOWN[str(encoder)]
        part = part.sort_values("labels")
        axes.plot(part["labels"], part["value"], color=colour, marker="o", ms=3, lw=1.6, label=label)
        axes.fill_between(part["labels"], part["low"], part["high"], color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log", base=2)
    ticks = sorted(table["labels"].unique())
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("labelled clips", fontsize=8)
    axes.set_ylabel("AUROC (95 % interval)", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    figure.text(
        0.01,
        0.005,
        f"Clips: doi {', '.join(sources)}; collected in POCUS (Born et al. 2021); CC BY 4.0; cropped, mixed on the right.",
        fontsize=6,
        color="#555",
    )
    figure.savefig(out, facecolor="white")


def place(figure: plt.Figure, corner: tuple[float, float], image: np.ndarray) -> None:
    axes = figure.add_axes((*corner, 0.08, 0.26))
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--part", default="all_sources")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("overview.png"))
    options = parser.parse_args()
    table = pd.read_parquet(options.study / "results.parquet")
    wanted = (
        (table["task"] == options.part) & (table["metric"] == "auroc") & table["protocol"].isin(["linear", "finetune"])
    )
    cohort = Cohort.open(options.data, preset="covid19_ultrasound")
    draw(*clips(cohort), table[wanted & table["encoder"].isin(SHOWN)], options.out)


if __name__ == "__main__":
    main()
