"""The report of one run: what was trained, how it went, what the pairs looked like and what they weighed."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.config import read_json
from sidelight.errors import RunError
from sidelight.reporting import html
from sidelight.reporting.document import Document, Figure, Listing, Part, Section, Text, write
from sidelight.reporting.figures import Line, histogram_svg, lines_svg, scatter_svg
from sidelight.reporting.numbers import decimal, plural, share, significant
from sidelight.reporting.run import examples
from sidelight.reporting.run.relations import LOOKS, RELATIONS, attention, looks
from sidelight.reporting.tables import Table, flatten

_HASHES = ("data.hash", "split_hash", "encoder_hash")


@dataclass(frozen=True)
class RunContent:
    """A run folder read into memory; ``steps`` and ``epochs`` are the two kinds of lines of metrics.jsonl."""

    folder: Path
    config: dict[str, Any]
    steps: pd.DataFrame
    epochs: pd.DataFrame
    quarantine: dict[str, int]
    finished: bool

    @property
    def method(self) -> str:
        """The method's name; the folder's where the config names none."""
        return str(self.config.get("method") or self.folder.name)


def load_run(folder: Path) -> RunContent:
    """Read a run folder. :raises RunError: when it holds no readable config.json."""
    folder = Path(folder)
    try:
        config = read_json((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run folder: it holds no config.json", do="Check the path") from None
    except ValueError as error:
        raise RunError(f"{folder / 'config.json'} is not valid JSON: {error}") from None
    lines = _metrics(folder / "metrics.jsonl")
    steps = pd.DataFrame([line for line in lines if line.get("kind") == "step"])
    epochs = pd.DataFrame([line for line in lines if line.get("kind") == "epoch"])
    # a resumed run may have written the steps after its last checkpoint twice: the later line counts
    steps = steps.drop_duplicates("step", keep="last") if "step" in steps else steps
    epochs = epochs.drop_duplicates("epoch", keep="last") if "epoch" in epochs else epochs
    return RunContent(folder, config, steps, epochs, _quarantine(folder), (folder / "done.json").is_file())


def render_run(run_folder: str | Path, out: str | Path) -> Path:
    """Write the report of a run, HTML or Markdown by the name of ``out``; returns its path.

    :raises RunError: when it is not a run folder.
    """
    run = load_run(Path(run_folder))
    settings = flatten(run.config.get("settings") or {})
    rows = tuple(settings.items())
    hashes = tuple((name, f"`{value}`") for name, value in flatten(run.config).items() if name in _HASHES)
    sections = [
        Section("How training went", [training(run)], intro=_TRAINING),
        Section("Example pairs", [pairs(run)], intro=_PAIRS),
        Section("Pair weights", weights(run), intro=_WEIGHTS),
        Section("Which labels read which", attention(run.folder), intro=RELATIONS),
        Section("Where each label looks", looks(run.folder), intro=LOOKS),
        Section("What was left out", [quarantine(run)]),
        Section("Settings and hashes", [Table(("hash of", "value"), hashes), Table(("setting", "value"), rows)]),
    ]
    opening = Section("In short", [Listing(summary(run))])
    return write(Document(f"Run: {run.method}", sections, facts=facts(run), opening=opening), Path(out))


_TRAINING = "Effective rank is the label-free score: near 1 the encoder maps every image to one direction."
_PAIRS = "What the method was shown as belonging together, ordered from the lightest to the heaviest pair."
_WEIGHTS = "How much each pair counts in the loss, as the run judged it at its end."


def facts(run: RunContent) -> list[str]:
    """The line under the title."""
    values = {"name": (run.config.get("data") or {}).get("name"), **(run.config.get("settings") or {})}
    words = {"name": "data {}", "encoder": "encoder {}", "image_size": "{} px", "profile": "profile {}"}
    found = [text.format(values[name]) for name, text in words.items() if values.get(name)]
    return [*found, "finished" if run.finished else "not finished"]


def summary(run: RunContent) -> list[str]:
    """What happened, in sentences; only what the metrics hold."""
    lines = [] if run.finished else ["**This run is not finished**: the same pretrain command goes on with it."]
    if loss := series(run.steps, "step", "loss"):
        lines.append(f"{int(loss.x[-1]):,} steps; loss from {significant(loss.y[0])} to **{significant(loss.y[-1])}**.")
    if valid := series(run.epochs, "epoch", "valid_loss"):
        best = int(np.argmin(valid.y))
        lowest, last = significant(valid.y[best]), significant(valid.y[-1])
        lines.append(f"Lowest validation loss {lowest} in epoch {int(valid.x[best])}; last {last}.")
    lines += [solved] if (solved := puzzles(run)) else []
    if rank := series(run.epochs, "epoch", "effective_rank"):
        lines.append(f"Effective rank of the embeddings from {decimal(rank.y[0], 1)} to **{decimal(rank.y[-1], 1)}**.")
    if knn := series(run.epochs, "epoch", "knn"):
        ends = f"{decimal(knn.y[0])} to {decimal(knn.y[-1])}"
        lines.append(f"kNN monitor from {ends} (a reading while training, not a result).")
    if "images_per_second" in run.steps:
        speed, wait = significant(float(run.steps["images_per_second"].median())), ""
        if "data_wait" in run.steps:
            wait = f", {share(float(run.steps['data_wait'].median()))} of the time waiting for data"
        lines.append(f"{speed} images/s (median){wait}.")
    if run.quarantine:
        lines.append(f"{sum(run.quarantine.values())} items could not be read and were left out.")
    return lines or ["No step has been recorded yet."]


def puzzles(run: RunContent) -> str:
    """How many jigsaw puzzles a run solves of patients that it kept for validation; "" where it has none."""
    found = series(run.epochs, "epoch", "puzzle_accuracy")
    if not found:
        return ""
    chance = 1 / int(run.config["settings"]["permutations"])
    return (
        f"Puzzles of patients kept for validation: {share(float(found.y[0]))} solved after the first epoch, "
        f"**{share(float(found.y[-1]))}** at the end; {share(chance)} would be by chance."
    )


def training(run: RunContent) -> Part:
    """The curves of a run as a grid; a sentence where there are none."""
    step_loss, valid = series(run.steps, "epoch", "loss", mean=True), series(run.epochs, "epoch", "valid_loss")
    losses = [Line(name, line.x, line.y) for name, line in (("training", step_loss), ("validation", valid)) if line]
    panels = {"Loss": ("epoch", losses)}
    for title, axis, name in _CURVES:
        line = series(run.epochs if axis == "epoch" else run.steps, axis, name)
        panels[title] = (axis, [line] if line else [])
    figures = []
    for title, (axis, lines) in panels.items():
        if lines:
            label = f"{run.folder.name} {run.method}: {title}"
            drawing = lines_svg(lines, label=label, x_name=axis, percent=title.endswith("%"), zero=axis == "step")
            figures.append(f"<figure><h3>{html.escape(title)}</h3>{drawing}</figure>")
    if not figures:
        return Text("No training metrics were recorded.", "empty")
    return Figure(f'<div class="grid small">{"".join(figures)}</div>')


_CURVES = (
    ("Learning rate", "step", "lr"),
    ("Effective rank", "epoch", "effective_rank"),
    ("Puzzles solved, %", "epoch", "puzzle_accuracy"),
    ("kNN monitor", "epoch", "knn"),
    ("Images per second", "step", "images_per_second"),
    ("Share of time waiting for data, %", "step", "data_wait"),
)


def pairs(run: RunContent, *, most: int = 12) -> Part:
    """Example pairs with their numbers; a sentence where the run stores no pictures."""
    path = run.folder / examples.EXAMPLES
    if not path.is_file():
        return Text("This run stores no pictures of pairs.", "empty")
    try:
        found = examples.load_examples(path)
    except RunError as error:
        return Text(str(error), "note")
    order = np.argsort(found.weight, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
    cards = [
        f"<figure>{_image(np.concatenate([found.left[i], found.right[i]], axis=2), 'pair of views')}"
        f"<figcaption>weight {_short(found.weight[i])} · similarity {decimal(float(found.similarity[i]))}<br>"
        f"{_gap(float(found.gap[i]))}</figcaption></figure>"
        for i in chosen
    ]
    return Figure(f'<div class="pictures">{"".join(cards)}</div>') if cards else Text("No pair was stored.", "empty")


def weights(run: RunContent) -> list[Part]:
    """The histogram of pair weights, weight against similarity, and the strip of one clip; whatever the run stores."""
    figures, strip, notes = [], "", list[Part]()
    try:
        if (run.folder / examples.WEIGHTS).is_file():
            stored = examples.load_weights(run.folder / examples.WEIGHTS)
            if len(stored):
                drawing = histogram_svg(stored, label=f"{run.folder.name}: pair weights")
                figures.append(f"<figure><h3>Weights of {len(stored):,} pairs</h3>{drawing}</figure>")
        if (run.folder / examples.EXAMPLES).is_file():
            found = examples.load_examples(run.folder / examples.EXAMPLES)
            if len(found.weight) > 2 and np.ptp(found.weight) > 0:
                label = f"{run.folder.name}: weight against similarity"
                drawing = scatter_svg(found.similarity, found.weight, label=label)
                figures.append(f"<figure><h3>Similarity against weight</h3>{drawing}</figure>")
        if (run.folder / examples.STRIP).is_file():
            strip = _strip(examples.load_strip(run.folder / examples.STRIP))
    except RunError as error:
        notes.append(Text(str(error), "note"))
    grid = f'<div class="grid">{"".join(figures)}</div>' if figures else ""
    drawn = [Figure(grid + strip)] if grid or strip else []
    return [*notes, *drawn] or [Text("This run stores no pair weights.", "empty")]


def _strip(strip: examples.Strip) -> str:
    """Frames of one clip side by side, each with two bars: similarity to the first, and the weight of that pair."""
    heaviest = float(np.nanmax(strip.weight)) if len(strip.weight) else 0.0
    cards = []
    for frame, similarity, weight in zip(strip.frames, strip.similarity, strip.weight, strict=True):
        bars = _bar(float(similarity), "--c1") + _bar(float(weight) / heaviest if heaviest > 0 else 0.0, "--c0")
        text = f"similarity {decimal(float(similarity))}<br>weight {_short(weight)}"
        cards.append(f"<figure>{_image(frame, 'frame')}{bars}<figcaption>{text}</figcaption></figure>")
    title = "<h3>Along one clip: each frame paired with the first (orange: similarity, blue: weight)</h3>"
    return f'{title}<div class="pictures strip">{"".join(cards)}</div>'


def _bar(part: float, colour: str) -> str:
    width = 100 * min(1.0, max(0.0, part if math.isfinite(part) else 0.0))
    return f'<div class="bar"><div style="width:{width:.0f}%;background:var({colour})"></div></div>'


def _image(image: np.ndarray, alt: str, side: int = 104) -> str:
    width = round(image.shape[2] / image.shape[1] * side)
    return (
        f'<img src="{html.picture(image, side=2 * side)}" width="{width}" height="{side}" alt="{alt}" loading="lazy">'
    )


def quarantine(run: RunContent) -> Table:
    """How many items were unreadable, by reason."""
    rows = tuple((reason, f"{count:,}") for reason, count in run.quarantine.items())
    return Table(("reason", "items"), rows, numeric=frozenset({1}))


def _short(value: float) -> str:
    return significant(float(value), 2)


def _gap(frames: float) -> str:
    """``"7 frames apart"``; pairs of one frame say so, and two photographs of one thing are no frames."""
    if math.isnan(frames):
        return "two photographs"
    return "the same frame" if frames == 0 else f"{_short(frames)} {plural('frame', frames)} apart"


def series(table: pd.DataFrame, x: str, y: str, *, mean: bool = False) -> Line | None:
    """Finite values of ``y`` over ``x``, at most 400, averaged per ``x`` on request; None where there are none."""
    if x not in table or y not in table:
        return None
    both = table[[x, y]].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan).dropna()
    if both.empty:
        return None
    both = both.groupby(x, as_index=False)[y].mean() if mean else both.sort_values(x)
    kept = np.unique(np.linspace(0, len(both) - 1, min(400, len(both))).round().astype(int))
    return Line(y, both[x].to_numpy(float)[kept].tolist(), both[y].to_numpy(float)[kept].tolist())


def _metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a killed run may leave half a line at the end, which is skipped."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        found += [values] if isinstance(values, dict) else []
    return found


def _quarantine(folder: Path) -> dict[str, int]:
    path = folder / "quarantine.csv"
    if not path.is_file() or not path.stat().st_size:
        return {}
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    # the reason's first clause: what follows may name one file only
    return dict(Counter(text.split(":")[0] for text in table["reason"]).most_common()) if "reason" in table else {}
