"""Scores under worse imaging conditions: a figure per condition, severity from left to right, and the same as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from sidelight.reporting import html
from sidelight.reporting.document import Figure, Part, under
from sidelight.reporting.figures import CHANCE, Curve, draw_curves, grid_png, looks, svg
from sidelight.reporting.study.content import Content
from sidelight.reporting.tables import Table, spread

INTRO = (
    "Heads learnt undisturbed units; the unseen ones were scored as they are (severity 0) and with images made worse: light, "
    "colour, resolution, distance. Metadata stay as they are. Bands are 95 % intervals that resample patients."
)


@dataclass(frozen=True)
class Condition:
    """AUROC over severity under one condition, a curve per encoder; all conditions of a task have the same ``limits``."""

    name: str
    curves: Sequence[Curve]
    limits: tuple[float, float]

    def draw(self, axes: Axes) -> None:
        """Bands and lines; the line of chance where it is near."""
        draw_curves(axes, self.curves)
        if self.limits[0] <= 0.5:
            axes.axhline(0.5, **CHANCE)
        axes.set_ylim(*self.limits)
        axes.set_xlabel(f"severity ({self.name})")
        axes.set_ylabel("AUROC")


def conditions(content: Content, task: str) -> list[Condition]:
    """What was measured on ``task``, in the order of the rows."""
    rows = content.disturbed[content.disturbed["task"] == task]
    encoders = list(dict.fromkeys([*content.encoders, *rows["encoder"]]))
    drawn = rows[["value", "low", "high"]]
    limits = (max(0.0, float(drawn.min().min()) - 0.02), min(1.005, float(drawn.max().max()) + 0.02))
    palette, found = looks(encoders, content.lead, content.is_baseline), []
    for name, own in rows.groupby("condition", sort=False):
        curves = []
        for encoder in (one for one in encoders if one in set(own["encoder"])):
            part = own[own["encoder"] == encoder].sort_values("severity").drop_duplicates("severity")
            numbers = (part[column].astype(float).tolist() for column in ("severity", "value", "low", "high"))
            curves.append(Curve(encoder, palette[encoder], *numbers))
        found.append(Condition(str(name), curves, limits))
    return found


def sections(content: Content) -> list[Part]:
    """Per task its figures, which a Markdown page shows as one, and its table."""
    parts: list[Part] = []
    for task, title in content.worse.items():
        panels = conditions(content, task)
        drawn = []
        for one in panels:
            figure = svg(one.draw, size=(4.4, 3.0), label=f"{title}: AUROC against the severity of {one.name}")
            drawn.append(f"<figure><figcaption>{html.escape(one.name)}</figcaption>{figure}</figure>")
        grid = Figure(
            f'<div class="grid">{"".join(drawn)}</div>',
            f"{html.slug(task)}-conditions",
            "AUROC against the severity of each condition",
            partial(grid_png, [(one.name, one.draw) for one in panels], size=(4.6, 3.1)),
        )
        parts += under(title, grid, table(content, task))
    return parts


def table(content: Content, task: str) -> Table:
    """One row per encoder and condition, one column per severity."""
    rows = content.disturbed[content.disturbed["task"] == task]
    levels = sorted(rows["severity"].unique())
    lines = spread(rows, ("encoder", "condition"), "severity", levels)
    header = ("encoder", "condition", *(f"{level:g}" for level in levels))
    return Table(header, lines, numeric=frozenset(range(2, len(header))), caption="AUROC by severity")
