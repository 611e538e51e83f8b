"""What a run of SSLM learnt: puzzles it had not seen, patches in other surroundings, the anatomy of patches, and lesions.

The paper's words, measured, each beside a random encoder of the same architecture: *context-invariant*, a patch that is put into
another slice keeps its place in the encoder's map; patches name their *anatomy* (where the cohort has masks); *explainable*,
the heat map's maximum lies in the lesion (where the phantom knows it).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidelight.config import build
from sidelight.data.cohort.units import units
from sidelight.data.read import read_files
from sidelight.evaluation.protocols.base import Examples
from sidelight.evaluation.protocols.probes import fit_linear
from sidelight.evaluation.protocols.series.planes import SeriesSettings
from sidelight.evaluation.protocols.series.series import SeriesHead, fit_series
from sidelight.evaluation.units import Units, codes
from sidelight.explaining.content import Part, Picture, Question, frame_of, overlay
from sidelight.explaining.heat import heat_of
from sidelight.methods.sslm import SSLM
from sidelight.metrics.classification import AUROC, BALANCED_ACCURACY
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.metric import Metric
from sidelight.models.image import Encoder, create_encoder
from sidelight.views.augment import resize
from sidelight.views.jigsaw import assemble

SLICES, PATCHES, STRIP = 200, 600, 8
LEAST, TRIES = 30, 40
"""Patches of a structure from so many on; so many places of each series are looked at."""
THIRDS = 3
LIMITS = "Low and high are the 95 % interval over patients."


def explain(question: Question) -> Sequence[Part]:
    """Puzzles, surroundings, anatomy and heat, as far as the run and the cohort allow."""
    encoder, random = question.run.encoder(), random_like(question.run.encoder(), question.seed)
    both = {"this encoder": encoder, "random": random}
    parts = [*_puzzles(question), surroundings(question, both)]
    if "masks" in question.cohort.items and question.cohort.spec.images.crop != "sector":
        parts.append(anatomy(question, both))
    return [*parts, *_lesions(question, both)]


def random_like(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same architecture with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        size = encoder.image_size
        made = create_encoder(encoder.name, channels=encoder.channels, image_size=size)
    made.mean, made.std = encoder.mean.clone(), encoder.std.clone()
    return made.eval()


def _puzzles(question: Question) -> list[Part]:
    """How many puzzles of the patients that were kept back are solved, and some of them."""
    settings: Any = build(SSLM.Settings, question.run.config["settings"])
    if settings.objective == "pairs":
        return []
    net = SSLM(settings.model_copy(update={"initial": None}), channels=question.pixels.channels)
    net.load_state_dict(question.run.tensors(), strict=False)
    feed = net.feed(question.pixels)
    role, rows = ("valid", feed.valid_rows) if len(feed.valid_rows) else ("train", feed.train_rows)
    rows = np.resize(rows, SLICES)
    draws = np.arange(SLICES) // max(len(set(rows.tolist())), 1)
    puzzles = feed.finish(feed.raw(0, rows, draws, role), torch.device("cpu")).puzzles
    shown = assemble(puzzles.patches[: len(question.rows)])
    pictures = [
        Picture("A slice, and the puzzle made of it.", (_image(whole), _image(puzzle)), ("", ""))
        for whole, puzzle in zip(puzzles.left, shown, strict=False)
    ]
    found = net.accuracy(puzzles)
    seen = "patients that were kept back" if role == "valid" else "patients that trained"
    fact = f"{found:.1%} of {SLICES} puzzles of {seen} are solved; {1 / settings.permutations:.1%} would be by chance."
    return [Part("Puzzles", "Nine patches of a slice, moved about.", tuple(pictures), None, (fact,))]


def _image(picture: Tensor) -> NDArray[np.uint8]:
    flat = (picture.expand(3, -1, -1).permute(1, 2, 0) * 255).round().clamp(0, 255)
    return np.ascontiguousarray(flat.to(torch.uint8).numpy())


def surroundings(question: Question, encoders: dict[str, Encoder]) -> Part:
    """Whether a patch keeps its vector in other surroundings: the middle ninth of a slice pasted into another's.

    The vector is the encoder's last map averaged over the patch. Vectors are centred before the cosine is taken, for those of any
    network have much in common. For comparison another patch in the first one's surroundings.
    """
    rng = np.random.default_rng(question.seed)
    rows = rng.integers(len(question.pixels), size=SLICES)
    at = [int(rng.integers(question.pixels.frames_of(int(row)))) for row in rows]
    slices = torch.from_numpy(question.pixels.batch(rows, at))
    groups = question.pixels.index["group"].to_numpy()[rows].astype(str)
    table = []
    for name, encoder in encoders.items():
        size = encoder.image_size
        own = resize(slices, size)
        third = slice(size // 3, size - size // 3)
        moved = own.roll(1, 0).clone()
        moved[..., third, third] = own[..., third, third]
        changed = own.clone()
        changed[..., third, third] = own.roll(1, 0)[..., third, third]
        a, b, c = (_patch_vectors(encoder, images, third) for images in (own, moved, changed))
        centre = torch.cat([a, b, c]).mean(dim=0)
        same, other = (torch.cosine_similarity(a - centre, one - centre).numpy() for one in (b, c))
        row: dict[str, Any] = {"encoder": name}
        row |= _columns("same patch, other slice", _mean(same, groups, reach=1))
        row |= _columns("other patch, same slice", _mean(other, groups, reach=1))
        row |= _columns("difference", _mean(same - other, groups, reach=2))
        table.append(row)
    return Part(
        "Surroundings",
        "Mean cosine of a patch's vector with that of the same patch pasted into another slice, and with that of another "
        "patch pasted into its place: what is context-invariant has the first near 1 and well above the second. "
        + LIMITS,
        table=pd.DataFrame(table),
    )


@torch.no_grad()
def _patch_vectors(encoder: Encoder, images: Tensor, third: slice) -> Tensor:
    """The mean of a map [N, C, h, w] over the places of the patch: [N, C]."""
    maps = [one for one in encoder.feature_maps(images) if min(one.shape[-2:]) >= 3][-1]
    side, size = maps.shape[-1], images.shape[-1]
    start, stop = third.start * side // size, max(third.stop * side // size, third.start * side // size + 1)
    return maps[..., start:stop, start:stop].mean((2, 3))


def anatomy(question: Question, encoders: dict[str, Encoder]) -> Part:
    """A linear read-out of patch vectors for the structure in the patch's centre, on patients it has not seen."""
    slices, corners, label, group = _labelled_patches(question)
    table = []
    classes = sorted(set(label.tolist()))
    if len(classes) < 2:
        return Part("Anatomy of patches", facts=(f"Fewer than two mask values were found in {LEAST} places each.",))
    y = np.searchsorted(classes, label)
    names = np.random.default_rng(question.seed).permutation(np.unique(group))
    folds = [np.isin(group, names[number::THIRDS]) for number in range(THIRDS)]
    for name, encoder in encoders.items():
        size = encoder.image_size
        side = size // 4
        images = resize(torch.from_numpy(slices), size)
        patches = torch.stack(
            [
                image[:, top : top + side, left : left + side]
                for image, (top, left) in zip(images, (corners * (size - side)).astype(int), strict=True)
            ]
        )
        with torch.no_grad():
            vectors = encoder.eval()(patches).numpy()
        scores = np.zeros((len(y), len(classes)))
        for unseen in folds:
            scores[unseen] = fit_linear(vectors[~unseen], y[~unseen], group[~unseen], len(classes))(vectors[unseen])
        row: dict[str, Any] = {"encoder": name, "patches": len(y)}
        for what, metric in (("AUROC", AUROC), ("balanced accuracy", BALANCED_ACCURACY)):
            found = clustered_interval(y, scores, group, metric)
            row |= _columns(what, (found.value, found.low, found.high))
        table.append(row)
    return Part(
        "Anatomy of patches",
        f"A logistic regression on the vector of a patch (a quarter of the slice wide) tells which of the {len(classes)} mask "
        f"values ({', '.join(map(str, classes))}) is in its centre, in a third of the patients at a time, from the others. "
        + LIMITS,
        table=pd.DataFrame(table),
    )


