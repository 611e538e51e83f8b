"""Masks and boxes: curves of detection, size against Dice, who was missed, and pictures of the best and the worst."""

import io
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from PIL import Image

from sidelight.evaluation.drawn import PLACES, unpacked, unpacked_boxes
from sidelight.evaluation.outcomes import BOXES, MASK
from sidelight.metrics.detection import RATES
from sidelight.reporting import html
from sidelight.reporting.document import Figure, Part, picture_row, under
from sidelight.reporting.drawn import with_boxes, with_outlines
from sidelight.reporting.figures import Curve, draw_curves, grid_png, looks, svg
from sidelight.reporting.numbers import significant
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table

INTRO = (
    "At all labels; bands are 95 % intervals that resample patients. Of boxes, misses are counted at one false positive per "
    "image."
)
SIDE, WORST = 118, 10
Draw = Callable[[Axes], None]


def sections(content: Content, *, by_unit: bool = True) -> list[Part]:
    """Of each task of masks or boxes its curves, sizes, misses and pictures.

    :param by_unit: also the worst cases by their hashes, which are others under another key.
    """
    parts: list[Part] = []
    for task in dict.fromkeys(map(str, content.cases.get("task", pd.Series(dtype=str)))):
        rows = content.cases[content.cases["task"] == task]
        lead = content.lead if content.lead in set(rows["encoder"]) else str(rows["encoder"].iloc[-1])
        own = rows[rows["encoder"] == lead]
        own = own[own["protocol"] == own["protocol"].iloc[0]]
        panels = [*_froc(content, task), *_precision(content, task), *_sizes(own, lead)]
        worst = [_failures(own, lead)] if by_unit else []
        parts += under(
            content.task_title(task),
            *_figure(task, panels),
            _misses(rows, content.encoders),
            *worst,
            *_shown(content, own),
        )
    return parts


def _figure(task: str, panels: Sequence[tuple[str, Draw]]) -> list[Part]:
    if not panels:
        return []
    drawn = "".join(
        f"<figure><figcaption>{html.escape(name)}</figcaption>{svg(draw, size=(4.4, 3.2), label=f'{task}: {name}')}</figure>"
        for name, draw in panels
    )
    save = partial(grid_png, panels, size=(4.6, 3.3))
    return [Figure(f'<div class="grid">{drawn}</div>', f"{html.slug(task)}-cases", "Detection and sizes", save)]


def _froc(content: Content, task: str) -> list[tuple[str, Draw]]:
    """Sensitivity against false positives per image, a curve per encoder."""
    names = {f"sensitivity at {rate:g} false positives": rate for rate in RATES}
    rows = content.honest[(content.honest["task"] == task) & content.honest["metric"].isin(names)]
    rows = rows[rows["all_labels"].astype(bool) & ~rows["protocol"].str.endswith(", last step")]
    rows = rows.assign(rate=rows["metric"].map(names)).sort_values("rate")
    curves = _curves(content, rows, "rate")
    return [("Sensitivity against false positives (FROC)", partial(_draw_froc, curves=curves))] if curves else []


def _draw_froc(axes: Axes, curves: Sequence[Curve]) -> None:
    draw_curves(axes, curves)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, [f"1/{1 / rate:g}" if rate < 1 else f"{rate:g}" for rate in RATES])
    axes.set_xlabel("false positives per image")
    axes.set_ylabel("sensitivity")
    axes.set_ylim(0, 1.02)


def _precision(content: Content, task: str) -> list[tuple[str, Draw]]:
    """Precision against recall, a panel per target."""
    every, found = content.detection_curves, list[tuple[str, Draw]]()
    if every.empty:
        return found
    for target, rows in every[every["task"] == task].groupby("target", sort=False):
        curves = _curves(content, rows, "recall")
        name = _named("Precision against recall", target)
        found.append((name, partial(_draw_precision, curves=curves)))
    return found


def _draw_precision(axes: Axes, curves: Sequence[Curve]) -> None:
    draw_curves(axes, curves)
    axes.set_xlabel("recall (IoU 0.50)")
    axes.set_ylabel("precision")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, 1.02)


def _curves(content: Content, rows: pd.DataFrame, x: str) -> list[Curve]:
    """One per encoder and protocol."""
    palette, found = looks(content.encoders, content.lead, content.is_baseline), []
    several = len(set(rows["protocol"])) > 1
    for encoder in (one for one in content.encoders if one in set(rows["encoder"])):
        for protocol, own in rows[rows["encoder"] == encoder].groupby("protocol", sort=False):
            numbers = (own[column].astype(float).tolist() for column in (x, "value", "low", "high"))
            found.append(Curve(f"{encoder} ({protocol})" if several else encoder, palette[encoder], *numbers))
    return found


