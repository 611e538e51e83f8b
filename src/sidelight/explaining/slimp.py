"""What a run of SLIMP ties together: attributes that its tabular towers attend to, photographs beside the metadata of
their nearest neighbours, how well each finds the other, and a map of the lesions."""

import io
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Pillow

from sidelight.data.cohort.metadata import KNOWN
from sidelight.evaluation.features import embed_items
from sidelight.evaluation.inputs.metadata import tables_of
from sidelight.explaining.content import Image, Part, Picture, Question, frame_of
from sidelight.explaining.neighbours import nearest_elsewhere
from sidelight.metrics.representation import median_rank, recall_at, retrieval_ranks
from sidelight.models.heads import load_joint_head
from sidelight.models.table import TableEncoder

LENDERS, TOP, MOST_COLOURS = 3, (1, 5, 10), 12
INTERESTING = ("age", "site", "region", "local", "sex", "gender", "fitz", "fits", "phototype", "skin")
Floats = NDArray[np.float32]


def explain(question: Question) -> Sequence[Part]:
    """Attention, neighbours with their metadata, retrieval and the map."""
    towers = tables_of(question.run.folder)
    encoder = question.run.encoder()
    images = embed_items(encoder, question.pixels, folder=question.pixels.folder / "features")
    items = question.cohort.items.iloc[question.pixels.index["position"].to_numpy()].reset_index(drop=True)
    parts = [_attention(role, tower, items, question) for role, tower in towers.items()]
    parts.append(_side_by_side(question, images, items, towers))
    if "lesion_metadata" in towers:
        parts.append(_retrieval(question, images, items, towers["lesion_metadata"]))
    return [*parts, _map(question, images, items, towers)]


def _attention(role: str, tower: TableEncoder, items: pd.DataFrame, question: Question) -> Part:
    """Mean attention of each column over all items, and of the items shown."""
    codes = tower.vocabulary.encode(items)
    seen = tower.attention(codes.map(torch.from_numpy)).numpy()
    known = (codes.state == KNOWN).mean(axis=0)
    columns = [column.name for column in tower.vocabulary.columns]
    table = pd.DataFrame({"column": columns, "known": known, "attention": seen.mean(axis=0)})
    for row in question.rows.tolist():
        table[question.names[row]] = seen[row]
    return Part(
        f"Attention over {role.replace('_', ' ')}",
        "How much the tower attends to each column: the mean over all items, then of each item shown; every column of "
        f"numbers adds up to 1, an even share is {1 / len(columns):.3f}. Attention is no proof of influence.",
        table=table.sort_values("attention", ascending=False).reset_index(drop=True),
    )


def _side_by_side(question: Question, images: Floats, items: pd.DataFrame, towers: dict[str, TableEncoder]) -> Part:
    cosine, near = nearest_elsewhere(images, question.pixels.index["group"].to_numpy(), LENDERS)
    cells = pd.concat([tower.vocabulary.shown(items) for tower in towers.values()], axis=1)
    pictures = [
        Picture(
            question.names[row],
            tuple(frame_of(question.pixels, one) for one in (row, *near[row])),
            tuple(_told(cells.iloc[one], "itself" if one == row else f"{cos:.2f}")
                  for one, cos in zip((row, *near[row]), (1.0, *cosine[row]), strict=True)),
        )
        for row in question.rows.tolist()
    ]  # fmt: skip
    intro = "The item on the left, then the nearest of other patients (cosine), each with what is known of it."
    return Part("Nearest lesions with their metadata", intro, tuple(pictures))


def _told(row: "pd.Series[str]", first: str) -> str:
    return "; ".join([first, *(f"{name} {value}" for name, value in row.items() if value != "")])


@torch.no_grad()
def _retrieval(question: Question, images: Floats, items: pd.DataFrame, tower: TableEncoder) -> Part:
    """How well photographs and lesion metadata find each other, among one item of each lesion's metadata."""
    head = load_joint_head(question.run.folder, "image_projection")
    codes = tower.vocabulary.encode(items)
    pictured = head(torch.from_numpy(images)).numpy()
    projected = tower.project(tower(codes.map(torch.from_numpy))).numpy()
    rows = []
    for name, left, right in (("image -> metadata", pictured, projected), ("metadata -> image", projected, pictured)):
        ranks = retrieval_ranks(left, right)
        shares = {f"among the first {k}": recall_at(ranks, k) for k in TOP}
        rows.append({"direction": name, "items": len(ranks), **shares, "median rank": median_rank(ranks)})
    chance = {f"among the first {k}": min(k / len(items), 1.0) for k in TOP}
    rows.append({"direction": "by chance", "items": len(items), **chance, "median rank": (len(items) + 1) / 2})
    return Part(
        "Photographs find metadata",
        "The rank of an item's own metadata among all, and back. Items with equal metadata share their ranks. Items that "
        "the run was trained on are among them; `evaluate --protocol retrieval` asks the others alone.",
        table=pd.DataFrame(rows),
    )


def _map(question: Question, images: Floats, items: pd.DataFrame, towers: dict[str, TableEncoder]) -> Part:
    """Two principal components of the image features, coloured by class and by a few columns."""
    centred = images - images.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    places = left[:, :2] * size[:2]
    share = float((size[:2] ** 2).sum() / max((size**2).sum(), 1e-12))
    labels = [] if question.task is None else list(question.cohort.tasks[question.task].label)
    cells = pd.concat([items[labels], *(tower.vocabulary.shown(items) for tower in towers.values())], axis=1)
    columns = [str(name) for name in cells if len(cells[name].unique()) > 1]
    chosen = [name for name in columns if name in labels or _is_interesting(name)][:4] or columns[:3]
    drawn = tuple(_scatter(places, cells[name], name) for name in chosen)
    intro = f"Every dot is an item; the two axes hold {share:.0%} of the variance of the image features."
    return Part("A map of the lesions", intro, (Picture("Coloured by:", drawn, tuple(chosen)),))


def _is_interesting(name: str) -> bool:
    """Whether a word of ``name`` says age, site, sex or skin type; "image" and "stage" do not."""
    return any(word.startswith(INTERESTING) for word in re.split(r"[^a-z]+", name.lower()))


def _scatter(places: NDArray[np.float64], cells: "pd.Series[str]", name: str) -> Image:
    figure = Figure(figsize=(4, 4), dpi=110)
    axes = figure.subplots()
    numbers = pd.to_numeric(cells, errors="coerce")
    if numbers.notna().sum() > MOST_COLOURS and numbers.nunique() > MOST_COLOURS:
        dots = axes.scatter(places[:, 0], places[:, 1], c=numbers, s=6, cmap="viridis")
        figure.colorbar(dots)
    else:
        for value in cells[cells != ""].value_counts().index[:MOST_COLOURS]:
            at = (cells == value).to_numpy()
            axes.scatter(places[at, 0], places[at, 1], s=6, label=str(value))
        axes.legend(fontsize=6, markerscale=2)
    axes.set_title(name)
    axes.set_xticks([])
    axes.set_yticks([])
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight")
    return np.asarray(Pillow.open(stream).convert("RGB"))
