"""Figures: drawn once with matplotlib, shown as inline SVG that follows light and dark mode, or as PNG beside a page.

The palette is Okabe and Ito's, darkened a little where it stands on white; methods are coloured, baselines grey and
dashed, each encoder looks the same everywhere. In the SVG every colour becomes a CSS variable of ``style.css``.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from sidelight.files import write_bytes
from sidelight.reporting.numbers import significant

INK, SOFT, RULE, CARD = "#1b2733", "#5b6876", "#dfe4ea", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0508e", "#b07800", "#2f8fc4")
GREYS = ("#6f7a85", "#939da8")
_VARIABLES = {INK: "ink", SOFT: "soft", RULE: "rule", CARD: "card"}
_VARIABLES |= {colour: f"c{i}" for i, colour in enumerate(COLOURS)} | {
    colour: f"g{i}" for i, colour in enumerate(GREYS)
}
_DASHES: tuple[Any, ...] = ((0, (5, 2.5)), (0, (1.5, 2)), (0, (6, 2, 1.5, 2)), (0, (8, 3)))
CHANCE: Any = {"color": SOFT, "linewidth": 0.9, "linestyle": (0, (1, 2))}
_MARKERS = "oDs^vP"
_FONT: Any = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5, "text.color": INK}
_AXES: Any = {"edgecolor": SOFT, "labelcolor": SOFT, "linewidth": 0.8, "grid": True, "axisbelow": True}
_STYLE: Any = {
    **_FONT,
    **{f"axes.{name}": value for name, value in _AXES.items()},
    **{"axes.spines.top": False, "axes.spines.right": False, "grid.color": RULE, "grid.linewidth": 0.7},
    **{"xtick.color": SOFT, "ytick.color": SOFT, "xtick.major.size": 3, "ytick.major.size": 0},
    **{"lines.linewidth": 1.8, "lines.solid_capstyle": "round", "svg.fonttype": "none", "text.parse_math": False},
}


@dataclass(frozen=True)
class Look:
    """How one encoder is drawn, in every figure."""

    colour: str
    dash: Any
    marker: str
    baseline: bool
    lead: bool


@dataclass(frozen=True)
class Curve:
    """Scores over label counts; ``low`` and ``high`` bound the 95 % band, NaN where there is none. All [n]."""

    name: str
    look: Look
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One task of the label-efficiency figure; ``saved`` = (score, labels, factor or inf) draws the saved labels."""

    title: str
    subtitle: str
    x_name: str
    y_name: str
    curves: Sequence[Curve]
    all_labels: float | None = None
    chance: float | None = None
    saved: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One series of a training curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def looks(encoders: Sequence[str], lead: str, is_baseline: Callable[[str], bool]) -> dict[str, Look]:
    """One look per encoder: the lead takes the first colour, baselines the greys."""
    methods = [name for name in encoders if not is_baseline(name) or name == lead]
    methods.sort(key=lambda name: name != lead)
    found = {
        name: Look(
            COLOURS[i % len(COLOURS)], "-" if i < len(COLOURS) else _DASHES[0], _MARKERS[i % 6], False, name == lead
        )
        for i, name in enumerate(methods)
    }
    grey = [name for name in encoders if name not in found]
    found |= {name: Look(GREYS[i % 2], _DASHES[i % 4], ".", True, False) for i, name in enumerate(grey)}
    return {name: found[name] for name in encoders}


def efficiency_svg(panel: Panel) -> str:
    """One panel as inline SVG, without legend: the page has one for all."""
    return svg(lambda axes: draw_efficiency(axes, panel), size=(5.6, 3.9), label=f"{panel.title}: {panel.subtitle}")


def efficiency_png(panels: Sequence[Panel], path: Path) -> Path:
    """All panels in one PNG on white, with a legend."""

    def draw(axes: Axes, panel: Panel) -> None:
        draw_efficiency(axes, panel)
        axes.text(0, 1.03, panel.subtitle, transform=axes.transAxes, color=SOFT, fontsize=9)

    return grid_png([(f"{panel.title}\n", partial(draw, panel=panel)) for panel in panels], path, size=(5.4, 3.9))