def _labelled_patches(question: Question) -> tuple[Any, Any, Any, Any]:
    """Slices [N, C, W, W], top-left corners [N, 2] as shares of what is free, mask values [N] and groups [N], balanced."""
    rng = np.random.default_rng(question.seed)
    pixels, items = question.pixels, question.cohort.items
    crop = question.cohort.spec.images.crop
    found: dict[int, list[tuple[int, int, float, float]]] = {}
    for row in rng.permutation(len(pixels)):
        files = items["masks"].iloc[int(pixels.index["position"].iloc[row])]
        if not files:
            continue
        paths = [question.cohort.root / name for name in files]
        masks = read_files(paths, max_frames=pixels.frames_of(row), root=question.cohort.root, crop=crop).frames
        at = int(rng.integers(min(len(masks), pixels.frames_of(row))))
        height, width = masks[at].shape[:2]
        lies = pixels.placement(row, (height, width))
        for _ in range(TRIES):
            top, left = rng.random(2)
            y, x = (
                (share * 0.75 + 0.125 - start / lies.size) / (side / lies.size)
                for share, start, side in zip((top, left), lies.offset, lies.inner, strict=True)
            )
            if not (0 <= y < 1 and 0 <= x < 1):  # the patch's centre lies in the padding
                continue
            value = int(masks[at][int(y * height), int(x * width)])
            found.setdefault(value, []).append((int(row), at, top, left))
    kept = {value: places for value, places in found.items() if len(places) >= LEAST}
    each = [(value, *place) for value, places in kept.items() for place in places[: PATCHES // len(kept)]]
    table = np.array(each, dtype=np.float64).reshape(-1, 5)
    rows, places = table[:, 1].astype(int), table[:, 2].astype(int)
    groups = pixels.index["group"].to_numpy()[rows].astype(str)
    return pixels.batch(rows, places), table[:, 3:5], table[:, 0].astype(int), groups


def _lesions(question: Question, encoders: dict[str, Encoder]) -> list[Part]:
    """Heat and attention of a head learnt from the task's labels, as strips; hits where the phantom knows the lesions."""
    if question.task is None:
        return []
    task = question.cohort.tasks[question.task]
    taught = _taught(question)
    heads = {name: _head(question, encoder, taught) for name, encoder in encoders.items()}
    labels = list(task.classes)
    known = question.pixels.index["view"].astype(str).isin(list(heads["this encoder"].planes)).to_numpy()
    shown = replace(question, rows=question.rows[known[question.rows]])
    pictures = _strips(shown, heads["this encoder"], labels, task.kind == "multilabel")
    table = None
    if hasattr(question.cohort.phantom, "boxes") and task.kind == "multilabel":
        rows = np.flatnonzero(~taught & known)
        table = pd.DataFrame([row for name, head in heads.items() for row in hits(question, head, labels, name, rows)])
    counted = "" if table is None else ", and are counted on the others"
    said = f"The heads have learnt from two thirds of the patients{counted}; heat is scaled to its maximum over the series."
    intro = "Grad-CAM of each slice on its own map, for a head of gated attention; the share is the slice's attention."
    lead = intro if table is None else (
        f"{intro} The table says how often the greatest heat of a series with the label lies in a lesion that makes it true, and "
        f"on its slices; by chance it would as often as these take up of the series. {LIMITS}"
    )  # fmt: skip
    unseen = len(question.rows) - len(shown.rows)
    none = (f"{unseen} series not shown: the heads have learnt from none of such a view.",) if unseen else ()
    return [Part("What speaks for a label", lead, tuple(pictures), table, (said, *none))]


def _taught(question: Question) -> NDArray[np.bool_]:
    """Rows [N] of the two thirds of the patients that heads learn from."""
    groups = question.pixels.index["group"].to_numpy().astype(str)
    names = np.random.default_rng(question.seed).permutation(np.unique(groups))
    return np.asarray(np.isin(groups, names[: -(len(names) // THIRDS)] if len(names) >= THIRDS else names))


def _head(question: Question, encoder: Encoder, taught: NDArray[np.bool_]) -> SeriesHead:
    assert question.task is not None
    task = question.cohort.tasks[question.task]
    table = units(question.cohort, task)
    table["rows"] = [[row for row in rows if taught[row]] for rows in question.pixels.rows_of(table["items"])]
    table = table[table["rows"].map(bool)]
    seen = Units(question.pixels, table["rows"].tolist())
    examples = Examples(seen, codes(table), table["group"].to_numpy(), task.heads)
    return fit_series(encoder, examples, SeriesSettings(fusion="mean"), seed=question.seed)


def _strips(question: Question, head: SeriesHead, labels: list[str], several: bool) -> list[Picture]:
    """One row of slices per shown series and label."""
    pictures = []
    for row in question.rows.tolist():
        view = str(question.pixels.index["view"].iloc[row])
        heat = heat_of(head.encoder, head.planes[view], question.pixels, row)
        for output, label in enumerate(labels):
            places = np.unique(np.linspace(0, question.pixels.frames_of(row) - 1, STRIP).round().astype(int))
            top = float(heat.maps[output].max()) or 1.0
            images = [
                overlay(
                    frame_of(question.pixels, row, int(at)),
                    heat.maps[output, at],
                    strength=0.5 * heat.maps[output, at].max() / top,
                )
                for at in places
            ]
            shares = ["" if heat.attention is None else f"{heat.attention[output, at]:.0%}" for at in places]
            pictures.append(
                Picture(f"{question.names[row]}, {view or 'series'}: {label}", tuple(images), tuple(shares))
            )
    return pictures


def hits(
    question: Question, head: SeriesHead, labels: list[str], name: str, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """How often the greatest heat of a positive series among ``rows`` lies in a lesion's box, and on its slices, beside chance.

    Chance is the share of the series that its boxes take up: of slices, and of pixels.
    """
    phantom: Any = question.cohort.phantom
    table = []
    for output, label in enumerate(labels):
        inside, on, by_chance, slices_by_chance, groups = [], [], [], [], []
        for row in rows.tolist():
            boxes = phantom.boxes(int(question.pixels.index["position"].iloc[row]), label)
            if not boxes:
                continue
            size, length = phantom.size, question.pixels.frames_of(row)
            heat = heat_of(
                head.encoder, head.planes[str(question.pixels.index["view"].iloc[row])], question.pixels, row
            )
            at, down, across = heat.peak(output, size)
            taken = np.zeros((length, size, size), bool)
            for box in boxes:
                taken[box[0] : box[1], box[2] : box[3], box[4] : box[5]] = True
            groups.append(str(question.pixels.index["group"].iloc[row]))
            inside.append(taken[at, down, across])
            on.append(taken[at].any())
            by_chance.append(taken.mean())
            slices_by_chance.append(taken.any(axis=(1, 2)).mean())
        if not inside:
            continue
        line: dict[str, Any] = {"encoder": name, "label": label, "series": len(inside)}
        line |= _columns("in the lesion", _mean(inside, groups)) | {"by chance": float(np.mean(by_chance))}
        line |= _columns("on its slices", _mean(on, groups)) | {"slices by chance": float(np.mean(slices_by_chance))}
        table.append(line)
    return table


def _mean(values: Any, groups: Any, reach: int = 0) -> tuple[float, float, float]:
    """Mean of values [N] in [0, 1], or in [-reach, reach], with its interval over groups [N]."""
    width, least = max(2 * reach, 1), -reach
    unit = (np.asarray(values, np.float64) - least) / width
    found = clustered_interval(None, unit, np.asarray(groups), Metric("mean", _share))
    return found.value * width + least, found.low * width + least, found.high * width + least


def _share(labels: NDArray[Any], scores: NDArray[Any], weights: NDArray[np.float64] | None = None) -> Any:
    """The mean of ``scores`` as a metric."""
    rows = np.ones((1, len(scores))) if weights is None else np.atleast_2d(weights)
    means = rows @ scores / rows.sum(axis=1)
    return means if weights is not None and np.ndim(weights) == 2 else float(means[0])


def _columns(name: str, limits: Sequence[float]) -> dict[str, float]:
    """Columns of a value and its interval."""
    return dict(zip((name, f"{name}, low", f"{name}, high"), map(float, limits), strict=True))
