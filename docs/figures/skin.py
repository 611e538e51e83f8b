"""Draw the README's figure from the scores of docs/results/skin.md: what metadata give on PAD-UFES-20, and what they do not.

    python docs/figures/skin.py [--page docs/results/skin.md] [--out docs/figures/skin.png]

Every number is read from the page's table of scores, so the figure cannot say anything else than the page. The page was made by
`sidelight study studies/skin.toml --data FOLDER` and `sidelight report`.
"""

import argparse
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PART = "malignant"
TASK = "Malignant or not; filled rows"
ROWS = {
    "slimp + metadata": "SLIMP, photograph + metadata",
    "metadata only": "metadata alone, no image",
    "slimp": "SLIMP, photograph alone",
    "simclr": "SimCLR, photograph alone",
    "from scratch": "trained from scratch",
    "random": "random weights",
}
PANELS = {"32": "32 labelled lesions", "354 (all)": "all 354 labelled lesions"}
SCORE = re.compile(r"([\d.]+) \[([\d.]+), ([\d.]+)\]")
Scores = dict[str, dict[str, tuple[float, float, float]]]


def scores_on_page(page: str) -> Scores:
    """AUROC with its interval by encoder and label count, from the first table below the task's heading."""
    _, found, after = page.partition(f"### {TASK}")
    lines = [line for line in after.split("\n#", 1)[0].splitlines() if line.startswith("| ")]
    if not found or not lines:
        raise SystemExit(f"The page has no table of scores under the heading {TASK!r}")
    header, *rows = ([cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines)
    table: Scores = {}
    for row in rows:
        cells = dict(zip(header, row, strict=False))
        values = {count: SCORE.fullmatch(cells.get(count, "")) for count in PANELS}
        table.setdefault(
            row[0],
            {count: (float(one[1]), float(one[2]), float(one[3])) for count, one in values.items() if one},
        )
    return table


def draw(table: Scores, out: Path) -> None:
    figure, panels = plt.subplots(1, len(PANELS), figsize=(8.6, 2.5), dpi=160, sharex=True, sharey=True)
    for axes, (count, title) in zip(panels, PANELS.items(), strict=True):
        for place, encoder in enumerate(ROWS):
            if count not in table[encoder]:
                axes.text(0.51, place, "not run at this count", va="center", fontsize=7.5, color="#777")
                continue
            value, low, high = table[encoder][count]
            colour = "#d55e00" if encoder == "slimp + metadata" else "#0072b2" if encoder == "slimp" else "#666666"
            axes.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="round")
            axes.plot(value, place, "o", color=colour, ms=5.5)
            axes.text(high + 0.008, place, f"{value:.2f}", va="center", fontsize=8, color=colour)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlim(0.48, 0.93)
        axes.set_yticks(range(len(ROWS)), list(ROWS.values()), fontsize=8)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.tick_params(axis="y", length=0)
        axes.axvline(0.5, color="#bbbbbb", lw=0.8, ls=":")
        axes.set_xlabel("AUROC, 95 % interval by patient", fontsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(out, facecolor="white", metadata={"Software": None})


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=here.parent / "results" / "skin.md")
    parser.add_argument("--out", type=Path, default=here / "skin.png")
    options = parser.parse_args()
    draw(scores_on_page(options.page.read_text(encoding="utf-8")), options.out)


if __name__ == "__main__":
    main()