def grid_png(panels: Sequence[tuple[str, Callable[[Axes], None]]], path: Path, *, size: tuple[float, float]) -> Path:
    """Titled panels in one PNG on white, two in a row and each of ``size`` inches, with one legend of all curves."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(_STYLE):
        whole = (size[0] * columns + 0.4, size[1] * rows + 0.7)
        figure = Figure(figsize=whole, facecolor=CARD, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, draw) in zip(grid, panels, strict=False):
            draw(axes)
            axes.set_title(title, loc="left", fontweight="bold", fontsize=10.5)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        handles = {line.get_label(): line for axes in grid for line in axes.get_lines() if line.get_gid() == "curve"}
        names, look = [str(name) for name in handles], {"ncols": 2 * columns, "frameon": False, "handlelength": 3}
        figure.legend(handles.values(), names, loc="outside lower center", **look)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return write_bytes(path, buffer.getvalue())


def draw_curves(axes: Axes, curves: Sequence[Curve]) -> None:
    """Lines with their bands, baselines first and the headline encoder last."""
    for curve in sorted(curves, key=lambda curve: (not curve.look.baseline, curve.look.lead)):
        colour, lead = curve.look.colour, curve.look.lead
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, linewidth=0, alpha=0.18 if lead else 0.09)
        looks: Any = {"color": colour, "linestyle": curve.look.dash, "marker": curve.look.marker, "markersize": 5.5}
        width = 2.6 if lead else 1.6
        axes.plot(curve.x, curve.y, label=curve.name, gid="curve", linewidth=width, markeredgewidth=1.2, **looks)


def draw_efficiency(axes: Axes, panel: Panel) -> None:
    """Curves with bands over a logarithmic count axis, the chance line, and the saved labels as an arrow."""
    draw_curves(axes, panel.curves)
    counts = sorted({float(x) for curve in panel.curves for x in curve.x})
    _count_axis(axes, counts, panel.all_labels)
    _score_axis(axes, panel)
    axes.set_xlabel(panel.x_name)
    axes.set_ylabel(panel.y_name)
    if panel.chance is not None:
        axes.axhline(panel.chance, **CHANCE)
        axes.annotate("chance", (1, panel.chance), xycoords=("axes fraction", "data"), xytext=(0, 2.5),
                      textcoords="offset points", ha="right", color=SOFT, fontsize=8)  # fmt: skip
    if panel.saved is not None and counts:
        _saved(axes, panel.saved, counts[-1], panel.curves)


def _saved(axes: Axes, saved: tuple[float, float, float], most: float, curves: Sequence[Curve]) -> None:
    """A bracket from the lead's point to where the rival reaches the same score, an open arrow where it never does."""
    score, labels, factor = saved
    open_, end = math.isinf(factor), min(labels * factor, most) if not math.isinf(factor) else most
    if end <= labels:
        return
    style = "->" if open_ else "|-|,widthA=.35,widthB=.35"
    arrow = {"arrowstyle": style, "color": INK, "lw": 1.2, "shrinkA": 4, "shrinkB": 0}
    axes.annotate("", (end, score), xytext=(labels, score), zorder=5, arrowprops=arrow)


def _count_axis(axes: Axes, counts: list[float], all_labels: float | None) -> None:
    """A tick at each measured count; where two would touch, the one for all labels or else the earlier one stays."""
    axes.set_xscale("log", base=2)
    kept: list[float] = []
    room = math.log2(counts[-1] / counts[0]) / 11 if len(counts) > 1 else 0
    for count in sorted(counts, key=lambda count: (count != all_labels, count)):
        if all(abs(math.log2(count / other)) >= room for other in kept):
            kept.append(count)
    kept.sort()
    names = [f"{count:,.0f}" + ("\n(all)" if count == all_labels else "") for count in kept]
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(kept, names)
    if len(counts) > 1:
        pad = (counts[-1] / counts[0]) ** 0.045
        axes.set_xlim(counts[0] / pad, counts[-1] * pad)
    axes.grid(False, axis="x")


def _score_axis(axes: Axes, panel: Panel) -> None:
    """Limits that hold every band, and chance, inside [0, 1] where scores are."""
    values = [value for curve in panel.curves for value in (*curve.y, *curve.low, *curve.high) if math.isfinite(value)]
    values += [panel.chance] if panel.chance is not None else []
    if not values:
        return
    low, high = min(values), max(values)
    pad = max(0.02, 0.05 * (high - low))
    inside = low >= 0 and high <= 1
    axes.set_ylim(max(0, low - pad) if inside else low - pad, min(1.005, high + pad) if inside else high + pad)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def lines_svg(
    lines: Sequence[Line], *, label: str, x_name: str = "epoch", percent: bool = False, zero: bool = False
) -> str:
    """A small training curve; several lines share one axis and are named at its top."""

    def draw(axes: Axes) -> None:
        for index, line in enumerate(lines):
            x, y = np.asarray(line.x, float), np.asarray(line.y, float)
            marker = "o" if len(x) <= 12 else None
            looks: Any = {"color": COLOURS[index], "linestyle": ("-", (0, (5, 2)))[index % 2], "marker": marker}
            axes.plot(x, 100 * y if percent else y, label=line.name, linewidth=1.5, markersize=3.5, **looks)
        if zero:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(lambda value, _: significant(value, 4))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(x_name)
        if len(lines) > 1:
            place: Any = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "ncols": len(lines)}
            axes.legend(frameon=False, borderpad=0, handlelength=1.6, **place)

    return svg(draw, size=(3.9, 2.5), label=label)