def _sizes(own: pd.DataFrame, lead: str) -> list[tuple[str, Draw]]:
    """The Dice of each unit against how large what it holds is, a panel per target."""
    held = own[(own["outcome"] == MASK.name) & own["value"].notna()]
    return [
        (_named(f"Size against Dice, {lead}", target), partial(_draw_sizes, rows=rows))
        for target, rows in held.groupby("target", sort=False)
    ]


def _draw_sizes(axes: Axes, rows: pd.DataFrame) -> None:
    """A point per unit, and the median Dice of each fifth of the sizes."""
    size, value = rows["size"].to_numpy(float), rows["value"].to_numpy(float)
    axes.scatter(size, value, s=8, alpha=0.35, linewidth=0, color="#0072b2")
    if len(size) >= 25:
        fifths = np.array_split(np.argsort(size, kind="stable"), 5)
        middle = [(np.median(size[one]), np.median(value[one])) for one in fifths]
        axes.plot(*zip(*middle, strict=True), color="#d55e00", marker="o", label="median of each fifth", gid="curve")
    axes.set_xscale("log")
    wide = size.max() > 20 * size.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if wide else MaxNLocator(4))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("true pixels")
    axes.set_ylabel("Dice")
    axes.set_ylim(-0.02, 1.02)


def _misses(rows: pd.DataFrame, encoders: Sequence[str]) -> Table:
    """Of each encoder and target how often nothing of what is there was met, and something found where nothing is."""
    lines = []
    rows = rows.sort_values("encoder", key=lambda names: names.map(encoders.index), kind="stable")
    for (encoder, protocol, kind, target), own in rows.groupby(
        ["encoder", "protocol", "outcome", "target"], sort=False
    ):
        holds = own["size"] > 0
        lines.append(
            (str(encoder), f"{protocol}, {kind}", str(target), f"{(own.loc[holds, 'value'] == 0).sum()} of {holds.sum()}",
             f"{(own.loc[~holds, 'found'] > 0).sum()} of {(~holds).sum()}")
        )  # fmt: skip
    header = ("encoder", "protocol", "class", "missed altogether", "found where nothing is")
    return Table(header, tuple(lines), numeric=frozenset((3, 4)), caption="Missed and wrongly found")


def _failures(own: pd.DataFrame, lead: str) -> Table:
    """The cases of the headline encoder that were met worst."""
    known = own.dropna(subset=["value"]).sort_values(["value", "size"], ascending=[True, False], kind="stable")
    known = known.head(WORST)
    boxes = (known["outcome"] == BOXES.name).any()
    lines = tuple(
        (str(one["unit"]), str(one["target"]), significant(float(one["size"])), significant(float(one["found"])),
         f"{one['value']:.2f}")
        for _, one in known.iterrows()
    )  # fmt: skip
    held, found = ("true boxes", "false boxes") if boxes else ("true pixels", "found pixels")
    value = "share found" if boxes else "Dice"
    return Table(
        ("unit", "class", held, found, value), lines, numeric=frozenset((2, 3, 4)), caption=f"Worst cases of {lead}"
    )


def _shown(content: Content, own: pd.DataFrame) -> list[Part]:
    """Pictures of the headline encoder's best, median and worst patients: what is true and what was found."""
    every = content.pictures
    if every.empty:
        return []
    first = own.iloc[0]
    mine = every[(every[["encoder", "task", "protocol"]] == first[["encoder", "task", "protocol"]]).all(axis=1)]
    parts: list[Part] = []
    for target, rows in mine.groupby("target", sort=False):
        shown = [(place, row) for place in PLACES for _, row in rows[rows["place"] == place].iterrows()]
        said = [f"{place}, {row['value']:.2f}" for place, row in shown]
        lead = f"{_named('Best, median and worst groups', target)} (blue is true, orange was found)."
        parts.append(picture_row([_overlay(row) for _, row in shown], said, height=SIDE, said=lead))
    return parts


def _named(text: str, target: Hashable) -> str:
    return f"{text}: {target!s}" if target else text


def _overlay(row: "pd.Series[Any]") -> NDArray[np.uint8]:
    """Uint8 [H, W, 3]."""
    frame = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB").resize((2 * SIDE, 2 * SIDE)))
    side = int(row["side"])
    if row["outcome"] == MASK.name:
        masks = np.stack([unpacked(row["truth"], side), unpacked(row["found"], side)])
        return np.moveaxis(with_outlines(frame, masks, 2 * SIDE, width=2), 0, -1)
    true, found = unpacked_boxes(row["truth"]), unpacked_boxes(row["found"])
    corners = np.concatenate([true, found[: max(3, len(true))]])[:, :4].astype(np.float64)
    labels = [0] * len(true) + [1] * (len(corners) - len(true))
    return np.moveaxis(with_boxes(frame, corners, labels, 2 * SIDE, (side, side)), 0, -1)