Bins = tuple[Sequence[float], Sequence[float], Sequence[int]]
"""Stated probabilities, observed shares and units of the bins of a reliability curve."""


def draw_reliability(axes: Axes, bins: Mapping[str, Bins], smooth: Mapping[str, Curve]) -> None:
    """Per name bins as dots, and through them a smooth curve with its band, or a line where there is none."""
    axes.plot([0, 1], [0, 1], color=GREYS[1], linewidth=1, linestyle=(0, (2, 2)))
    for index, (name, (stated, observed, units)) in enumerate(bins.items()):
        colour, through = COLOURS[index], smooth.get(name)
        size = 12 + 60 * np.asarray(units, float) / max(units)
        if through is not None:
            axes.fill_between(through.x, through.low, through.high, color=colour, linewidth=0, alpha=0.15)
        x, y = (stated, observed) if through is None else (through.x, through.y)
        axes.plot(x, y, color=colour, linewidth=1.2, label=name, gid="curve")
        axes.scatter(stated, observed, s=size, color=colour, alpha=0.8, linewidths=0, clip_on=False)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="stated probability", ylabel="observed share")
    axes.set_aspect("equal")


def reliability_svg(bins: Mapping[str, Bins], smooth: Mapping[str, Curve], *, label: str) -> str:
    """Reliability curves by name, as :func:`draw_reliability` draws them."""

    def draw(axes: Axes) -> None:
        draw_reliability(axes, bins, smooth)
        axes.legend(frameon=False, loc="upper left", borderpad=0.2, handlelength=1.4)

    return svg(draw, size=(3.1, 3.0), label=label)


def histogram_svg(weight: np.ndarray, *, label: str) -> str:
    """Pair weights [N] as shares per bin, with their median."""

    def draw(axes: Axes) -> None:
        low, high = float(weight.min()), float(weight.max())
        bins = np.linspace(low, high, 31) if high > low else np.linspace(low - 0.5, low + 0.5, 31)
        share = np.full(len(weight), 100 / len(weight))
        axes.hist(weight, bins=bins, weights=share, color=COLOURS[0], alpha=0.55)  # type: ignore[arg-type]
        axes.axvline(float(np.median(weight)), color=COLOURS[0], linewidth=1.6)
        axes.set_xlabel("pair weight (line: median)")
        axes.set_ylabel("% of pairs")

    return svg(draw, size=(5.2, 3.0), label=label)


def scatter_svg(similarity: np.ndarray, weight: np.ndarray, *, label: str) -> str:
    """Pair weight against similarity, both [K]."""

    def draw(axes: Axes) -> None:
        axes.scatter(similarity, weight, s=22, color=COLOURS[0], alpha=0.75, linewidths=0)
        axes.set_xlabel("similarity of the two embeddings (cosine)")
        axes.set_ylabel("pair weight")

    return svg(draw, size=(5.2, 3.0), label=label)


_SHAPES = {
    "o": '<circle cx="17" cy="6" r="3.7"/>',
    "D": '<path d="M17 1.4L21.6 6L17 10.6L12.4 6Z"/>',
    "s": '<path d="M13.6 2.6H20.4V9.4H13.6Z"/>',
    "^": '<path d="M17 1.6L21.4 9.6H12.6Z"/>',
    "v": '<path d="M17 10.4L21.4 2.4H12.6Z"/>',
    "P": '<path d="M15.4 2H18.6V4.4H21V7.6H18.6V10H15.4V7.6H13V4.4H15.4Z"/>',
}


def swatch(look: Look) -> str:
    """The legend key of an encoder as a tiny SVG that uses the same variables as the figures."""
    dash = "" if look.dash == "-" else f' stroke-dasharray="{",".join(f"{2 * part:g}" for part in look.dash[1])}"'
    colour, width = f"var(--{_VARIABLES[look.colour]})", 3.2 if look.lead else 2
    line = f'<path d="M1 6H33" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'
    return f'<svg viewBox="0 0 34 12" aria-hidden="true" fill="{colour}">{line}{_SHAPES.get(look.marker, "")}</svg>'


def svg(draw: Callable[[Axes], None], *, size: tuple[float, float], label: str) -> str:
    """Draw one pair of axes as inline SVG; ``size`` in inches, ``label`` is read out by screen readers."""
    salt = sha256(label.encode()).hexdigest()[:12]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw(axes)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(
        r'<metadata>.*?</metadata>|<g id="[^"]*"(?=[ >])',
        lambda hit: "" if hit[0][1] == "m" else "<g",
        text,
        flags=re.S,
    )
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label, quote=True)}"', 1).strip()
